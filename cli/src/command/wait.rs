//! Waiting for a task to come where its user wants it.

use std::fmt;
use std::io::IsTerminal;
use std::str::FromStr;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tidewire_proto::admin::v1 as pb;
use tidewire_proto::convert::optional;
use tidewire_shared::precheck::PrecheckReport;
use tidewire_shared::{Desired, Fault, Phase, TaskName};

use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::output::task::caught_up;

/// Pause between two looks at a task.
const LOOK: Duration = Duration::from_millis(200);

/// What a report says about the source is at most this old when it is shown: a look a second, a
/// heartbeat, and a busy machine. Whoever wrote just before the wait means those rows too.
const FRESH: Duration = Duration::from_secs(2);

/// A precheck looks at both ends for ten seconds at most.
const PRECHECK_PATIENCE: Duration = Duration::from_secs(15);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// The phase that the command leads to.
    Auto,
    /// A phase.
    Phase(Phase),
    /// Everything that the source has is at the target.
    CaughtUp,
}

impl Goal {
    /// The goal with `phase` where none was named.
    pub(crate) fn or(self, phase: Phase) -> Self {
        if self == Self::Auto { Self::Phase(phase) } else { self }
    }

    fn reached(self, task: &pb::Task) -> bool {
        match self {
            Self::Auto => true,
            Self::Phase(phase) => task.phase == phase.as_str(),
            Self::CaughtUp => caught_up(task),
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Phase(phase) => phase.fmt(f),
            Self::CaughtUp => f.write_str("caught-up"),
        }
    }
}

impl FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let phase = Phase::ALL.into_iter().find(|phase| phase.as_str().eq_ignore_ascii_case(text));
        match (text, phase) {
            ("auto", _) => Ok(Self::Auto),
            ("caught-up" | "caughtUp", _) => Ok(Self::CaughtUp),
            (_, Some(phase)) => Ok(Self::Phase(phase)),
            (_, None) => {
                let names = Phase::ALL.map(Phase::as_str).join(", ");
                Err(format!("`{text}` is neither caught-up nor a phase ({names})"))
            }
        }
    }
}

/// The task as it is.
pub(super) async fn get(client: &Client, name: &TaskName) -> Result<pb::Task, Failure> {
    let request = pb::GetTaskRequest { name: name.to_string() };
    let answer = client
        .call(&format!("task {name}"), request, |mut service, request| async move {
            service.get_task(request).await
        })
        .await?;
    Ok(answer.task.unwrap_or_default())
}

/// Looks at the task until it reached `goal`, can no longer reach it, or time is up.
pub(super) async fn until(
    client: &Client,
    name: &TaskName,
    goal: Goal,
) -> Result<pb::Task, Failure> {
    let deadline = client.deadline();
    let fresh = Instant::now() + FRESH;
    let progress = Progress::start();
    loop {
        let task = get(client, name).await?;
        progress.show(name, &task);
        if goal.reached(&task) && (goal != Goal::CaughtUp || Instant::now() >= fresh) {
            return Ok(task);
        }
        if let Some(failure) = dead_end(&task)? {
            return Err(failure);
        }
        if goal == Goal::CaughtUp && is_paused(&task) {
            return Err(paused(name));
        }
        if Instant::now() + LOOK >= deadline {
            let why = format!("is {} and did not become {goal} in time", task.phase);
            return Err(Failure::new(
                Exit::Unreachable,
                "unknown_outcome",
                format!("task {name}"),
                why,
            )
            .remedy(format!(
                "see `tidewire task get {name}`, or wait again with a longer --timeout"
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Looks at a task that was just started until its precheck is over, or takes longer than one may.
///
/// # Errors
/// `precheck_failed`, with every item that keeps the task from starting.
pub(super) async fn prechecked(
    client: &Client,
    name: &TaskName,
    mut task: pb::Task,
) -> Result<pb::Task, Failure> {
    let patience = Instant::now() + PRECHECK_PATIENCE;
    while task.phase == Phase::Prechecking.as_str() && Instant::now() < patience {
        tokio::time::sleep(LOOK).await;
        task = get(client, name).await?;
    }
    if task.phase != Phase::PrecheckFailed.as_str() {
        return Ok(task);
    }
    Err(dead_end(&task)?.unwrap_or_else(|| failed(&format!("task {name}"), None)))
}

/// Why waiting on is pointless, if it is.
fn dead_end(task: &pb::Task) -> Result<Option<Failure>, Failure> {
    let object = format!("task {}", task.name);
    if task.phase == Phase::PrecheckFailed.as_str() {
        let report = optional("precheck", task.precheck.clone())?;
        let report = report.unwrap_or(PrecheckReport { at_ms: 0, items: Vec::new() });
        return Ok(Some(precheck_failed(&object, &report)));
    }
    if task.phase == Phase::Failed.as_str() {
        let fault: Option<Fault> = optional("error", task.error.clone())?;
        return Ok(Some(failed(&object, fault)));
    }
    let over = task.phase == Phase::Terminated.as_str();
    Ok(over.then(|| {
        Failure::new(Exit::Failed, "failed", object, "is Terminated, which is final")
            .remedy("create it again under another name, or delete it first")
    }))
}

/// Whether it stays where it is until somebody resumes it.
fn is_paused(task: &pb::Task) -> bool {
    task.phase == Phase::Paused.as_str() && task.desired == Desired::Paused.as_str()
}

fn paused(name: &TaskName) -> Failure {
    let why = "is Paused, and catches up with nothing before it is resumed";
    Failure::new(Exit::Refused, "refused", format!("task {name}"), why)
        .remedy(format!("`tidewire task resume {name}`, then wait again"))
}

fn failed(object: &str, fault: Option<Fault>) -> Failure {
    match fault {
        Some(fault) => {
            let object = format!("{object}: {}", fault.object);
            Failure::new(Exit::Failed, "failed", object, fault.message).remedy(fault.remedy)
        }
        None => Failure::new(Exit::Failed, "failed", object, "is Failed"),
    }
}

/// Every failed item, as the failure of the command.
pub(super) fn precheck_failed(object: &str, report: &PrecheckReport) -> Failure {
    let failed: Vec<_> = report.items.iter().filter(|item| item.blocks()).collect();
    let details = failed.iter().map(|item| {
        let (name, message, found) = (&item.name, &item.message, &item.found);
        let or = if item.overridable { format!(", or --override {name}") } else { String::new() };
        format!("{name} failed: {message} (found {found})\n  do:  {}{or}", item.remedy)
    });
    let details = details.collect();
    let names: Vec<_> = failed.iter().map(|item| item.name.as_str()).collect();
    let why = format!("precheck failed at {}", names.join(", "));
    let remedy = failed.first().map_or_else(
        || format!("see `tidewire task get {}`", object.trim_start_matches("task ")),
        |item| item.remedy.clone(),
    );
    let failure = Failure::new(Exit::PrecheckFailed, "precheck_failed", object, why);
    Failure { details, ..failure.remedy(remedy) }
}

/// A line that moves, on a terminal only.
struct Progress(Option<ProgressBar>);

impl Progress {
    fn start() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self(terminal.then(|| {
            let style = ProgressStyle::default_spinner();
            ProgressBar::new_spinner().with_style(style)
        }))
    }

    fn show(&self, name: &TaskName, task: &pb::Task) {
        let Some(bar) = &self.0 else { return };
        let records: u64 = task
            .shards
            .iter()
            .filter_map(|shard| shard.report.as_ref()?.counters)
            .map(|counters| counters.records)
            .sum();
        bar.set_message(format!("task {name}: {}, {records} records", task.phase));
        bar.tick();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
