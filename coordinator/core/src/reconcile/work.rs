//! Work beside the shards: a precheck before a start or a change, a clean-up before a removal, and what
//! that left.
//!
//! An order that its node cannot carry out goes to another; after a few attempts the fault itself
//! becomes the result, so that neither a start nor a removal waits for ever. Leftovers are tried again
//! for as long as they are there, with pauses that grow.

use tidewire_shared::precheck::{CheckItem, CheckResult, PrecheckReport};
use tidewire_shared::{Desired, Fault};

use super::Action;
use super::plan::Plan;
use crate::command::CommandKind;
use crate::liveness::Standing;
use crate::observed::{WorkKind, WorkLog};
use crate::state::{Clearance, Task};

/// Attempts after which the fault is the result.
const ATTEMPTS: u32 = 3;

/// Pause between attempts, milliseconds.
const PAUSE_MS: u64 = 2_000;

/// First and longest pause between two attempts at leftovers, milliseconds.
const SWEEP_PAUSE_MS: (u64, u64) = (5_000, 600_000);

pub(super) fn reconcile(plan: &mut Plan<'_>) {
    for task in plan.tasks() {
        if task.unchecked_draft().is_some() {
            order(plan, task, WorkKind::Revision);
        }
        if task.shards().any(|(_, shard)| shard.assignment().is_some()) {
            continue;
        }
        match task.desired() {
            Desired::Running if task.clearance() == Clearance::Wanted => {
                order(plan, task, WorkKind::Precheck);
            }
            Desired::Deleted if !task.has_run() => remove(plan, task, Vec::new()),
            Desired::Deleted => order(plan, task, WorkKind::CleanUp),
            Desired::Stopped | Desired::Running | Desired::Paused | Desired::Terminated => {}
        }
    }
    sweep(plan);
}

/// Tries to drop what removed tasks left: each again after a pause, on whichever node.
fn sweep(plan: &mut Plan<'_>) {
    let nothing = WorkLog::default();
    for (id, _) in plan.state.leftovers() {
        let log = plan.observed.work.get(&(id.clone(), WorkKind::Sweep)).unwrap_or(&nothing);
        let (first_ms, longest_ms) = SWEEP_PAUSE_MS;
        let pause_ms = first_ms.saturating_mul(1 << log.failures.min(16)).min(longest_ms);
        let since_ms = log.failed_ms.max(plan.observed.grace_from_ms);
        if is_at_work(plan, log) || plan.now.mono_ms.saturating_sub(since_ms) < pause_ms {
            continue;
        }
        let turn = usize::try_from(log.failures).unwrap_or(usize::MAX);
        if let Some((node, instance)) = plan.worker(&log.failed_on, turn) {
            plan.push(Action::OrderSweep { task: id.clone(), node, instance });
        }
    }
}

fn order(plan: &mut Plan<'_>, task: &Task, kind: WorkKind) {
    let nothing = WorkLog::default();
    let log = plan.observed.work.get(&(task.id().clone(), kind)).unwrap_or(&nothing);
    if is_at_work(plan, log) {
        return;
    }
    if let Some(fault) = &log.fault {
        if log.failures >= ATTEMPTS {
            return conclude(plan, task, kind, fault);
        }
        if plan.now.mono_ms.saturating_sub(log.failed_ms) < PAUSE_MS {
            return;
        }
    }
    let failures = usize::try_from(log.failures).unwrap_or(usize::MAX);
    let passed_over = failures.saturating_sub(log.failed_on.len());
    let Some((node, instance)) = plan.worker(&log.failed_on, passed_over) else { return };
    let revision = task.unchecked_draft().map_or(0, |draft| draft.revision);
    let task = task.id().clone();
    plan.push(match kind {
        WorkKind::Precheck => Action::OrderPrecheck { task, node, instance },
        WorkKind::Revision => Action::OrderRevision { task, revision, node, instance },
        WorkKind::Sweep => Action::OrderSweep { task, node, instance },
        WorkKind::CleanUp => Action::OrderCleanUp { task, node, instance },
    });
}

fn is_at_work(plan: &Plan<'_>, log: &WorkLog) -> bool {
    log.at.as_ref().is_some_and(|(node, instance, since_ms)| {
        plan.standing(node) != Standing::Gone
            && plan.observed.session(node).is_some_and(|session| session.instance == *instance)
            && plan.now.mono_ms.saturating_sub(*since_ms) < plan.observed.timing().work_ms
    })
}

fn conclude(plan: &mut Plan<'_>, task: &Task, kind: WorkKind, fault: &Fault) {
    let id = task.id().clone();
    match (kind, task.unchecked_draft()) {
        (WorkKind::CleanUp | WorkKind::Sweep, _) => remove(plan, task, vec![as_left(fault)]),
        (WorkKind::Revision, Some(draft)) => {
            let (revision, report) = (draft.revision, not_prechecked(plan, fault));
            plan.propose(CommandKind::RecordRevision { task: id, revision, report });
        }
        (WorkKind::Precheck | WorkKind::Revision, _) => {
            let (revision, report) = (task.revision(), not_prechecked(plan, fault));
            plan.propose(CommandKind::RecordPrecheck { task: id, revision, report });
        }
    }
}

/// The report of a precheck that no node could make.
fn not_prechecked(plan: &Plan<'_>, fault: &Fault) -> PrecheckReport {
    let item = CheckItem {
        name: "precheck".to_owned(),
        result: CheckResult::Fail,
        found: fault.object.clone(),
        message: fault.message.clone(),
        remedy: fault.remedy.clone(),
        overridable: false,
        waiver: None,
    };
    PrecheckReport { at_ms: plan.now.wall_ms, items: vec![item] }
}

fn as_left(fault: &Fault) -> String {
    if fault.remedy.is_empty() { fault.to_string() } else { format!("{fault}; {}", fault.remedy) }
}

fn remove(plan: &mut Plan<'_>, task: &Task, left: Vec<String>) {
    plan.propose(CommandKind::RemoveTask { task: task.id().clone(), left });
}
