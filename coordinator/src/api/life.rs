//! The calls about the life of a task beyond starting and stopping: another document, its history, its
//! log and indicators, another node, and what a deleted one left.

use std::pin::Pin;
use std::sync::Arc;

use tidewire_coordinator_core::{CommandKind, Outcome, Revision, RevisionVerdict, Task};
use tidewire_proto::admin::v1 as pb;
use tidewire_proto::convert::parsed;
use tidewire_shared::{NodeName, ShardId, TaskId, TaskSpec};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::admin::{no_task, propose, read, request_id, resolve, view_task};
use super::error;
use crate::leader::Leader;

/// Lines on their way to a reader.
const LINES: usize = 64;

/// Lines of a task's log as they come.
pub(super) type LogStream =
    Pin<Box<dyn futures::Stream<Item = Result<pb::TaskLogLine, Status>> + Send>>;

/// Gives a task that exists another document.
pub(super) async fn modify(
    leader: &Leader,
    request_id: tidewire_coordinator_core::RequestId,
    task: TaskId,
    spec: TaskSpec,
    object: &str,
) -> Result<pb::ApplyTaskResponse, Status> {
    let kind = CommandKind::ModifyTask { task: task.clone(), spec: Arc::new(spec) };
    let outcome = propose(leader, request_id, kind, object).await?;
    let view = view_task(leader, &task, object)?;
    let (created, revision) = match outcome {
        Outcome::Modified { revision, .. } => (false, revision),
        Outcome::Exists(_) => (false, view.revision),
        // The same wish again, after it made the task.
        Outcome::Created(_) => (true, view.revision),
        Outcome::Done | Outcome::Unchanged | Outcome::Epoch(_) | Outcome::Checkpointed { .. } => {
            return Err(error::used_before());
        }
    };
    Ok(pb::ApplyTaskResponse { task: Some(view), created, revision })
}

pub(super) async fn history(
    leader: Leader,
    request: pb::GetTaskRequest,
) -> Result<pb::TaskHistoryResponse, Status> {
    let (id, object) = resolve(&leader, &request.name).await?;
    let state = leader.handle().state();
    let task = state.task(&id).ok_or_else(|| no_task(&object))?;
    let deeds = task.deeds().map(|deed| pb::Deed {
        at_ms: deed.at_ms,
        by: deed.by.clone(),
        what: deed.what.clone(),
    });
    Ok(pb::TaskHistoryResponse {
        revisions: task.revisions().map(revision).collect(),
        deeds: deeds.collect(),
    })
}

fn revision(revision: &Revision) -> pb::Revision {
    let failed = match &revision.verdict {
        RevisionVerdict::Refused(items) => items.clone(),
        RevisionVerdict::Checking | RevisionVerdict::Taken => Vec::new(),
    };
    let changes = revision.changes.iter().map(|change| pb::Change {
        path: change.path.clone(),
        old: change.old.clone(),
        new: change.new.clone(),
    });
    pb::Revision {
        number: revision.number,
        at_ms: revision.at_ms,
        by: revision.by.clone(),
        changes: changes.collect(),
        verdict: revision.verdict.as_str().to_owned(),
        failed,
    }
}

pub(super) async fn indicators(
    leader: Leader,
    request: pb::GetTaskRequest,
) -> Result<pb::TaskIndicatorsResponse, Status> {
    let (id, object) = resolve(&leader, &request.name).await?;
    let state = leader.handle().state();
    let task = state.task(&id).ok_or_else(|| no_task(&object))?;
    let minutes = task.indicators().map(|minute| pb::Indicators {
        at_ms: minute.at_ms,
        phase: minute.phase.to_string(),
        delay_ms: minute.delay_ms,
        records_per_second: minute.records_per_second,
        bytes_per_second: minute.bytes_per_second,
        lag: minute.lag,
        wal_retained_bytes: minute.wal_retained_bytes,
    });
    Ok(pb::TaskIndicatorsResponse { minutes: minutes.collect() })
}

pub(super) async fn move_task(
    leader: Leader,
    request: pb::MoveTaskRequest,
) -> Result<pb::TaskResponse, Status> {
    let request_id = request_id(request.request_id)?;
    let node: NodeName = parsed("node", &request.node)?;
    let (task, object) = resolve(&leader, &request.name).await?;
    let shard = match request.shard {
        Some(index) => ShardId { task: task.clone(), index },
        None => only_shard(leader.handle().state().task(&task).ok_or_else(|| no_task(&object))?)?,
    };
    propose(&leader, request_id, CommandKind::MoveShard { shard, node }, &object).await?;
    Ok(pb::TaskResponse { task: Some(view_task(&leader, &task, &object)?) })
}

/// The shard of a task that has one.
fn only_shard(task: &Task) -> Result<ShardId, Status> {
    let mut shards = task.shards().map(|(id, _)| id);
    match (shards.next(), shards.next()) {
        (Some(only), None) => Ok(only),
        (first, _) => {
            let name = task.name();
            let why = format!("has {} shards, each of which a node runs", task.shard_count());
            let number = first.map_or(0, |shard| shard.index);
            let remedy = format!(
                "name one of them, like {name}/{number}; `tidewire task get {name}` lists them"
            );
            Err(error::invalid(&format!("task {name}"), &why, &remedy))
        }
    }
}

pub(super) async fn forget_leftovers(
    leader: Leader,
    request: pb::TaskRequest,
) -> Result<pb::ForgetLeftoversResponse, Status> {
    let request_id = request_id(request.request_id)?;
    let object = format!("task {}", request.name);
    let state = read(&leader).await?;
    match state.outcome_of(&request_id) {
        // The same wish again, after it came true.
        Some(Ok(_)) => return Ok(pb::ForgetLeftoversResponse { left: Vec::new() }),
        Some(Err(rejection)) => return Err(error::rejected(rejection)),
        None => {}
    }
    let found = state.leftovers().find(|(id, left)| {
        left.document.spec.name().as_str() == request.name || id.as_str() == request.name
    });
    let Some((id, left)) = found else {
        return Err(error::not_found(&object, "see `tidewire task list --leftovers`"));
    };
    let kind = CommandKind::ForgetLeftovers { task: id.clone() };
    propose(&leader, request_id, kind, &object).await?;
    Ok(pb::ForgetLeftoversResponse { left: left.left.clone() })
}

pub(super) async fn remove_node(
    leader: Leader,
    request: pb::NodeRequest,
) -> Result<pb::RemoveNodeResponse, Status> {
    let request_id = request_id(request.request_id)?;
    let node: NodeName = parsed("name", &request.name)?;
    let object = format!("node {node}");
    if leader.hears(&node) {
        let remedy = format!("stop its process first; `tidewire nodes drain {node}` empties it");
        return Err(error::refused(&object, "it is running", &remedy));
    }
    propose(&leader, request_id, CommandKind::ForgetNode { node }, &object).await?;
    Ok(pb::RemoveNodeResponse {})
}

/// The lines there are, then, where asked, those that come until this coordinator leads no more.
pub(super) async fn logs(
    leader: Leader,
    request: pb::TaskLogsRequest,
) -> Result<LogStream, Status> {
    let (task, _) = resolve(&leader, &request.name).await?;
    let (sender, lines) = mpsc::channel(LINES);
    tokio::spawn(async move {
        let mut grown = leader.logs().watch();
        let mut last = 0;
        loop {
            grown.borrow_and_update();
            for (number, line) in leader.logs().after(&task, last) {
                last = number;
                if sender.send(Ok(line)).await.is_err() {
                    return;
                }
            }
            let exists = leader.handle().state().task(&task).is_some();
            if !request.follow || !exists || !leader.leads() {
                return;
            }
            tokio::select! {
                changed = grown.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(LOOK) => {}
                () = sender.closed() => return,
            }
        }
    });
    Ok(Box::pin(ReceiverStream::new(lines)))
}

/// How soon a reader hears that the leader or the task is gone.
const LOOK: std::time::Duration = std::time::Duration::from_secs(1);
