//! Work beside the shards: a precheck before a start, a clean-up before a removal.
//!
//! An order that its node cannot carry out goes to another; after a few attempts the fault itself
//! becomes the result, so that neither a start nor a removal waits for ever.

use tidewire_shared::precheck::{CheckItem, CheckResult, PrecheckReport};
use tidewire_shared::{Desired, Epoch, Fault};

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

pub(super) fn reconcile(plan: &mut Plan<'_>) {
    for task in plan.tasks() {
        if task.shards().any(|(_, shard)| shard.assignment().is_some()) {
            continue;
        }
        let never_assigned = task.shards().all(|(_, shard)| shard.epoch() == Epoch::default());
        match task.desired() {
            Desired::Running if task.clearance() == Clearance::Wanted => {
                order(plan, task, WorkKind::Precheck);
            }
            Desired::Deleted if never_assigned => remove(plan, task, Vec::new()),
            Desired::Deleted => order(plan, task, WorkKind::CleanUp),
            Desired::Stopped | Desired::Running | Desired::Paused | Desired::Terminated => {}
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
    let task = task.id().clone();
    plan.push(match kind {
        WorkKind::Precheck => Action::OrderPrecheck { task, node, instance },
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
    match kind {
        WorkKind::CleanUp => remove(plan, task, vec![as_left(fault)]),
        WorkKind::Precheck => {
            let item = CheckItem {
                name: "precheck".to_owned(),
                result: CheckResult::Fail,
                found: fault.object.clone(),
                message: fault.message.clone(),
                remedy: fault.remedy.clone(),
                overridable: false,
                waiver: None,
            };
            let report = PrecheckReport { at_ms: plan.now.wall_ms, items: vec![item] };
            plan.propose(CommandKind::RecordPrecheck { task: task.id().clone(), report });
        }
    }
}

fn as_left(fault: &Fault) -> String {
    if fault.remedy.is_empty() { fault.to_string() } else { format!("{fault}; {}", fault.remedy) }
}

fn remove(plan: &mut Plan<'_>, task: &Task, left: Vec<String>) {
    plan.propose(CommandKind::RemoveTask { task: task.id().clone(), left });
}
