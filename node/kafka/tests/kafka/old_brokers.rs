//! at_least_once to brokers from before transactions, over a broker that is killed and comes back.

use std::time::{Duration, Instant};

use tidewire_kafka::topics::Topics;
use tidewire_kafka::{Idempotence, PlainProducer, Sent, Settings, TopicIdentity, precheck};
use tidewire_node_core::facts::TopicFacts;
use tidewire_node_core::takeover::PinPolicy;
use tidewire_shared::ByteSize;
use tidewire_shared::precheck::CheckResult;
use tidewire_shared::spec::{Delivery, KafkaTarget, PostgresTask, TopicChange};
use tidewire_testbed::servers::old_kafka::{OldKafka, V0_10, V1_0};

use crate::broker::{SOON, settings_at};
use crate::precheck::{only, task_at};

const ROWS: u32 = 500;

fn send(producer: &mut PlainProducer, rows: std::ops::Range<u32>) {
    for row in rows {
        let value = format!("row {row}");
        let sent = producer.send(0, row % 2, Some(b"key"), Some(value.as_bytes()), &[]);
        assert_eq!(sent.expect("queued"), Sent::Queued);
    }
}

/// What a partition should hold.
fn wanted(partition: u32) -> Vec<String> {
    (0..2 * ROWS).filter(|row| row % 2 == partition).map(|row| format!("row {row}")).collect()
}

/// The topic as the broker sees it, which hears of it from ZooKeeper a while after it was made.
fn when_there(settings: &Settings) -> TopicFacts {
    let topics = Topics::new(settings).expect("topics");
    let deadline = Instant::now() + SOON;
    loop {
        let answers = topics.describe(&["orders"], SOON).expect("answers");
        match answers[0].1.clone().expect("seen") {
            Some(facts) => return facts,
            None => assert!(Instant::now() < deadline, "the broker never hears of the topic"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Carries rows into an old broker, kills it with rows on their way, and gives what it holds then.
fn carry(kafka: &mut OldKafka, settings: &Settings, idempotence: Idempotence) -> [Vec<String>; 2] {
    let topics = ["orders".to_owned()];
    let mut producer = PlainProducer::create(settings, &topics, idempotence).expect("producer");
    send(&mut producer, 0..ROWS);
    producer.flush(SOON, || Ok(())).expect("acknowledged");
    send(&mut producer, ROWS..2 * ROWS);
    kafka.kill();
    kafka.restart().expect("back again");
    producer.flush(3 * SOON, || Ok(())).expect("acknowledged after the restart");
    [0, 1].map(|partition| kafka.values("orders", partition).expect("values"))
}

#[test]
fn brokers_of_0_10_get_every_row_in_order_without_idempotence_and_headers() {
    let mut kafka = OldKafka::start(V0_10).expect("a broker");
    let settings = settings_at(&kafka.bootstrap(), 1 << 20);
    kafka.create_topic("orders", 2).expect("topic");
    let facts = when_there(&settings);
    assert_eq!((facts.partitions, facts.id), (2, (0, 0)));
    assert!(facts.is_of_old_brokers());
    let topics = Topics::new(&settings).expect("topics");
    let answers = topics.describe(&["absent"], SOON).expect("answers");
    assert_eq!(answers[0].1, Ok(None));
    let identity = TopicIdentity::new(&settings).expect("identity");
    let pins = identity.pin(&["orders"], SOON).expect("pins");
    let seen = precheck::look_at_topics(&settings, &["orders"]);
    assert_eq!((seen.brokers, seen.transactions), (Ok(1), Ok(())));
    let target = KafkaTarget { brokers: vec![kafka.bootstrap()], ..KafkaTarget::default() };
    let mut task = PostgresTask { delivery: Delivery::AtLeastOnce, ..task_at(target, "orders") };
    let item = only(&task, "target_version");
    assert_eq!((item.result, &*item.found), (CheckResult::Warn, "older than 0.11"));
    task.format.identity_headers = true;
    let item = only(&task, "target_version");
    assert_eq!((item.result, &*item.message), (CheckResult::Fail, "records have no headers there"));

    let held = carry(&mut kafka, &settings, Idempotence::Off);
    let stop = PinPolicy::Spread(TopicChange::Stop);
    assert_eq!(identity.check(&pins, stop, SOON), Ok(false));
    for (partition, mut values) in (0..2).zip(held) {
        // A request that was answered into a broken connection is sent again.
        values.dedup();
        let mut first = std::collections::HashSet::new();
        values.retain(|value| first.insert(value.clone()));
        assert_eq!(values, wanted(partition));
    }
}

#[test]
fn brokers_of_1_0_get_every_row_once() {
    let mut kafka = OldKafka::start(V1_0).expect("a broker");
    let settings = settings_at(&kafka.bootstrap(), 1 << 20);
    kafka.create_topic("orders", 2).expect("topic");
    let facts = when_there(&settings);
    assert!(!facts.is_of_old_brokers() && facts.cleanup_policy == "delete", "{facts:?}");
    // librdkafka takes the answer for broken that tells of all of them.
    let absent: Vec<String> = (0..30).map(|number| format!("t{number}")).collect();
    let names: Vec<&str> = absent.iter().map(String::as_str).chain(["orders"]).collect();
    let topics = Topics::new(&settings).expect("topics");
    let answers = topics.describe(&names, SOON).expect("answers");
    assert_eq!(answers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), names);
    let there: Vec<_> = answers.iter().filter(|(_, answer)| answer != &Ok(None)).collect();
    assert!(matches!(there[..], [(_, Ok(Some(_)))]), "{there:?}");
    let target = KafkaTarget { brokers: vec![kafka.bootstrap()], ..KafkaTarget::default() };
    let mut task = PostgresTask { delivery: Delivery::AtLeastOnce, ..task_at(target, "orders") };
    // They take a little less than a MiB unless they are told to take more.
    task.limits.record_bytes = ByteSize(500_000);
    let item = only(&task, "target_version");
    let found = "older than 2.8: topics have no ids";
    assert_eq!((item.result, &*item.found), (CheckResult::Warn, found));
    let held = carry(&mut kafka, &settings, Idempotence::On);
    assert_eq!(held, [wanted(0), wanted(1)]);
}
