//! A copy of a thousand topics in which nothing happens but in one.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tidewire_kafka::Settings;
use tidewire_kafka::topics::{NewTopic, Topics};
use tidewire_shared::ByteSize;
use tidewire_shared::spec::KafkaTarget;
use tidewire_testbed::cluster::{Cluster, ClusterOptions};
use tidewire_testbed::servers::kafka::{Kafka, KafkaOptions};

use crate::copy::{self, RECORD, TOPIC};
use crate::report::{Figures, step};
use crate::usage;

const PARTITIONS: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(120);
/// After a start, before nothing happens.
const SETTLING: Duration = Duration::from_secs(20);
/// How long nothing happens.
const IDLE: Duration = Duration::from_secs(60);
/// Backlog of the topic in which something happens, MiB.
const BACKLOG: u64 = 2_048;

/// Both ends, and a cluster of one node between them.
struct Stage {
    source: Kafka,
    target: Kafka,
    cluster: Cluster,
}

/// Copies so many idle topics and a busy one, then the busy one alone.
pub(crate) fn measure(topics: usize) -> Result<Figures> {
    step(&format!("making {topics} topics"));
    let (source, target) =
        (Kafka::start(KafkaOptions::default())?, Kafka::start(KafkaOptions::default())?);
    source.create_topic(TOPIC, copy::PARTITIONS, &[])?;
    make(&source, topics)?;
    let cluster = Cluster::start(ClusterOptions { nodes: 1, ..ClusterOptions::default() })?;
    let stage = Stage { source, target, cluster };

    let all = stage.document("all", "{all: true}")?;
    let began = Instant::now();
    stage.cluster.done(&["task", "precheck", "-f", &all])?;
    let prechecked = began.elapsed();
    step("starting the task: it makes the copies of all topics");
    let began = Instant::now();
    stage.cluster.done(&["task", "apply", "-f", &all, "--start"])?;
    stage.cluster.wait("all", "caught-up", PATIENCE)?;
    let started = began.elapsed();
    std::thread::sleep(SETTLING);
    let idle_cores = stage.cores()?;
    step(&format!("idle: {idle_cores:.3} cores; now the busy topic"));
    let beside = stage.backlog("all", TOPIC)?;
    stage.cluster.done(&["task", "terminate", "all"])?;
    let alone = stage.document("alone", &format!("{{match: [{TOPIC}], rename: alone}}"))?;
    stage.cluster.done(&["task", "apply", "-f", &alone, "--start"])?;
    stage.cluster.wait("alone", "caught-up", PATIENCE)?;
    let by_itself = stage.backlog("alone", "alone")?;
    let pid = stage.cluster.member("node-1")?.pid;
    Ok(Figures {
        title: format!("{topics} topics of {PARTITIONS} partitions, one task, one node"),
        heads: vec![
            "precheck s",
            "caught up after s",
            "idle cores",
            "busy topic MB/s",
            "busy topic alone MB/s",
            "peak RSS MiB",
        ],
        rows: vec![vec![
            format!("{:.1}", prechecked.as_secs_f64()),
            format!("{:.1}", started.as_secs_f64()),
            format!("{idle_cores:.3}"),
            format!("{beside:.0}"),
            format!("{by_itself:.0}"),
            format!("{:.0}", usage::peak_mib(pid)?),
        ]],
    })
}

impl Stage {
    /// The path of a document of a task of this name.
    fn document(&self, name: &str, rule: &str) -> Result<String> {
        let text = format!(
            "apiVersion: tidewire/v1\nkind: kafka_to_kafka\nname: {name}\n\
             source: {{brokers: [\"{}\"]}}\ntarget: {{brokers: [\"{}\"]}}\ntopics: [{rule}]\n",
            self.source.bootstrap(),
            self.target.bootstrap()
        );
        let path = self.cluster.document(name, &text)?;
        path.to_str().map(str::to_owned).context("a path that is no text")
    }

    /// Cores that the node uses while nothing happens.
    fn cores(&self) -> Result<f64> {
        let pid = self.cluster.member("node-1")?.pid;
        let (began, before) = (Instant::now(), usage::cpu_seconds(pid)?);
        std::thread::sleep(IDLE);
        Ok((usage::cpu_seconds(pid)? - before) / began.elapsed().as_secs_f64())
    }

    /// MB/s of a backlog that was written while the task was paused.
    fn backlog(&self, task: &str, target: &str) -> Result<f64> {
        self.cluster.done(&["task", "pause", task])?;
        self.cluster.wait(task, "Paused", PATIENCE)?;
        let there =
            || Ok::<u64, anyhow::Error>(self.target.end_offsets(target)?.stable.values().sum());
        let before = there()?;
        let records = BACKLOG * (1 << 20) / u64::try_from(RECORD)?;
        copy::load(&self.source, "lz4", records)?;
        self.cluster.done(&["task", "resume", task])?;
        let mut began = None;
        let give_up = Instant::now() + PATIENCE;
        loop {
            // Markers of transactions take offsets too, so the last few records are not waited for.
            let copied = there()?.saturating_sub(before);
            // The other shards start meanwhile: what that takes is not what is asked here.
            if copied > records / 2 && began.is_none() {
                began = Some((Instant::now(), copied));
            }
            if let (Some((began, first)), true) = (began, copied >= records) {
                #[allow(clippy::cast_precision_loss)]
                let megabytes = ((records - first.min(records)) * 1024) as f64 / 1e6;
                return Ok(megabytes / began.elapsed().as_secs_f64());
            }
            ensure!(Instant::now() < give_up, "{copied} of {records} records in {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn make(kafka: &Kafka, topics: usize) -> Result<()> {
    let target = KafkaTarget { brokers: vec![kafka.inner_bootstrap()], ..KafkaTarget::default() };
    let client = Topics::new(&Settings::new(&target, ByteSize(1 << 20))?)?;
    let plans: Vec<NewTopic> = (0..topics)
        .map(|topic| NewTopic {
            name: format!("idle-{topic}"),
            partitions: PARTITIONS,
            replicas: None,
            configs: [].into(),
        })
        .collect();
    let began = Instant::now();
    for (topic, made) in client.create(&plans, PATIENCE)? {
        made.with_context(|| topic)?;
    }
    // The controller has them at once; the broker makes a folder for each partition first.
    while client.list(PATIENCE)?.len() < topics {
        ensure!(began.elapsed() < PATIENCE, "the broker does not hear of its topics");
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}
