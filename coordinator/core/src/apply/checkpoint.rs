//! Positions of many shards, folded into one entry.

use crate::command::CheckpointReport;
use crate::outcome::Outcome;
use crate::state::{ClusterState, Shard};

/// Takes what is newer and comes from the present epoch; counts the rest.
///
/// One late report must not undo the others, so nothing here refuses the whole command.
pub(super) fn fold(state: &mut ClusterState, reports: &[CheckpointReport]) -> Outcome {
    let (mut accepted, mut stale) = (0_u32, 0_u32);
    for report in reports {
        let Some(task) = state.tasks.get_mut(&report.shard.task) else {
            stale = stale.saturating_add(1);
            continue;
        };
        let shard = task.shards.get_mut(&report.shard.index);
        match shard.filter(|shard| is_news(shard, report)) {
            Some(shard) => {
                take(shard, report);
                task.settle();
                accepted = accepted.saturating_add(1);
            }
            None => stale = stale.saturating_add(1),
        }
    }
    Outcome::Checkpointed { accepted, stale }
}

/// Whether a report comes from the present epoch and is newer than what the log has.
pub(crate) fn is_news(shard: &Shard, report: &CheckpointReport) -> bool {
    let known = shard.checkpoint.as_ref().map_or(0, |known| known.hint.serial);
    let hint = &report.checkpoint.hint;
    report.epoch == shard.epoch && hint.serial > known && hint.offset >= 0
}

/// Progress in the source forgives crashes: what crashed there is behind.
fn take(shard: &mut Shard, report: &CheckpointReport) {
    let progressed =
        shard.checkpoint.as_ref().is_some_and(|known| report.checkpoint.lsn > known.lsn);
    if progressed {
        shard.crashed_on.clear();
    }
    shard.checkpoint = Some(report.checkpoint.clone());
}
