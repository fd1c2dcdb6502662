//! A topic whose offsets have gaps, because it was compacted.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidewire_testbed::reader::Reader;
use tidewire_testbed::servers::Kafka;
use tidewire_testbed::writer::{Writer, Written};

/// The broker setting that makes the cleaner look often enough for a test.
pub const QUICK_CLEANER: (&str, &str) = ("log.cleaner.backoff.ms", "300");

const LIMIT: Duration = Duration::from_secs(90);
const RECORDS: usize = 40;
/// One of so many records stays, the others are overwritten: gaps lie between those that stay.
const STAYS_ONE_IN: usize = 15;

/// Settings under which a broker compacts soon. They are taken away again: a topic that is compacted
/// while it is compared with its copy would differ from it.
const COMPACTED: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("segment.ms", "100"),
    ("min.cleanable.dirty.ratio", "0.001"),
    ("max.compaction.lag.ms", "100"),
];

/// Makes a topic, has every partition of it compacted until it has gaps, then ends the compaction. The
/// brokers need [`QUICK_CLEANER`].
///
/// # Errors
/// When no gap is seen in time.
pub fn topic_with_gaps(kafka: &Kafka, topic: &str, partitions: u32) -> Result<()> {
    kafka.create_topic(topic, partitions, &COMPACTED)?;
    let mut writer = Writer::start(kafka, "gzip", None)?;
    let end = Instant::now() + LIMIT;
    for round in 0_usize.. {
        for partition in 0..partitions {
            let record = |number: usize| {
                let key = match number % STAYS_ONE_IN {
                    0 => format!("{round}: {number}"),
                    _ => "the same".to_owned(),
                };
                let value = Written::value(format!("{round}: {number}"));
                Written { partition, key: Some(key.into_bytes()), ..value }
            };
            writer.send(topic, &(0..RECORDS).map(record).collect::<Vec<_>>())?;
        }
        thread::sleep(Duration::from_secs(1));
        if partitions_with_gaps(kafka, topic)? == partitions {
            break;
        }
        ensure!(Instant::now() < end, "topic {topic} was not compacted in {LIMIT:?}");
    }
    let settings = COMPACTED.map(|(name, _)| (name, None));
    kafka.alter_topic_config(topic, &settings)?;
    // A round of the cleaner that began before ends.
    thread::sleep(Duration::from_secs(2));
    Ok(())
}

fn partitions_with_gaps(kafka: &Kafka, topic: &str) -> Result<u32> {
    let mut seen = BTreeMap::<u32, (u64, bool)>::new();
    for record in Reader::until_end(kafka, &[topic])? {
        let record = record?;
        let (next, gap) = seen.entry(record.partition).or_insert((record.offset, false));
        *gap |= *next != record.offset;
        *next = record.offset + 1;
    }
    Ok(u32::try_from(seen.values().filter(|(_, gap)| *gap).count())?)
}
