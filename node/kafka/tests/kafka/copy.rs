//! From a source's records to a target's, as they are.

use std::time::Duration;

use tidewire_kafka::{
    Consumer, Headers, Idempotence, Item, PlainProducer, Record, Sent, TransactionalProducer,
};
use tidewire_shared::spec::Compression;
use tidewire_testbed::writer::{Writer, Written};

use crate::broker::{SOON, broker, fresh, fresh_topic, producer, settings};
use crate::source::{from, quick, read_to_ends, source};

/// Sends records, fetched and made by hand, with a way of sending.
fn nasty() -> Vec<Written> {
    let header = |name: &str, value: Option<&[u8]>| (name.to_owned(), value.map(<[u8]>::to_vec));
    let many = (0..40).map(|n| header("h", Some(&[n])));
    let full = Written {
        key: Some(b"k".to_vec()),
        value: Some(b"v".to_vec()),
        headers: [header("n", None), header("n", Some(b"")), header("", Some(b"x"))]
            .into_iter()
            .chain(many)
            .collect(),
        timestamp: Some(1_234),
        ..Written::default()
    };
    let plain = Written { timestamp: Some(5), ..Written::value("") };
    let tombstone = Written { value: None, timestamp: Some(9), ..full.clone() };
    vec![full, plain, tombstone]
}

fn copied<'a>(item: &Item<'a>) -> Option<Record<'a>> {
    let Item::Record(record) = item else { return None };
    // Headers are looked at, as by a task that asks whose record it is, and handed on all the same.
    let looked = record.headers.iter().count();
    assert_eq!(looked == 0, record.headers.is_empty());
    Some(Record {
        partition: 0,
        key: record.key,
        value: record.value,
        headers: Headers::Of(record.headers),
        timestamp: Some(record.timestamp.millis()),
    })
}

fn send_all(
    producer: &mut TransactionalProducer,
    consumer: &mut Consumer,
    topic: &str,
    count: usize,
) {
    let handle = producer.topic_compressed(topic, Compression::Zstd);
    producer.begin().expect("begin");
    let mut sent = 0;
    while sent < count {
        let Some(fetched) = consumer.next(SOON).expect("next") else { continue };
        for record in fetched.items().filter_map(|item| copied(&item)) {
            assert_eq!(producer.send_record(&handle, &record), Ok(Sent::Queued));
            sent += 1;
        }
    }
    assert!(producer.commit(SOON).clean);
}

#[test]
fn a_copy_is_equal_in_every_part() {
    let kafka = broker();
    let (one, copy, plain_copy) =
        (fresh_topic(&kafka, 1), fresh_topic(&kafka, 1), fresh_topic(&kafka, 1));
    let mut writer = Writer::start(&kafka, "lz4", None).expect("writer");
    writer.send(&one, &nasty()).expect("sent");
    let mut consumer = Consumer::open(&source(&kafka), quick()).expect("consumer");
    consumer.assign(&[from(&one, 0, 0)], SOON).expect("slots");
    let mut exactly = producer(&settings(&kafka), &fresh("id"));
    send_all(&mut exactly, &mut consumer, &copy, 3);

    let mut consumer = Consumer::open(&source(&kafka), quick()).expect("consumer");
    consumer.assign(&[from(&one, 0, 0)], SOON).expect("slots");
    let mut plain =
        PlainProducer::create(&settings(&kafka), &[], Idempotence::On).expect("producer");
    let place = plain.topic(&plain_copy, Some(Compression::None));
    let mut sent = 0;
    while sent < 3 {
        let Some(fetched) = consumer.next(SOON).expect("next") else { continue };
        for record in fetched.items().filter_map(|item| copied(&item)) {
            assert_eq!(plain.send_record(place, &record), Ok(Sent::Queued));
            sent += 1;
        }
    }
    plain.flush(SOON, || Ok(())).expect("acknowledged");

    let read = |topic: &str| {
        let mut consumer = Consumer::open(&source(&kafka), quick()).expect("consumer");
        let slots = consumer.assign(&[from(topic, 0, 0)], SOON).expect("slots");
        read_to_ends(&mut consumer, slots).0
    };
    assert_eq!(read(&copy), read(&one));
    assert_eq!(read(&plain_copy), read(&one));
    // And an independent consumer sees the same, header values that are null included.
    let parts = |topic: &str| {
        let records = crate::broker::seen(&kafka, topic);
        let part = |record: tidewire_testbed::reader::Record| {
            (record.key, record.value, record.headers, record.timestamp)
        };
        records.into_iter().map(part).collect::<Vec<_>>()
    };
    assert_eq!(parts(&copy), parts(&one));
    assert_eq!(parts(&plain_copy), parts(&one));
    let codecs =
        tidewire_kafka::codec::codec_of(&source(&kafka), &[&one, &copy, &plain_copy], SOON)
            .expect("codecs");
    assert_eq!(
        [&one, &copy, &plain_copy].map(|topic| codecs.get(topic).copied()),
        [Some(Compression::Lz4), Some(Compression::Zstd), Some(Compression::None)]
    );
}

#[test]
fn timestamps_that_are_none_or_long_past_stay() {
    let kafka = broker();
    let topic = fresh_topic(&kafka, 1);
    let mut producer = producer(&settings(&kafka), &fresh("id"));
    let handle = producer.topic(&topic);
    producer.begin().expect("begin");
    let wanted = [-1, 1, -1, -86_400_000, 1_700_000_000_000];
    for timestamp in wanted {
        let record = Record { value: Some(b"v"), timestamp: Some(timestamp), ..Record::default() };
        assert_eq!(producer.send_record(&handle, &record), Ok(Sent::Queued));
    }
    assert!(producer.commit(SOON).clean);
    let mut consumer = Consumer::open(&source(&kafka), quick()).expect("consumer");
    let slots = consumer.assign(&[from(&topic, 0, 0)], SOON).expect("slots");
    let (records, _) = read_to_ends(&mut consumer, slots);
    let seen: Vec<i64> = records.iter().map(|record| record.timestamp.millis()).collect();
    assert_eq!(seen, wanted);
    assert!(consumer.next(Duration::ZERO).is_ok());
}
