//! A reader of a thousand topics in which nothing happens, and of one in which a little does.

use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use serde::{Deserialize, Serialize};
use tidewire_kafka::topics::{NewTopic, Topics};
use tidewire_kafka::{
    Consumer, Idempotence, Item, PlainProducer, Record, Settings, SourceLimits, SourcePartition,
};
use tidewire_shared::ByteSize;
use tidewire_shared::spec::{KafkaSecurity, KafkaTarget};
use tidewire_testbed::servers::kafka::{Kafka, KafkaOptions};

use crate::report::{Figures, step};
use crate::usage;

/// The word that makes the bench be the reader.
pub(crate) const WORD: &str = "read-idle";

const PARTITIONS: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(60);
/// Each of the two times that are looked at.
const TIME: Duration = Duration::from_secs(10);
/// Longest wait for something to happen.
const PAUSE: Duration = Duration::from_millis(500);

/// What the reader reads.
#[derive(Parser)]
#[command(name = "idle")]
pub(crate) struct Idle {
    #[arg(long)]
    brokers: String,
    #[arg(long)]
    topics: usize,
}

#[derive(Serialize, Deserialize)]
struct Told {
    assigned_ms: u128,
    idle_cores: f64,
    busy_cores: f64,
    latency_p50_us: u64,
    latency_p99_us: u64,
    peak_mib: f64,
    removed_ms: u128,
}

fn name(topic: usize) -> String {
    format!("idle-{topic}")
}

fn settings(brokers: &str) -> Result<(Settings, Settings)> {
    let brokers: Vec<String> = brokers.split(',').map(str::to_owned).collect();
    let size = ByteSize(1 << 20);
    let source = Settings::source(&brokers, &KafkaSecurity::default(), &[].into(), size)?;
    let target = KafkaTarget { brokers, ..KafkaTarget::default() };
    Ok((source, Settings::new(&target, size)?))
}

/// Reads, and prints one JSON object: what it took.
pub(crate) fn run(idle: &Idle) -> Result<()> {
    let (source, target) = settings(&idle.brokers)?;
    let pid = std::process::id();
    let partitions = (0..idle.topics).flat_map(|topic| {
        (0..PARTITIONS).map(move |partition| SourcePartition {
            topic: name(topic),
            partition,
            offset: 0,
            leader_epoch: None,
        })
    });
    let partitions: Vec<_> = partitions.collect();
    let limits = SourceLimits::for_partitions(partitions.len());
    let mut consumer = Consumer::open(&source, limits)?;
    let began = Instant::now();
    let slots = consumer.assign(&partitions, PATIENCE)?;
    let mut open = slots.len();
    while open > 0 {
        let fetched = consumer.next(PATIENCE)?.context("partitions without an end")?;
        open -= fetched.items().filter(|item| matches!(item, Item::Reached { .. })).count();
    }
    let assigned_ms = began.elapsed().as_millis();
    // What the start leaves to do is not idleness.
    cores(|| consumer.next(PAUSE).map(drop).map_err(Into::into))?;
    let idle_cores = cores(|| consumer.next(PAUSE).map(drop).map_err(Into::into))?;
    let mut producer = PlainProducer::create(&target, &[name(0)], Idempotence::On)?;
    let mut took = Vec::new();
    let busy_cores = cores(|| {
        tick(&mut producer)?;
        consumer.next(PAUSE / 100).map(drop).map_err(Into::into)
    })?;
    // How long a record takes from the broker's word that it has it.
    for _ in 0..200 {
        while consumer.next(Duration::ZERO)?.is_some() {}
        tick(&mut producer)?;
        let began = Instant::now();
        while consumer.next(PATIENCE)?.is_none_or(|fetched| fetched.bytes() == 0) {}
        took.push(u64::try_from(began.elapsed().as_micros())?);
    }
    took.sort_unstable();
    let at = |share: usize| took.get(took.len() * share / 100).copied().unwrap_or_default();
    let began = Instant::now();
    drop(consumer);
    let told = Told {
        assigned_ms,
        idle_cores,
        busy_cores,
        latency_p50_us: at(50),
        latency_p99_us: at(99),
        peak_mib: usage::peak_mib(pid)?,
        removed_ms: began.elapsed().as_millis(),
    };
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&told)?).map_err(Into::into)
}

/// Cores that this process uses while it does something again and again.
fn cores(mut each: impl FnMut() -> Result<()>) -> Result<f64> {
    let pid = std::process::id();
    let (began, before) = (Instant::now(), usage::cpu_seconds(pid)?);
    while began.elapsed() < TIME {
        each()?;
    }
    Ok((usage::cpu_seconds(pid)? - before) / began.elapsed().as_secs_f64())
}

fn tick(producer: &mut PlainProducer) -> Result<()> {
    producer.send_record(0, &Record { value: Some(b"tick"), ..Record::default() })?;
    producer.flush(PATIENCE, || Ok(())).map_err(Into::into)
}

/// Has a reader of so many topics looked at.
pub(crate) fn measure(topics: usize) -> Result<Figures> {
    step(&format!("making {topics} topics"));
    let kafka = Kafka::start(KafkaOptions::default())?;
    let (_, target) = settings(&kafka.inner_bootstrap())?;
    let plans: Vec<NewTopic> = (0..topics)
        .map(|topic| NewTopic {
            name: name(topic),
            partitions: PARTITIONS,
            replicas: None,
            configs: [].into(),
        })
        .collect();
    let began = Instant::now();
    let client = Topics::new(&target)?;
    for (topic, made) in client.create(&plans, PATIENCE)? {
        made.with_context(|| topic)?;
    }
    // The controller has them at once; the broker makes a folder for each partition first.
    while client.list(PATIENCE)?.len() < topics {
        ensure!(began.elapsed() < PATIENCE, "the broker does not hear of its topics");
        std::thread::sleep(Duration::from_millis(200));
    }
    step(&format!("made in {:?}; reading them", began.elapsed()));
    let output = Command::new(std::env::current_exe()?)
        .args([WORD, "--brokers", &kafka.inner_bootstrap(), "--topics", &topics.to_string()])
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Told = serde_json::from_slice(&output.stdout).context("the reader's figures")?;
    Ok(Figures {
        title: format!("{topics} topics of {PARTITIONS} partitions, read by one consumer"),
        heads: vec![
            "all ends reached ms",
            "idle cores",
            "cores, one small record after the other",
            "record to reader p50 µs",
            "p99 µs",
            "peak RSS MiB",
            "closed in ms",
        ],
        rows: vec![vec![
            told.assigned_ms.to_string(),
            format!("{:.3}", told.idle_cores),
            format!("{:.3}", told.busy_cores),
            told.latency_p50_us.to_string(),
            told.latency_p99_us.to_string(),
            format!("{:.0}", told.peak_mib),
            told.removed_ms.to_string(),
        ]],
    })
}
