//! `tidewire task history|indicators|logs|rewind|move` and what becomes of another document.

use std::collections::BTreeSet;
use std::time::Duration;

use tidewire_proto::admin::v1 as pb;
use tidewire_proto::convert::{ConvertError, optional, required};
use tidewire_shared::precheck::PrecheckReport;
use tidewire_shared::spec::{Managed, PostgresSource};
use tidewire_shared::{Phase, ShardId, TaskName, TaskSpec};
use tonic::Request;

use super::{confirm, wait};
use crate::args::place::Goal;
use crate::args::{Format, LogArgs, RelocateArgs, RewindArgs};
use crate::client::{Client, request_id};
use crate::failure::{Exit, Failure};
use crate::output::history::{HistoryView, LogView, history_table, log_line};
use crate::output::indicators::{IndicatorsView, indicators_table};
use crate::output::{note, print, write};

/// Pause between two looks at a revision, and before a broken log is followed again.
const LOOK: Duration = Duration::from_millis(200);

/// Waits until a document that was given is taken or refused. The task as it is then.
pub(super) async fn decided(
    client: &Client,
    name: &TaskName,
    revision: u64,
) -> Result<pb::Task, Failure> {
    let deadline = client.deadline();
    loop {
        let task = wait::get(client, name).await?;
        let pending = task.modification.as_ref().filter(|it| it.revision == revision);
        match pending.map(|it| it.refused.clone()) {
            None => return taken(name, revision, task),
            Some(refused @ Some(_)) => {
                let report: Option<PrecheckReport> = optional("modification.refused", refused)?;
                let report = report.unwrap_or(PrecheckReport { at_ms: 0, items: Vec::new() });
                let object =
                    format!("task {name}: revision {revision} (revision {} stays)", task.revision);
                return Err(wait::precheck_failed(&object, &report));
            }
            Some(None) if std::time::Instant::now() + LOOK >= deadline => {
                let why = format!("a node still looks at revision {revision}");
                return Err(Failure::new(
                    Exit::Unreachable,
                    "unknown_outcome",
                    format!("task {name}"),
                    why,
                )
                .remedy(format!("see `tidewire task history {name}`")));
            }
            Some(None) => tokio::time::sleep(LOOK).await,
        }
    }
}

/// A draft that is gone was taken, or given up: its task ended, or was given another document meanwhile.
fn taken(name: &TaskName, revision: u64, task: pb::Task) -> Result<pb::Task, Failure> {
    if task.revision >= revision {
        return Ok(task);
    }
    let why = format!("revision {revision} was given up, revision {} stays", task.revision);
    Err(Failure::new(Exit::Refused, "refused", format!("task {name}"), why)
        .remedy(format!("see `tidewire task history {name}`")))
}

/// How a task that was applied is brought to run, where it does not already.
pub(super) fn start_of(task: &pb::Task) -> Option<Start> {
    let phase = Phase::ALL.into_iter().find(|phase| phase.as_str() == task.phase)?;
    match phase {
        Phase::NotStarted | Phase::PrecheckFailed | Phase::Ready | Phase::Failed => {
            Some(Start::Start)
        }
        Phase::Paused => Some(Start::Resume),
        // Refused with the legal moves.
        Phase::Terminated => Some(Start::Start),
        Phase::Prechecking
        | Phase::Initializing
        | Phase::Synchronizing
        | Phase::Retrying
        | Phase::Modifying => None,
    }
}

/// The move that brings a task to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Start,
    Resume,
}

pub(super) async fn history(
    client: &Client,
    name: &TaskName,
    format: Format,
) -> Result<(), Failure> {
    let request = pb::GetTaskRequest { name: name.to_string() };
    let answer = client
        .call(&format!("task {name}"), request, |mut service, request| async move {
            service.task_history(request).await
        })
        .await?;
    let view = HistoryView::new(name.as_str(), answer);
    print(format, &view, |_| history_table(&view))
}

pub(super) async fn indicators(
    client: &Client,
    name: &TaskName,
    format: Format,
) -> Result<(), Failure> {
    let request = pb::GetTaskRequest { name: name.to_string() };
    let answer = client
        .call(&format!("task {name}"), request, |mut service, request| async move {
            service.task_indicators(request).await
        })
        .await?;
    let view = IndicatorsView::new(name.as_str(), answer);
    print(format, &view, |_| indicators_table(&view))
}

/// Prints the lines there are; with `-f` those that come too, until it is stopped. A leader that goes
/// away is replaced by the next, and lines that both know are printed once.
pub(super) async fn logs(client: &Client, args: LogArgs, format: Format) -> Result<(), Failure> {
    let object = format!("task {}", args.name);
    let mut printed = BTreeSet::new();
    loop {
        let request = pb::TaskLogsRequest { name: args.name.to_string(), follow: args.follow };
        let mut lines = client
            .call(&object, request, |mut service, request| async move {
                service.task_logs(without_deadline(request)).await
            })
            .await?;
        loop {
            let line = match lines.message().await {
                Ok(Some(line)) => line,
                Err(status) if !args.follow => return Err(Failure::from_status(&status, &object)),
                Ok(None) | Err(_) => break,
            };
            if printed.insert((line.node.clone(), line.instance, line.serial)) {
                let view = LogView::from(line);
                match format {
                    Format::Json | Format::Yaml => {
                        print(Format::Json, &view, |_| String::new())?;
                    }
                    Format::Table | Format::Wide => write(&log_line(&view))?,
                }
            }
        }
        if !args.follow {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A log that is followed has no end that could be late.
fn without_deadline<T>(mut request: Request<T>) -> Request<T> {
    request.metadata_mut().remove("grpc-timeout");
    request
}

/// Has a task that rests go on from elsewhere. Records go out a second time, or never, so it has to be
/// agreed to, with what it means in sight.
pub(super) async fn rewind(client: &Client, args: RewindArgs) -> Result<pb::Task, Failure> {
    let RewindArgs { name, to, yes } = args;
    let mut request = pb::RewindTaskRequest {
        request_id: request_id(),
        name: name.to_string(),
        ..pb::RewindTaskRequest::default()
    };
    match to {
        Goal::Log(place) => {
            request.at = Some(place.into());
            if !yes {
                let look = pb::RewindTaskRequest { look_only: true, ..request.clone() };
                let meaning = ask_for_rewind(client, &name, look).await?.moved;
                confirm::rewind(&name, &meaning)?;
            }
        }
        Goal::Places(places) => {
            if !yes {
                let why = "what lies behind the place where a partition stands now is copied a second \
                           time, and what it jumps over never";
                return Err(confirm::unsaid(&name, why));
            }
            request.places = places.into_iter().map(Into::into).collect();
        }
    }
    let answer = ask_for_rewind(client, &name, request).await?;
    answer.moved.iter().for_each(|moved| note(moved));
    note(&format!("resume it: `tidewire task resume {name}`"));
    Ok(answer.task.unwrap_or_default())
}

/// What a terminated task leaves, and what may be done with it.
pub(super) fn left_by(task: &pb::Task) -> Result<String, Failure> {
    let name = &task.name;
    let spec: TaskSpec = required("spec", task.spec.clone())?;
    let Some(PostgresSource { slot, publication, .. }) = spec.as_postgres().map(|it| &it.source)
    else {
        return Ok(format!("its positions stay; `tidewire task delete {name}` drops them"));
    };
    let id = task.id.parse().map_err(|error| ConvertError::new("id", error))?;
    let ours = ShardId { task: id, index: 0 }.slot_name();
    let delete = match slot {
        Managed::Managed => format!("; `tidewire task delete {name}` drops it"),
        Managed::Existing(_) => String::new(),
    };
    let (slot, publication) = (slot.name(&ours), publication.name(&ours));
    Ok(format!(
        "slot {slot} stays, and keeps what was not delivered: another task goes on from it with source: \
         {{slot: {{mode: existing, name: {slot}}}, publication: {{mode: existing, name: {publication}}}}}{delete}"
    ))
}

async fn ask_for_rewind(
    client: &Client,
    name: &TaskName,
    request: pb::RewindTaskRequest,
) -> Result<pb::RewindTaskResponse, Failure> {
    let object = format!("task {name}");
    let asked = client.call(&object, request, |mut service, request| async move {
        service.rewind_task(request).await
    });
    asked.await
}

pub(super) async fn relocate(client: &Client, args: RelocateArgs) -> Result<pb::Task, Failure> {
    let request = pb::MoveTaskRequest {
        request_id: request_id(),
        name: args.shard.task.to_string(),
        shard: args.shard.index,
        node: args.to.to_string(),
    };
    let answer = client
        .call(&format!("task {}", args.shard.task), request, |mut service, request| async move {
            service.move_task(request).await
        })
        .await?;
    Ok(answer.task.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_that_is_gone_was_taken_only_if_its_task_has_it() {
        let name: TaskName = "orders".parse().expect("a name");
        let has = |revision| pb::Task { revision, ..pb::Task::default() };
        assert!(taken(&name, 3, has(3)).is_ok() && taken(&name, 3, has(4)).is_ok());
        let failure = taken(&name, 3, has(2)).expect_err("given up");
        assert_eq!(failure.exit, Exit::Refused);
        assert_eq!(failure.message, "revision 3 was given up, revision 2 stays");
    }
}
