//! What every test of a copy starts from: two Kafka clusters, ours between them, and the proof that
//! both hold the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use tidewire_testbed::cluster::{Cluster, ClusterOptions};
use tidewire_testbed::fault_points::FaultPoints;
use tidewire_testbed::process::{self, Signal};
use tidewire_testbed::reader::{Reader, Record};
use tidewire_testbed::servers::{Kafka, KafkaOptions};
use tidewire_testbed::writer::{Writer, Written};

/// The task's name in every test.
pub const COPY: &str = "mirror";

/// Longest wait for a step of a fault.
const PATIENCE: Duration = Duration::from_secs(60);

/// Two Kafka clusters and a task that copies from one into the other.
#[derive(Debug)]
pub struct CopyScene {
    /// Where records come from.
    pub source: Kafka,
    /// Where they go.
    pub target: Kafka,
    /// Ours, with three coordinators.
    pub cluster: Cluster,
    /// Places inside the cluster's nodes where they can be held.
    pub points: FaultPoints,
}

impl CopyScene {
    /// Starts both ends with so many brokers each, and a cluster of `nodes` nodes.
    ///
    /// # Errors
    /// When anything does not start.
    pub fn start(brokers: usize, nodes: usize) -> Result<Self> {
        let servers = || Kafka::start(KafkaOptions { brokers, ..KafkaOptions::default() });
        let (source, target) = (servers()?, servers()?);
        let points = FaultPoints::new()?;
        let mut options = ClusterOptions { nodes, ..ClusterOptions::default() };
        options.env.push(points.variable());
        Ok(Self { source, target, cluster: Cluster::start(options)?, points })
    }

    /// The document of a task that copies all topics, with these lines instead of the defaults.
    #[must_use]
    pub fn document(&self, lines: &str) -> String {
        let brokers = |kafka: &Kafka| {
            let list: Vec<_> =
                kafka.bootstrap().split(',').map(|broker| format!("\"{broker}\"")).collect();
            list.join(", ")
        };
        let mut text = format!(
            "apiVersion: tidewire/v1\nkind: kafka_to_kafka\nname: {COPY}\n\
             source: {{brokers: [{}]}}\ntarget: {{brokers: [{}]}}\n{lines}\n",
            brokers(&self.source),
            brokers(&self.target)
        );
        if !lines.contains("topics:") {
            text.push_str("topics: [{all: true}]\n");
        }
        text
    }

    /// Makes the task and waits until it copies.
    ///
    /// # Errors
    /// When it is refused, or does not start in a minute.
    pub fn copy(&self, lines: &str) -> Result<()> {
        self.cluster.apply_and_start(&self.document(lines))
    }

    /// Waits until everything is copied, then compares the topics, record by record.
    ///
    /// # Errors
    /// When the task does not catch up, or something differs; what differs is told.
    pub fn prove(&self, topics: &[&str], renamed: impl Fn(&str) -> String) -> Result<u64> {
        self.cluster.wait(COPY, "caught-up", Duration::from_secs(120))?;
        let copies: Vec<String> = topics.iter().map(|topic| renamed(topic)).collect();
        let copies: Vec<&str> = copies.iter().map(String::as_str).collect();
        let (source, target) =
            (Reader::all(&self.source, topics)?, Reader::all(&self.target, &copies)?);
        let records = u64::try_from(source.len())?;
        let (source, target) = (by_partition(source), by_partition(target));
        for ((topic, partition), originals) in &source {
            let place = (renamed(topic), *partition);
            let copied = target.get(&place).map_or(&[][..], Vec::as_slice);
            compare(topic, *partition, originals, copied)?;
        }
        let extra = target.keys().filter(|(topic, partition)| {
            !source.keys().any(|(name, number)| renamed(name) == *topic && number == partition)
        });
        ensure!(extra.count() == 0, "records in partitions that are empty at the source");
        Ok(records)
    }
}

type Partitions = BTreeMap<(String, u32), Vec<Record>>;

fn by_partition(records: Vec<Record>) -> Partitions {
    let mut partitions = Partitions::new();
    for record in records {
        partitions.entry((record.topic.clone(), record.partition)).or_default().push(record);
    }
    partitions
}

/// Equal in number, order, key, value, headers and timestamp.
fn compare(topic: &str, partition: u32, originals: &[Record], copies: &[Record]) -> Result<()> {
    let mut told = String::new();
    for (place, (original, copy)) in originals.iter().zip(copies).enumerate() {
        let same = original.key == copy.key
            && original.value == copy.value
            && original.headers == copy.headers
            // librdkafka writes 0 as the present time.
            && (original.timestamp == copy.timestamp || original.timestamp == 0);
        if !same {
            write!(told, "record {place}: {original:?} became {copy:?}")?;
            break;
        }
    }
    ensure!(
        told.is_empty() && originals.len() == copies.len(),
        "topic {topic}, partition {partition}: {} records, {} copies; {told}",
        originals.len(),
        copies.len()
    );
    Ok(())
}

/// Writes records into every partition of a topic, in turn, until it is stopped.
#[derive(Debug)]
pub struct CopyLoad {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u64>>>,
}

impl CopyLoad {
    /// Starts to write about so many records a second.
    ///
    /// # Errors
    /// When the writer does not start.
    pub fn start(kafka: &Kafka, topic: &str, partitions: u32, per_second: u32) -> Result<Self> {
        let mut writer = Writer::start(kafka, "lz4", None)?;
        let (stop, topic) = (Arc::new(AtomicBool::new(false)), topic.to_owned());
        let stopped = Arc::clone(&stop);
        let pause = Duration::from_secs(1) * partitions / per_second.max(1);
        let thread = std::thread::spawn(move || {
            let mut round = 0_u64;
            while !stopped.load(Ordering::Acquire) {
                let began = Instant::now();
                let record = |partition| Written {
                    partition,
                    key: Some(format!("{partition}").into_bytes()),
                    ..Written::value(format!("{round}"))
                };
                let records: Vec<_> = (0..partitions).map(record).collect();
                writer.send(&topic, &records)?;
                round += 1;
                std::thread::sleep(pause.saturating_sub(began.elapsed()));
            }
            Ok(round * u64::from(partitions))
        });
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops it, and tells how many records there are.
    ///
    /// # Errors
    /// When the writer failed.
    pub fn finish(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take().context("was finished twice")?;
        thread.join().map_err(|_| anyhow!("the writer panicked"))?
    }
}

impl Drop for CopyLoad {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// A shard as the command line shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardSeen {
    /// `TASK/NUMBER`.
    pub id: String,
    /// Its owner.
    pub node: String,
    /// The epoch of its owner.
    pub epoch: u64,
    /// Pipelines built beyond the first.
    pub restarts: u64,
    /// The partitions that it copies, with their topics.
    pub partitions: Vec<(String, u32)>,
}

impl CopyScene {
    /// The shards of the task.
    ///
    /// # Errors
    /// When the task cannot be shown, or a shard has no owner.
    pub fn shards(&self) -> Result<Vec<ShardSeen>> {
        let task = self.cluster.task(COPY)?;
        let shards = task["shards"].as_array().context("no shards")?;
        shards.iter().map(shard_seen).collect()
    }

    /// Waits until all shards copy, each with an owner other than `gone`.
    ///
    /// # Errors
    /// When that takes longer than `limit`.
    pub fn settled(&self, gone: Option<&str>, limit: Duration) -> Result<Vec<ShardSeen>> {
        let end = Instant::now() + limit;
        loop {
            let task = self.cluster.task(COPY)?;
            let all = task["shards"].as_array().is_some_and(|shards| {
                shards.iter().all(|shard| {
                    shard["phase"] == "Synchronizing" && shard["node"].as_str() != gone
                })
            });
            if all {
                return self.shards();
            }
            ensure!(Instant::now() < end, "not all shards copy in {limit:?}: {}", task["shards"]);
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl CopyScene {
    /// Freezes the first node that comes to this place inside it, until another one has its shards and
    /// `time` has passed, then lets it go on where it stood.
    ///
    /// # Errors
    /// When nobody comes there, or nobody takes over.
    pub fn freeze_at(&self, point: &str, time: Duration) -> Result<()> {
        self.settled(None, PATIENCE)?;
        self.points.arm(point)?;
        if matches!(point, "before_init_producer" | "after_claim") {
            self.cluster.done(&["task", "pause", COPY])?;
            self.cluster.wait(COPY, "Paused", PATIENCE)?;
            self.cluster.done(&["task", "resume", COPY])?;
        }
        let pid = self.points.wait_hit(point, PATIENCE)?;
        let nodes = self.cluster.nodes();
        let held = nodes.iter().find(|node| node.pid == pid).context("who is held is no node")?;
        process::signal(pid, Signal::STOP)?;
        let since = Instant::now();
        self.settled(Some(&held.name), PATIENCE)?;
        std::thread::sleep(time.saturating_sub(since.elapsed()));
        ensure!(process::state_of(pid) == Some('T'), "{} was not frozen", held.name);
        self.points.release(point)?;
        process::signal(pid, Signal::CONT)?;
        // Time enough for it to try what it was about to do.
        std::thread::sleep(Duration::from_secs(4));
        Ok(())
    }
}

fn shard_seen(shard: &Value) -> Result<ShardSeen> {
    let topics = shard["position"]["partitions"].as_object().context("no partitions")?;
    let partitions = topics.iter().flat_map(|(topic, partitions)| {
        let numbers = partitions.as_object().into_iter().flatten();
        numbers.filter_map(|(number, _)| Some((topic.clone(), number.parse().ok()?)))
    });
    Ok(ShardSeen {
        id: shard["id"].as_str().context("no id")?.to_owned(),
        node: shard["node"].as_str().context("no owner")?.to_owned(),
        epoch: shard["epoch"].as_u64().context("no epoch")?,
        restarts: shard["restarts"].as_u64().context("no restarts")?,
        partitions: partitions.collect(),
    })
}

/// The longest time without a record, over these partitions, between two moments (µs since 1970).
#[must_use]
pub fn longest_gap(
    records: &[Record],
    partitions: &[(String, u32)],
    (from, to): (i64, i64),
) -> Duration {
    let mut last: BTreeMap<(&str, u32), i64> =
        partitions.iter().map(|(topic, number)| ((topic.as_str(), *number), from)).collect();
    let mut longest = 0;
    let between = |record: &&Record| (from..to).contains(&record.received_at_micros);
    for record in records.iter().filter(between) {
        if let Some(before) = last.get_mut(&(record.topic.as_str(), record.partition)) {
            longest = longest.max(record.received_at_micros - *before);
            *before = record.received_at_micros;
        }
    }
    let still = last.values().map(|before| to - before).max().unwrap_or_default();
    Duration::from_micros(u64::try_from(longest.max(still)).unwrap_or_default())
}
