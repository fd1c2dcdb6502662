//! What people see of a cluster before they make a task: brokers, rights, topics.

use std::time::Duration;

use tidewire_kafka::discover;
use tidewire_shared::FaultKind;
use tidewire_shared::connection::{KafkaEndpoint, Verdict};
use tidewire_shared::spec::KafkaSecurity;

use crate::broker::{broker, fresh_topic};

fn to(brokers: &[&str]) -> KafkaEndpoint {
    KafkaEndpoint {
        brokers: brokers.iter().map(|broker| (*broker).to_owned()).collect(),
        security: KafkaSecurity::default(),
        properties: [].into(),
    }
}

#[test]
fn brokers_are_tried_one_by_one_and_topics_are_listed_with_rights() {
    let kafka = broker();
    let topic = fresh_topic(&kafka, 3);
    let bootstrap = kafka.bootstrap();
    let to = to(&["127.0.0.1:1", &bootstrap]);
    let tested = discover::try_brokers(&to);
    let verdicts: Vec<_> = tested.iter().map(|broker| broker.verdict).collect();
    assert_eq!(verdicts, [Verdict::Failed, Verdict::Usable], "{tested:?}");
    let fault = tested.first().and_then(|broker| broker.fault.clone()).expect("a fault");
    assert_eq!(fault.kind, FaultKind::TargetUnreachable, "{fault:?}");
    let rights = discover::rights(&to).expect("rights");
    assert!(rights.iter().all(|right| right.granted), "{rights:?}");

    let found = discover::discover(&to, Duration::from_secs(10)).expect("discovered");
    let row = found.topics.iter().find(|row| row.name == topic).expect("our topic");
    assert_eq!((row.partitions, row.replicas, row.internal), (3, 1, false));
    let rights = row.rights.clone().expect("brokers say");
    assert!(rights.contains(&"Write".to_owned()), "{rights:?}");
    assert!(!found.truncated);
}
