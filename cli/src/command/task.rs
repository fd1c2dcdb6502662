//! `tidewire task …`.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use tidewire_proto::admin::v1 as pb;
use tidewire_proto::admin::v1::precheck_task_request::Subject;
use tidewire_proto::convert::required;
use tidewire_shared::precheck::PrecheckReport;
use tidewire_shared::{Desired, Phase, TaskName, TaskSpec};

use super::life::Start;
use super::{confirm, life, wait};
use crate::args::{
    ApplyArgs, Format, MoveArgs, PrecheckArgs, PrecheckSubject, StartArgs, TaskArgs, TaskCommand,
    WaiveArgs,
};
use crate::client::{CALL, Client, request_id};
use crate::document::{Document, Explained};
use crate::failure::{Exit, Failure, of_document};
use crate::output::leftovers::{LeftoversView, leftovers_table};
use crate::output::precheck::{PrecheckView, precheck_table};
use crate::output::task::{TaskView, task_list, task_table};
use crate::output::{note, print, warn, write};

/// A precheck asks servers that may be slow or away.
const PRECHECK: Duration = Duration::from_secs(120);
/// A wait for a phase, where the user names no time.
const WAIT: Duration = Duration::from_secs(600);

pub(super) async fn run(args: TaskArgs) -> Result<(), Failure> {
    let format = args.common.output;
    let client = |default| Client::new(&args.common, default);
    match args.command {
        TaskCommand::Apply(apply) => {
            Box::pin(self::apply(&client(CALL)?, &client(WAIT)?, apply, format)).await
        }
        TaskCommand::Precheck(precheck) => {
            self::precheck(&client(PRECHECK)?, precheck, format).await
        }
        TaskCommand::Start(StartArgs { change, waive }) => {
            let (calls, waits) = (client(CALL)?, client(WAIT)?);
            let task = start(&calls, &change.name, waive).await?;
            let task = wait::prechecked(&calls, &change.name, task).await?;
            finish(&waits, task, change, Phase::Synchronizing, format).await
        }
        TaskCommand::Pause(change) => {
            let (calls, waits) = (client(CALL)?, client(WAIT)?);
            let task = pause(&calls, &change.name).await?;
            finish(&waits, task, change, Phase::Paused, format).await
        }
        TaskCommand::Resume(change) => {
            let (calls, waits) = (client(CALL)?, client(WAIT)?);
            let task = resume(&calls, &change.name).await?;
            finish(&waits, task, change, Phase::Synchronizing, format).await
        }
        TaskCommand::Terminate(change) => {
            let (calls, waits) = (client(CALL)?, client(WAIT)?);
            let task = terminate(&calls, &change.name).await?;
            if format != Format::Json {
                note(&life::left_by(&task)?);
            }
            finish(&waits, task, change, Phase::Terminated, format).await
        }
        TaskCommand::Delete { name, forget: false, yes } => {
            if !yes {
                confirm::deletion(&client(CALL)?, &name).await?;
            }
            delete(&client(PRECHECK)?, &name, format).await
        }
        TaskCommand::Delete { name, forget: true, .. } => {
            forget(&client(CALL)?, &name, format).await
        }
        TaskCommand::Rewind(args) => show(life::rewind(&client(PRECHECK)?, args).await?, format),
        TaskCommand::Move(args) => show(life::relocate(&client(CALL)?, args).await?, format),
        TaskCommand::Indicators { name } => life::indicators(&client(CALL)?, &name, format).await,
        TaskCommand::History { name } => life::history(&client(CALL)?, &name, format).await,
        TaskCommand::Logs(args) => life::logs(&client(CALL)?, args, format).await,
        TaskCommand::Get { name } => show(wait::get(&client(CALL)?, &name).await?, format),
        TaskCommand::List { leftovers } => list(&client(CALL)?, leftovers, format).await,
        TaskCommand::Wait { name, goal } => {
            let goal = goal.or(Phase::Synchronizing);
            let task = wait::until(&client(WAIT)?, &name, goal).await?;
            show(task, format)
        }
        TaskCommand::Explain { file } => explain(&file, format),
    }
}

async fn apply(
    calls: &Client,
    waits: &Client,
    args: ApplyArgs,
    format: Format,
) -> Result<(), Failure> {
    let spec = read_document(&args.file, format)?;
    let name = spec.name().clone();
    let waive = Some(decided(args.waive));
    let request = pb::ApplyTaskRequest { request_id: request_id(), spec: Some(spec.into()), waive };
    let answer = calls
        .call(&about(&name), request, |mut service, request| async move {
            service.apply_task(request).await
        })
        .await?;
    if format != Format::Json {
        note(&format!("task {name} {}", told(&answer)));
    }
    let mut task = answer.task.unwrap_or_default();
    if task.modification.as_ref().is_some_and(|it| it.revision == answer.revision) {
        task = life::decided(waits, &name, answer.revision).await?;
    }
    if args.start {
        task = match life::start_of(&task) {
            Some(Start::Start) => {
                let task = start(calls, &name, WaiveArgs::default()).await?;
                wait::prechecked(calls, &name, task).await?
            }
            Some(Start::Resume) => resume(calls, &name).await?,
            None => task,
        };
    }
    let runs = task.desired == Desired::Running.as_str();
    if let Some(goal) = args.wait.filter(|_| runs) {
        task = wait::until(waits, &name, goal.or(Phase::Synchronizing)).await?;
    }
    show(task, format)
}

async fn precheck(client: &Client, args: PrecheckArgs, format: Format) -> Result<(), Failure> {
    let PrecheckArgs { subject: PrecheckSubject { name, file }, waive } = args;
    let (object, subject) = match (name, &file) {
        (Some(name), _) => (about(&name), Subject::Name(name.to_string())),
        (None, Some(file)) => {
            let spec = read_document(file, format)?;
            (about(spec.name()), Subject::Spec(spec.into()))
        }
        (None, None) => {
            return Err(Failure::new(Exit::Usage, "invalid", "precheck", "names no task")
                .remedy("give a name or -f FILE"));
        }
    };
    let request = pb::PrecheckTaskRequest { subject: Some(subject), waive: Some(decided(waive)) };
    let answer = client
        .call(&object, request, |mut service, request| async move {
            service.precheck_task(request).await
        })
        .await?;
    let report: PrecheckReport = required("report", answer.report)?;
    let view = PrecheckView::from(report.clone());
    print(format, &view, |wide| precheck_table(&view, wide))?;
    if report.passed() {
        return Ok(());
    }
    // What is printed tells every item already.
    Err(Failure { details: Box::default(), ..wait::precheck_failed(&object, &report) })
}

/// A call that changes what is wanted of a task.
macro_rules! wish {
    ($name:ident, $method:ident) => {
        async fn $name(client: &Client, name: &TaskName) -> Result<pb::Task, Failure> {
            let (request_id, name_text) = (request_id(), name.to_string());
            let request = pb::TaskRequest { request_id, name: name_text, waive: None };
            let answer = client
                .call(&about(name), request, |mut service, request| async move {
                    service.$method(request).await
                })
                .await?;
            Ok(answer.task.unwrap_or_default())
        }
    };
}

/// Has a task prechecked and run, with decisions about its precheck.
async fn start(client: &Client, name: &TaskName, waive: WaiveArgs) -> Result<pb::Task, Failure> {
    let (request_id, waive) = (request_id(), Some(decided(waive)));
    let request = pb::TaskRequest { request_id, name: name.to_string(), waive };
    let answer = client
        .call(&about(name), request, |mut service, request| async move {
            service.start_task(request).await
        })
        .await?;
    Ok(answer.task.unwrap_or_default())
}

fn decided(waive: WaiveArgs) -> pb::Waive {
    pb::Waive { ignore: waive.ignore, r#override: waive.overrides }
}

wish!(pause, pause_task);
wish!(resume, resume_task);
wish!(terminate, terminate_task);

/// Waits if that was asked for, then shows the task.
async fn finish(
    waits: &Client,
    task: pb::Task,
    change: MoveArgs,
    leads_to: Phase,
    format: Format,
) -> Result<(), Failure> {
    match change.wait {
        None => show(task, format),
        Some(goal) => show(wait::until(waits, &change.name, goal.or(leads_to)).await?, format),
    }
}

/// What became of a document.
fn told(answer: &pb::ApplyTaskResponse) -> String {
    let task = answer.task.as_ref();
    let running = task.map_or(0, |task| task.revision);
    match (answer.created, task.and_then(|task| task.modification.as_ref())) {
        (true, _) => "created".to_owned(),
        (false, Some(it)) if it.revision == answer.revision => {
            format!(
                "runs on with revision {running} while a node looks at revision {}",
                it.revision
            )
        }
        (false, _) => format!("has this document, revision {running}"),
    }
}

async fn forget(client: &Client, name: &TaskName, format: Format) -> Result<(), Failure> {
    let request = pb::TaskRequest {
        request_id: request_id(),
        name: name.to_string(),
        ..pb::TaskRequest::default()
    };
    let answer = client
        .call(&about(name), request, |mut service, request| async move {
            service.forget_leftovers(request).await
        })
        .await?;
    let view = serde_json::json!({"name": name.as_str(), "left": answer.left});
    print(format, &view, |_| {
        format!("left to you, of task {name}:\n  {}", answer.left.join("\n  "))
    })
}

async fn delete(client: &Client, name: &TaskName, format: Format) -> Result<(), Failure> {
    let request = pb::TaskRequest { request_id: request_id(), name: name.to_string(), waive: None };
    let answer = client
        .call(&about(name), request, |mut service, request| async move {
            service.delete_task(request).await
        })
        .await?;
    let view = serde_json::json!({"name": name.as_str(), "left": answer.left});
    print(format, &view, |_| match answer.left.as_slice() {
        [] => format!("task {name} deleted"),
        left => format!("task {name} deleted; left behind:\n  {}", left.join("\n  ")),
    })
}

async fn list(client: &Client, leftovers: bool, format: Format) -> Result<(), Failure> {
    let answer = client
        .call("tasks", pb::ListTasksRequest {}, |mut service, request| async move {
            service.list_tasks(request).await
        })
        .await?;
    if leftovers {
        let left: Vec<_> = answer.leftovers.into_iter().map(LeftoversView::from).collect();
        return print(format, &left, |_| leftovers_table(&left));
    }
    let tasks = answer.tasks.into_iter().map(TaskView::try_from).collect::<Result<Vec<_>, _>>()?;
    print(format, &tasks, |wide| task_list(&tasks, wide))
}

fn explain(file: &Path, format: Format) -> Result<(), Failure> {
    let spec = read_document(file, format)?;
    let explained = Explained::new(&spec);
    match format {
        Format::Json => print(format, &explained, |_| String::new()),
        _ => write(&explained.yaml().map_err(|error| {
            Failure::new(Exit::Failed, "failed", file.display().to_string(), error)
        })?),
    }
}

fn show(task: pb::Task, format: Format) -> Result<(), Failure> {
    let view = TaskView::try_from(task)?;
    print(format, &view, |wide| task_table(&view, wide))
}

fn about(name: &TaskName) -> String {
    format!("task {name}")
}

/// Reads the document in `file` (`-`: stdin) and says its warnings.
pub(super) fn read_document(file: &Path, format: Format) -> Result<TaskSpec, Failure> {
    let text = read_text(file)?;
    let document = Document::parse(&text).map_err(|error| of_document(file, error))?;
    for warning in &document.warnings {
        warn(format, warning);
    }
    Ok(document.spec)
}

/// The text in `file` (`-`: stdin).
pub(super) fn read_text(file: &Path) -> Result<String, Failure> {
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    text.map_err(|error| {
        Failure::new(Exit::Usage, "invalid", file.display().to_string(), error)
            .remedy("name a file that can be read, or - for stdin")
    })
}

#[cfg(test)]
mod tests {
    use tidewire_shared::Phase;

    use crate::command::wait::Goal;

    #[test]
    fn waiting_without_a_phase_means_the_one_that_the_command_leads_to() {
        let goal: Goal = "auto".parse().expect("a goal");
        assert_eq!(goal.or(Phase::Paused), Goal::Phase(Phase::Paused));
        assert_eq!(Goal::CaughtUp.or(Phase::Paused), Goal::CaughtUp);
    }
}
