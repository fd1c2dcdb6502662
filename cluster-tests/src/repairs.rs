//! Faults of the surroundings that somebody repairs. Each returns once the task flows again: by itself,
//! or resumed as its fault says.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tidewire_testbed::servers::Postgres;

use crate::faults::flows_again;
use crate::subject::SETTLE_LIMIT;
use crate::{Scene, Subject as _, TASK};

const SYNC_LIMIT: Duration = Duration::from_secs(60);
const TROUBLE_LIMIT: Duration = Duration::from_secs(60);
const STREAM_LIMIT: Duration = Duration::from_secs(30);
/// A repair may come between the look at a phase and the last attempt in it.
const RESUMES: u32 = 2;

/// Ends the server process that sends the changes; the task takes up its stream by itself.
///
/// # Errors
/// When there is none, or the task does not come back.
pub fn kill_walsender(scene: &Scene<'_>) -> Result<()> {
    scene.settled_owner()?;
    let before = scene.stable_records()?;
    let ended = end_stream(scene)?;
    let end = Instant::now() + SETTLE_LIMIT;
    while streaming(scene)?.is_none_or(|pid| pid == ended) {
        ensure!(Instant::now() < end, "no other stream {SETTLE_LIMIT:?} after process {ended}");
        thread::sleep(Duration::from_millis(100));
    }
    flows_again(scene, before)
}

/// Has the server do `break_it`, which keeps the task from streaming again, ends its stream, waits until
/// the task's fault holds `word`, and then has it do `repair`.
///
/// # Errors
/// When the task shows no such fault, or does not come back.
pub fn locked_out(
    scene: &Scene<'_>,
    word: &str,
    break_it: impl FnOnce() -> Result<()>,
    repair: impl FnOnce() -> Result<()>,
) -> Result<()> {
    troubled(
        scene,
        word,
        || {
            break_it()?;
            end_stream(scene).map(drop)
        },
        repair,
    )
}

/// Makes `break_it`, waits until the task's fault holds `word`, and makes `repair`, whether or not it came.
///
/// # Errors
/// When the task shows no such fault, or does not come back.
pub fn troubled(
    scene: &Scene<'_>,
    word: &str,
    break_it: impl FnOnce() -> Result<()>,
    repair: impl FnOnce() -> Result<()>,
) -> Result<()> {
    scene.settled_owner()?;
    let shown = break_it().and_then(|()| shows(scene, word));
    let before = scene.stable_records();
    repair()?;
    shown?;
    comes_back(scene, before?)
}

/// Kills the source's server and makes its standby the source. Nothing was handed out before the standby
/// had it ([`Postgres::wait_for_standby`]): the task goes on there by itself.
///
/// # Errors
/// When the standby lacks a slot, or the task does not come back.
pub fn promote(
    scene: &Scene<'_>,
    source: &mut Postgres,
    standby: &mut Option<Postgres>,
) -> Result<()> {
    scene.settled_owner()?;
    for slot in [scene.truth_slot(), &slot(scene)?] {
        standby.as_ref().context("no standby")?.wait_synced(slot, SYNC_LIMIT)?;
    }
    let heir = standby.take().context("no standby")?;
    let before = scene.stable_records()?;
    source.kill();
    heir.promote()?;
    *source = heir;
    flows_again(scene, before)
}

/// The name of the task's slot.
fn slot(scene: &Scene<'_>) -> Result<String> {
    let task = scene.cluster.task(TASK)?;
    Ok(format!("tidewire_{}", task["id"].as_str().context("a task without an id")?))
}

/// The server process that sends the changes, if one does.
fn streaming(scene: &Scene<'_>) -> Result<Option<i32>> {
    let query = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = $1::text::name";
    Ok(scene.address.connect()?.query_one(query, &[&slot(scene)?])?.get(0))
}

/// Ends the process that sends the changes, and tells which it was.
fn end_stream(scene: &Scene<'_>) -> Result<i32> {
    let end = Instant::now() + STREAM_LIMIT;
    loop {
        if let Some(pid) = streaming(scene)? {
            let ended = "SELECT pg_terminate_backend($1)";
            if scene.address.connect()?.query_one(ended, &[&pid])?.get(0) {
                return Ok(pid);
            }
        }
        ensure!(Instant::now() < end, "nobody streams in {STREAM_LIMIT:?}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// Waits until the task's fault holds a word.
fn shows(scene: &Scene<'_>, word: &str) -> Result<()> {
    let end = Instant::now() + TROUBLE_LIMIT;
    loop {
        let task = scene.cluster.task(TASK)?;
        let error = task["error"].to_string();
        if error.contains(word) {
            return Ok(());
        }
        ensure!(Instant::now() < end, "not {word} in {TROUBLE_LIMIT:?}: {} {error}", task["phase"]);
        thread::sleep(Duration::from_millis(200));
    }
}

/// Waits until the task flows again; resumes it where it has given up.
fn comes_back(scene: &Scene<'_>, before: u64) -> Result<()> {
    let end = Instant::now() + SETTLE_LIMIT;
    let mut resumed = 0;
    while scene.stable_records()? <= before {
        let task = scene.cluster.task(TASK)?;
        ensure!(Instant::now() < end, "no record {SETTLE_LIMIT:?} after the repair: {task}");
        if task["phase"] == "Failed" {
            ensure!(resumed < RESUMES, "it fails after the repair, too: {}", task["error"]);
            scene.cluster.done(&["task", "resume", TASK])?;
            resumed += 1;
        }
        thread::sleep(Duration::from_millis(500));
    }
    scene.settled(None, SETTLE_LIMIT)
}
