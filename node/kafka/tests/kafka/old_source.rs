//! Old brokers as a source, and what can be asked and made there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidewire_kafka::codec::codec_of;
use tidewire_kafka::topics::{At, NewTopic, Topics};
use tidewire_kafka::{
    Consumer, Idempotence, Isolation, PlainProducer, Record, Sent, Settings, Timestamp,
};
use tidewire_shared::FaultKind;
use tidewire_shared::spec::Compression;
use tidewire_testbed::servers::old_kafka::{OldKafka, V0_10, V1_0, V2_0};

use crate::broker::{SOON, settings_at};
use crate::source::{from, quick, read_to_ends, source_at, values_of};

/// A broker, and a topic of two partitions that every broker heard of.
fn start(version: &str) -> (OldKafka, Settings, Topics) {
    let kafka = OldKafka::start(version).expect("a broker");
    let settings = source_at(&kafka.bootstrap());
    kafka.create_topic("orders", 2).expect("topic");
    let topics = Topics::new(&settings).expect("topics");
    let deadline = Instant::now() + SOON;
    while !topics.list(SOON).expect("list").iter().any(|topic| topic.name == "orders") {
        assert!(Instant::now() < deadline, "the broker never hears of the topic");
        std::thread::sleep(Duration::from_millis(100));
    }
    (kafka, settings, topics)
}

/// Writes 100 records, half of them with a key, into partition 1.
fn fill(kafka: &OldKafka, idempotence: Idempotence) {
    let target = settings_at(&kafka.bootstrap(), 1 << 20);
    let mut producer = PlainProducer::create(&target, &[], idempotence).expect("producer");
    let topic = producer.topic("orders", Some(Compression::Gzip));
    for n in 0..100_i64 {
        let value = format!("v{n}");
        let record = Record {
            partition: 1,
            key: (n % 2 == 0).then_some(&b"key"[..]),
            value: Some(value.as_bytes()),
            timestamp: Some(1_000 + n),
            ..Record::default()
        };
        assert_eq!(producer.send_record(topic, &record), Ok(Sent::Queued));
    }
    producer.flush(SOON, || Ok(())).expect("acknowledged");
}

fn reads(settings: &Settings) {
    let mut consumer = Consumer::open(settings, quick()).expect("consumer");
    let partitions = [from("orders", 0, 0), from("orders", 1, 10)];
    let slots = consumer.assign(&partitions, SOON).expect("slots");
    let (records, ends) = read_to_ends(&mut consumer, slots);
    let wanted: Vec<String> = (10..100).map(|n| format!("v{n}")).collect();
    assert_eq!(values_of(&records, 1), wanted);
    assert_eq!(ends, BTreeMap::from([(0, 0), (1, 100)]));
    assert_eq!(records[0].timestamp, Timestamp::Create(1_010));
    assert_eq!((records[0].key.is_some(), records[1].key.is_some()), (true, false));
    assert!(records.iter().all(|record| record.headers.is_empty()));
    let codecs = codec_of(settings, &["orders"], SOON).expect("codecs");
    assert_eq!(codecs, BTreeMap::from([("orders".to_owned(), Compression::Gzip)]));
}

fn asks(topics: &Topics) {
    let listed = topics.list(SOON).expect("list");
    let orders = listed.iter().find(|topic| topic.name == "orders").expect("listed");
    assert_eq!((orders.partitions, orders.id, orders.operations.is_none()), (2, (0, 0), true));
    let asked = [("orders", 0), ("orders", 1)];
    for (at, wanted) in [
        (At::Earliest, [Some(0), Some(0)]),
        (At::Latest(Isolation::Committed), [Some(0), Some(100)]),
        (At::Latest(Isolation::Uncommitted), [Some(0), Some(100)]),
        (At::Timestamp(1_050), [None, Some(50)]),
    ] {
        let answers = topics.offsets(&asked, at, SOON).expect("asked");
        assert_eq!(answers, wanted.map(Ok), "{at:?}");
    }
}

fn made(topics: &Topics) {
    let topic = NewTopic {
        name: "made".to_owned(),
        partitions: 2,
        replicas: Some(1),
        configs: BTreeMap::from([("retention.ms".to_owned(), "77000".to_owned())]),
    };
    assert_eq!(topics.create(&[topic], SOON).expect("asked")[0].1, Ok(true));
}

#[test]
fn brokers_of_0_10_are_read_and_say_what_they_cannot_do() {
    let (kafka, settings, topics) = start(V0_10);
    fill(&kafka, Idempotence::Off);
    reads(&settings);
    asks(&topics);
    made(&topics);
    assert_eq!(
        topics.own_configs(&["orders"], SOON).expect("asked")[0].1,
        Ok(Some(BTreeMap::new()))
    );
    let fault = topics.delete_records(&[("orders", 1, 5)], SOON).expect("asked");
    let fault = fault[0].clone().expect_err("too old");
    assert_eq!(fault.kind, FaultKind::SourceState, "{fault:?}");
    assert!(fault.message.contains("0.11"), "{fault:?}");
    let fault = topics.add_partitions(&[("orders", 3)], SOON).expect_err("too old");
    assert!(fault.message.contains("1.0"), "{fault:?}");
    let changes = BTreeMap::from([("retention.ms".to_owned(), None)]);
    let fault = topics.alter_configs(&[("orders", changes)], SOON).expect_err("too old");
    assert!(fault.message.contains("0.11"), "{fault:?}");
}

fn changes(topics: &Topics) {
    let own = |topics: &Topics| {
        let mut answers = topics.own_configs(&["made"], SOON).expect("asked");
        answers.remove(0).1.expect("seen").unwrap_or_default()
    };
    assert_eq!(own(topics), BTreeMap::from([("retention.ms".to_owned(), "77000".to_owned())]));
    let changes = BTreeMap::from([("segment.ms".to_owned(), Some("60000".to_owned()))]);
    assert_eq!(topics.alter_configs(&[("made", changes)], SOON).expect("asked")[0].1, Ok(()));
    let wanted = [("retention.ms", "77000"), ("segment.ms", "60000")];
    let wanted: BTreeMap<String, String> =
        wanted.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let deadline = Instant::now() + SOON;
    while own(topics) != wanted {
        assert!(Instant::now() < deadline, "{:?}", own(topics));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(topics.add_partitions(&[("made", 3)], SOON).expect("asked")[0].1, Ok(()));
    assert_eq!(topics.delete_records(&[("orders", 1, 5)], SOON).expect("asked"), [Ok(5)]);
}

#[test]
fn brokers_of_1_0_are_read_and_changed() {
    let (kafka, settings, topics) = start(V1_0);
    fill(&kafka, Idempotence::On);
    reads(&settings);
    asks(&topics);
    made(&topics);
    changes(&topics);
}

#[test]
fn brokers_of_2_0_are_read_and_changed() {
    let (kafka, settings, topics) = start(V2_0);
    fill(&kafka, Idempotence::On);
    reads(&settings);
    asks(&topics);
    made(&topics);
    changes(&topics);
}
