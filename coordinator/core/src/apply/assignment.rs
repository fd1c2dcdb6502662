//! Who owns a shard, and under which epoch.

use tidewire_shared::{Epoch, NodeName, ShardId};

use super::Verdict;
use super::task::refused;
use crate::lifecycle::{legal_moves, settled_phase};
use crate::outcome::{Event, Outcome, Rejection, RejectionCode};
use crate::state::{Assignment, ClusterState, Shard};

/// No cluster gives out this many epochs: a claim that shows more is not ours.
const HIGHEST_PLAUSIBLE: Epoch = Epoch(1 << 62);

pub(super) fn assign(
    state: &mut ClusterState,
    id: &ShardId,
    mut to: Assignment,
    expect: Epoch,
    events: &mut Vec<Event>,
) -> Verdict {
    let node = state.nodes.get(&to.node).ok_or_else(|| Rejection::no_node(&to.node))?;
    // Its owner may be given it anew, with a newer document, also while it waits to be moved.
    let stays = state
        .shard(id)
        .and_then(Shard::assignment)
        .is_some_and(|owner| (&owner.node, owner.instance) == (&to.node, to.instance));
    if node.instance != to.instance || (node.is_draining() && !stays) {
        return Err(stale(id, format_args!("node {} does not take shards now", to.node)));
    }
    to.given = state.task(&id.task).map(|task| state.revisions_of(task)).unwrap_or_default();
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
    // An owner that is only given a newer document is on its way elsewhere all the same.
    if !stays {
        shard.wanted_on = None;
    }
    Ok(Outcome::Epoch(epoch))
}

pub(super) fn raise_epoch(
    state: &mut ClusterState,
    id: &ShardId,
    seen: Epoch,
    at_ms: i64,
    events: &mut Vec<Event>,
) -> Verdict {
    let given = state.task(&id.task).map(|task| state.revisions_of(task)).unwrap_or_default();
    let shard = shard_mut(state, id)?;
    if seen <= shard.epoch {
        return Ok(Outcome::Epoch(shard.epoch));
    }
    let epoch = above(id, seen)?;
    shard.epoch = epoch;
    if let Some(owner) = &mut shard.assignment {
        owner.since_ms = at_ms;
        owner.given = given;
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

/// Notes where a shard is wanted; its owner keeps it until the other node is ready.
pub(super) fn move_shard(
    state: &mut ClusterState,
    id: &ShardId,
    to: &NodeName,
    events: &mut Vec<Event>,
) -> Verdict {
    let node = state.nodes.get(to).ok_or_else(|| Rejection::no_node(to))?;
    let object = format!("node {to}");
    if node.is_draining() {
        return Err(Rejection::new(RejectionCode::Refused, object, "it is being drained")
            .advise(format_args!("`tidewire nodes resume {to}`, or name another node")));
    }
    let full = state.load_of(to) >= node.capacity;
    let task = state.tasks.get_mut(&id.task).ok_or_else(|| Rejection::no_task(&id.task))?;
    if !task.may_run() {
        let phase = settled_phase(task);
        return Err(refused(task, format!("cannot move it: it is {phase}"), legal_moves(phase)));
    }
    let shard = task.shards.get_mut(&id.index).ok_or_else(|| Rejection::no_shard(id))?;
    let wanted = (!shard.is_on(to)).then(|| to.clone());
    if shard.wanted_on == wanted {
        return Ok(Outcome::Unchanged);
    }
    if full && wanted.is_some() {
        return Err(Rejection::new(RejectionCode::Refused, object, "it carries all it can")
            .advise("name another node"));
    }
    shard.wanted_on = wanted;
    events.push(Event::TaskChanged { task: id.task.clone() });
    Ok(Outcome::Done)
}

/// The position of a shard that nobody owns was set back.
pub(super) fn rewound(state: &mut ClusterState, id: &ShardId, events: &mut Vec<Event>) -> Verdict {
    if shard_mut(state, id)?.assignment.is_some() {
        return Err(stale(id, "a node owns it again"));
    }
    events.push(Event::TaskChanged { task: id.task.clone() });
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
