//! `cargo x demo`: the main job, from nothing to the proof.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use tidewire_testbed::cluster::Member;
use tidewire_testbed::live::{self, Live};
use tidewire_testbed::oracle::Proof;
use tidewire_testbed::process::{self, Signal};
use tidewire_testbed::workload::{Workload, WorkloadOptions, Written};

mod report;
mod stage;

use stage::{Stage, TASK};

use crate::screen;

#[derive(Args)]
pub(crate) struct DemoArguments {
    /// For how long changes are written
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(8..))]
    seconds: u64,
    /// Leave everything running and print the endpoints
    #[arg(long)]
    keep: bool,
    /// Print one JSON object at the end
    #[arg(long)]
    json: bool,
    /// Which kind of task
    #[arg(long, value_enum, default_value = "postgres")]
    kind: Kind,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// PostgreSQL into Kafka
    Postgres,
}

/// How long a takeover may take before the demo gives up.
const TAKEOVER_LIMIT: Duration = Duration::from_secs(60);
const CATCH_UP_LIMIT: Duration = Duration::from_secs(120);

/// What the demo saw.
struct Seen {
    written: Written,
    killed: Member,
    takeover: Duration,
    /// Median from commit to receipt before the kill.
    delay: Duration,
    proof: Proof,
    seconds: u64,
}

pub(crate) fn run(arguments: &DemoArguments) -> Result<ExitCode> {
    let Kind::Postgres = arguments.kind;
    let start = Instant::now();
    let mut stage = Stage::prepare()?;
    screen::note(&format!(
        "\n  {} coordinators, {} nodes; task {TASK}: 3 tables → topic {}",
        stage.cluster.coordinators().len(),
        stage.cluster.nodes().len(),
        stage::TOPIC,
    ));
    let live = Live::start(&stage.kafka, &[stage::TOPIC])?;
    let load = Workload::start(stage.postgres.address(), &WorkloadOptions::default())?;
    let before = Duration::from_secs(arguments.seconds / 2);
    show(&stage, &live, &load, before)?;
    let killed = stage.cluster.owner(TASK)?;
    ensure!(live.received() > 0, "no record arrived: {}", stage.task_error());
    let delay = live.median_delay();
    screen::note(&format!("\n  kill -9 {} (pid {}), the owner", killed.name, killed.pid));
    let kill = live::now_micros();
    process::signal(killed.pid, Signal::KILL)?;
    show(&stage, &live, &load, Duration::from_secs(arguments.seconds) - before)?;
    let takeover = wait_takeover(&stage, &live, kill, &killed)?;
    let written = load.stop()?;
    let caught_up = || stage.cluster.wait(TASK, "caught-up", CATCH_UP_LIMIT);
    screen::step("let the task catch up", caught_up).with_context(|| stage.task_error())?;
    drop(live);
    let proof = screen::step("read everything back and compare", || stage.prove())?;
    let seconds = start.elapsed().as_secs();
    let seen = Seen { written, killed, takeover, delay, proof, seconds };
    if arguments.json {
        screen::result(report::json(&seen))?;
    } else {
        screen::result(report::text(&seen))?;
    }
    if arguments.keep {
        stage.keep()?;
    }
    Ok(if seen.proof.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Shows how things stand, every second for `time`.
fn show(stage: &Stage, live: &Live, load: &Workload, time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        thread::sleep(Duration::from_secs(1).min(end.saturating_duration_since(Instant::now())));
        let owner =
            stage.cluster.owner(TASK).map_or_else(|_| "none".to_owned(), |owner| owner.name);
        screen::note(&format!(
            "  rows written {:>8}   records received {:>8}   delay {:>6}   owner {owner}",
            load.written().rows,
            live.received(),
            live.delay_now()
                .map_or_else(|| "-".to_owned(), |delay| format!("{} ms", delay.as_millis())),
        ));
    }
    Ok(())
}

/// Waits for the first record of the new owner; returns how long after the kill it was received.
fn wait_takeover(stage: &Stage, live: &Live, kill: i64, killed: &Member) -> Result<Duration> {
    let end = Instant::now() + TAKEOVER_LIMIT;
    loop {
        let moved = stage.cluster.owner(TASK).is_ok_and(|owner| owner != *killed);
        if moved && let Some(takeover) = live.takeover(kill) {
            screen::note(&format!("  records again after {} ms", takeover.as_millis()));
            return Ok(takeover);
        }
        ensure!(Instant::now() < end, "no takeover in {TAKEOVER_LIMIT:?}: {}", stage.task_error());
        thread::sleep(Duration::from_millis(100));
    }
}
