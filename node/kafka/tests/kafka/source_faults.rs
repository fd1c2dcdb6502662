//! What ends the stream of a partition, and what only holds it up.

use std::time::{Duration, Instant};

use tidewire_kafka::topics::Topics;
use tidewire_kafka::{Consumer, SourcePartition};
use tidewire_shared::{Fault, FaultKind};
use tidewire_testbed::servers::kafka::{Kafka, KafkaOptions};
use tidewire_testbed::writer::{Writer, Written};

use crate::broker::{SOON, broker, fresh, fresh_topic};
use crate::source::{from, quick, read_to_ends, source, source_at};

/// The fault that ends a consumer.
fn ended(consumer: &mut Consumer) -> Fault {
    let deadline = Instant::now() + 3 * SOON;
    loop {
        assert!(Instant::now() < deadline, "goes on and on");
        if let Err(fault) = consumer.next(Duration::from_millis(200)) {
            return fault;
        }
    }
}

fn filled(kafka: &Kafka, partitions: u32) -> String {
    let topic = fresh_topic(kafka, partitions);
    let records: Vec<_> = (0..10).map(|n| Written::value(format!("v{n}"))).collect();
    Writer::start(kafka, "none", None).expect("writer").send(&topic, &records).expect("sent");
    topic
}

#[test]
fn an_offset_that_retention_took_is_a_loss_that_names_what_is_left() {
    let kafka = broker();
    let topic = filled(&kafka, 1);
    let topics = Topics::new(&source(&kafka)).expect("topics");
    let low = topics.delete_records(&[(topic.as_str(), 0, 4)], SOON).expect("asked");
    assert_eq!(low, [Ok(4)]);
    let mut consumer = Consumer::open(&source(&kafka), quick()).expect("consumer");
    consumer.assign(&[from(&topic, 0, 2)], SOON).expect("slots");
    let fault = ended(&mut consumer);
    assert_eq!(fault.kind, FaultKind::SourceHistory, "{fault:?}");
    assert_eq!(fault.object, format!("topic {topic}, partition 0"));
    assert_eq!(
        fault.message,
        "offset 2 is not there any more: the partition holds offsets 4 to 10"
    );
    assert!(fault.remedy.contains("gap"), "{fault:?}");
    // It stays ended.
    assert_eq!(consumer.next(Duration::ZERO).expect_err("ended"), fault);
}

#[test]
fn an_offset_past_the_end_is_no_place_to_wait_at() {
    let kafka = broker();
    let topic = filled(&kafka, 1);
    let mut consumer = Consumer::open(&source(&kafka), quick()).expect("consumer");
    consumer.assign(&[from(&topic, 0, 11)], SOON).expect("slots");
    let fault = ended(&mut consumer);
    assert_eq!(fault.kind, FaultKind::SourceHistory, "{fault:?}");
    assert_eq!(fault.message, "offset 11 is not there: the partition holds offsets 0 to 10");
}

#[test]
fn what_is_not_there_is_refused_by_name() {
    let kafka = broker();
    let topic = filled(&kafka, 2);
    let mut consumer = Consumer::open(&source(&kafka), quick()).expect("consumer");
    let fault = consumer.assign(&[from(&topic, 2, 0)], SOON).expect_err("no such partition");
    // The broker may not have heard of it: whoever looks again is told whether it is there.
    assert_eq!(fault.kind, FaultKind::SourceBusy, "{fault:?}");
    assert_eq!(fault.object, format!("topic {topic}, partition 2"));
    let absent = fresh("absent");
    let fault = consumer.assign(&[from(&absent, 0, 0)], SOON).expect_err("no such topic");
    assert_eq!(fault.kind, FaultKind::SourceBusy, "{fault:?}");
    assert!(fault.object.contains(&absent));
    // What is there can be read all the same.
    let slots = consumer.assign(&[from(&topic, 0, 0)], SOON).expect("slots");
    assert_eq!(read_to_ends(&mut consumer, slots).0.len(), 10);
}

#[test]
fn a_topic_that_is_deleted_ends_the_stream() {
    let kafka = broker();
    let topic = filled(&kafka, 1);
    let mut consumer = Consumer::open(&source(&kafka), quick()).expect("consumer");
    let slots = consumer.assign(&[from(&topic, 0, 0)], SOON).expect("slots");
    read_to_ends(&mut consumer, slots);
    kafka.delete_topic(&topic).expect("deleted");
    let fault = ended(&mut consumer);
    assert_eq!(fault.kind, FaultKind::SourceState, "{fault:?}");
    assert_eq!(fault.object, format!("topic {topic}"));
    assert!(fault.message.contains("deleted"), "{fault:?}");
}

#[test]
fn a_topic_made_again_is_learned_only_with_a_metadata_request() {
    let kafka = broker();
    let topic = filled(&kafka, 1);
    let mut consumer = Consumer::open(&source(&kafka), quick()).expect("consumer");
    let slots = consumer.assign(&[from(&topic, 0, 0)], SOON).expect("slots");
    read_to_ends(&mut consumer, slots);
    let before = consumer.metadata_requests();
    kafka.delete_topic(&topic).expect("deleted");
    kafka.create_topic(&topic, 1, &[]).expect("made again");
    let records: Vec<_> = (0..20).map(|n| Written::value(format!("new{n}"))).collect();
    Writer::start(&kafka, "none", None).expect("writer").send(&topic, &records).expect("sent");
    let deadline = Instant::now() + 2 * SOON;
    loop {
        assert!(Instant::now() < deadline, "neither ends nor reads");
        match consumer.next(Duration::from_millis(200)) {
            // Either the log is seen to be another one, …
            Err(fault) => {
                assert!(
                    matches!(fault.kind, FaultKind::SourceHistory | FaultKind::SourceState),
                    "{fault:?}"
                );
                break;
            }
            // … or records of the new topic come, and then the number has told.
            Ok(Some(fetched)) if fetched.bytes() > 0 => break,
            Ok(_) => {}
        }
    }
    assert!(consumer.metadata_requests() > before);
}

#[test]
fn records_that_the_log_took_back_are_a_loss() {
    let kafka = Kafka::start(KafkaOptions::default()).expect("a broker of its own");
    let topic = filled(&kafka, 1);
    let position = |epoch| SourcePartition { leader_epoch: Some(epoch), ..from(&topic, 0, 8) };
    let mut consumer = Consumer::open(&source(&kafka), quick()).expect("consumer");
    let slots = consumer.assign(&[position(0)], SOON).expect("slots");
    let (records, _) = read_to_ends(&mut consumer, slots);
    assert_eq!(records.len(), 2, "a good position is read on from");
    drop(consumer);
    // An epoch of which the log knows nothing: what was read under it is not in it.
    kafka.restart_broker(0).expect("restarted");
    let mut writer = Writer::start(&kafka, "none", None).expect("writer");
    writer.send(&topic, &[Written::value("later")]).expect("sent");
    let mut consumer = Consumer::open(&source(&kafka), quick()).expect("consumer");
    let slots = consumer.assign(&[position(0)], SOON).expect("slots");
    let (records, _) = read_to_ends(&mut consumer, slots);
    assert_eq!(records.len(), 3, "{records:?}");
    let newest = records.last().and_then(|record| record.leader_epoch).expect("an epoch");
    drop(consumer);
    // A position past the end of its own epoch: epoch 0 ended at 10.
    let lost = SourcePartition { leader_epoch: Some(0), ..from(&topic, 0, 11) };
    assert!(newest > 0, "the restart made an epoch");
    let mut consumer = Consumer::open(&source(&kafka), quick()).expect("consumer");
    consumer.assign(&[lost], SOON).expect("slots");
    let fault = ended(&mut consumer);
    assert_eq!(fault.kind, FaultKind::SourceHistory, "{fault:?}");
    assert!(fault.message.contains("took back"), "{fault:?}");
}

#[test]
fn a_broker_that_is_away_is_no_fault_and_is_told() {
    let kafka = Kafka::start(KafkaOptions::default()).expect("a broker of its own");
    let topic = filled(&kafka, 1);
    let mut consumer = Consumer::open(&source(&kafka), quick()).expect("consumer");
    let slots = consumer.assign(&[from(&topic, 0, 0)], SOON).expect("slots");
    read_to_ends(&mut consumer, slots.clone());
    assert!(consumer.unreachable().is_none());
    let gone = Instant::now();
    kafka.kill_broker(0);
    let deadline = Instant::now() + SOON;
    let told = loop {
        assert!(Instant::now() < deadline, "never told");
        assert!(consumer.next(Duration::from_millis(100)).expect("no fault").is_none());
        if let Some(told) = consumer.unreachable() {
            break told;
        }
    };
    assert_eq!(told.fault.kind, FaultKind::SourceUnreachable, "{told:?}");
    assert!(told.since + Duration::from_secs(1) > gone && told.since < Instant::now());
    kafka.restart_broker(0).expect("back");
    let mut writer = Writer::start(&kafka, "none", None).expect("writer");
    writer.send(&topic, &[Written::value("again")]).expect("sent");
    let (records, _) = read_to_ends(&mut consumer, slots);
    assert_eq!(records.len(), 1);
    assert!(consumer.unreachable().is_none());
}

#[test]
fn a_broker_that_is_frozen_is_told_too() {
    let kafka = Kafka::start(KafkaOptions::default()).expect("a broker of its own");
    let topic = filled(&kafka, 1);
    let mut consumer = Consumer::open(&source(&kafka), quick()).expect("consumer");
    let slots = consumer.assign(&[from(&topic, 0, 0)], SOON).expect("slots");
    read_to_ends(&mut consumer, slots);
    let broker = kafka.broker_pid(0).expect("runs");
    tidewire_testbed::process::signal(broker, tidewire_testbed::process::Signal::STOP)
        .expect("stopped");
    let frozen = Instant::now();
    let told = loop {
        assert!(frozen.elapsed() < SOON, "never told");
        assert!(consumer.next(Duration::from_millis(100)).expect("no fault").is_none());
        if let Some(told) = consumer.unreachable() {
            break told;
        }
    };
    tidewire_testbed::process::signal(broker, tidewire_testbed::process::Signal::CONT)
        .expect("goes on");
    assert_eq!(told.fault.kind, FaultKind::SourceUnreachable, "{told:?}");
    assert!(frozen.elapsed() < Duration::from_secs(6), "{:?}", frozen.elapsed());
    while consumer.unreachable().is_some() {
        assert!(frozen.elapsed() < 2 * SOON, "stays unreachable");
        consumer.next(Duration::from_millis(100)).expect("no fault");
    }
}

#[test]
fn nobody_at_the_address_is_unreachable() {
    let mut consumer = Consumer::open(&source_at("127.0.0.1:1"), quick()).expect("consumer");
    let fault =
        consumer.assign(&[from("any", 0, 0)], Duration::from_millis(1500)).expect_err("nobody");
    assert_eq!(fault.kind, FaultKind::SourceUnreachable, "{fault:?}");
    assert!(fault.remedy.contains("source.brokers"), "{fault:?}");
}
