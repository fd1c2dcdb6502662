//! Who owns a shard, and under which epoch.

use tidewire_shared::{Epoch, ShardId};

use super::Verdict;
use crate::outcome::{Event, Outcome, Rejection, RejectionCode};
use crate::state::{Assignment, ClusterState, Shard};

/// No cluster gives out this many epochs: a claim that shows more is not ours.
const HIGHEST_PLAUSIBLE: Epoch = Epoch(1 << 62);

pub(super) fn assign(
    state: &mut ClusterState,
    id: &ShardId,
    to: Assignment,
    expect: Epoch,
    events: &mut Vec<Event>,
) -> Verdict {
    let node = state.nodes.get(&to.node).ok_or_else(|| Rejection::no_node(&to.node))?;
    if node.instance != to.instance || node.is_draining() {
        return Err(stale(id, format_args!("node {} does not take shards now", to.node)));
    }
    let task = state.tasks.get_mut(&id.task).ok_or_else(|| Rejection::no_task(&id.task))?;
    if !task.may_run() {
        return Err(stale(id, "its task shall not run now"));
    }
    let shard = task.shards.get_mut(&id.index).ok_or_else(|| Rejection::no_shard(id))?;
    expect_epoch(id, shard, expect)?;
    let epoch = above(id, shard.epoch)?;
    shard.epoch = epoch;
    events.push(Event::ShardAssigned { shard: id.clone(), node: to.node.clone(), epoch });
    shard.assignment = Some(to);
    Ok(Outcome::Epoch(epoch))
}

pub(super) fn raise_epoch(
    state: &mut ClusterState,
    id: &ShardId,
    seen: Epoch,
    at_ms: i64,
    events: &mut Vec<Event>,
) -> Verdict {
    let shard = shard_mut(state, id)?;
    if seen <= shard.epoch {
        return Ok(Outcome::Epoch(shard.epoch));
    }
    let epoch = above(id, seen)?;
    shard.epoch = epoch;
    if let Some(owner) = &mut shard.assignment {
        owner.since_ms = at_ms;
        events.push(Event::ShardAssigned { shard: id.clone(), node: owner.node.clone(), epoch });
    }
    Ok(Outcome::Epoch(epoch))
}

pub(super) fn release(
    state: &mut ClusterState,
    id: &ShardId,
    epoch: Epoch,
    events: &mut Vec<Event>,
) -> Verdict {
    let shard = shard_mut(state, id)?;
    expect_epoch(id, shard, epoch)?;
    if shard.assignment.take().is_none() {
        return Ok(Outcome::Unchanged);
    }
    events.push(Event::ShardReleased { shard: id.clone() });
    Ok(Outcome::Done)
}

pub(super) fn shard_mut<'s>(
    state: &'s mut ClusterState,
    id: &ShardId,
) -> Result<&'s mut Shard, Rejection> {
    state
        .tasks
        .get_mut(&id.task)
        .and_then(|task| task.shards.get_mut(&id.index))
        .ok_or_else(|| Rejection::no_shard(id))
}

pub(super) fn expect_epoch(id: &ShardId, shard: &Shard, expect: Epoch) -> Result<(), Rejection> {
    if shard.epoch == expect {
        return Ok(());
    }
    Err(stale(id, format_args!("its epoch is {}, not {expect}", shard.epoch)))
}

pub(super) fn stale(id: &ShardId, message: impl std::fmt::Display) -> Rejection {
    Rejection::new(RejectionCode::Stale, format_args!("shard {id}"), message)
}

fn above(id: &ShardId, epoch: Epoch) -> Result<Epoch, Rejection> {
    if epoch < HIGHEST_PLAUSIBLE {
        return Ok(epoch.next());
    }
    Err(Rejection::new(
        RejectionCode::Invalid,
        format_args!("shard {id}"),
        format_args!("{epoch} was never given out by a cluster: its positions are not ours"),
    ))
}
