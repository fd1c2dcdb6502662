//! What every test of a copy starts from: two Kafka clusters, ours between them, and the proof that
//! both hold the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Result, ensure};
use tidewire_testbed::cluster::{Cluster, ClusterOptions};
use tidewire_testbed::fault_points::FaultPoints;
use tidewire_testbed::reader::{Reader, Record};
use tidewire_testbed::servers::{Kafka, KafkaOptions};

/// The task's name in every test.
pub const COPY: &str = "mirror";

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
