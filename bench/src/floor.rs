//! A bare librdkafka loop from Kafka to Kafka: what a copy costs at least, with no promise at all. It
//! runs in a process of its own, so that its CPU time and memory are nobody else's.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use rdkafka::Message as _;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;

use crate::usage;

/// The word that makes the bench be this loop.
pub(crate) const WORD: &str = "copy-floor";

/// Longest wait for the next record.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a loop copies.
#[derive(Parser)]
#[command(name = "copy")]
pub(crate) struct Copy {
    /// Brokers that are read
    #[arg(long)]
    pub(crate) source: String,
    /// Brokers that are written
    #[arg(long)]
    pub(crate) target: String,
    /// Topic that is read
    #[arg(long)]
    pub(crate) from: String,
    /// Topic that is written, with as many partitions
    #[arg(long)]
    pub(crate) to: String,
    /// Partitions of both
    #[arg(long, default_value_t = 4)]
    pub(crate) partitions: i32,
    /// Records to copy
    #[arg(long)]
    pub(crate) records: u64,
    /// Codec of the copy
    #[arg(long, default_value = "none")]
    pub(crate) compression: String,
}

/// Copies, and prints one JSON object: what it took.
pub(crate) fn run(copy: &Copy) -> Result<()> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &copy.source)
        .set("group.id", WORD)
        .set("enable.auto.commit", "false")
        .create()?;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &copy.target)
        .set("compression.codec", &copy.compression)
        .set("linger.ms", "20")
        .create()?;
    let mut partitions = TopicPartitionList::new();
    for partition in 0..copy.partitions {
        partitions.add_partition_offset(&copy.from, partition, Offset::Beginning)?;
    }
    consumer.assign(&partitions)?;
    let began = Instant::now();
    let bytes = carry(copy, &consumer, &producer)?;
    producer.flush(PATIENCE)?;
    usage::tell(began.elapsed(), bytes)
}

fn carry(copy: &Copy, consumer: &BaseConsumer, producer: &BaseProducer) -> Result<u64> {
    let mut bytes = 0_u64;
    for n in 0..copy.records {
        let record = consumer.poll(PATIENCE).context("the source has no more records")??;
        ensure!(record.topic() == copy.from, "a record of another topic");
        let (key, value) = (record.key(), record.payload().unwrap_or_default());
        bytes += u64::try_from(key.map_or(0, <[u8]>::len) + value.len())?;
        let mut out: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&copy.to)
            .partition(record.partition())
            .payload(value)
            .timestamp(record.timestamp().to_millis().unwrap_or(-1));
        out.key = key;
        while let Err((full, back)) = producer.send(out) {
            let queue_full = RDKafkaErrorCode::QueueFull;
            ensure!(full == KafkaError::MessageProduction(queue_full), "not taken: {full}");
            producer.poll(Duration::from_millis(10));
            out = back;
        }
        if n % 64 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    Ok(bytes)
}
