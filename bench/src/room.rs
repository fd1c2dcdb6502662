//! The same copy as the bare loop's, by our own clients with their settings and in transactions, yet
//! without nodes, positions and stages: what these add shows beside it.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use tidewire_kafka::{
    Consumer, Headers, Item, Record, Sent, Settings, SourceLimits, SourcePartition, TopicHandle,
    TransactionalProducer,
};
use tidewire_shared::ByteSize;
use tidewire_shared::spec::{Compression, KafkaSecurity, KafkaTarget};

use crate::floor::Copy;
use crate::usage;

/// The word that makes the bench be this loop.
pub(crate) const WORD: &str = "copy-room";

/// Bytes of a transaction.
const TRANSACTION: usize = 64 << 20;
const RECORD: ByteSize = ByteSize(1 << 20);
const PATIENCE: Duration = Duration::from_secs(30);

/// Copies, and prints one JSON object: what it took.
pub(crate) fn run(copy: &Copy) -> Result<()> {
    let brokers = |list: &str| list.split(',').map(str::to_owned).collect::<Vec<_>>();
    let source =
        Settings::source(&brokers(&copy.source), &KafkaSecurity::default(), &[].into(), RECORD)?;
    let target = KafkaTarget { brokers: brokers(&copy.target), ..KafkaTarget::default() };
    let target = Settings::new(&target, RECORD)?;
    let mut consumer = Consumer::open(&source, SourceLimits::default())?;
    let mut producer = TransactionalProducer::create(&target, WORD)?;
    producer.init(PATIENCE)?;
    let topic = producer.topic_compressed(&copy.to, compression(&copy.compression)?);
    let partitions = (0..copy.partitions).map(|partition| SourcePartition {
        topic: copy.from.clone(),
        partition: u32::try_from(partition).unwrap_or_default(),
        offset: 0,
        leader_epoch: None,
    });
    consumer.assign(&partitions.collect::<Vec<_>>(), PATIENCE)?;
    let began = Instant::now();
    let bytes = carry(copy, &mut consumer, &mut producer, topic)?;
    usage::tell(began.elapsed(), bytes)
}

fn carry(
    copy: &Copy,
    consumer: &mut Consumer,
    producer: &mut TransactionalProducer,
    topic: TopicHandle,
) -> Result<u64> {
    let (mut records, mut bytes, mut open) = (0, 0_u64, 0_usize);
    producer.begin()?;
    while records < copy.records {
        let Some(fetched) = consumer.next(PATIENCE)? else { bail!("no more records") };
        for item in &fetched {
            let Item::Record(record) = item else { continue };
            records += 1;
            let record = Record {
                partition: u32::try_from(record.slot)?,
                key: record.key,
                value: record.value,
                headers: Headers::Of(record.headers),
                timestamp: Some(record.timestamp.millis()),
            };
            while producer.send_record(&topic, &record)? == Sent::Full {
                ensure!(producer.wait_for_room(PATIENCE)?, "the target takes nothing");
            }
        }
        bytes += u64::try_from(fetched.bytes())?;
        open += fetched.bytes();
        if open >= TRANSACTION {
            ensure!(producer.commit(PATIENCE).clean, "not committed");
            producer.begin()?;
            open = 0;
        }
    }
    ensure!(producer.commit(PATIENCE).clean, "not committed");
    Ok(bytes)
}

fn compression(word: &str) -> Result<Compression> {
    Ok(match word {
        "none" => Compression::None,
        "lz4" => Compression::Lz4,
        other => bail!("{other} is not measured"),
    })
}
