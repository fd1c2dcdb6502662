//! A task gets another number of shards: at once while it never ran, else as a new generation, once
//! nobody owns a shard of the old one.

use std::collections::{BTreeMap, BTreeSet};

use tidewire_shared::{Epoch, TaskId};

use super::Verdict;
use super::task::{refused, touch};
use crate::generation::{Generation, PREDECESSORS_MAX};
use crate::outcome::{Event, Outcome, Rejection, RejectionCode};
use crate::state::{ClusterState, Shard, Task};

/// Shards with these numbers, that nobody ever owned.
pub(super) fn fresh_shards(
    state: &ClusterState,
    numbers: std::ops::Range<u32>,
) -> BTreeMap<u32, Shard> {
    numbers.zip(free_ordinals(state)).map(|(number, ordinal)| (number, fresh(ordinal))).collect()
}

fn fresh(ordinal: u64) -> Shard {
    Shard {
        assignment: None,
        epoch: Epoch::default(),
        ordinal,
        checkpoint: None,
        crashed_on: BTreeSet::new(),
        wanted_on: None,
    }
}

/// The numbers in nobody's use, the lowest first: ordinals stay dense, so that shards share partitions
/// as late as possible.
fn free_ordinals(state: &ClusterState) -> impl Iterator<Item = u64> + use<> {
    let before = state.tasks().flat_map(Task::predecessors).flat_map(Generation::shards);
    let used: BTreeSet<u64> = state
        .shards()
        .map(|(_, _, shard)| shard.ordinal)
        .chain(before.map(|retired| retired.ordinal))
        .collect();
    (0..).filter(move |ordinal| !used.contains(ordinal))
}

/// Gives a task that never ran as many shards as its document says.
pub(super) fn fit(state: &mut ClusterState, id: &TaskId) {
    let Some(task) = state.tasks.get(id).filter(|task| !task.has_run()) else { return };
    let count = task.spec.shards();
    let more = fresh_shards(state, task.shard_count()..count);
    if let Some(task) = state.tasks.get_mut(id) {
        task.shards.retain(|number, _| *number < count);
        task.shards.extend(more);
        task.shard_numbers = count;
    }
}

/// Refuses another number of shards while too many generations have not begun.
pub(super) fn may_change(task: &Task, count: u32) -> Result<(), Rejection> {
    let grows = count != task.shard_count() && task.generation_has_run();
    if !grows || task.predecessors.len() < PREDECESSORS_MAX {
        return Ok(());
    }
    let name = task.name();
    let message = "`shards` cannot change once more before every shard has begun";
    Err(refused(task, message, &[]).advise(format_args!(
        "let it run until each has: `tidewire task get {name} -o wide` shows those that have not"
    )))
}

/// Replaces the shards of a task by as many as its document says, under numbers never used before.
pub(super) fn reshard(
    state: &mut ClusterState,
    id: &TaskId,
    at_ms: i64,
    events: &mut Vec<Event>,
) -> Verdict {
    let task = state.tasks.get(id).ok_or_else(|| Rejection::no_task(id))?;
    let stale =
        |message| Rejection::new(RejectionCode::Stale, format!("task {}", task.name()), message);
    if !task.is_to_be_resharded() {
        return Err(stale("it has ended, or has as many shards as it shall"));
    }
    if task.shards.values().any(|shard| shard.assignment.is_some()) {
        return Err(stale("a node still owns a shard of it"));
    }
    let first = task.shard_numbers;
    let end = first.checked_add(task.spec.shards()).ok_or_else(|| stale("no number is left"))?;
    let shards = fresh_shards(state, first..end);
    let task = state.tasks.get_mut(id).ok_or_else(|| Rejection::no_task(id))?;
    let ran = task.generation_has_run();
    let old = std::mem::replace(&mut task.shards, shards);
    task.shard_numbers = end;
    // Shards that nobody ever owned leave nothing.
    if ran {
        task.retired.extend(old.iter().map(|(number, shard)| (*number, shard.ordinal)));
        task.predecessors.insert(0, Generation::retire(old));
    }
    touch(task, at_ms, events);
    Ok(Outcome::Done)
}
