//! `cargo x demo`: the main job, from nothing to the proof.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use serde_json::Value;
use tidewire_testbed::cluster::{Cluster, Member};
use tidewire_testbed::live::{self, Live};
use tidewire_testbed::process::{self, Signal};

mod copies;
mod postgres;
mod report;

use copies::Copies;
use postgres::Changes;
use report::{Proven, Seen};

use crate::screen;

#[derive(Args)]
pub(crate) struct DemoArguments {
    /// For how long changes are written
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(8..))]
    seconds: u64,
    /// Leave everything running and print the endpoints
    #[arg(long)]
    keep: bool,
    /// Print one JSON object at the end; one line for each kind
    #[arg(long)]
    json: bool,
    /// Which kind of task
    #[arg(long, value_enum, default_value = "postgres")]
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// PostgreSQL into Kafka
    Postgres,
    /// Kafka into Kafka
    Kafka,
    /// One after the other
    Both,
}

/// How long a takeover may take before the demo gives up.
const TAKEOVER_LIMIT: Duration = Duration::from_secs(60);
const CATCH_UP_LIMIT: Duration = Duration::from_secs(120);

/// A running task under load, whatever it carries.
trait Play: Sized {
    /// `postgres` or `kafka`.
    const KIND: &'static str;

    /// Fetches, builds and starts everything, the load included.
    fn begin() -> Result<Self>;

    fn cluster(&self) -> &Cluster;
    fn task(&self) -> &'static str;
    fn live(&self) -> &Live;

    /// What the task does, in a line.
    fn title(&self) -> String;

    /// What was written so far, by its name and number.
    fn written(&self) -> (&'static str, u64);

    /// Who is to be killed.
    fn victim(&mut self) -> Result<Member>;

    /// Time from the kill to the receipt of the first record of whoever took over.
    fn takeover(&self, kill: i64) -> Option<Duration>;

    /// Ends the load; says what it was, for the report.
    fn end_load(&mut self) -> Result<String>;

    /// Compares both ends, once the task has caught up.
    fn prove(&mut self) -> Result<Proven>;

    /// Leaves everything running.
    fn keep(self) -> Result<()>;
}

pub(crate) fn run(arguments: &DemoArguments) -> Result<ExitCode> {
    let both = arguments.kind == Kind::Both;
    ensure!(!(both && arguments.keep), "--keep leaves one kind running: name it with --kind");
    let mut holds = true;
    if arguments.kind != Kind::Kafka {
        holds &= play::<Changes>(arguments)?;
    }
    if arguments.kind != Kind::Postgres {
        holds &= play::<Copies>(arguments)?;
    }
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Shows one kind of task; whether its proof holds.
fn play<P: Play>(arguments: &DemoArguments) -> Result<bool> {
    let start = Instant::now();
    let mut stage = P::begin()?;
    screen::note(&format!(
        "\n  {} coordinators, {} nodes; task {}: {}",
        stage.cluster().coordinators().len(),
        stage.cluster().nodes().len(),
        stage.task(),
        stage.title(),
    ));
    let before = Duration::from_secs(arguments.seconds / 2);
    show(&stage, before)?;
    let killed = stage.victim()?;
    ensure!(stage.live().received() > 0, "no record arrived: {}", error(&stage));
    let delay = stage.live().median_delay();
    screen::note(&format!("\n  kill -9 {} (pid {}), the owner", killed.name, killed.pid));
    let kill = live::now_micros();
    process::signal(killed.pid, Signal::KILL)?;
    show(&stage, Duration::from_secs(arguments.seconds) - before)?;
    let takeover = wait_takeover(&stage, kill, &killed)?;
    let load = stage.end_load()?;
    let caught_up = || stage.cluster().wait(stage.task(), "caught-up", CATCH_UP_LIMIT);
    screen::step("let the task catch up", caught_up).with_context(|| error(&stage))?;
    let proven = screen::step("read everything back and compare", || stage.prove())?;
    let seconds = start.elapsed().as_secs();
    let seen = Seen { kind: P::KIND, load, killed, takeover, delay, proven, seconds };
    if arguments.json {
        screen::result(report::json(&seen))?;
    } else {
        screen::result(report::text(&seen))?;
    }
    if arguments.keep {
        stage.keep()?;
    }
    Ok(seen.proven.holds)
}

/// What the task says is wrong, for error messages.
fn error(stage: &impl Play) -> String {
    let shown = stage.cluster().task(stage.task()).unwrap_or_default();
    let part = |name| shown.get(name).map_or_else(String::new, Value::to_string);
    format!("task {} is {} with error {}", stage.task(), part("phase"), part("error"))
}

/// Shows how things stand, every second for `time`.
fn show(stage: &impl Play, time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        thread::sleep(Duration::from_secs(1).min(end.saturating_duration_since(Instant::now())));
        let owner = stage.cluster().owner(stage.task());
        let owner = owner.map_or_else(|_| "none".to_owned(), |owner| owner.name);
        let (live, (what, written)) = (stage.live(), stage.written());
        screen::note(&format!(
            "  {what} written {written:>8}   records received {:>8}   delay {:>6}   owner {owner}",
            live.received(),
            live.delay_now()
                .map_or_else(|| "-".to_owned(), |delay| format!("{} ms", delay.as_millis())),
        ));
    }
    Ok(())
}

/// Waits for the first record of the new owner; returns how long after the kill it was received.
fn wait_takeover(stage: &impl Play, kill: i64, killed: &Member) -> Result<Duration> {
    let end = Instant::now() + TAKEOVER_LIMIT;
    loop {
        if has_left(stage, &killed.name)
            && let Some(takeover) = stage.takeover(kill)
        {
            screen::note(&format!("  records again after {} ms", takeover.as_millis()));
            return Ok(takeover);
        }
        ensure!(Instant::now() < end, "no takeover in {TAKEOVER_LIMIT:?}: {}", error(stage));
        thread::sleep(Duration::from_millis(100));
    }
}

/// Whether every shard of the task has another owner.
fn has_left(stage: &impl Play, node: &str) -> bool {
    let task = stage.cluster().task(stage.task()).unwrap_or_default();
    let shards = task.get("shards").and_then(Value::as_array);
    let elsewhere = |shard: &Value| {
        let owner = shard.get("node").and_then(Value::as_str).unwrap_or_default();
        !owner.is_empty() && owner != node
    };
    shards.is_some_and(|shards| !shards.is_empty() && shards.iter().all(elsewhere))
}
