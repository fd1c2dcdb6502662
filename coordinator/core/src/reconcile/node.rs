//! Nodes as such: what runs where it should not, who may leave, who is forgotten.

use tidewire_shared::{NodeName, ShardId};

use super::Directive;
use super::plan::Plan;
use crate::command::{CommandKind, DrainCause};
use crate::liveness::Standing;
use crate::observed::{Session, ShardObservation};
use crate::state::Node;

pub(super) fn reconcile(plan: &mut Plan<'_>) {
    for (name, session) in &plan.observed.sessions {
        for (id, report) in session.shards.iter().flatten() {
            stray(plan, name, session, id, report);
        }
    }
    for node in plan.state.nodes() {
        dismiss(plan, node);
        forget(plan, node);
    }
}

/// Stops a shard that runs where it should not.
///
/// An epoch above the log's is answered with one above it: either the log was restored from a backup,
/// or this leader has yet to apply what it holds, and then raising changes nothing.
fn stray(
    plan: &mut Plan<'_>,
    node: &NodeName,
    session: &Session,
    id: &ShardId,
    report: &ShardObservation,
) {
    let Some((task, shard)) = plan.state.task(&id.task).zip(plan.state.shard(id)) else {
        return revoke(plan, node, session, id, report);
    };
    if report.epoch > shard.epoch() {
        let (shard, above) = (id.clone(), report.epoch);
        return plan.propose(CommandKind::RaiseEpoch { shard, above });
    }
    let owns = shard
        .assignment()
        .is_some_and(|owner| owner.node == *node && owner.instance == session.instance);
    // An owner under a lower epoch is told the new one, unless the shard shall not run at all.
    if !owns || (report.epoch < shard.epoch() && !task.may_run()) {
        revoke(plan, node, session, id, report);
    }
}

fn revoke(
    plan: &mut Plan<'_>,
    node: &NodeName,
    session: &Session,
    id: &ShardId,
    report: &ShardObservation,
) {
    let directive = Directive::Revoke { shard: id.clone(), epoch: report.epoch };
    plan.send(node, session.instance, directive);
}

/// Lets a process end once it carries nothing and shows nothing.
fn dismiss(plan: &mut Plan<'_>, node: &Node) {
    let shows_nothing = plan
        .observed
        .session(node.name())
        .and_then(|session| session.shards.as_ref())
        .is_some_and(|shards| shards.is_empty());
    if node.drain() == Some(DrainCause::Leaving)
        && shows_nothing
        && plan.state.load_of(node.name()) == 0
    {
        plan.send(node.name(), node.instance(), Directive::Dismissed);
    }
}

fn forget(plan: &mut Plan<'_>, node: &Node) {
    let observed = plan.observed;
    let heard_ms = observed.session(node.name()).map_or(observed.grace_from_ms, |it| it.heard_ms);
    let away_ms = plan.now.mono_ms.saturating_sub(heard_ms.max(observed.grace_from_ms));
    if plan.standing(node.name()) == Standing::Gone
        && away_ms >= observed.timing().forget_ms
        && plan.state.load_of(node.name()) == 0
    {
        plan.propose(CommandKind::ForgetNode { node: node.name().clone() });
    }
}
