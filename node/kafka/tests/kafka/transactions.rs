//! Transactions: what readers see, and how they end.

use std::time::{Duration, Instant};

use tidewire_kafka::{Sent, TransactionalProducer};
use tidewire_shared::FaultKind;
use tidewire_shared::spec::Delivery;
use tidewire_testbed::servers::kafka::{Kafka, KafkaOptions};

use crate::broker::{SOON, broker, fresh, fresh_topic, producer, settings, settings_at, values};

#[test]
fn a_commit_is_seen_with_key_value_headers_and_partition() {
    let kafka = broker();
    let topic = fresh_topic(&kafka, 3);
    let mut producer = producer(&settings(&kafka), &fresh("id"));
    let handle = producer.topic(&topic);
    producer.begin().expect("begin");
    let headers: [(&str, &[u8]); 2] = [("tw.lsn", b"1"), ("tw.seq", b"")];
    assert_eq!(producer.send(&handle, 2, Some(b"k"), b"v", &headers), Ok(Sent::Queued));
    assert_eq!(producer.send(&handle, 2, None, b"w", &[]), Ok(Sent::Queued));
    assert_eq!(producer.send_marked(&handle, 1, Some(b""), b"x"), Ok(Sent::Queued));
    let end = producer.commit(SOON);
    assert_eq!((end.clean, end.end_requests), (true, 1), "{end:?}");
    assert_eq!(producer.marked_offset(), Some(0));
    assert_eq!(producer.outstanding(), 0);

    let mut records = crate::broker::seen(&kafka, &topic);
    records.sort_by_key(|record| (record.partition, record.offset));
    let parts: Vec<_> = records
        .iter()
        .map(|record| (record.partition, record.key.as_deref(), record.value.as_deref()))
        .collect();
    assert_eq!(
        parts,
        [
            (1, Some(&b""[..]), Some(&b"x"[..])),
            (2, Some(&b"k"[..]), Some(&b"v"[..])),
            (2, None, Some(&b"w"[..])),
        ]
    );
    assert_eq!(
        records.get(1).map(|record| record.headers.clone()),
        Some(vec![
            ("tw.lsn".to_owned(), Some(b"1".to_vec())),
            ("tw.seq".to_owned(), Some(Vec::new())),
        ])
    );
}

#[test]
fn an_abort_is_invisible_and_ends_the_producer() {
    let kafka = broker();
    let topic = fresh_topic(&kafka, 1);
    let id = fresh("id");
    let mut first = producer(&settings(&kafka), &id);
    let handle = first.topic(&topic);
    first.begin().expect("begin");
    first.send(&handle, 0, None, b"never", &[]).expect("send");
    // The record is at the broker before the abort, so that there is something to take back.
    while first.outstanding() > 0 {
        first.wait_for_room(Duration::from_millis(10)).expect("room");
    }
    let end = first.abort(SOON);
    assert_eq!((end.clean, end.end_requests), (true, 1), "{end:?}");
    assert!(first.is_spent());
    assert_eq!(first.begin().expect_err("spent").kind, FaultKind::Internal);

    let mut second = producer(&settings(&kafka), &id);
    assert_eq!(
        second.send(&handle, 0, None, b"x", &[]).expect_err("no transaction").kind,
        FaultKind::Internal
    );
    let own = second.topic(&topic);
    second.begin().expect("begin");
    let foreign = second.send(&handle, 0, None, b"x", &[]).expect_err("another producer's handle");
    assert_eq!(foreign.kind, FaultKind::Internal);
    second.send(&own, 0, None, b"seen", &[]).expect("send");
    assert!(second.commit(SOON).clean);
    assert_eq!(values(&kafka, &topic), ["seen"]);
}

#[test]
fn an_empty_transaction_ends_cleanly_without_a_request() {
    let kafka = broker();
    let mut producer = producer(&settings(&kafka), &fresh("id"));
    for _ in 0..2 {
        producer.begin().expect("begin");
        let end = producer.commit(SOON);
        assert_eq!((end.clean, end.end_requests), (true, 0), "{end:?}");
    }
}

#[test]
fn a_later_owner_fences_the_earlier_one() {
    let kafka = broker();
    let topic = fresh_topic(&kafka, 1);
    let id = fresh("id");
    let mut old = producer(&settings(&kafka), &id);
    let handle = old.topic(&topic);
    old.begin().expect("begin");
    old.send(&handle, 0, None, b"old", &[]).expect("send");
    let mut new = producer(&settings(&kafka), &id);

    let end = old.commit(SOON);
    assert!(!end.clean);
    assert_eq!(end.outcome.expect_err("fenced").kind, FaultKind::Fenced);
    assert!(old.is_spent());

    let handle = new.topic(&topic);
    new.begin().expect("begin");
    new.send(&handle, 0, None, b"new", &[]).expect("send");
    assert!(new.commit(SOON).clean);
    assert_eq!(values(&kafka, &topic), ["new"]);
}

#[test]
fn a_fenced_producer_learns_it_while_it_sends() {
    let kafka = broker();
    let topic = fresh_topic(&kafka, 1);
    let id = fresh("id");
    let mut old = producer(&settings(&kafka), &id);
    let handle = old.topic(&topic);
    old.begin().expect("begin");
    let _new = producer(&settings(&kafka), &id);
    let deadline = Instant::now() + SOON;
    let fault = loop {
        assert!(Instant::now() < deadline, "never told");
        match old.send(&handle, 0, None, b"old", &[]) {
            Err(fault) => break fault,
            Ok(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    assert_eq!(fault.kind, FaultKind::Fenced, "{fault:?}");
    assert!(!old.abort(SOON).clean);
}

#[test]
fn brokers_that_allow_no_transaction_of_our_length_say_so() {
    let options = KafkaOptions {
        settings: vec![("transaction.max.timeout.ms".to_owned(), "20000".to_owned())],
        ..KafkaOptions::default()
    };
    let kafka = Kafka::start(options).expect("a broker of its own");
    let mut producer = TransactionalProducer::create(&settings(&kafka), "id").expect("producer");
    let fault = producer.init(SOON).expect_err("refused");
    assert_eq!(fault.kind, FaultKind::Configuration, "{fault:?}");
    assert!(fault.remedy.contains("transaction.max.timeout.ms"));

    let mut task = crate::precheck::task(&kafka, &fresh_topic(&kafka, 1));
    let item = crate::precheck::only(&task, "target_transactions");
    assert!(item.remedy.contains("transaction.max.timeout.ms"), "{item:?}");
    task.delivery = Delivery::AtLeastOnce;
    assert_eq!(crate::precheck::wrong(&task), [], "which has no transactions");
}

#[test]
fn a_record_that_is_too_large_names_its_topic_and_size() {
    let kafka = broker();
    let topic = fresh("small");
    kafka.create_topic(&topic, 1, &[("max.message.bytes", "2000")]).expect("topic");
    let mut producer = producer(&settings_at(&kafka.bootstrap(), 10_000), &fresh("id"));
    let handle = producer.topic(&topic);
    producer.begin().expect("begin");
    // Above the bound of the task: refused at once, and the transaction can still be committed.
    let fault = producer.send(&handle, 0, None, &[0; 10_001], &[]).expect_err("too large");
    assert_eq!(fault.kind, FaultKind::Encode);
    assert!(fault.object.contains(&topic) && fault.message.contains("10001"), "{fault}");
    // Above the bound of the topic, and random enough not to be compressed below it.
    let noise: Vec<u8> =
        (0..9_000_u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    producer.send(&handle, 0, None, &noise, &[]).expect("queued");
    let end = producer.commit(SOON);
    assert!(!end.clean);
    let fault = end.outcome.expect_err("too large");
    assert_eq!(fault.kind, FaultKind::Encode);
    assert!(fault.object.contains(&topic) && fault.message.contains("9000"), "{fault}");
    assert!(fault.message.contains("a batch"), "it may have been one among many: {fault}");
    assert!(fault.remedy.contains("max.message.bytes"), "{}", fault.remedy);
    assert!(values(&kafka, &topic).is_empty());
}

#[test]
fn an_absent_topic_is_named_and_never_made() {
    let kafka = broker();
    let topic = fresh("absent");
    let mut producer = producer(&settings(&kafka), &fresh("id"));
    let handle = producer.topic(&topic);
    producer.begin().expect("begin");
    producer.send(&handle, 0, None, b"x", &[]).expect("queued until metadata is there");
    let end = producer.commit(Duration::from_secs(3));
    assert!(!end.clean && end.outcome.is_err(), "{end:?}");
    assert!(!kafka.topics().expect("topics").contains(&topic));
}

#[test]
fn a_full_queue_says_so_and_gives_room_again() {
    let kafka = broker();
    let topic = fresh_topic(&kafka, 1);
    let mut producer = producer(&settings(&kafka), &fresh("id"));
    let handle = producer.topic(&topic);
    producer.begin().expect("begin");
    let value = vec![7; 100_000];
    let mut full = 0;
    for _ in 0..2_000 {
        while producer.send(&handle, 0, None, &value, &[]).expect("send") == Sent::Full {
            full += 1;
            assert!(producer.wait_for_room(SOON).expect("room"));
        }
    }
    assert!(full > 0, "200 MB fitted into a queue of 32 MiB");
    let end = producer.commit(SOON);
    assert!(end.clean, "{end:?}");
}

#[test]
fn nobody_at_the_address_is_unreachable_and_a_drop_is_quick() {
    let mut producer = TransactionalProducer::create(&settings_at("127.0.0.1:1", 1 << 20), "id")
        .expect("producer");
    let fault = producer.init(Duration::from_millis(1500)).expect_err("nobody there");
    assert_eq!(fault.kind, FaultKind::TargetUnreachable, "{fault:?}");
    let before = Instant::now();
    drop(producer);
    assert!(before.elapsed() < Duration::from_millis(500), "{:?}", before.elapsed());
}

#[test]
fn a_drop_with_a_full_queue_is_quick() {
    let kafka = broker();
    let topic = fresh_topic(&kafka, 1);
    let mut producer = producer(&settings(&kafka), &fresh("id"));
    let handle = producer.topic(&topic);
    producer.begin().expect("begin");
    for _ in 0..20_000 {
        if producer.send(&handle, 0, None, &[1; 1000], &[]).expect("send") == Sent::Full {
            break;
        }
    }
    let before = Instant::now();
    drop(producer);
    assert!(before.elapsed() < Duration::from_millis(500), "{:?}", before.elapsed());
}
