//! A node that joins takes its share: one shard at a time moves from the fullest node to the emptiest.
//!
//! A move of an exactly_once shard is a short interruption, so nothing moves for a difference of one,
//! while anything else is on the move, or before the cluster has been calm for a while: a node that
//! comes and goes gets nothing.

use tidewire_shared::{NodeName, ShardId};

use super::plan::Plan;
use crate::command::CommandKind;
use crate::observed::ShardPhase;
use crate::schedule::Candidate;
use crate::state::Shard;

/// A node and a shard must have been where they are for so long, milliseconds.
const CALM_MS: u64 = 30_000;

/// Shards that the fullest node must have more than the emptiest.
const DIFFERENCE: u32 = 2;

pub(super) fn reconcile(plan: &mut Plan<'_>) {
    if !is_calm(plan) {
        return;
    }
    let long_here = |it: &&Candidate| {
        let session = plan.observed.session(&it.node);
        session.is_some_and(|it| plan.now.mono_ms.saturating_sub(it.opened_ms) >= CALM_MS)
    };
    let nodes = plan.candidates();
    let fullest = nodes.iter().max_by_key(|it| (it.load, it.node.clone()));
    let emptiest = nodes
        .iter()
        .filter(long_here)
        .filter(|it| it.load < it.capacity)
        .min_by_key(|it| (it.load, it.node.clone()));
    let Some((from, to)) = fullest.zip(emptiest) else { return };
    if from.load < to.load.saturating_add(DIFFERENCE) {
        return;
    }
    let (from, node) = (from.node.clone(), to.node.clone());
    let shard = plan
        .state
        .shards()
        .find(|(id, _, shard)| shard.is_on(&from) && may_move(plan, id, shard, &node))
        .map(|(id, _, _)| id);
    if let Some(shard) = shard {
        plan.propose(CommandKind::MoveShard { shard, node });
    }
}

/// Nothing is on the move, and whatever shall run has an owner that lives.
fn is_calm(plan: &Plan<'_>) -> bool {
    plan.state.shards().all(|(id, task, shard)| match shard.assignment() {
        Some(owner) => {
            task.may_run()
                && shard.wanted_on().is_none()
                && !plan.observed.prepared.contains_key(&id)
                && !plan.is_lost(task, owner)
        }
        None => !task.may_run(),
    })
}

fn may_move(plan: &Plan<'_>, id: &ShardId, shard: &Shard, to: &NodeName) -> bool {
    let streams = plan
        .observed
        .of_owner(id, shard)
        .is_some_and(|report| report.phase == ShardPhase::Synchronizing);
    let since_ms = shard.assignment().map_or(plan.now.wall_ms, |owner| owner.since_ms);
    let age_ms = u64::try_from(plan.now.wall_ms.saturating_sub(since_ms)).unwrap_or(0);
    streams && age_ms >= CALM_MS && !shard.crashed_on().contains(to)
}
