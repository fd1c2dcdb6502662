//! EndTxn requests that librdkafka repeats by itself: their transactions do not count as clean, and
//! what is done about it keeps readers exact.

use std::time::Duration;

use tidewire_kafka::{Settings, TransactionalProducer};
use tidewire_testbed::proxy::{EndTxnFault, Ending, KafkaProxy};
use tidewire_testbed::servers::kafka::{Kafka, KafkaOptions};

use crate::broker::{SOON, fresh, fresh_topic, producer, settings, values};

fn behind_proxy() -> (KafkaProxy, Kafka) {
    let proxy = KafkaProxy::reserve(1).expect("port");
    let ports = proxy.ports().expect("port");
    let options = KafkaOptions { advertised: Some(ports), ..KafkaOptions::default() };
    let kafka = Kafka::start(options).expect("broker");
    proxy.serve(&kafka.broker_ports()).expect("serve");
    (proxy, kafka)
}

/// Sends one record in a transaction of its own and lets it reach the broker.
fn begun(producer: &mut TransactionalProducer, topic: &str, value: &str) {
    let handle = producer.topic(topic);
    producer.begin().expect("begin");
    producer.send(&handle, 0, None, value.as_bytes(), &[]).expect("send");
    while producer.outstanding() > 0 {
        producer.wait_for_room(Duration::from_millis(10)).expect("room");
    }
}

/// The step that the rule demands after an end that was not clean.
fn successor(settings: &Settings, id: &str, spent: TransactionalProducer) -> TransactionalProducer {
    assert!(spent.is_spent());
    drop(spent);
    producer(settings, id)
}

#[test]
fn an_end_whose_request_was_repeated_is_not_clean_and_its_late_copy_ends_nothing() {
    let (proxy, kafka) = behind_proxy();
    let settings = settings(&kafka);
    let late = Duration::from_secs(2);
    for (ending, first_is_seen) in [(Ending::Commit, true), (Ending::Abort, false)] {
        let (topic, id) = (fresh_topic(&kafka, 1), fresh("id"));
        let mut first = producer(&settings, &id);
        begun(&mut first, &topic, "first");
        proxy.arm(EndTxnFault::CutAndForwardLate(late), ending);
        let end = match ending {
            Ending::Commit => first.commit(SOON),
            Ending::Abort => first.abort(SOON),
        };
        assert_eq!(end.outcome, Ok(()), "librdkafka hides the repetition");
        assert!(!end.clean && end.end_requests >= 2, "{end:?}");

        let mut second = successor(&settings, &id, first);
        begun(&mut second, &topic, "second");
        let faults = if ending == Ending::Commit { 1 } else { 2 };
        proxy.wait_events(faults, SOON).expect("the late request was forwarded");
        // Time for the broker to act on it, were it to.
        std::thread::sleep(Duration::from_millis(300));
        let mut seen = if first_is_seen { vec!["first"] } else { Vec::new() };
        assert_eq!(values(&kafka, &topic), seen, "an unfinished transaction was shown");
        let end = second.commit(SOON);
        assert!(end.clean, "{end:?}");
        seen.push("second");
        assert_eq!(values(&kafka, &topic), seen);
    }
}

#[test]
fn an_end_that_is_only_slow_is_clean() {
    let (proxy, kafka) = behind_proxy();
    let (settings, topic) = (settings(&kafka), fresh_topic(&kafka, 1));
    let mut producer = producer(&settings, &fresh("id"));
    begun(&mut producer, &topic, "slow");
    proxy.arm(EndTxnFault::Hold(Duration::from_secs(3)), Ending::Commit);
    let end = producer.commit(SOON);
    assert_eq!((end.clean, end.end_requests), (true, 1), "{end:?}");
    assert_eq!(values(&kafka, &topic), ["slow"]);
}

#[test]
fn a_commit_that_stays_undecided_is_dropped_and_may_have_happened_or_not() {
    let (proxy, kafka) = behind_proxy();
    let (settings, topic, id) = (settings(&kafka), fresh_topic(&kafka, 1), fresh("id"));
    let mut first = producer(&settings, &id);
    begun(&mut first, &topic, "undecided");
    proxy.arm(EndTxnFault::Hold(Duration::from_secs(6)), Ending::Commit);
    let end = first.commit(Duration::from_secs(2));
    assert!(!end.clean && end.outcome.is_err(), "{end:?}");

    let mut second = successor(&settings, &id, first);
    begun(&mut second, &topic, "second");
    proxy.wait_events(1, SOON).expect("forwarded");
    std::thread::sleep(Duration::from_millis(300));
    let before = values(&kafka, &topic);
    assert!(before.is_empty() || before == ["undecided"], "{before:?}");
    assert!(second.commit(SOON).clean);
    let after = values(&kafka, &topic);
    assert_eq!(after, [before, vec!["second".to_owned()]].concat());
}
