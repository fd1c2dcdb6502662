//! Kafka to Kafka: one backlog of 1 KiB records, copied by each reader in turn.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rand::{Rng as _, SeedableRng as _};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde::Deserialize;
use tidewire_testbed::cluster::{Cluster, ClusterOptions};
use tidewire_testbed::servers::kafka::{Kafka, KafkaOptions};
use tidewire_testbed::servers::mirror::{Mirror, MirrorTuning};

use crate::report::{Figures, median, step};
use crate::{floor, room, usage};

/// Bytes of a record.
pub(crate) const RECORD: usize = 1024;
/// What is copied.
pub(crate) const TOPIC: &str = "copied";
/// Partitions of source and copy.
pub(crate) const PARTITIONS: u32 = 4;
/// Longest time for one copy.
const LIMIT: Duration = Duration::from_secs(300);

/// What one copy cost.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    mb_per_second: f64,
    cpu_seconds_per_gb: f64,
    peak_rss_mib: f64,
}

/// Who copies.
#[derive(Clone, Copy, Debug)]
enum Reader {
    /// A loop of this program, by its word.
    Loop(&'static str),
    /// A task on a cluster with one node.
    Task,
    Mirror(MirrorTuning),
}

const READERS: [(&str, Reader); 6] = [
    ("bare librdkafka loop", Reader::Loop(floor::WORD)),
    ("tidewire, exactly once", Reader::Task),
    ("our clients alone, exactly once", Reader::Loop(room::WORD)),
    ("MirrorMaker 2 default", Reader::Mirror(MirrorTuning::Default)),
    ("MirrorMaker 2 tuned", Reader::Mirror(MirrorTuning::Tuned)),
    ("MirrorMaker 2 exactly once", Reader::Mirror(MirrorTuning::ExactlyOnce)),
];

/// Copies `mebibytes` with every reader; the rivals only with `peers`.
pub(crate) fn measure(mebibytes: u64, rounds: usize, peers: bool) -> Result<Vec<Figures>> {
    ["lz4", "none"].map(|codec| one_codec(codec, mebibytes, rounds, peers)).into_iter().collect()
}

fn one_codec(codec: &str, mebibytes: u64, rounds: usize, peers: bool) -> Result<Figures> {
    step("starting two clusters");
    let source = Kafka::start(KafkaOptions::default())?;
    source.create_topic(TOPIC, PARTITIONS, &[])?;
    let records = mebibytes * (1 << 20) / u64::try_from(RECORD)?;
    step(&format!("writing {mebibytes} MiB, {codec}"));
    load(&source, codec, records)?;
    let readers =
        || READERS.iter().filter(|(_, reader)| peers || !matches!(reader, Reader::Mirror(_)));
    let mut runs: Vec<Vec<Run>> = readers().map(|_| Vec::new()).collect();
    for round in 1..=rounds {
        for ((name, reader), runs) in readers().zip(&mut runs) {
            step(&format!("round {round} of {rounds}: {name}, {codec}"));
            // A fresh target each time: its disk and page cache start alike for all.
            let target = Kafka::start(KafkaOptions::default())?;
            target.create_topic(TOPIC, PARTITIONS, &[])?;
            let run = match reader {
                Reader::Loop(word) => in_process(word, &source, &target, codec, records)?,
                Reader::Task => task(&source, &target, records)?,
                Reader::Mirror(tuning) => mirror(*tuning, &source, &target, codec, records)?,
            };
            step(&format!("{run:?}"));
            runs.push(run);
        }
    }
    let rows = readers().zip(&runs).map(|((name, _), runs)| row(name, runs)).collect();
    let title = format!("Kafka to Kafka, {mebibytes} MiB of 1 KiB records, {codec}");
    let heads = vec!["reader", "MB/s", "CPU s/GB", "peak RSS MiB"];
    Ok(Figures { title, heads, rows })
}

fn row(name: &str, runs: &[Run]) -> Vec<String> {
    let of = |value: fn(&Run) -> f64| median(&runs.iter().map(value).collect::<Vec<_>>());
    vec![
        name.to_owned(),
        format!("{:.0}", of(|run| run.mb_per_second)),
        format!("{:.1}", of(|run| run.cpu_seconds_per_gb)),
        format!("{:.0}", of(|run| run.peak_rss_mib)),
    ]
}

/// Half of each record is the same, so that it compresses as text does, to about half.
pub(crate) fn load(source: &Kafka, codec: &str, records: u64) -> Result<()> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", source.inner_bootstrap())
        .set("compression.codec", codec)
        .set("linger.ms", "20")
        .create()?;
    let mut random = rand::rngs::StdRng::seed_from_u64(7);
    let mut value = vec![b'x'; RECORD];
    for n in 0..records {
        if let Some(half) = value.get_mut(..RECORD / 2) {
            random.fill(half);
        }
        let partition = i32::try_from(n % u64::from(PARTITIONS))?;
        let record = || BaseRecord::<(), [u8]>::to(TOPIC).partition(partition).payload(&value);
        while producer.send(record()).is_err() {
            producer.poll(Duration::from_millis(10));
        }
        if n % 64 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(LIMIT).map_err(Into::into)
}

fn in_process(
    word: &str,
    source: &Kafka,
    target: &Kafka,
    codec: &str,
    records: u64,
) -> Result<Run> {
    let output = Command::new(std::env::current_exe()?)
        .args([word, "--from", TOPIC, "--to", TOPIC, "--compression", codec])
        .args(["--source", &source.inner_bootstrap(), "--target", &target.inner_bootstrap()])
        .args(["--records", &records.to_string()])
        .output()?;
    ensure!(output.status.success(), "{word}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("the loop's figures")
}

/// The clock starts with the first record of the copy: the start of a Java program is not counted
/// against it, though its CPU time is.
fn mirror(
    tuning: MirrorTuning,
    source: &Kafka,
    target: &Kafka,
    codec: &str,
    records: u64,
) -> Result<Run> {
    let mut mirror = Mirror::start(source, target, &[TOPIC], tuning, codec)?;
    let time = copied(target, TOPIC, records, || {
        ensure!(mirror.is_running(), "{}", mirror.log());
        Ok(())
    })?;
    cost(time, records, mirror.pid())
}

/// One shard: what the loops beside it do in one process, too.
fn task(source: &Kafka, target: &Kafka, records: u64) -> Result<Run> {
    let cluster = Cluster::start(ClusterOptions { nodes: 1, ..ClusterOptions::default() })?;
    let brokers = |kafka: &Kafka| format!("{{brokers: [\"{}\"]}}", kafka.bootstrap());
    cluster.apply_and_start(&format!(
        "apiVersion: tidewire/v1\nkind: kafka_to_kafka\nname: copy\nsource: {}\ntarget: {}\n\
         topics: [{{match: [{TOPIC}]}}]\nshards: 1\n",
        brokers(source),
        brokers(target)
    ))?;
    let time = copied(target, TOPIC, records, || Ok(()))?;
    cost(time, records, cluster.member("node-1")?.pid)
}

/// Waits until all is copied; gives the time since the first record was seen.
pub(crate) fn copied(
    target: &Kafka,
    topic: &str,
    records: u64,
    mut alive: impl FnMut() -> Result<()>,
) -> Result<Duration> {
    let mut began: Option<Instant> = None;
    let give_up = Instant::now() + LIMIT;
    loop {
        let count: u64 = target.end_offsets(topic)?.stable.values().sum();
        if count > 0 && began.is_none() {
            began = Some(Instant::now());
        }
        if let (Some(began), true) = (began, count >= records) {
            return Ok(began.elapsed());
        }
        alive()?;
        ensure!(Instant::now() < give_up, "{count} of {records} records in {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn cost(time: Duration, records: u64, pid: u32) -> Result<Run> {
    #[allow(clippy::cast_precision_loss)]
    let megabytes = (records * 1024) as f64 / 1e6;
    Ok(Run {
        mb_per_second: megabytes / time.as_secs_f64(),
        cpu_seconds_per_gb: usage::cpu_seconds(pid)? / (megabytes / 1e3),
        peak_rss_mib: usage::peak_mib(pid)?,
    })
}
