//! Who changed what when: every wish from outside, and what the cluster did to a task by itself.

use tidewire_shared::TaskId;

use super::Verdict;
use crate::command::{Command, CommandKind, DrainCause};
use crate::state::{AUDIT_KEPT, AuditEntry, ClusterState};

/// The line for a command, written before it is applied: afterwards its task may have no name.
pub(super) fn draft(state: &ClusterState, command: &Command) -> Option<AuditEntry> {
    let (object, action) = describe(state, &command.kind)?;
    Some(AuditEntry {
        at_ms: command.at_ms,
        request_id: command.request_id.clone(),
        object,
        action,
        refused: None,
    })
}

/// Keeps the line. What the cluster refused itself is of no interest to anybody.
pub(super) fn record(state: &mut ClusterState, draft: Option<AuditEntry>, outcome: &Verdict) {
    let Some(mut entry) = draft else { return };
    match outcome {
        Err(_) if entry.request_id.is_none() => return,
        Err(rejection) => entry.refused = Some(rejection.message.clone()),
        Ok(_) => {}
    }
    state.audit.push(entry, AUDIT_KEPT);
}

fn describe(state: &ClusterState, kind: &CommandKind) -> Option<(String, String)> {
    let task = |id: &TaskId| match state.task(id) {
        Some(task) => format!("task {}", task.name()),
        None => format!("task {id}"),
    };
    let said = match kind {
        CommandKind::Bootstrap { cluster } => (format!("cluster {cluster}"), "bootstrap".into()),
        CommandKind::RaiseClusterVersion { version } => {
            ("cluster".into(), format!("raise version to {version}"))
        }
        CommandKind::ForgetNode { node } => (format!("node {node}"), "forget".into()),
        CommandKind::DrainNode { node, cause: DrainCause::Asked } => {
            (format!("node {node}"), "drain".into())
        }
        CommandKind::DrainNode { node, cause: DrainCause::Leaving } => {
            (format!("node {node}"), "leave".into())
        }
        CommandKind::ResumeNode { node } => (format!("node {node}"), "resume".into()),
        CommandKind::CreateTask { spec, .. } => (format!("task {}", spec.name), "create".into()),
        CommandKind::SetDesired { task: id, wish } => (task(id), wish.to_string()),
        CommandKind::TaskFailed { shard, node, fault, .. } => {
            (task(&shard.task), format!("failed on {node}: {fault}"))
        }
        CommandKind::ClearFault { task: id } => (task(id), "clear fault".into()),
        CommandKind::RemoveTask { task: id, .. } => (task(id), "remove".into()),
        CommandKind::RegisterNode { .. }
        | CommandKind::RecordPrecheck { .. }
        | CommandKind::Assign { .. }
        | CommandKind::RaiseEpoch { .. }
        | CommandKind::Release { .. }
        | CommandKind::Checkpoints { .. } => return None,
    };
    Some(said)
}
