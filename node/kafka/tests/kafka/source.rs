//! The source's consumer: what it reads, in which order, and where it stands.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidewire_kafka::{
    Consumer, Item, Settings, SourceLimits, SourcePartition, SourceRecord, Timestamp,
};
use tidewire_shared::ByteSize;
use tidewire_shared::spec::KafkaSecurity;
use tidewire_testbed::servers::kafka::Kafka;
use tidewire_testbed::writer::{Writer, Written};

use crate::broker::{SOON, broker, fresh, fresh_topic};

pub(crate) fn source_at(bootstrap: &str) -> Settings {
    let brokers: Vec<String> = bootstrap.split(',').map(str::to_owned).collect();
    let open = KafkaSecurity::default();
    Settings::source(&brokers, &open, &BTreeMap::new(), ByteSize(64 << 20)).expect("settings")
}

pub(crate) fn source(kafka: &Kafka) -> Settings {
    source_at(&kafka.bootstrap())
}

pub(crate) fn from(topic: &str, partition: u32, offset: i64) -> SourcePartition {
    SourcePartition { topic: topic.to_owned(), partition, offset, leader_epoch: None }
}

/// Ends of partitions are told soon.
pub(crate) fn quick() -> SourceLimits {
    SourceLimits { fetch_wait: Duration::from_millis(50), ..SourceLimits::default() }
}

/// What came out of a consumer, copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copied {
    pub(crate) slot: usize,
    pub(crate) offset: i64,
    pub(crate) leader_epoch: Option<i32>,
    pub(crate) timestamp: Timestamp,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Copied {
    fn of(record: &SourceRecord<'_>) -> Self {
        let headers = record.headers.iter();
        Self {
            slot: record.slot,
            offset: record.offset,
            leader_epoch: record.leader_epoch,
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers
                .map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec)))
                .collect(),
        }
    }
}

/// Reads until every one of `slots` has reached an end, and gives the last of each.
pub(crate) fn read_to_ends(
    consumer: &mut Consumer,
    slots: std::ops::Range<usize>,
) -> (Vec<Copied>, BTreeMap<usize, i64>) {
    let (mut records, mut ends) = (Vec::new(), BTreeMap::new());
    let deadline = Instant::now() + SOON;
    while !slots.clone().all(|slot| ends.contains_key(&slot)) {
        assert!(Instant::now() < deadline, "{} records, ends {ends:?}", records.len());
        let Some(fetched) = consumer.next(Duration::from_millis(100)).expect("next") else {
            continue;
        };
        for item in &fetched {
            match item {
                Item::Record(record) => {
                    ends.remove(&record.slot);
                    records.push(Copied::of(&record));
                }
                Item::Reached { slot, offset } => drop(ends.insert(slot, offset)),
            }
        }
    }
    (records, ends)
}

pub(crate) fn values_of(records: &[Copied], slot: usize) -> Vec<String> {
    let of_slot = records.iter().filter(|record| record.slot == slot);
    let value = |record: &Copied| {
        String::from_utf8(record.value.clone().unwrap_or_default()).expect("text")
    };
    of_slot.map(value).collect()
}

fn numbered(partition: u32, numbers: std::ops::Range<u32>) -> Vec<Written> {
    numbers.map(|n| Written { partition, ..Written::value(format!("v{n}")) }).collect()
}

#[test]
fn every_part_of_a_record_comes_as_it_was_written() {
    let kafka = broker();
    let topic = fresh_topic(&kafka, 2);
    let mut writer = Writer::start(&kafka, "lz4", None).expect("writer");
    let header = |name: &str, value: Option<&[u8]>| (name.to_owned(), value.map(<[u8]>::to_vec));
    let nasty = [
        Written {
            key: Some(b"k".to_vec()),
            value: Some(b"v".to_vec()),
            headers: vec![
                header("b", Some(b"1")),
                header("a", None),
                header("b", Some(b"")),
                header("", Some(&[0, 255])),
                header("ключ", Some(b"x\0y")),
            ],
            timestamp: Some(1),
            ..Written::default()
        },
        Written { key: Some(Vec::new()), value: Some(Vec::new()), ..Written::default() },
        Written { timestamp: Some(0), ..Written::default() },
    ];
    let offsets = writer.send(&topic, &nasty).expect("sent");
    assert_eq!(offsets, [0, 1, 2]);

    let mut consumer = Consumer::open(&source(&kafka), quick()).expect("consumer");
    let slots = consumer.assign(&[from(&topic, 0, 0), from(&topic, 1, 0)], SOON).expect("slots");
    assert_eq!(slots, 0..2);
    let (records, ends) = read_to_ends(&mut consumer, slots);
    assert_eq!(ends, BTreeMap::from([(0, 3), (1, 0)]));
    let [first, second, third] = records.as_slice() else { panic!("{records:?}") };
    assert_eq!((first.slot, first.offset, first.leader_epoch), (0, 0, Some(0)));
    assert_eq!((first.key.as_deref(), first.value.as_deref()), (Some(&b"k"[..]), Some(&b"v"[..])));
    assert_eq!(first.timestamp, Timestamp::Create(1));
    let wanted: Vec<_> = nasty[0]
        .headers
        .iter()
        .map(|(name, value)| (name.as_bytes().to_vec(), value.clone()))
        .collect();
    assert_eq!(first.headers, wanted);
    assert_eq!((second.key.as_deref(), second.value.as_deref()), (Some(&b""[..]), Some(&b""[..])));
    assert!(matches!(second.timestamp, Timestamp::Create(now) if now > 1_700_000_000_000));
    assert_eq!((third.key.as_deref(), third.value.as_deref()), (None, None));
    assert_eq!((third.timestamp, third.headers.len()), (Timestamp::Create(0), 0));
    assert_eq!(consumer.ends(0), Some((0, 3)));
    assert!(consumer.unreachable().is_none());
}

#[test]
fn aborted_records_are_left_out_and_the_end_lies_behind_markers() {
    let kafka = broker();
    let topic = fresh_topic(&kafka, 1);
    let mut writer = Writer::start(&kafka, "none", Some(&fresh("id"))).expect("writer");
    let mut send = |from: u32, commit: bool| {
        writer.begin().expect("begin");
        writer.send(&topic, &numbered(0, from..from + 3)).expect("sent");
        if commit { writer.commit() } else { writer.abort() }.expect("ended");
    };
    send(0, true);
    send(3, false);
    send(6, true);
    send(9, false);
    let mut consumer = Consumer::open(&source(&kafka), quick()).expect("consumer");
    let slots = consumer.assign(&[from(&topic, 0, 0)], SOON).expect("slots");
    let (records, ends) = read_to_ends(&mut consumer, slots);
    assert_eq!(values_of(&records, 0), ["v0", "v1", "v2", "v6", "v7", "v8"]);
    assert_eq!(ends, BTreeMap::from([(0, 16)]));

    // An open transaction holds the end back until it is decided.
    writer.begin().expect("begin");
    writer.send(&topic, &numbered(0, 12..14)).expect("sent");
    let quiet = consumer.next(Duration::from_millis(400)).expect("next");
    assert!(quiet.is_none(), "{quiet:?}");
    assert_eq!(consumer.ends(0), Some((0, 18)));
    writer.commit().expect("commit");
    let (records, ends) = read_to_ends(&mut consumer, 0..1);
    assert_eq!(values_of(&records, 0), ["v12", "v13"]);
    assert_eq!(ends, BTreeMap::from([(0, 19)]));
}

#[test]
fn partitions_come_and_go_while_it_reads() {
    let kafka = broker();
    let (one, other) = (fresh_topic(&kafka, 2), fresh_topic(&kafka, 1));
    let mut writer = Writer::start(&kafka, "none", None).expect("writer");
    writer.send(&one, &numbered(0, 0..5)).expect("sent");
    writer.send(&one, &numbered(1, 5..10)).expect("sent");
    writer.send(&other, &numbered(0, 10..15)).expect("sent");
    let mut consumer = Consumer::open(&source(&kafka), quick()).expect("consumer");
    let slots = consumer.assign(&[from(&one, 0, 3)], SOON).expect("slots");
    let (records, _) = read_to_ends(&mut consumer, slots);
    assert_eq!(values_of(&records, 0), ["v3", "v4"]);

    let slots = consumer.assign(&[from(&other, 0, 4), from(&one, 1, 0)], SOON).expect("slots");
    assert_eq!(slots, 1..3);
    let (records, ends) = read_to_ends(&mut consumer, slots);
    assert_eq!(values_of(&records, 1), ["v14"]);
    assert_eq!(values_of(&records, 2), ["v5", "v6", "v7", "v8", "v9"]);
    assert_eq!((ends.get(&1), ends.get(&2)), (Some(&5), Some(&5)));

    consumer.remove(&[0, 2]);
    writer.send(&one, &numbered(0, 20..22)).expect("sent");
    writer.send(&one, &numbered(1, 22..24)).expect("sent");
    writer.send(&other, &numbered(0, 24..26)).expect("sent");
    let (records, _) = read_to_ends(&mut consumer, 1..2);
    assert_eq!(values_of(&records, 1), ["v24", "v25"]);
    assert_eq!(records.len(), 2, "{records:?}");

    // A partition that comes back has another slot, and begins where it is told to.
    let slots = consumer.assign(&[from(&one, 0, 5)], SOON).expect("slots");
    assert_eq!(slots, 3..4);
    let (records, _) = read_to_ends(&mut consumer, slots);
    assert_eq!(values_of(&records, 3), ["v20", "v21"]);
}

#[test]
fn what_was_fetched_outlives_its_consumer_and_changes_threads() {
    let kafka = broker();
    let topic = fresh_topic(&kafka, 1);
    let mut writer = Writer::start(&kafka, "zstd", None).expect("writer");
    writer.send(&topic, &numbered(0, 0..1000)).expect("sent");
    let mut consumer = Consumer::open(&source(&kafka), quick()).expect("consumer");
    consumer.assign(&[from(&topic, 0, 0)], SOON).expect("slots");
    let fetched = consumer.next(SOON).expect("next").expect("something");
    drop(consumer);
    let seen = std::thread::spawn(move || {
        let records = fetched.items().filter(|item| matches!(item, Item::Record(_))).count();
        (records, fetched.bytes())
    });
    let (records, bytes) = seen.join().expect("thread");
    assert!(records > 0 && bytes >= 2 * records, "{records} {bytes}");
}

#[test]
fn large_records_come_whole_and_a_reader_that_waits_holds_little() {
    let kafka = broker();
    let topic = fresh("large");
    kafka.create_topic(&topic, 1, &[("max.message.bytes", "30000000")]).expect("topic");
    let mut writer = Writer::start(&kafka, "none", None).expect("writer");
    let large = |byte| Written::value(vec![byte; 9_000_000]);
    for byte in 0..12 {
        writer.send(&topic, &[large(byte)]).expect("sent");
    }
    let mut consumer = Consumer::open(&source(&kafka), quick()).expect("consumer");
    let slots = consumer.assign(&[from(&topic, 0, 0)], SOON).expect("slots");
    // Nobody reads: what is ahead is bounded by the queue and one answer.
    std::thread::sleep(Duration::from_millis(1500));
    let fetched = consumer.next(SOON).expect("next").expect("something");
    assert!(fetched.bytes() <= 27_000_000, "{}", fetched.bytes());
    let first = fetched.items().filter(|item| matches!(item, Item::Record(_))).count();
    let (records, _) = read_to_ends(&mut consumer, slots);
    assert_eq!(first + records.len(), 12);
    let last = records.last().and_then(|record| record.value.clone()).expect("a value");
    assert!(last.len() == 9_000_000 && last.iter().all(|byte| *byte == 11));
}
