//! The shards that a task has at one time are a generation. Another number of shards is another
//! generation: its shards have numbers that were never used before, so that nothing that outlives a
//! moment (transactional ids, keys of positions) is shared with those before.
//!
//! A shard of a new generation takes over the places of its partitions from the newest shard that had
//! them and began; the coordinators remember the generations before until every shard has its own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidewire_shared::{Desired, Epoch};

use crate::command::Checkpoint;
use crate::state::{Shard, Task};

/// Generations whose shards did not all begin, beyond which the number of shards changes no more: each
/// is sent to every shard that takes over from it.
pub const PREDECESSORS_MAX: usize = 4;

/// Shards that are no more, whose places the next ones take over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// By number; the numbers follow each other.
    pub(crate) shards: BTreeMap<u32, Retired>,
}

/// A shard that is no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    /// Its number in the positions topic.
    pub ordinal: u64,
    /// How far it came, as the log has it; none: it may have begun all the same.
    pub checkpoint: Option<Checkpoint>,
}

impl Generation {
    /// The shards as they were when nobody owned them any more.
    pub(crate) fn retire(shards: BTreeMap<u32, Shard>) -> Self {
        let retired =
            |shard: Shard| Retired { ordinal: shard.ordinal, checkpoint: shard.checkpoint };
        Self {
            shards: shards.into_iter().map(|(number, shard)| (number, retired(shard))).collect(),
        }
    }

    /// The number of its first shard.
    #[must_use]
    pub fn first(&self) -> u32 {
        self.shards.keys().next().copied().unwrap_or_default()
    }

    /// Its shards, by number.
    pub fn shards(&self) -> impl Iterator<Item = &Retired> {
        self.shards.values()
    }
}

impl Task {
    /// Whether its document asks for another number of shards than it has. It does not run until the
    /// new ones are made.
    #[must_use]
    pub fn is_to_be_resharded(&self) -> bool {
        let ended = matches!(self.desired, Desired::Terminated | Desired::Deleted);
        !ended && self.spec.shards() != self.shard_count()
    }

    /// How many shards it has.
    #[must_use]
    pub fn shard_count(&self) -> u32 {
        u32::try_from(self.shards.len()).unwrap_or(u32::MAX)
    }

    /// The number of its first shard.
    #[must_use]
    pub fn first_shard(&self) -> u32 {
        self.shards.keys().next().copied().unwrap_or_default()
    }

    /// The generations from which shards may still have to take over, the newest first.
    #[must_use]
    pub fn predecessors(&self) -> &[Generation] {
        &self.predecessors
    }

    /// Every shard that may have left something at the target: number, and number in the positions topic.
    #[must_use]
    pub fn shards_ever(&self) -> Vec<(u32, u64)> {
        let retired = self.retired.iter().map(|(number, ordinal)| (*number, *ordinal));
        retired.chain(self.shards.iter().map(|(number, shard)| (*number, shard.ordinal))).collect()
    }

    /// Whether anything of it may be at source or target already.
    pub(crate) fn has_run(&self) -> bool {
        !self.retired.is_empty() || self.generation_has_run()
    }

    /// Whether any of its present shards was ever given to a node.
    pub(crate) fn generation_has_run(&self) -> bool {
        self.shards.values().any(|shard| shard.epoch > Epoch::default())
    }

    /// Forgets where shards took over from once all of them have places of their own.
    pub(crate) fn settle(&mut self) {
        if self.shards.values().all(|shard| shard.checkpoint.is_some()) {
            self.predecessors.clear();
        }
    }
}
