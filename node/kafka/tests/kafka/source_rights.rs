//! What an account needs to be read with, and what it means that it lacks it.

use std::collections::BTreeMap;
use std::time::Duration;

use tidewire_kafka::topics::{At, NewTopic, Operation, Topics};
use tidewire_kafka::{Consumer, Isolation, Settings};
use tidewire_shared::spec::{KafkaSecurity, Sasl, SaslMechanism, SecurityProtocol};
use tidewire_shared::{ByteSize, FaultKind, SecretRef};
use tidewire_testbed::servers::kafka_security::{PASSWORD, SecuredKafka, USER};
use tidewire_testbed::writer::{Writer, Written};

use crate::broker::SOON;
use crate::source::{from, quick, read_to_ends};

fn source(secured: &SecuredKafka, password: &str) -> Settings {
    let sasl = Sasl {
        mechanism: SaslMechanism::ScramSha256,
        user: USER.to_owned(),
        password: SecretRef::Value(password.to_owned()),
    };
    let security = KafkaSecurity {
        protocol: SecurityProtocol::SaslPlaintext,
        sasl: Some(sasl),
        ..KafkaSecurity::default()
    };
    let brokers = [format!("127.0.0.1:{}", secured.sasl_plaintext)];
    Settings::source(&brokers, &security, &BTreeMap::new(), ByteSize(1 << 20)).expect("settings")
}

#[test]
fn read_and_describe_on_the_topics_are_enough_and_each_lack_is_named() {
    let secured = SecuredKafka::start_guarded().expect("a broker");
    let kafka = &secured.kafka;
    for topic in ["mine", "hidden"] {
        kafka.create_topic(topic, 1, &[("retention.ms", "77000")]).expect("topic");
        let mut writer = Writer::start(kafka, "none", None).expect("writer");
        writer.send(topic, &[Written::value("v")]).expect("sent");
    }
    let settings = source(&secured, PASSWORD);
    let topics = Topics::new(&settings).expect("topics");
    assert!(topics.list(SOON).expect("list").is_empty());

    let principal = format!("User:{USER}");
    kafka.allow(&principal, "DESCRIBE", "mine").expect("allowed");
    let mut consumer = Consumer::open(&settings, quick()).expect("consumer");
    let fault = consumer.assign(&[from("hidden", 0, 0)], SOON).expect_err("may not be described");
    assert_eq!(fault.kind, FaultKind::SourceDenied, "{fault:?}");
    assert!(fault.object.contains("hidden") && fault.remedy.contains("Read"), "{fault:?}");

    // Described but not read: the first fetch says so.
    let mut consumer = Consumer::open(&settings, quick()).expect("consumer");
    consumer.assign(&[from("mine", 0, 0)], SOON).expect("slots");
    let fault = loop {
        match consumer.next(Duration::from_millis(200)) {
            Err(fault) => break fault,
            Ok(fetched) => assert!(fetched.is_none(), "{fetched:?}"),
        }
    };
    assert_eq!(fault.kind, FaultKind::SourceDenied, "{fault:?}");
    assert!(fault.object.contains("mine") && fault.remedy.contains("Read"), "{fault:?}");

    kafka.allow(&principal, "READ", "mine").expect("allowed");
    let mut consumer = Consumer::open(&settings, quick()).expect("consumer");
    let slots = consumer.assign(&[from("mine", 0, 0)], SOON).expect("slots");
    assert_eq!(read_to_ends(&mut consumer, slots).0.len(), 1);
    assert!(!kafka.topics().expect("topics").iter().any(|name| name.contains("offsets")));

    let listed = topics.list(SOON).expect("list");
    let [mine] = listed.as_slice() else { panic!("{listed:?}") };
    let may = mine.operations.clone().expect("brokers say");
    assert!(may.contains(&Operation::Read) && !may.contains(&Operation::Write), "{may:?}");
    let at = At::Latest(Isolation::Committed);
    assert_eq!(topics.offsets(&[("mine", 0)], at, SOON).expect("asked"), [Ok(Some(1))]);

    // What needs more says which right.
    let configs = topics.own_configs(&["mine"], SOON).expect("asked");
    let fault = configs[0].1.clone().expect_err("configs");
    assert_eq!(fault.kind, FaultKind::SourceDenied);
    assert!(fault.remedy.contains("DescribeConfigs"), "{fault:?}");
    let fault = topics.delete_records(&[("mine", 0, 1)], SOON).expect("asked").remove(0);
    assert!(fault.expect_err("records").remedy.contains("Delete"));
    let new = NewTopic {
        name: "new".to_owned(),
        partitions: 1,
        replicas: None,
        configs: BTreeMap::new(),
    };
    let fault = topics.create(&[new], SOON).expect("asked").remove(0).1.expect_err("topic");
    assert!(fault.remedy.contains("Create"), "{fault:?}");
    let fault = topics.add_partitions(&[("mine", 2)], SOON).expect("asked").remove(0).1;
    assert!(fault.expect_err("partitions").remedy.contains("Alter"));
    let changes = BTreeMap::from([("retention.ms".to_owned(), None)]);
    let fault = topics.alter_configs(&[("mine", changes)], SOON).expect("asked").remove(0).1;
    assert!(fault.expect_err("configs").remedy.contains("AlterConfigs"));
}

#[test]
fn a_wrong_password_is_a_login_that_fails() {
    let secured = SecuredKafka::start_guarded().expect("a broker");
    let mut consumer = Consumer::open(&source(&secured, "no"), quick()).expect("consumer");
    let fault = consumer.assign(&[from("mine", 0, 0)], SOON / 4).expect_err("refused");
    assert_eq!(fault.kind, FaultKind::SourceLogin, "{fault:?}");
    assert!(fault.remedy.contains("source"), "{fault:?}");
}
