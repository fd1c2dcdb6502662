//! Topics and precheck.

use std::time::{Duration, Instant};

use tidewire_kafka::topics::Topics;
use tidewire_kafka::{TopicIdentity, precheck};
use tidewire_node_core::takeover::PinPolicy;
use tidewire_shared::FaultKind;
use tidewire_shared::precheck::CheckResult;
use tidewire_shared::spec::TopicChange;
use tidewire_testbed::servers::kafka::{Kafka, KafkaOptions};

use crate::broker::{SOON, broker, fresh, fresh_topic, producer, settings, settings_at};
use crate::precheck::{only, task, wrong};

#[test]
fn topics_are_described_with_what_a_task_depends_on() {
    let kafka = broker();
    let (one, two, absent) = (fresh_topic(&kafka, 1), fresh("topic"), fresh("absent"));
    kafka
        .create_topic(&two, 5, &[("cleanup.policy", "compact"), ("max.message.bytes", "4000")])
        .expect("topic");
    let topics = Topics::new(&settings(&kafka)).expect("topics");
    let answers = topics.describe(&[&two, &absent, &one], SOON).expect("answers");
    let names: Vec<_> = answers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, [&two, &absent, &one]);
    let facts =
        answers.first().and_then(|(_, answer)| answer.clone().expect("seen")).expect("there");
    assert_eq!((facts.partitions, facts.replication_factor), (5, 1));
    assert_eq!((facts.cleanup_policy.as_str(), facts.max_message_bytes), ("compact", 4000));
    assert_ne!(facts.id, (0, 0));
    assert_eq!(answers.get(1).map(|(_, answer)| answer.clone()), Some(Ok(None)));
}

#[test]
fn a_topic_that_is_deleted_recreated_or_grown_is_noticed() {
    let kafka = broker();
    let (topic, steady) = (fresh_topic(&kafka, 2), fresh_topic(&kafka, 1));
    let identity = TopicIdentity::new(&settings(&kafka)).expect("identity");
    let pins = identity.pin(&[&topic, &steady], SOON).expect("pins");
    let stop = PinPolicy::Spread(TopicChange::Stop);
    assert_eq!(identity.check(&pins, stop, SOON), Ok(false));

    kafka.set_partitions(&topic, 3).expect("grow");
    let definite = |what: &str| {
        let deadline = Instant::now() + SOON;
        loop {
            match identity.check(&pins, stop, SOON) {
                Err(fault) => {
                    assert_eq!(fault.kind, FaultKind::TargetState, "{fault:?}");
                    assert!(fault.object.contains(&topic) && !fault.remedy.is_empty());
                    assert!(fault.message.contains(what), "{fault:?}");
                    return;
                }
                Ok(_) => assert!(Instant::now() < deadline, "{what} went unnoticed"),
            }
        }
    };
    definite("3 partitions");
    let growth = PinPolicy::Spread(TopicChange::AcceptGrowth);
    assert_eq!(identity.check(&pins, growth, SOON), Ok(true));
    kafka.delete_topic(&topic).expect("delete");
    definite("does not exist any more");
    kafka.create_topic(&topic, 2, &[]).expect("again");
    definite("created again");
    assert!(identity.check(&pins, growth, SOON).is_err());
    let any = PinPolicy::Spread(TopicChange::Accept);
    assert_eq!(identity.check(&pins, any, SOON), Ok(true));
    let fault = identity.pin(&[&fresh("absent")], SOON).expect_err("absent");
    assert_eq!(fault.kind, FaultKind::TargetState);
}

#[test]
fn a_precheck_sees_a_good_target() {
    let kafka = broker();
    let (topic, absent) = (fresh_topic(&kafka, 1), fresh("absent"));
    let seen = precheck::look(&settings(&kafka), &[&topic, &absent]);
    assert_eq!(seen.brokers, Ok(1));
    assert_eq!(seen.transactions, Ok(()));
    assert!(matches!(seen.topics.first(), Some((_, Ok(Some(facts)))) if facts.partitions == 1));
    assert!(matches!(seen.topics.get(1), Some((_, Ok(None)))));
    assert!(matches!(seen.writable.first(), Some((_, Ok(())))));
    assert!(
        matches!(seen.writable.get(1), Some((_, Err(fault))) if fault.kind == FaultKind::TargetState)
    );
    assert!(seen.positions_topic.is_ok());
    assert_eq!(seen.addresses, [kafka.bootstrap()]);
    let [health] = &seen.health[..] else { panic!("one topic is there: {:?}", seen.health) };
    assert_eq!((&health.topic, health.least_in_sync), (&topic, Some(1)));
    assert!(health.leaderless.is_empty(), "{health:?}");
}

#[test]
fn a_precheck_of_nobody_ends_in_time_with_the_reason() {
    let before = Instant::now();
    let seen = precheck::look(&settings_at("127.0.0.1:1", 1 << 20), &["orders"]);
    assert!(before.elapsed() < precheck::TIMEOUT + Duration::from_secs(2));
    let fault = seen.brokers.expect_err("nobody");
    assert_eq!(fault.kind, FaultKind::TargetUnreachable, "{fault:?}");
    assert!(!fault.remedy.is_empty());
    assert!(matches!(seen.topics.first(), Some((_, Err(_)))));
}

#[test]
fn rights_that_are_missing_are_named_by_topic() {
    let kafka = Kafka::start(KafkaOptions::authorizing()).expect("a broker of its own");
    let settings = settings(&kafka);
    let (open, unwritable) = (fresh_topic(&kafka, 1), fresh_topic(&kafka, 1));
    let (hidden, sealed) = (fresh_topic(&kafka, 1), fresh_topic(&kafka, 1));
    let allow_only = |topic: &str, operations: &[&str]| {
        kafka.allow_only(topic, operations).expect("rights");
    };
    allow_only(&unwritable, &["Describe", "DescribeConfigs"]);
    allow_only(&hidden, &["Alter"]);
    allow_only(&sealed, &["Write"]);

    let task = task(&kafka, &unwritable);
    let item = only(&task, "topic_rights");
    assert_eq!(item.result, CheckResult::Fail);
    assert!(item.found.contains(&unwritable) && item.remedy.contains("kafka-acls"), "{item:?}");
    allow_only(&unwritable, &[]);
    assert_eq!(wrong(&task), [], "after it was granted");
    allow_only(&unwritable, &["Describe", "DescribeConfigs"]);

    let seen = precheck::look(&settings, &[&open, &unwritable, &hidden, &sealed]);
    let kinds: Vec<_> =
        seen.writable.iter().map(|(_, may)| may.as_ref().map_err(|fault| fault.kind)).collect();
    let denied = Err(FaultKind::TargetDenied);
    assert_eq!(kinds, [Ok(&()), denied, denied, Ok(&())], "{:?}", seen.writable);
    let topics: Vec<_> = seen.topics.iter().map(|(_, answer)| answer).collect();
    assert!(matches!(topics.as_slice(), [Ok(Some(_)), Ok(Some(_)), Err(_), Err(_)]), "{topics:?}");
    let fault = |place: usize| topics.get(place).and_then(|answer| answer.as_ref().err());
    assert!(fault(2).is_some_and(|fault| fault.object.contains(&hidden)), "{topics:?}");
    assert!(fault(3).is_some_and(|fault| fault.remedy.contains("DescribeConfigs")), "{topics:?}");

    let mut producer = producer(&settings, &fresh("id"));
    let handle = producer.topic(&unwritable);
    producer.begin().expect("begin");
    producer.send(&handle, 0, None, b"x", &[]).expect("queued");
    let end = producer.commit(SOON);
    let fault = end.outcome.expect_err("denied");
    assert_eq!((end.clean, fault.kind), (false, FaultKind::TargetDenied), "{fault:?}");
    assert!(fault.object.contains(&unwritable), "{fault:?}");

    // The cause is told while records are still being sent, too.
    let mut producer = crate::broker::producer(&settings, &fresh("id"));
    let handle = producer.topic(&unwritable);
    producer.begin().expect("begin");
    let deadline = Instant::now() + SOON;
    let fault = loop {
        assert!(Instant::now() < deadline, "never told");
        match producer.send(&handle, 0, None, b"x", &[]) {
            Err(fault) => break fault,
            Ok(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    assert_eq!(fault.kind, FaultKind::TargetDenied, "{fault:?}");
    // The broker may refuse to abort what it never let begin.
    let end = producer.abort(SOON);
    assert!(producer.is_spent(), "{end:?}");
}
