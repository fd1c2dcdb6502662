//! What a record of the positions topic says, without its wire format (`tidewire.position.v1`).

use std::hash::{Hash, Hasher};

use tidewire_shared::{Epoch, PgPosition};

use super::pins::TopicPin;

/// One committed record of a shard in the positions topic: the truth about how far it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PositionEntry {
    /// Strictly increasing per shard, from 1.
    pub serial: u64,
    /// Epoch of the owner that wrote it.
    pub epoch: Epoch,
    /// An owner took the shard over with this record; no output goes with a claim.
    pub claim: bool,
    /// How far the shard has come.
    pub position: PgPosition,
    /// The target topics as this shard has known them since it first wrote there.
    pub topics: Vec<TopicPin>,
}

impl Hash for PositionEntry {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let PositionEntry { serial, epoch, claim, position, topics } = self;
        (serial, epoch, claim, topics).hash(state);
        hash_position(position, state);
    }
}

/// Feeds every field of a position to a hasher; `PgPosition` is a word of `shared` without `Hash`.
pub(crate) fn hash_position<H: Hasher>(position: &PgPosition, state: &mut H) {
    let PgPosition { system_id, timeline, lsn, inside, incarnation, fingerprint, next_ordinal } =
        position;
    (system_id, timeline, lsn, incarnation, fingerprint, next_ordinal).hash(state);
    inside.map(|at| (at.final_lsn, at.xid, at.sequence)).hash(state);
}

/// Where the coordinators last knew a record of this shard to stand: a lagging copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PositionHint {
    /// Kafka's id of the positions topic, as two halves.
    pub topic_id: (i64, i64),
    /// Partition of the positions topic.
    pub partition: u32,
    /// Offset of the record.
    pub offset: i64,
    /// Serial of the record.
    pub serial: u64,
}
