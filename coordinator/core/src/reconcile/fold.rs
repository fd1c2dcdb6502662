//! Positions of all nodes, folded into one entry of the log.
//!
//! Due every ten seconds, and early when a shard is about to change its owner or shows its first
//! position: the next owner then reads on from a fresh place. Due every second where a task delivers
//! at_least_once: its position is kept nowhere else, and its source waits for it.

use tidewire_shared::ShardId;
use tidewire_shared::spec::Delivery;

use super::plan::Plan;
use crate::apply::is_news;
use crate::command::{Checkpoint, CheckpointReport, CommandKind};
use crate::state::Shard;

pub(super) fn reconcile(plan: &mut Plan<'_>) {
    let (mut early, mut period_ms) = (false, plan.observed.timing().fold_ms);
    let mut reports = Vec::new();
    for (id, task, shard) in plan.state.shards() {
        let Some(report) = report_of(plan, &id, shard) else { continue };
        let moves = plan.observed.prepared.contains_key(&id)
            || shard.assignment().is_some_and(|owner| plan.is_lost(task, owner));
        if task.spec().delivery() == Delivery::AtLeastOnce {
            period_ms = plan.observed.timing().keep_ms;
        }
        early |= shard.checkpoint().is_none() || moves || !task.may_run();
        reports.push(report);
    }
    let since_ms = plan.now.mono_ms.saturating_sub(plan.observed.folded_ms);
    let due = early || since_ms >= period_ms;
    if due && !reports.is_empty() {
        plan.propose(CommandKind::Checkpoints { reports });
    }
}

/// What the owner reported, where the log does not have it yet.
fn report_of(plan: &Plan<'_>, id: &ShardId, shard: &Shard) -> Option<CheckpointReport> {
    let seen = plan.observed.of_owner(id, shard)?;
    let checkpoint = Checkpoint {
        lsn: seen.durable_lsn,
        hint: seen.hint,
        at_ms: plan.now.wall_ms,
        record: seen.record.clone(),
    };
    let report = CheckpointReport { shard: id.clone(), epoch: seen.epoch, checkpoint };
    is_news(shard, &report).then_some(report)
}
