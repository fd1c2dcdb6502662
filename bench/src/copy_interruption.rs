//! Interruption of a copy: the longest time without a record, partition by partition, while a task that
//! three nodes share loses one of them.

use std::collections::BTreeSet;
use std::sync::mpsc::{SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use jiff::Timestamp;
use tidewire_testbed::cluster::{Cluster, ClusterOptions};
use tidewire_testbed::copy_load::CopyLoad;
use tidewire_testbed::process::{Signal, signal};
use tidewire_testbed::reader::{Reader, Record};
use tidewire_testbed::servers::{Kafka, KafkaOptions};
use tidewire_testbed::shards::{ShardSeen, longest_gap, shards_of};
use tidewire_testbed::task::CopyDocument;

use crate::report::{Figures, median, step};

const TASK: &str = "copy";
const TOPIC: &str = "many";
const NODES: usize = 3;
const PARTITIONS: u32 = 64;
const RECORDS_PER_SECOND: u32 = 1_280;
/// How long records flow undisturbed before a fault.
const CALM: Duration = Duration::from_secs(4);
/// How long they are watched after it.
const WATCHED: Duration = Duration::from_secs(12);
/// Longest wait for shards to be shared out again.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longest times without a record, in seconds: one per shard.
#[derive(Default)]
struct Gaps {
    calm: Vec<f64>,
    moved: Vec<f64>,
    stayed: Vec<f64>,
}

pub(crate) fn measure(rounds: usize) -> Result<Figures> {
    step("starting two Kafka and three nodes");
    let (source, target) =
        (Kafka::start(KafkaOptions::default())?, Kafka::start(KafkaOptions::default())?);
    source.create_topic(TOPIC, PARTITIONS, &[])?;
    let mut cluster = Cluster::start(ClusterOptions { nodes: NODES, ..ClusterOptions::default() })?;
    let ends = (source.bootstrap(), target.bootstrap());
    let document = CopyDocument { name: TASK, source: &ends.0, target: &ends.1, lines: "" };
    cluster.apply_and_start(&document.yaml())?;
    cluster.wait(TASK, "caught-up", PATIENCE)?;
    let load = CopyLoad::start(&source, TOPIC, PARTITIONS, RECORDS_PER_SECOND)?;
    let mut gaps = Gaps::default();
    for round in 1..=rounds {
        step(&format!("kill -9 of a node, round {round} of {rounds}"));
        interrupt(&mut cluster, &target, &mut gaps)?;
    }
    load.finish()?;
    let row = |name: &str, gaps: &[f64]| {
        let worst = gaps.iter().copied().fold(0.0, f64::max);
        vec![name.to_owned(), format!("{:.2}", median(gaps)), format!("{worst:.2}")]
    };
    Ok(Figures {
        title: format!(
            "seconds without a record in any partition of a shard, kill -9 of one of {NODES} nodes that \
             share {PARTITIONS} partitions, {RECORDS_PER_SECOND} records/s, {rounds} rounds"
        ),
        heads: vec!["shards", "median", "worst"],
        rows: vec![
            row("of the killed node", &gaps.moved),
            row("of the other nodes", &gaps.stayed),
            row("all, before the kill", &gaps.calm),
        ],
    })
}

/// Kills a node, and sees what that does to every shard; all nodes share the task again after it.
fn interrupt(cluster: &mut Cluster, target: &Kafka, gaps: &mut Gaps) -> Result<()> {
    let before = shared(cluster, NODES)?;
    let follower = Follower::start(target)?;
    std::thread::sleep(Duration::from_secs(1));
    let began = now_micros();
    std::thread::sleep(CALM);
    let killed = now_micros();
    let victim = before.first().ok_or_else(|| anyhow!("no shards"))?.node.clone();
    signal(cluster.member(&victim)?.pid, Signal::KILL)?;
    std::thread::sleep(WATCHED);
    let seen_until = now_micros();
    let records = follower.finish()?;
    let after = shared(cluster, NODES - 1)?;
    ensure!(after.iter().all(|shard| shard.node != victim), "{victim} still owns shards");
    for shard in &before {
        let gap = |from, to| longest_gap(&records, &shard.partitions, (from, to)).as_secs_f64();
        gaps.calm.push(gap(began, killed));
        let of_kind = if shard.node == victim { &mut gaps.moved } else { &mut gaps.stayed };
        of_kind.push(gap(killed, seen_until));
    }
    cluster.restart(&victim)
}

/// The shards, once so many nodes have some and nothing has moved for a while.
fn shared(cluster: &Cluster, nodes: usize) -> Result<Vec<ShardSeen>> {
    let give_up = Instant::now() + PATIENCE;
    let mut last = Vec::new();
    loop {
        // Between two owners a shard has none.
        let now = shards_of(cluster, TASK).unwrap_or_default();
        let owners: BTreeSet<&str> = now.iter().map(|shard| shard.node.as_str()).collect();
        if owners.len() == nodes && same_owners(&now, &last) {
            return Ok(now);
        }
        ensure!(Instant::now() < give_up, "{nodes} nodes do not share the task: {now:?}");
        last = now;
        std::thread::sleep(CALM);
    }
}

fn same_owners(now: &[ShardSeen], before: &[ShardSeen]) -> bool {
    let owners = |shards: &[ShardSeen]| -> Vec<(String, u64)> {
        shards.iter().map(|shard| (shard.node.clone(), shard.epoch)).collect()
    };
    owners(now) == owners(before)
}

fn now_micros() -> i64 {
    Timestamp::now().as_microsecond()
}

/// Reads the copy from its present end on until it is told to stop.
struct Follower {
    stop: SyncSender<()>,
    thread: JoinHandle<Result<Vec<Record>>>,
}

impl Follower {
    fn start(target: &Kafka) -> Result<Self> {
        let mut reader = Reader::follow(target, &[TOPIC])?;
        let (stop, stopped) = sync_channel::<()>(1);
        let thread = std::thread::spawn(move || {
            let mut records = Vec::new();
            while stopped.try_recv() == Err(TryRecvError::Empty) {
                records.extend(reader.next_within(Duration::from_millis(100))?);
            }
            Ok(records)
        });
        Ok(Self { stop, thread })
    }

    fn finish(self) -> Result<Vec<Record>> {
        drop(self.stop);
        self.thread.join().map_err(|_| anyhow!("the reader panicked"))?
    }
}
