//! The shards of this node: wanted against running.
//!
//! [`manager`] holds one [`supervisor`] per assigned shard; a supervisor walks the order of a start
//! ([`start`]), runs the pipeline, and after a transient failure does both again.

mod backoff;
pub(crate) mod manager;
pub(crate) mod meter;
mod start;
pub(crate) mod supervisor;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidewire_proto::node::v1 as pb;
use tidewire_shared::report::{PositionHint, ShardReport};
use tidewire_shared::{Epoch, Fault, FaultKind, ShardId, TaskSpec};

use meter::Meter;
pub(crate) use start::{
    ConfigSync, SourceObjects, blocking, copied_topics, listed, rewind, rewind_copy,
    source_settings,
};

/// What the leader wants of a shard.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Run it under this epoch.
    Run(Box<Assignment>),
    /// Open what can be opened ahead of an assignment.
    Prepare(Box<TaskSpec>),
    /// Stop it cleanly and say so.
    Stop(ShardId, Epoch),
}

/// A shard as assigned to this node.
#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    pub(crate) shard: ShardId,
    pub(crate) epoch: Epoch,
    pub(crate) spec: TaskSpec,
    /// The shard's number in the positions topic.
    pub(crate) ordinal: u64,
    /// Where the coordinators last knew a position record to stand.
    pub(crate) hint: Option<PositionHint>,
    /// Of an at_least_once task the newest position record; empty before there is one.
    pub(crate) record: Vec<u8>,
    /// Its place among the shards of the task, and how many there are: what it copies.
    pub(crate) place: (u32, u32),
    /// Generations of shards that it takes over from as long as it has no position, the newest first.
    pub(crate) before: Vec<Vec<Retired>>,
    /// Errors of the task that its user has resumed it over, with the object that they name.
    pub(crate) resumed_over: Vec<String>,
}

/// A shard that is no more.
#[derive(Clone, Debug)]
pub(crate) struct Retired {
    pub(crate) shard: ShardId,
    pub(crate) ordinal: u64,
    pub(crate) hint: Option<PositionHint>,
    pub(crate) record: Vec<u8>,
}

impl Command {
    /// Parses an assignment.
    pub(crate) fn assign(assign: pb::Assign) -> Result<Self, Fault> {
        let bad = |error: &dyn std::fmt::Display| unreadable("assignment", error);
        let missing = || unreadable("assignment", &"the task is missing");
        let shard = shard_id(&assign.task_id, assign.shard)?;
        let before = assign.before.into_iter().map(|it| generation(&shard, it));
        Ok(Self::Run(Box::new(Assignment {
            before: before.collect::<Result<_, _>>()?,
            place: place(shard.index, assign.first_shard, assign.shard_count)?,
            shard,
            epoch: Epoch(assign.epoch),
            spec: assign.spec.ok_or_else(missing)?.try_into().map_err(|error| bad(&error))?,
            ordinal: assign.ordinal,
            record: assign.record,
            resumed_over: assign.resumed_over,
            hint: assign.hint.map(TryInto::try_into).transpose().map_err(|error| bad(&error))?,
        })))
    }

    /// Parses a revocation.
    pub(crate) fn revoke(revoke: &pb::Revoke) -> Result<Self, Fault> {
        Ok(Self::Stop(shard_id(&revoke.task_id, revoke.shard)?, Epoch(revoke.epoch)))
    }

    /// Parses an announcement.
    pub(crate) fn prepare(prepare: pb::Prepare) -> Result<Self, Fault> {
        let spec =
            prepare.spec.ok_or_else(|| unreadable("announcement", &"the task is missing"))?;
        let spec = spec.try_into().map_err(|error| unreadable("announcement", &error))?;
        Ok(Self::Prepare(Box::new(spec)))
    }
}

/// The place of a shard among so many whose numbers begin with `first`.
fn place(index: u32, first: u32, count: u32) -> Result<(u32, u32), Fault> {
    let place = index.checked_sub(first).filter(|place| *place < count);
    let place = place.ok_or_else(|| unreadable("assignment", &"the shard is none of its task"))?;
    Ok((place, count))
}

fn generation(of: &ShardId, generation: pb::Generation) -> Result<Vec<Retired>, Fault> {
    let retired = |(index, retired): (u32, pb::RetiredShard)| {
        let hint = retired.hint.map(TryInto::try_into).transpose();
        Ok(Retired {
            shard: ShardId { index, ..of.clone() },
            ordinal: retired.ordinal,
            hint: hint.map_err(|error| unreadable("assignment", &error))?,
            record: retired.record,
        })
    };
    (generation.first..).zip(generation.shards).map(retired).collect()
}

fn shard_id(task: &str, index: u32) -> Result<ShardId, Fault> {
    let task = task.parse().map_err(|error| unreadable("assignment", &error))?;
    Ok(ShardId { task, index })
}

fn unreadable(what: &str, problem: &dyn std::fmt::Display) -> Fault {
    Fault::new(FaultKind::Internal, what, format!("cannot be read: {problem}"))
        .remedy("run coordinators and nodes of the same release")
}

/// The newest report of every shard that runs here.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReportBoard(Arc<Mutex<BTreeMap<ShardId, Meter>>>);

impl ReportBoard {
    fn meters(&self) -> MutexGuard<'_, BTreeMap<ShardId, Meter>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All reports as they stand.
    pub(crate) fn reports(&self) -> Vec<ShardReport> {
        self.meters().values().map(Meter::report).collect()
    }

    pub(crate) fn put(&self, shard: ShardId, meter: Meter) {
        self.meters().insert(shard, meter);
    }

    /// Forgets a shard, unless it runs here under a later epoch already.
    pub(crate) fn remove(&self, shard: &ShardId, epoch: Epoch) {
        let mut meters = self.meters();
        if meters.get(shard).is_some_and(|meter| meter.report().epoch <= epoch) {
            meters.remove(shard);
        }
    }

    /// The coordinators have a position that a shard here has reported.
    pub(crate) fn kept(&self, kept: &pb::Kept) {
        let Ok(shard) = shard_id(&kept.task_id, kept.shard) else { return };
        if let Some(meter) = self.meters().get(&shard)
            && meter.report().epoch == Epoch(kept.epoch)
        {
            meter.keep(kept.serial);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.meters().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_has_its_place_among_those_that_its_task_has_now() {
        assert_eq!(place(6, 6, 9).expect("the first"), (0, 9));
        assert_eq!(place(14, 6, 9).expect("the last"), (8, 9));
        for (index, first, count) in [(5, 6, 9), (15, 6, 9), (0, 0, 0)] {
            let fault = place(index, first, count).expect_err("none of them");
            assert!(fault.remedy.contains("same release"), "{fault}");
        }
    }

    #[test]
    fn shards_that_are_no_more_keep_their_numbers() {
        let of = shard_id("k3v9", 7).expect("a shard");
        let retired = |ordinal| pb::RetiredShard { ordinal, ..pb::RetiredShard::default() };
        let wire = pb::Generation { first: 4, shards: vec![retired(11), retired(3)] };
        let shards = generation(&of, wire).expect("readable");
        let seen: Vec<_> = shards.iter().map(|it| (it.shard.to_string(), it.ordinal)).collect();
        assert_eq!(seen, [("k3v9/4".to_owned(), 11), ("k3v9/5".to_owned(), 3)]);
    }
}
