//! The positions topic: the order of truth.

use std::thread;
use std::time::{Duration, Instant};

use prost::Message;
use tidewire_kafka::positions::{self, Positions, TOPIC};
use tidewire_kafka::{Settings, TransactionalProducer};
use tidewire_proto::position::v1::{PositionHint, PositionRecord};
use tidewire_shared::FaultKind;
use tidewire_testbed::servers::kafka::{Kafka, KafkaOptions};

use crate::broker::{SOON, broker, fresh, producer, settings};

fn ensured(settings: &Settings) -> Positions {
    Positions::ensure(settings, 4, SOON).expect("positions topic")
}

fn record(serial: u64) -> PositionRecord {
    PositionRecord { serial, epoch: 1, task_name: "orders".to_owned(), ..Default::default() }
}

/// Begins a transaction that holds one position record.
fn write(producer: &mut TransactionalProducer, key: &str, partition: u32, serial: u64) {
    let topic = producer.topic(TOPIC);
    producer.begin().expect("begin");
    producer
        .send_marked(&topic, partition, Some(key.as_bytes()), &record(serial).encode_to_vec())
        .expect("send");
}

fn commit(producer: &mut TransactionalProducer, key: &str, partition: u32, serial: u64) {
    write(producer, key, partition, serial);
    let end = producer.commit(SOON);
    assert!(end.clean, "{end:?}");
}

#[test]
fn the_newest_committed_record_is_read_and_a_hint_skips_to_it() {
    let kafka = broker();
    let settings = settings(&kafka);
    let positions = ensured(&settings);
    let (key, id) = (fresh("c/t"), fresh("id"));
    let empty = positions.read(&key, 0, None, SOON).expect("read");
    assert_eq!((empty.record, empty.offset), (None, None));

    let mut owner = producer(&settings, &id);
    commit(&mut owner, &key, 0, 1);
    commit(&mut owner, &key, 0, 2);
    let second = owner.marked_offset();
    write(&mut owner, &key, 0, 3);
    assert!(owner.abort(SOON).outcome.is_ok());

    let read = positions.read(&key, 0, None, SOON).expect("read");
    assert_eq!(read.record.as_ref().map(|record| record.serial), Some(2));
    assert_eq!(read.offset, second);
    let hint = read.hint().expect("hint");
    let again = positions.read(&key, 0, Some(&hint), SOON).expect("read from the hint");
    assert!(again.saw_serial_at_least_hint);
    assert_eq!(again.record, read.record);

    positions.erase(&id, &key, 0, SOON).expect("erase");
    assert_eq!(positions.read(&key, 0, None, SOON).expect("read").record, None);
}

#[test]
fn a_read_waits_for_a_foreign_transaction_instead_of_answering_with_an_old_record() {
    let kafka = broker();
    let settings = settings(&kafka);
    let positions = ensured(&settings);
    let key = fresh("c/t");
    let mut ours = producer(&settings, &fresh("id"));
    commit(&mut ours, &key, 1, 1);
    let mut foreign = producer(&settings, &fresh("id"));
    write(&mut foreign, "c/other", 1, 1);
    while foreign.outstanding() > 0 {
        foreign.wait_for_room(Duration::from_millis(10)).expect("room");
    }
    commit(&mut ours, &key, 1, 2);

    // Bounded: it fails rather than answer with serial 1.
    let fault = positions.read(&key, 1, None, Duration::from_secs(2)).expect_err("still open");
    assert_eq!(fault.kind, FaultKind::TargetBusy, "{fault:?}");

    let before = Instant::now();
    let ending = thread::spawn(move || {
        thread::sleep(Duration::from_millis(1500));
        foreign.commit(SOON)
    });
    let read = positions.read(&key, 1, None, SOON).expect("read");
    assert_eq!(read.record.map(|record| record.serial), Some(2));
    assert!(before.elapsed() >= Duration::from_millis(1400), "{:?}", before.elapsed());
    assert!(ending.join().expect("thread").clean);
}

#[test]
fn a_hint_that_nothing_bears_out_stops_the_task() {
    let kafka = broker();
    let settings = settings(&kafka);
    let positions = ensured(&settings);
    let key = fresh("c/t");
    commit(&mut producer(&settings, &fresh("id")), &key, 2, 5);
    let hint = positions.read(&key, 2, None, SOON).expect("read").hint().expect("hint");
    for wrong in [
        PositionHint { serial: 6, ..hint },
        PositionHint { offset: hint.offset + 1000, ..hint },
        PositionHint { topic_id_low: hint.topic_id_low ^ 1, ..hint },
        PositionHint { partition: 3, ..hint },
    ] {
        let fault = positions.read(&key, 2, Some(&wrong), SOON).expect_err("lost");
        assert_eq!(fault.kind, FaultKind::TargetHistory, "{wrong:?}");
        assert!(!fault.remedy.is_empty());
    }
    let lower = PositionHint { serial: 4, ..hint };
    positions.read(&key, 2, Some(&lower), SOON).expect("a lagging hint is fine");
}

#[test]
fn a_positions_topic_that_was_made_again_is_noticed() {
    let kafka = Kafka::start(KafkaOptions::default()).expect("a broker of its own");
    let settings = settings(&kafka);
    let key = "c/t/0";
    commit(&mut producer_of(&settings), key, 0, 1);
    let hint = ensured(&settings).read(key, 0, None, SOON).expect("read").hint().expect("hint");
    kafka.delete_topic(TOPIC).expect("delete");
    commit(&mut producer_of(&settings), key, 0, 1);
    let fault = ensured(&settings).read(key, 0, Some(&hint), SOON).expect_err("another topic");
    assert_eq!(fault.kind, FaultKind::TargetHistory);

    kafka.alter_topic_config(TOPIC, &[("cleanup.policy", Some("compact,delete"))]).expect("alter");
    let fault = Positions::ensure(&settings, 4, SOON).expect_err("policy");
    assert_eq!(fault.kind, FaultKind::TargetState);
    assert!(fault.remedy.contains("cleanup.policy=compact"), "{fault:?}");
}

/// A producer after the topic was made.
fn producer_of(settings: &Settings) -> TransactionalProducer {
    ensured(settings);
    producer(settings, &fresh("id"))
}

#[test]
fn a_target_tells_the_newest_position_of_each_key() {
    let kafka = broker();
    let settings = settings(&kafka);
    ensured(&settings);
    let key = fresh("c/shown");
    let mut owner = producer(&settings, &fresh("id"));
    commit(&mut owner, &key, 3, 1);
    commit(&mut owner, &key, 3, 2);
    let of = |name| {
        let shown = positions::show(&settings, Some(name), SOON).expect("show");
        shown.into_iter().filter(|position| position.key == key).collect::<Vec<_>>()
    };
    let shown = of("orders");
    assert_eq!(shown.len(), 1);
    let newest = shown.first().expect("one");
    assert_eq!(newest.record.as_ref().map(|record| record.serial), Ok(2));
    assert_eq!((newest.partition, Some(newest.offset)), (3, owner.marked_offset()));
    assert!(of("another").is_empty());
}
