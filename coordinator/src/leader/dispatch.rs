//! Carrying out what the core asks: directives into sessions, orders into work streams.

use tidewire_coordinator_core::{Action, ClusterState, Command, Directive, Generation, WorkKind};
use tidewire_proto::node::v1::to_node::Message;
use tidewire_proto::node::v1::{
    Assign, Dismissed, Generation as WireGeneration, Prepare, RetiredShard, Revoke, ToNode,
};
use tidewire_shared::{Fault, FaultKind, NodeName, TaskId};

use super::neighbours::Around;
use super::observation::wire_hint;
use super::term::Term;
use super::work::{StepFacts, copying_shards};

/// A session this young may still be about to open its work stream, milliseconds.
const WORK_STREAM_GRACE_MS: u64 = 2_000;

/// Carries out every action that needs no log, and returns the commands to propose.
///
/// What cannot be sent now is not noted as carried out, so that the next round brings it again.
pub(super) fn dispatch(
    term: &mut Term,
    state: &ClusterState,
    actions: Vec<Action>,
    may_propose: bool,
    now_ms: u64,
) -> Vec<Command> {
    let mut commands = Vec::new();
    for action in actions {
        let carried_out = match &action {
            Action::Propose(command) => {
                if may_propose {
                    commands.push(command.clone());
                }
                may_propose
            }
            Action::Send(node, directive) => send(term, node, directive),
            Action::OrderPrecheck { task, node, .. } => {
                order(term, state, task, WorkKind::Precheck, node, now_ms)
            }
            Action::OrderCleanUp { task, node, .. } => {
                order(term, state, task, WorkKind::CleanUp, node, now_ms)
            }
            Action::OrderRevision { task, node, .. } => {
                order(term, state, task, WorkKind::Revision, node, now_ms)
            }
            Action::OrderSweep { task, node, .. } => {
                order(term, state, task, WorkKind::Sweep, node, now_ms)
            }
        };
        if carried_out {
            tracing::debug!(%action, "carried out");
            term.observed.carried_out(&action, now_ms);
        }
    }
    commands
}

fn send(term: &Term, node: &NodeName, directive: &Directive) -> bool {
    let Some(outbox) = term.sessions.get(node) else { return false };
    outbox.sender.try_send(Ok(ToNode { message: Some(message(directive)) })).is_ok()
}

fn message(directive: &Directive) -> Message {
    match directive {
        Directive::Assign {
            shard,
            epoch,
            spec,
            revision,
            ordinal,
            first,
            count,
            before,
            hint,
            record,
            resumed_over,
        } => Message::Assign(Assign {
            task_id: shard.task.to_string(),
            shard: shard.index,
            epoch: epoch.0,
            spec: Some(spec.as_ref().clone().into()),
            revision: *revision,
            ordinal: *ordinal,
            hint: hint.map(wire_hint),
            record: record.clone(),
            first_shard: *first,
            shard_count: *count,
            before: before.iter().map(wire_generation).collect(),
            resumed_over: resumed_over.clone(),
        }),
        Directive::Revoke { shard, epoch } => Message::Revoke(Revoke {
            task_id: shard.task.to_string(),
            shard: shard.index,
            epoch: epoch.0,
        }),
        Directive::Prepare { shard, spec } => Message::Prepare(Prepare {
            task_id: shard.task.to_string(),
            shard: shard.index,
            spec: Some(spec.as_ref().clone().into()),
        }),
        Directive::Dismissed => Message::Dismissed(Dismissed {}),
    }
}

fn wire_generation(generation: &Generation) -> WireGeneration {
    let shards = generation.shards().map(|retired| RetiredShard {
        ordinal: retired.ordinal,
        hint: retired.checkpoint.as_ref().map(|known| wire_hint(known.hint)),
        record: retired.checkpoint.as_ref().map_or_else(Vec::new, |known| known.record.clone()),
    });
    WireGeneration { first: generation.first(), shards: shards.collect() }
}

/// What a node must know for a step; none when the step is not due any more.
fn facts(state: &ClusterState, id: &TaskId, kind: WorkKind) -> Option<StepFacts> {
    if kind == WorkKind::Sweep {
        let left = state.leftovers_of(id)?;
        let spec = state.resolve(&left.document.spec).ok()?;
        let shards = left.shards.clone();
        return Some(StepFacts {
            spec,
            started_before: true,
            shards,
            revision: 0,
            around: Around::left_by(state, id),
            copying: Vec::new(),
        });
    }
    let task = state.task(id)?;
    let (spec, revision) = match kind {
        WorkKind::Revision => {
            let draft = task.unchecked_draft()?;
            (&draft.document.spec, draft.revision)
        }
        WorkKind::Precheck | WorkKind::CleanUp | WorkKind::Sweep => (task.spec(), task.revision()),
    };
    Some(StepFacts {
        spec: state.resolve(spec).ok()?,
        started_before: task.started_before(),
        shards: task.shards_ever(),
        revision,
        around: match kind {
            WorkKind::Precheck | WorkKind::Revision => Around::of(state, Some(id), task.name()),
            WorkKind::CleanUp | WorkKind::Sweep => Around::left_by(state, id),
        },
        copying: match kind {
            WorkKind::Precheck | WorkKind::Revision => copying_shards(task),
            WorkKind::CleanUp | WorkKind::Sweep => Vec::new(),
        },
    })
}

fn order(
    term: &mut Term,
    state: &ClusterState,
    task: &TaskId,
    kind: WorkKind,
    node: &NodeName,
    now_ms: u64,
) -> bool {
    let Some(facts) = facts(state, task, kind) else { return false };
    let sent = term.order_step(node, task, kind, &facts);
    let opened_ms = term.observed.session(node).map_or(now_ms, |session| session.opened_ms);
    if !sent && now_ms.saturating_sub(opened_ms) > WORK_STREAM_GRACE_MS {
        let fault = Fault::new(
            FaultKind::Coordination,
            format!("node {node}"),
            "it takes no work: its work stream is closed or full",
        )
        .remedy("look at the log of the node");
        term.observed.work_failed(task, kind, fault, now_ms);
    }
    sent
}
