//! One transition: `(state, command) → outcome and events`.
//!
//! One exhaustive match that delegates to a file per noun. Each of them looks first and writes only
//! when nothing can refuse any more, so that a rejection leaves the state as it was.

mod alert;
mod assignment;
mod audit;
mod channel;
mod checkpoint;
mod cluster;
mod connection;
mod indicators;
mod leftovers;
mod modify;
mod node;
mod reshard;
mod secrets;
mod task;

use crate::command::{Command, CommandKind};
use crate::outcome::{Applied, Event, Outcome, Rejection, RejectionCode};
use crate::state::ClusterState;

pub(crate) use checkpoint::is_news;
pub(crate) use secrets::with_kept;

pub(crate) type Verdict = Result<Outcome, Rejection>;

/// Applies one command of the log.
///
/// Deterministic and total. A rejection is data: it is remembered under its request id and written to
/// the audit log, and changes nothing else. A request id that was seen before yields the outcome it had.
pub fn apply(state: &mut ClusterState, command: &Command) -> Applied {
    if let Some(id) = &command.request_id
        && let Some(outcome) = state.requests.outcome(id)
    {
        return Applied { outcome: outcome.clone(), events: Vec::new() };
    }
    let draft = audit::draft(state, command);
    let mut events = Vec::new();
    let outcome = dispatch(state, command, &mut events);
    audit::record(state, draft, command, &outcome);
    if let Some(id) = &command.request_id {
        state.requests.record(id.clone(), outcome.clone());
    }
    Applied { outcome, events }
}

#[expect(clippy::too_many_lines, reason = "one arm for each kind of command, and nothing else")]
fn dispatch(state: &mut ClusterState, command: &Command, events: &mut Vec<Event>) -> Verdict {
    let at_ms = command.at_ms;
    if let CommandKind::Bootstrap { cluster } = &command.kind {
        return cluster::bootstrap(state, cluster, events);
    }
    if state.cluster_id.is_none() {
        return Err(Rejection::new(
            RejectionCode::NotBootstrapped,
            "cluster",
            "it has no identity yet",
        ));
    }
    match &command.kind {
        CommandKind::Bootstrap { cluster } => cluster::bootstrap(state, cluster, events),
        CommandKind::RaiseClusterVersion { version } => {
            cluster::raise_version(state, *version, events)
        }
        CommandKind::RegisterNode { node } => node::register(state, node, at_ms, events),
        CommandKind::ForgetNode { node } => node::forget(state, node, events),
        CommandKind::DrainNode { node, cause } => node::drain(state, node, *cause, events),
        CommandKind::ResumeNode { node } => node::resume(state, node, events),
        CommandKind::CreateTask { task, spec } => {
            let wish = modify::Wish { by: &command.by, at_ms };
            task::create(state, task, spec, wish, events)
        }
        CommandKind::SetDesired { task, wish } => {
            task::set_desired(state, task, *wish, at_ms, events)
        }
        CommandKind::RecordPrecheck { task, revision, report } => {
            task::record_precheck(state, task, *revision, report, at_ms, events)
        }
        CommandKind::Assign { shard, node, instance, expect_epoch } => {
            let to = crate::state::Assignment {
                node: node.clone(),
                instance: *instance,
                since_ms: at_ms,
                given: crate::connection::SpecRevisions::default(),
            };
            assignment::assign(state, shard, to, *expect_epoch, events)
        }
        CommandKind::RaiseEpoch { shard, above } => {
            assignment::raise_epoch(state, shard, *above, at_ms, events)
        }
        CommandKind::Release { shard, epoch } => assignment::release(state, shard, *epoch, events),
        CommandKind::Checkpoints { reports } => Ok(checkpoint::fold(state, reports)),
        CommandKind::TaskFailed { shard, epoch, node, fault, last_node } => {
            let failed = task::FailedShard { shard, epoch: *epoch, node, fault };
            task::fail(state, &failed, *last_node, at_ms, events)
        }
        CommandKind::ApplyConnection { connection } => connection::apply(state, connection, at_ms),
        CommandKind::DeleteConnection { name } => connection::delete(state, name),
        CommandKind::ApplyChannel { channel } => channel::apply(state, channel, at_ms),
        CommandKind::DeleteChannel { name } => channel::delete(state, name),
        CommandKind::MoveAlerts { moves } => Ok(alert::advance(state, moves, at_ms)),
        CommandKind::RecordPush { message, channel, push } => {
            Ok(alert::record_push(state, *message, channel, push))
        }
        CommandKind::ClearFault { task } => task::clear_fault(state, task, at_ms, events),
        CommandKind::RemoveTask { task, left } => task::remove(state, task, left, at_ms, events),
        CommandKind::Waive { task, ignore, overrides } => {
            let decisions = task::Decisions { ignore, overrides, by: &command.by };
            task::waive(state, task, &decisions, at_ms, events)
        }
        CommandKind::ModifyTask { task, spec } => {
            let wish = modify::Wish { by: &command.by, at_ms };
            modify::modify(state, task, spec, wish, events)
        }
        CommandKind::RecordRevision { task, revision, report } => {
            modify::record_revision(state, task, *revision, report, at_ms, events)
        }
        CommandKind::RecordLeftovers { task, left } => leftovers::record(state, task, left),
        CommandKind::ForgetLeftovers { task } => leftovers::forget(state, task),
        CommandKind::MoveShard { shard, node } => {
            assignment::move_shard(state, shard, node, events)
        }
        CommandKind::SlotDropped { shard, node, fault } => {
            task::slot_dropped(state, shard, node, fault, at_ms, events)
        }
        CommandKind::RecordRewind { shard, .. } => assignment::rewound(state, shard, events),
        CommandKind::RecordMove { task, .. } => task::moved(state, task, events),
        CommandKind::RecordIndicators { minutes } => Ok(indicators::record(state, minutes)),
        CommandKind::Reshard { task } => reshard::reshard(state, task, at_ms, events),
    }
}
