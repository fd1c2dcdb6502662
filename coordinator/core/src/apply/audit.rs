//! Who changed what when: every wish from outside, and what the cluster did to a task by itself.

use tidewire_shared::TaskId;

use super::Verdict;
use crate::command::{Command, CommandKind, DrainCause};
use crate::lifecycle::Move;
use crate::revision::{DEEDS_KEPT, Deed};
use crate::state::{AUDIT_KEPT, AuditEntry, ClusterState, Task};

/// Partitions of a rewind that are named in its line.
const MOVES_SHOWN: usize = 50;

/// Errors that are handed to a node, which goes on where one of them names what it finds.
const RESUMED_OVER: usize = 8;

/// Begins the line of a failure.
const FAILED_ON: &str = "failed on ";

impl Task {
    /// The errors after which a user had the task go on, the newest first: `OBJECT: MESSAGE`. Whoever
    /// resumes a task has seen why it stood.
    #[must_use]
    pub fn resumed_over(&self) -> Vec<String> {
        let goes_on = |what: &str| [Move::Resume, Move::Start].iter().any(|it| it.as_str() == what);
        let newest_first = self.deeds().rev().skip_while(|deed| !goes_on(&deed.what));
        let errors = newest_first.filter_map(|deed| {
            let (_node, error) = deed.what.strip_prefix(FAILED_ON)?.split_once(": ")?;
            Some(error.to_owned())
        });
        errors.take(RESUMED_OVER).collect()
    }
}

/// The line for a command, written before it is applied: afterwards its task may have no name.
pub(super) fn draft(state: &ClusterState, command: &Command) -> Option<AuditEntry> {
    let (object, action) = describe(state, &command.kind)?;
    Some(AuditEntry {
        at_ms: command.at_ms,
        request_id: command.request_id.clone(),
        by: command.by.clone(),
        object,
        action,
        refused: None,
    })
}

/// Keeps the line, and puts what was done to a task into its history. What the cluster refused itself
/// is of no interest to anybody.
pub(super) fn record(
    state: &mut ClusterState,
    draft: Option<AuditEntry>,
    command: &Command,
    outcome: &Verdict,
) {
    let Some(mut entry) = draft else { return };
    match outcome {
        Err(_) if entry.request_id.is_none() => return,
        Err(rejection) => entry.refused = Some(rejection.message.clone()),
        Ok(_) => remember(state, &entry, command),
    }
    state.audit.push(entry, AUDIT_KEPT);
}

/// Documents have a history of their own.
fn remember(state: &mut ClusterState, entry: &AuditEntry, command: &Command) {
    let id = match &command.kind {
        CommandKind::SetDesired { task, .. }
        | CommandKind::ClearFault { task }
        | CommandKind::RecordMove { task, .. }
        | CommandKind::Reshard { task }
        | CommandKind::Waive { task, .. } => task,
        CommandKind::TaskFailed { shard, .. }
        | CommandKind::MoveShard { shard, .. }
        | CommandKind::SlotDropped { shard, .. }
        | CommandKind::RecordRewind { shard, .. } => &shard.task,
        _ => return,
    };
    let Some(task) = state.tasks.get_mut(id) else { return };
    let deed = Deed { at_ms: entry.at_ms, by: entry.by.clone(), what: entry.action.clone() };
    task.deeds.push(deed, DEEDS_KEPT);
}

fn resharding(state: &ClusterState, id: &TaskId) -> String {
    let counts = state.task(id).map(|task| (task.shard_count(), task.spec().shards()));
    let (old, new) = counts.unwrap_or_default();
    format!("reshard from {old} to {new}")
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
        CommandKind::CreateTask { spec, .. } => (format!("task {}", spec.name()), "create".into()),
        CommandKind::SetDesired { task: id, wish } => (task(id), wish.to_string()),
        CommandKind::TaskFailed { shard, node, fault, .. } => {
            (task(&shard.task), format!("{FAILED_ON}{node}: {fault}"))
        }
        CommandKind::SlotDropped { shard, node, fault } => {
            (task(&shard.task), format!("slot dropped by {node}: {fault}"))
        }
        CommandKind::ApplyConnection { connection } => {
            (format!("connection {}", connection.name), "apply".into())
        }
        CommandKind::DeleteConnection { name } => (format!("connection {name}"), "delete".into()),
        CommandKind::ApplyChannel { channel } => {
            (format!("channel {}", channel.name), "apply".into())
        }
        CommandKind::DeleteChannel { name } => (format!("channel {name}"), "delete".into()),
        CommandKind::ClearFault { task: id } => (task(id), "clear fault".into()),
        CommandKind::RemoveTask { task: id, .. } => (task(id), "remove".into()),
        CommandKind::Waive { task: id, ignore, overrides } => {
            (task(id), format!("{} in prechecks", decided(ignore, overrides)))
        }
        CommandKind::ModifyTask { task: id, .. } => (task(id), "modify".into()),
        CommandKind::RecordRevision { task: id, revision, report } => {
            let verdict = if report.passed() { "take" } else { "refuse" };
            (task(id), format!("{verdict} revision {revision}"))
        }
        CommandKind::ForgetLeftovers { task: id } => (task(id), "forget leftovers".into()),
        CommandKind::MoveShard { shard, node } => {
            (task(&shard.task), format!("move shard {} to {node}", shard.index))
        }
        CommandKind::RecordRewind { shard, to } => {
            (task(&shard.task), format!("rewind shard {} to {to}", shard.index))
        }
        CommandKind::RecordMove { task: id, moved } => {
            (task(id), format!("rewind {}", first_of(moved)))
        }
        CommandKind::Reshard { task: id } => (task(id), resharding(state, id)),
        CommandKind::RegisterNode { .. }
        | CommandKind::RecordLeftovers { .. }
        | CommandKind::RecordPrecheck { .. }
        | CommandKind::Assign { .. }
        | CommandKind::RaiseEpoch { .. }
        | CommandKind::Release { .. }
        | CommandKind::MoveAlerts { .. }
        | CommandKind::RecordPush { .. }
        | CommandKind::RecordIndicators { .. }
        | CommandKind::Checkpoints { .. } => return None,
    };
    Some(said)
}

fn decided(ignore: &[String], overrides: &[String]) -> String {
    let said = [("ignore", ignore), ("override", overrides)]
        .into_iter()
        .filter(|(_, items)| !items.is_empty())
        .map(|(word, items)| format!("{word} {}", items.join(", ")));
    said.collect::<Vec<_>>().join("; ")
}

fn first_of(moved: &[String]) -> String {
    let shown = moved.iter().take(MOVES_SHOWN).cloned().collect::<Vec<_>>().join("; ");
    match moved.len().saturating_sub(MOVES_SHOWN) {
        0 => shown,
        rest => format!("{shown}; and {rest} more"),
    }
}
