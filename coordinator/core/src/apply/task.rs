//! The life of a task: made, moved, prechecked, failed, removed.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewire_shared::precheck::{PrecheckReport, Waiver, WaiverKind, Waivers};
use tidewire_shared::{Desired, Epoch, Fault, NodeName, Phase, ShardId, TaskId, TaskSpec};

use super::assignment::{expect_epoch, stale};
use super::modify::{Wish, abandon_draft, first_revision};
use super::reshard::fresh_shards;
use super::secrets::with_kept;
use super::{Verdict, leftovers};
use crate::connection::SpecRevisions;
use crate::lifecycle::{Move, is_crash, legal_moves, settled_phase};
use crate::outcome::{Event, Outcome, Rejection, RejectionCode};
use crate::revision::remember;
use crate::ring::Ring;
use crate::state::{
    Clearance, ClusterState, Failure, QUARANTINE_NODES, REMOVED_KEPT, RemovedTask, Task,
};

pub(super) fn create(
    state: &mut ClusterState,
    id: &TaskId,
    spec: &Arc<TaskSpec>,
    wish: Wish<'_>,
    events: &mut Vec<Event>,
) -> Verdict {
    if let Some(present) = state.task_named(spec.name()) {
        if present.spec == *spec && present.desired != Desired::Deleted {
            return Ok(Outcome::Exists(present.id.clone()));
        }
        let message = match present.desired {
            Desired::Deleted => "a task of this name is being deleted",
            Desired::Stopped | Desired::Running | Desired::Paused | Desired::Terminated => {
                "a task of this name exists with another document"
            }
        };
        let object = format_args!("task {}", spec.name()).to_string();
        return Err(Rejection::new(RejectionCode::AlreadyExists, object, message));
    }
    if state.tasks.contains_key(id)
        || state.removed(id).is_some()
        || state.leftovers_of(id).is_some()
    {
        let message = "its identity was used before";
        let object = format_args!("task {id}").to_string();
        return Err(Rejection::new(RejectionCode::AlreadyExists, object, message));
    }
    state.resolve(spec)?;
    let spec = with_kept(spec, None)?;
    state.knows_channels_of(&spec)?;
    let count = spec.shards();
    let shards = fresh_shards(state, 0..count);
    let mut revisions = Ring::default();
    remember(&mut revisions, first_revision(wish));
    let task = Task {
        id: id.clone(),
        spec,
        revision: 1,
        desired: Desired::Stopped,
        created_at_ms: wish.at_ms,
        updated_at_ms: wish.at_ms,
        clearance: Clearance::None,
        precheck: None,
        waivers: Waivers::default(),
        failure: None,
        newest_revision: 1,
        draft: None,
        revisions,
        deeds: Ring::default(),
        indicators: Ring::default(),
        shard_numbers: count,
        shards,
        predecessors: Vec::new(),
        retired: BTreeMap::new(),
    };
    state.tasks.insert(id.clone(), task);
    events.push(Event::TaskChanged { task: id.clone() });
    Ok(Outcome::Created(id.clone()))
}

pub(super) fn set_desired(
    state: &mut ClusterState,
    id: &TaskId,
    wish: Move,
    at_ms: i64,
    events: &mut Vec<Event>,
) -> Verdict {
    let task = state.tasks.get_mut(id).ok_or_else(|| Rejection::no_task(id))?;
    if task.desired == Desired::Deleted {
        return match wish {
            Move::Delete => Ok(Outcome::Unchanged),
            Move::Start | Move::Pause | Move::Resume | Move::Terminate => {
                Err(refused(task, format_args!("cannot {wish} it: it is being deleted"), &[]))
            }
        };
    }
    let phase = settled_phase(task);
    let legal = legal_moves(phase);
    if !legal.contains(&wish) {
        return Err(refused(task, format_args!("cannot {wish} it: it is {}", word(phase)), legal));
    }
    task.desired = wish.desired();
    match wish {
        Move::Start => {
            task.clearance = Clearance::Wanted;
            forgive(task);
        }
        Move::Resume => forgive(task),
        Move::Pause => {}
        Move::Terminate | Move::Delete => abandon_draft(task),
    }
    touch(task, at_ms, events);
    Ok(Outcome::Done)
}

/// The log knows that a task runs, not how well.
fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Initializing => "running",
        Phase::NotStarted
        | Phase::Prechecking
        | Phase::PrecheckFailed
        | Phase::Ready
        | Phase::Synchronizing
        | Phase::Retrying
        | Phase::Paused
        | Phase::Modifying
        | Phase::Failed
        | Phase::Terminated => phase.as_str(),
    }
}

pub(super) fn refused(task: &Task, message: impl std::fmt::Display, legal: &[Move]) -> Rejection {
    let object = format!("task {}", task.name());
    let mut rejection = Rejection::new(RejectionCode::Refused, object, message);
    rejection.legal = legal.to_vec();
    rejection
}

/// Forgets what went wrong. An owner that has not let go yet may still report it: it is given its shard
/// anew, under an epoch of which nothing was reported.
fn forgive(task: &mut Task) {
    let failed = task.failure.take().map(|failure| failure.shard.index);
    for (index, shard) in &mut task.shards {
        shard.crashed_on.clear();
        if let Some(owner) = shard.assignment.as_mut().filter(|_| failed == Some(*index)) {
            owner.given = SpecRevisions::default();
        }
    }
}

pub(super) fn touch(task: &mut Task, at_ms: i64, events: &mut Vec<Event>) {
    task.updated_at_ms = at_ms;
    events.push(Event::TaskChanged { task: task.id.clone() });
}

pub(super) fn record_precheck(
    state: &mut ClusterState,
    id: &TaskId,
    revision: u64,
    report: &PrecheckReport,
    at_ms: i64,
    events: &mut Vec<Event>,
) -> Verdict {
    let task = state.tasks.get_mut(id).ok_or_else(|| Rejection::no_task(id))?;
    // A late report about an earlier document must not let the present one start.
    if task.revision != revision {
        let message = format!("its document is revision {} now, not {revision}", task.revision);
        return Err(Rejection::new(RejectionCode::Stale, format!("task {}", task.name()), message));
    }
    let report = report.clone().waived(&task.waivers);
    let verdict = if report.passed() { Clearance::Granted } else { Clearance::Refused };
    match (task.desired, task.clearance) {
        (Desired::Terminated | Desired::Deleted, _) => {
            return Err(refused(task, "it has ended", legal_moves(Phase::Terminated)));
        }
        // A look at a task that runs, or would on resume, informs; it does not stop it.
        (Desired::Running | Desired::Paused, Clearance::Granted) => {}
        (Desired::Stopped | Desired::Running | Desired::Paused, _) => task.clearance = verdict,
    }
    task.precheck = Some(report);
    touch(task, at_ms, events);
    Ok(Outcome::Done)
}

/// What a user decided about items of a precheck.
pub(super) struct Decisions<'c> {
    pub(super) ignore: &'c [String],
    pub(super) overrides: &'c [String],
    pub(super) by: &'c str,
}

/// Keeps the decisions for every precheck to come, and shows them at the newest one.
pub(super) fn waive(
    state: &mut ClusterState,
    id: &TaskId,
    decisions: &Decisions<'_>,
    at_ms: i64,
    events: &mut Vec<Event>,
) -> Verdict {
    let task = state.tasks.get_mut(id).ok_or_else(|| Rejection::no_task(id))?;
    if matches!(task.desired, Desired::Terminated | Desired::Deleted) {
        return Err(refused(task, "it has ended", legal_moves(Phase::Terminated)));
    }
    let ignored = decisions.ignore.iter().map(|item| (item, WaiverKind::Ignored));
    let overridden = decisions.overrides.iter().map(|item| (item, WaiverKind::Overridden));
    for (item, kind) in ignored.chain(overridden) {
        task.waivers.add(item, Waiver { kind, by: decisions.by.to_owned(), at_ms });
    }
    task.precheck = task.precheck.take().map(|report| report.waived(&task.waivers));
    touch(task, at_ms, events);
    Ok(Outcome::Done)
}

/// A shard that its node gave up.
pub(super) struct FailedShard<'c> {
    pub(super) shard: &'c ShardId,
    pub(super) epoch: Epoch,
    pub(super) node: &'c NodeName,
    pub(super) fault: &'c Fault,
}

/// A crash is tried on other nodes first; anything else fails the task at once.
pub(super) fn fail(
    state: &mut ClusterState,
    failed: &FailedShard<'_>,
    last_node: bool,
    at_ms: i64,
    events: &mut Vec<Event>,
) -> Verdict {
    let id = failed.shard;
    let task = state.tasks.get_mut(&id.task).ok_or_else(|| Rejection::no_task(&id.task))?;
    if !task.may_run() {
        return Err(stale(id, "its task shall not run now"));
    }
    let shard = task.shards.get_mut(&id.index).ok_or_else(|| Rejection::no_shard(id))?;
    expect_epoch(id, shard, failed.epoch)?;
    if !shard.is_on(failed.node) {
        return Err(stale(id, format_args!("node {} does not own it", failed.node)));
    }
    let crash = is_crash(failed.fault);
    if crash {
        shard.crashed_on.insert(failed.node.clone());
    }
    let quarantined = crash && (last_node || shard.crashed_on.len() >= QUARANTINE_NODES);
    if quarantined || !crash {
        task.failure = Some(Failure {
            fault: failed.fault.clone(),
            shard: id.clone(),
            node: failed.node.clone(),
            quarantined,
            at_ms,
        });
    }
    touch(task, at_ms, events);
    Ok(Outcome::Done)
}

/// The slot of a task that does not run is gone: it cannot go on.
pub(super) fn slot_dropped(
    state: &mut ClusterState,
    id: &ShardId,
    node: &NodeName,
    fault: &Fault,
    at_ms: i64,
    events: &mut Vec<Event>,
) -> Verdict {
    let task = state.tasks.get_mut(&id.task).ok_or_else(|| Rejection::no_task(&id.task))?;
    task.failure = Some(Failure {
        fault: fault.clone(),
        shard: id.clone(),
        node: node.clone(),
        quarantined: false,
        at_ms,
    });
    touch(task, at_ms, events);
    Ok(Outcome::Done)
}

/// Partitions of it go on from elsewhere. Whoever runs it by now read the new places, or fenced the move.
pub(super) fn moved(state: &mut ClusterState, id: &TaskId, events: &mut Vec<Event>) -> Verdict {
    state.task(id).ok_or_else(|| Rejection::no_task(id))?;
    events.push(Event::TaskChanged { task: id.clone() });
    Ok(Outcome::Done)
}

pub(super) fn clear_fault(
    state: &mut ClusterState,
    id: &TaskId,
    at_ms: i64,
    events: &mut Vec<Event>,
) -> Verdict {
    let task = state.tasks.get_mut(id).ok_or_else(|| Rejection::no_task(id))?;
    if task.failure.is_none() {
        return Ok(Outcome::Unchanged);
    }
    forgive(task);
    touch(task, at_ms, events);
    Ok(Outcome::Done)
}

pub(super) fn remove(
    state: &mut ClusterState,
    id: &TaskId,
    left: &[String],
    at_ms: i64,
    events: &mut Vec<Event>,
) -> Verdict {
    let task = state.tasks.get(id).ok_or_else(|| Rejection::no_task(id))?;
    if task.desired != Desired::Deleted {
        let legal = legal_moves(settled_phase(task));
        return Err(refused(task, "nobody asked to delete it", legal));
    }
    if task.shards.values().any(|shard| shard.assignment.is_some()) {
        return Err(refused(task, "a node still owns a shard of it", &[]));
    }
    let removed =
        RemovedTask { id: id.clone(), name: task.name().clone(), left: left.to_vec(), at_ms };
    state.removed.push(removed, REMOVED_KEPT);
    if let Some(task) = state.tasks.remove(id) {
        leftovers::keep(state, &task, left, at_ms);
    }
    events.push(Event::TaskRemoved { task: id.clone() });
    Ok(Outcome::Done)
}
