//! Rounds with copies of topics.
//!
//! A round has two Kafka clusters of three brokers each, the target behind the proxy, and a cluster of
//! its own with three coordinators and three nodes. Producers write what copies are known to get wrong
//! from begin to end, each codec into a topic of its own; while faults happen, a topic grows and another
//! one appears.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use tidewire_testbed::fault_points::FaultPoints;
use tidewire_testbed::proxy::KafkaProxy;
use tidewire_testbed::servers::{Kafka, KafkaOptions};
use tidewire_testbed::writer::WriterPlan;

use super::fault::{Fault, Side};
use super::round::{self, AWAY, CATCH_UP_LIMIT, Made, Round, Verdict};
use crate::copy::{CopyScene, QUICK_CLEANER, Shape, Stream, topic_with_gaps};
use crate::faults;

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
const PARTITIONS: u32 = 3;
const TRANSACTIONAL: &str = "transactional";
const COMPACTED: &str = "compacted";
const GROWING: &str = "growing";
const GROWN: u32 = 5;
const LATE: &str = "late";

/// Records of any age stay: what both ends have is compared.
const SETTINGS: [(&str, &str); 2] = [("log.retention.ms", "-1"), QUICK_CLEANER];

/// Rounds with servers of their own.
#[derive(Debug)]
pub struct KafkaRounds {
    binary: PathBuf,
}

impl KafkaRounds {
    /// `binary` has the feature `fault-points`.
    #[must_use]
    pub fn new(binary: PathBuf) -> Self {
        Self { binary }
    }

    /// One round of these faults. `told` hears of each.
    ///
    /// # Errors
    /// When the servers, the cluster or the load do not start or the load fails.
    pub fn round(
        &self,
        seed: u64,
        mut faults: Vec<Fault>,
        mut told: impl FnMut(&Made),
    ) -> Result<Round> {
        let start = Instant::now();
        let mut random = StdRng::seed_from_u64(seed);
        faults.shuffle(&mut random);
        let (proxy, mut scene) = self.scene(seed)?;
        let mut load = Load::start(&scene.source, seed)?;
        scene.copy("shards: 6")?;
        let mut made = Vec::new();
        for (part, faults) in faults.chunks(faults.len().div_ceil(3).max(1)).enumerate() {
            match part {
                0 => {}
                1 => load.grow(&scene.source)?,
                _ => load.appear(&scene.source, seed)?,
            }
            made.extend(round::strike(&mut scene, faults, &mut random, &mut told, |scene, it| {
                make(scene, &proxy, it)
            })?);
        }
        let topics = load.finish()?;
        let topics: Vec<_> = topics.iter().map(String::as_str).collect();
        let proof = scene.compare(&topics, str::to_owned).context("prove");
        let proof = proof.map(|proof| Verdict { holds: proof.holds(), told: proof.to_string() });
        Ok(Round { made, proof, took: start.elapsed() })
    }

    /// Every other one reads busy partitions apart, as a copy of hundreds of topics does.
    fn scene(&self, seed: u64) -> Result<(KafkaProxy, CopyScene)> {
        let (proxy, target) = round::proxied_brokers(&SETTINGS)?;
        let settings = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let source = Kafka::start(KafkaOptions {
            brokers: 3,
            settings: settings.into(),
            ..KafkaOptions::default()
        })?;
        let mut processes = round::processes(&self.binary);
        if seed % 2 == 1 {
            processes.env.push(FaultPoints::wishes("read_apart"));
        }
        let mut scene = CopyScene::between(source, target, processes)?;
        scene.catch_up_limit = CATCH_UP_LIMIT;
        Ok((proxy, scene))
    }
}

fn make(scene: &mut CopyScene, proxy: &KafkaProxy, fault: Fault) -> Result<()> {
    match fault {
        Fault::RestartBroker(side, broker) => faults::restart_broker(kafka(side, scene), broker),
        Fault::KillBroker(side) => faults::kill_broker(kafka(side, scene), (TRANSACTIONAL, 0)),
        Fault::BrokersAway(side) => faults::brokers_away(scene, kafka(side, scene), AWAY),
        fault => round::make(scene, proxy, fault),
    }
}

fn kafka(side: Side, scene: &CopyScene) -> &Kafka {
    match side {
        Side::Source => &scene.source,
        Side::Target => &scene.target,
    }
}

/// Everything that is written during a round.
struct Load {
    streams: Vec<Stream>,
    /// Number of the stream whose topic grows.
    growing: usize,
    topics: Vec<String>,
}

impl Load {
    /// Makes the topics of the begin, and starts a stream into each.
    fn start(source: &Kafka, seed: u64) -> Result<Self> {
        topic_with_gaps(source, COMPACTED, PARTITIONS)?;
        let mut load = Self { streams: Vec::new(), growing: 0, topics: Vec::new() };
        load.stream(source, (COMPACTED, PARTITIONS), "lz4", seed);
        for codec in CODECS {
            source.create_topic(codec, PARTITIONS, &[])?;
            load.stream(source, (codec, PARTITIONS), codec, seed);
        }
        source.create_topic(TRANSACTIONAL, PARTITIONS, &[])?;
        load.stream(source, (TRANSACTIONAL, PARTITIONS), "lz4", seed);
        source.create_topic(GROWING, PARTITIONS, &[])?;
        load.growing = load.streams.len();
        load.stream(source, (GROWING, PARTITIONS), "lz4", seed);
        Ok(load)
    }

    fn stream(&mut self, source: &Kafka, (topic, partitions): (&str, u32), codec: &str, seed: u64) {
        let (id, shape) = match topic {
            TRANSACTIONAL => (Some("load"), Shape::Transactions),
            _ => (None, Shape::Plain),
        };
        let number = u64::try_from(self.streams.len()).unwrap_or_default();
        let seed = seed.wrapping_mul(100).wrapping_add(number);
        let plan = WriterPlan::new(source, codec, id);
        self.streams.push(Stream::start(plan, (topic, partitions), shape, seed));
        self.topics.push(topic.to_owned());
    }

    /// More partitions, and records into them.
    fn grow(&self, source: &Kafka) -> Result<()> {
        source.set_partitions(GROWING, GROWN)?;
        self.streams.get(self.growing).context("no topic to grow")?.widen(GROWN);
        Ok(())
    }

    /// One more topic, and records into it.
    fn appear(&mut self, source: &Kafka, seed: u64) -> Result<()> {
        source.create_topic(LATE, PARTITIONS, &[])?;
        self.stream(source, (LATE, PARTITIONS), "none", seed);
        Ok(())
    }

    /// Ends it; gives the topics that hold something.
    fn finish(self) -> Result<Vec<String>> {
        for (stream, topic) in self.streams.into_iter().zip(&self.topics) {
            ensure!(stream.finish()? > 0, "no load in {topic}");
        }
        Ok(self.topics)
    }
}
