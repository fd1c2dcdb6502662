//! What every test of a copy starts from: two Kafka clusters, ours between them, and the proof that
//! both hold the same.

mod gaps;
mod mixture;
mod stream;

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tidewire_testbed::cluster::{Cluster, ClusterOptions};
use tidewire_testbed::fault_points::FaultPoints;
use tidewire_testbed::oracle::CopyProof;
use tidewire_testbed::reader::Reader;
use tidewire_testbed::servers::{Kafka, KafkaOptions};
use tidewire_testbed::shards::{ShardSeen, shards_of};
use tidewire_testbed::task::CopyDocument;

use crate::Subject;

pub use gaps::{QUICK_CLEANER, topic_with_gaps};
pub use mixture::Mixture;
pub use stream::{Shape, Stream};

/// The task's name in every test.
pub const COPY: &str = "mirror";

/// Topics that appear are looked for every nine seconds; the machine is busy with other things, too.
const APPEAR_LIMIT: Duration = Duration::from_secs(60);
const CATCH_UP_LIMIT: Duration = Duration::from_secs(120);

/// Two Kafka clusters and a task that copies from one into the other.
#[derive(Debug)]
pub struct CopyScene {
    // Stands first: it ends before its servers.
    /// Ours, with three coordinators.
    pub cluster: Cluster,
    /// Where records come from.
    pub source: Kafka,
    /// Where they go.
    pub target: Kafka,
    /// Places inside the cluster's nodes where they can be held.
    pub points: FaultPoints,
    /// How long the task may take to catch up before a proof.
    pub catch_up_limit: Duration,
}

impl CopyScene {
    /// Starts both ends with so many brokers each, and a cluster of `nodes` nodes.
    ///
    /// # Errors
    /// When anything does not start.
    pub fn start(brokers: usize, nodes: usize) -> Result<Self> {
        let servers = || Kafka::start(KafkaOptions { brokers, ..KafkaOptions::default() });
        Self::between(servers()?, servers()?, ClusterOptions { nodes, ..ClusterOptions::default() })
    }

    /// Starts a cluster between two others.
    ///
    /// # Errors
    /// When it does not start.
    pub fn between(source: Kafka, target: Kafka, mut options: ClusterOptions) -> Result<Self> {
        let points = FaultPoints::new()?;
        options.env.push(points.variable());
        let cluster = Cluster::start(options)?;
        Ok(Self { cluster, source, target, points, catch_up_limit: CATCH_UP_LIMIT })
    }

    /// The document of a task that copies all topics, with these lines instead of the defaults.
    #[must_use]
    pub fn document(&self, lines: &str) -> String {
        let (source, target) = (&self.source.bootstrap(), &self.target.bootstrap());
        CopyDocument { name: COPY, source, target, lines }.yaml()
    }

    /// Makes the task and waits until it copies.
    ///
    /// # Errors
    /// When it is refused, or does not start in a minute.
    pub fn copy(&self, lines: &str) -> Result<()> {
        self.cluster.apply_and_start(&self.document(lines))
    }

    /// The shards of the task.
    ///
    /// # Errors
    /// When the task cannot be shown, or a shard has no owner.
    pub fn shards(&self) -> Result<Vec<ShardSeen>> {
        shards_of(&self.cluster, COPY)
    }

    /// Waits until everything is copied, then compares the topics, record by record; gives the number
    /// of records.
    ///
    /// # Errors
    /// When the task does not catch up, or something differs; what differs is told.
    pub fn prove(&self, topics: &[&str], renamed: impl Fn(&str) -> String) -> Result<u64> {
        let proof = self.compare(topics, renamed)?;
        ensure!(proof.holds(), "the copies differ\n{proof}");
        Ok(proof.originals)
    }

    /// Waits until everything is copied, then compares the topics, whatever comes of it.
    ///
    /// # Errors
    /// When the task does not catch up, or a topic cannot be read.
    pub fn compare(&self, topics: &[&str], renamed: impl Fn(&str) -> String) -> Result<CopyProof> {
        for topic in topics {
            self.wait_as_wide(topic, &renamed(topic))?;
        }
        self.cluster
            .wait(COPY, "caught-up", self.catch_up_limit)
            .with_context(|| self.cluster.task(COPY).unwrap_or_default().to_string())?;
        let mut proof = CopyProof::default();
        for topic in topics {
            let originals = Reader::until_end(&self.source, &[topic])?;
            let copies = Reader::until_end(&self.target, &[&renamed(topic)])?;
            // Both processes read at the same time; one topic at a time bounds what we hold.
            let originals = originals.collect::<Result<Vec<_>>>()?;
            proof.compare(topic, &originals, &copies.collect::<Result<Vec<_>>>()?);
        }
        Ok(proof)
    }

    /// Before its copy is as wide as a topic, a task that has caught up may not have seen all of it.
    fn wait_as_wide(&self, topic: &str, copy: &str) -> Result<()> {
        let wanted = self.source.end_offsets(topic)?.stable.len();
        let end = Instant::now() + APPEAR_LIMIT;
        // A copy that is not there yet has no ends.
        while self.target.end_offsets(copy).map_or(0, |ends| ends.stable.len()) < wanted {
            let shown = || self.cluster.task(COPY).unwrap_or_default();
            ensure!(Instant::now() < end, "{copy} has no {wanted} partitions: {}", shown());
            thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }
}

impl Subject for CopyScene {
    fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    fn cluster_mut(&mut self) -> &mut Cluster {
        &mut self.cluster
    }

    fn points(&self) -> &FaultPoints {
        &self.points
    }

    fn task(&self) -> &str {
        COPY
    }

    fn stable_records(&self) -> Result<u64> {
        let copies = self.target.topics()?.into_iter().filter(|topic| !topic.starts_with("__"));
        copies.map(|copy| Ok(self.target.end_offsets(&copy)?.stable.values().sum::<u64>())).sum()
    }
}
