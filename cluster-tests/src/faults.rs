//! The faults that a cluster must survive; each returns only after it is known to have happened.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tidewire_testbed::cluster::Member;
use tidewire_testbed::process::{self, Signal};
use tidewire_testbed::proxy::{EndTxnFault, Ending, FaultEvent, KafkaProxy};
use tidewire_testbed::servers::Postgres;
use tidewire_testbed::servers::postgres::StopMode;

use crate::chaos::SourceStop;
use crate::{Scene, TASK};

const TAKEOVER_LIMIT: Duration = Duration::from_secs(60);
const PHASE_LIMIT: Duration = Duration::from_secs(60);
const LEADER_LIMIT: Duration = Duration::from_secs(30);
const POINT_LIMIT: Duration = Duration::from_secs(30);
const REQUEST_LIMIT: Duration = Duration::from_secs(40);
const SESSIONS_LIMIT: Duration = Duration::from_secs(60);
const REPEAT_LIMIT: Duration = Duration::from_secs(5);

/// Kills the owner, waits for another one, and starts the killed node again.
///
/// # Errors
/// When nobody takes over.
pub fn kill_owner(scene: &mut Scene<'_>) -> Result<()> {
    let owner = scene.settled_owner()?;
    process::signal(owner.pid, Signal::KILL)?;
    wait_takeover(scene, &owner)?;
    scene.cluster.restart(&owner.name)
}

/// Kills the leader of the coordinators, waits for another one, and starts the killed one again.
///
/// # Errors
/// When no other coordinator leads in time.
pub fn kill_leader(scene: &mut Scene<'_>) -> Result<()> {
    let leader = wait_leader(scene, None)?;
    process::signal(leader.pid, Signal::KILL)?;
    wait_leader(scene, Some(&leader))?;
    scene.cluster.restart(&leader.name)
}

/// Waits until a coordinator other than `old` leads.
fn wait_leader(scene: &Scene<'_>, old: Option<&Member>) -> Result<Member> {
    let end = Instant::now() + LEADER_LIMIT;
    loop {
        let leader = scene.cluster.leader();
        match leader {
            Ok(leader) if old != Some(&leader) => return Ok(leader),
            _ => ensure!(Instant::now() < end, "no new leader in {LEADER_LIMIT:?}"),
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// Kills all coordinators and starts them again after `time`, in which the task must flow on.
///
/// # Errors
/// When records stop or a coordinator does not come back.
pub fn coordinators_away(scene: &mut Scene<'_>, time: Duration) -> Result<()> {
    scene.settled_owner()?;
    let coordinators = scene.cluster.coordinators().to_vec();
    for coordinator in &coordinators {
        process::signal(coordinator.pid, Signal::KILL)?;
    }
    let since = Instant::now();
    thread::sleep(Duration::from_secs(1));
    let begin = scene.stable_records()?;
    thread::sleep((time / 2).saturating_sub(since.elapsed()));
    let middle = scene.stable_records()?;
    thread::sleep(time.saturating_sub(since.elapsed()));
    let end = scene.stable_records()?;
    for coordinator in &coordinators {
        ensure!(!process::alive(coordinator.pid), "{} was not away", coordinator.name);
        scene.cluster.restart(&coordinator.name)?;
    }
    wait_leader(scene, None)?;
    ensure!(begin < middle && middle < end, "records stood still: {begin}, {middle}, {end}");
    Ok(())
}

/// Kills all brokers and starts them again after `time`; the task must come back by itself.
///
/// # Errors
/// When a broker or the task does not come back.
pub fn brokers_away(scene: &Scene<'_>, time: Duration) -> Result<()> {
    scene.settled_owner()?;
    let before = scene.stable_records()?;
    (0..scene.kafka.broker_ports().len()).for_each(|broker| scene.kafka.kill_broker(broker));
    thread::sleep(time);
    scene.kafka.restart_all()?;
    flows_again(scene, before)
}

/// Waits until readers see more records than before a fault, and the task is well.
fn flows_again(scene: &Scene<'_>, before: u64) -> Result<()> {
    let end = Instant::now() + TAKEOVER_LIMIT;
    while scene.stable_records().unwrap_or_default() <= before {
        ensure!(Instant::now() < end, "no record {TAKEOVER_LIMIT:?} after all came back");
        thread::sleep(Duration::from_millis(500));
    }
    scene.cluster.wait(TASK, "Synchronizing", TAKEOVER_LIMIT)
}

/// Stops the source's server and starts it again; the task must come back by itself.
///
/// # Errors
/// When the server or the task does not come back.
pub fn restart_source(scene: &Scene<'_>, source: &mut Postgres, stop: SourceStop) -> Result<()> {
    scene.settled_owner()?;
    let (before, pid) = (scene.stable_records()?, source.pid());
    match stop {
        SourceStop::Fast => source.restart(StopMode::Fast)?,
        SourceStop::Immediate => source.restart(StopMode::Immediate)?,
        SourceStop::Kill => {
            source.kill();
            // A session in the middle of a statement lives on for a while, and holds up a new server.
            let end = Instant::now() + SESSIONS_LIMIT;
            while let Err(failed) = source.resume() {
                ensure!(Instant::now() < end, "the server does not come back: {failed:#}");
                thread::sleep(Duration::from_secs(1));
            }
        }
    }
    ensure!(source.pid() != pid, "the server is the same process");
    flows_again(scene, before)
}

/// Freezes the owner for `time` at any moment, at least until it was replaced.
///
/// # Errors
/// When nobody takes over.
pub fn freeze_owner(scene: &Scene<'_>, time: Duration) -> Result<()> {
    let owner = scene.settled_owner()?;
    freeze(scene, &owner, time, || Ok(()))
}

/// Freezes the process that comes to a named point of its code for `time`, at least until it was
/// replaced. A point in the order of a start is reached by a pause.
///
/// # Errors
/// When nobody comes to the point or nobody takes over.
pub fn freeze_at(scene: &Scene<'_>, point: &str, time: Duration) -> Result<()> {
    scene.settled_owner()?;
    scene.points.arm(point)?;
    if matches!(point, "before_init_producer" | "after_claim") {
        scene.cluster.done(&["task", "pause", TASK])?;
        scene.cluster.wait(TASK, "Paused", PHASE_LIMIT)?;
        scene.cluster.done(&["task", "resume", TASK])?;
    }
    let pid = scene.points.wait_hit(point, POINT_LIMIT)?;
    let held = scene.cluster.nodes().iter().find(|node| node.pid == pid).cloned();
    let held = held.with_context(|| format!("process {pid} at {point} is no node"))?;
    freeze(scene, &held, time, || scene.points.release(point))
}

fn freeze(
    scene: &Scene<'_>,
    frozen: &Member,
    time: Duration,
    before_waking: impl FnOnce() -> Result<()>,
) -> Result<()> {
    process::signal(frozen.pid, Signal::STOP)?;
    let since = Instant::now();
    wait_takeover(scene, frozen)?;
    thread::sleep(time.saturating_sub(since.elapsed()));
    ensure!(process::state_of(frozen.pid) == Some('T'), "{} was not frozen", frozen.name);
    before_waking()?;
    process::signal(frozen.pid, Signal::CONT)?;
    // Time enough for it to try what it was about to do.
    thread::sleep(Duration::from_secs(4));
    Ok(())
}

/// Waits until another member than `old` owns the task and streams.
///
/// # Errors
/// When that does not happen in time.
pub fn wait_takeover(scene: &Scene<'_>, old: &Member) -> Result<()> {
    let end = Instant::now() + TAKEOVER_LIMIT;
    loop {
        let owner = scene.cluster.owner(TASK);
        if owner.is_ok_and(|owner| owner != *old) {
            return scene.cluster.wait(TASK, "Synchronizing", TAKEOVER_LIMIT);
        }
        ensure!(Instant::now() < end, "no takeover from {}", old.name);
        thread::sleep(Duration::from_millis(100));
    }
}

/// Makes `fault` with a request that ends a transaction in the way `ending`.
///
/// # Errors
/// When no such request came by.
pub fn disturb_end(
    scene: &Scene<'_>,
    proxy: &KafkaProxy,
    fault: EndTxnFault,
    ending: Ending,
) -> Result<FaultEvent> {
    let done = proxy.events().len();
    proxy.arm(fault, ending);
    if ending == Ending::Abort {
        abort_something(scene, || proxy.events().len() > done)?;
    }
    proxy.wait_events(done + 1, REQUEST_LIMIT)?;
    let end = Instant::now() + REPEAT_LIMIT;
    loop {
        let events = proxy.events();
        let event = events.get(done).context("the proxy forgot its fault")?;
        // A held request keeps its connection: nothing makes librdkafka repeat it.
        if event.repeated > 0 || matches!(fault, EndTxnFault::Hold(_)) {
            return Ok(event.clone());
        }
        ensure!(Instant::now() < end, "librdkafka did not send it again: {event:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A pause aborts what is open, but does not meet an open transaction each time: tries other
/// moments until one does.
fn abort_something(scene: &Scene<'_>, happened: impl Fn() -> bool) -> Result<()> {
    for attempt in 0..40 {
        scene.cluster.done(&["task", "pause", TASK])?;
        scene.cluster.wait(TASK, "Paused", PHASE_LIMIT)?;
        scene.cluster.done(&["task", "resume", TASK])?;
        scene.cluster.wait(TASK, "Synchronizing", PHASE_LIMIT)?;
        if happened() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(300 + 37 * attempt));
    }
    Ok(())
}

/// Stops a broker properly and starts it again.
///
/// # Errors
/// When it does not come back.
pub fn restart_broker(scene: &Scene<'_>, broker: usize) -> Result<()> {
    let old = scene.kafka.broker_pid(broker);
    scene.kafka.stop_broker(broker);
    ensure!(old.is_some_and(|pid| !process::alive(pid)), "broker {broker} did not stop");
    thread::sleep(Duration::from_secs(3));
    scene.kafka.restart_broker(broker)?;
    ensure!(scene.kafka.broker_pid(broker) != old, "broker {broker} did not start again");
    Ok(())
}
