//! The faults that a cluster must survive; each returns only after it is known to have happened.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tidewire_testbed::cluster::Member;
use tidewire_testbed::process::{self, Signal};
use tidewire_testbed::proxy::{EndTxnFault, Ending, FaultEvent, KafkaProxy};
use tidewire_testbed::servers::postgres::StopMode;
use tidewire_testbed::servers::{Kafka, Postgres};

use crate::chaos::SourceStop;
use crate::subject::{SETTLE_LIMIT, Subject};

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
pub fn kill_owner(scene: &mut impl Subject) -> Result<()> {
    let owner = scene.settled_owner()?;
    process::signal(owner.pid, Signal::KILL)?;
    scene.settled(Some(&owner.name), SETTLE_LIMIT)?;
    scene.cluster_mut().restart(&owner.name)
}

/// Kills the leader of the coordinators, waits for another one, and starts the killed one again.
///
/// # Errors
/// When no other coordinator leads in time.
pub fn kill_leader(scene: &mut impl Subject) -> Result<()> {
    let leader = wait_leader(scene, None)?;
    process::signal(leader.pid, Signal::KILL)?;
    wait_leader(scene, Some(&leader))?;
    scene.cluster_mut().restart(&leader.name)
}

/// Waits until a coordinator other than `old` leads.
fn wait_leader(scene: &impl Subject, old: Option<&Member>) -> Result<Member> {
    let end = Instant::now() + LEADER_LIMIT;
    loop {
        let leader = scene.cluster().leader();
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
pub fn coordinators_away(scene: &mut impl Subject, time: Duration) -> Result<()> {
    scene.settled_owner()?;
    let coordinators = scene.cluster().coordinators().to_vec();
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
        scene.cluster_mut().restart(&coordinator.name)?;
    }
    wait_leader(scene, None)?;
    ensure!(begin < middle && middle < end, "records stood still: {begin}, {middle}, {end}");
    Ok(())
}

/// Kills all brokers of one end and starts them again after `time`; the task must come back by itself.
///
/// # Errors
/// When a broker or the task does not come back.
pub fn brokers_away(scene: &impl Subject, kafka: &Kafka, time: Duration) -> Result<()> {
    scene.settled_owner()?;
    let before = scene.stable_records()?;
    let mut brokers = 0..kafka.broker_ports().len();
    brokers.clone().for_each(|broker| kafka.kill_broker(broker));
    thread::sleep(time);
    ensure!(brokers.all(|broker| kafka.broker_pid(broker).is_none()), "a broker ran");
    kafka.restart_all()?;
    flows_again(scene, before)
}

/// Waits until readers see more records than before a fault, and the task is well.
pub(crate) fn flows_again(scene: &impl Subject, before: u64) -> Result<()> {
    let end = Instant::now() + SETTLE_LIMIT;
    while scene.stable_records().unwrap_or_default() <= before {
        ensure!(Instant::now() < end, "no record {SETTLE_LIMIT:?} after all came back");
        thread::sleep(Duration::from_millis(500));
    }
    scene.settled(None, SETTLE_LIMIT)
}

/// Stops the source's server and starts it again; the task must come back by itself.
///
/// # Errors
/// When the server or the task does not come back.
pub fn restart_source(scene: &impl Subject, source: &mut Postgres, stop: SourceStop) -> Result<()> {
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
pub fn freeze_owner(scene: &impl Subject, time: Duration) -> Result<()> {
    let owner = scene.settled_owner()?;
    freeze(scene, &owner, time, || Ok(()))
}

/// Freezes the process that comes to a named point of its code for `time`, at least until it was
/// replaced. A point in the order of a start is reached by a pause.
///
/// # Errors
/// When nobody comes to the point or nobody takes over.
pub fn freeze_at(scene: &impl Subject, point: &str, time: Duration) -> Result<()> {
    scene.settled_owner()?;
    scene.points().arm(point)?;
    if matches!(point, "before_init_producer" | "after_claim") {
        scene.cluster().done(&["task", "pause", scene.task()])?;
        scene.cluster().wait(scene.task(), "Paused", PHASE_LIMIT)?;
        scene.cluster().done(&["task", "resume", scene.task()])?;
    }
    let pid = scene.points().wait_hit(point, POINT_LIMIT)?;
    let held = scene.cluster().nodes().iter().find(|node| node.pid == pid).cloned();
    let held = held.with_context(|| format!("process {pid} at {point} is no node"))?;
    freeze(scene, &held, time, || scene.points().release(point))
}

fn freeze(
    scene: &impl Subject,
    frozen: &Member,
    time: Duration,
    before_waking: impl FnOnce() -> Result<()>,
) -> Result<()> {
    process::signal(frozen.pid, Signal::STOP)?;
    let since = Instant::now();
    scene.settled(Some(&frozen.name), SETTLE_LIMIT)?;
    thread::sleep(time.saturating_sub(since.elapsed()));
    ensure!(process::state_of(frozen.pid) == Some('T'), "{} was not frozen", frozen.name);
    before_waking()?;
    process::signal(frozen.pid, Signal::CONT)?;
    // Time enough for it to try what it was about to do.
    thread::sleep(Duration::from_secs(4));
    Ok(())
}

/// Makes `fault` with a request that ends a transaction in the way `ending`.
///
/// # Errors
/// When no such request came by.
pub fn disturb_end(
    scene: &impl Subject,
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
fn abort_something(scene: &impl Subject, happened: impl Fn() -> bool) -> Result<()> {
    for attempt in 0..40 {
        scene.cluster().done(&["task", "pause", scene.task()])?;
        scene.cluster().wait(scene.task(), "Paused", PHASE_LIMIT)?;
        scene.cluster().done(&["task", "resume", scene.task()])?;
        scene.settled(None, PHASE_LIMIT)?;
        if happened() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(300 + 37 * attempt));
    }
    Ok(())
}

/// Drains the owner, waits until nothing of the task is left there, and takes it back.
///
/// # Errors
/// When its shards are not handed over.
pub fn drain_owner(scene: &impl Subject) -> Result<()> {
    let owner = scene.settled_owner()?;
    scene.cluster().done(&["nodes", "drain", &owner.name])?;
    let handed_over = scene.settled(Some(&owner.name), SETTLE_LIMIT);
    scene.cluster().done(&["nodes", "resume", &owner.name])?;
    handed_over
}

/// Stops a broker properly and starts it again.
///
/// # Errors
/// When it does not come back.
pub fn restart_broker(kafka: &Kafka, broker: usize) -> Result<()> {
    let old = kafka.broker_pid(broker);
    kafka.stop_broker(broker);
    ensure!(old.is_some_and(|pid| !process::alive(pid)), "broker {broker} did not stop");
    thread::sleep(Duration::from_secs(3));
    kafka.restart_broker(broker)?;
    ensure!(kafka.broker_pid(broker) != old, "broker {broker} did not start again");
    Ok(())
}

/// Kills the broker that leads a partition, waits until another one does, and starts it again.
///
/// # Errors
/// When no other broker leads the partition in time, or the killed one does not come back.
pub fn kill_broker(kafka: &Kafka, (topic, partition): (&str, u32)) -> Result<()> {
    let killed = kafka.leader_of(topic, partition)?;
    kafka.kill_broker(killed);
    let end = Instant::now() + LEADER_LIMIT;
    // Nobody leads for a while, which is no answer.
    while kafka.leader_of(topic, partition).ok().is_none_or(|leader| leader == killed) {
        ensure!(Instant::now() < end, "nobody leads {topic}-{partition} after broker {killed}");
        thread::sleep(Duration::from_millis(200));
    }
    thread::sleep(Duration::from_secs(3));
    kafka.restart_broker(killed)
}
