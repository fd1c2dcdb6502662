//! The properties that users may set: librdkafka takes every one of them, and what has no meaning is
//! refused by name, before a task starts.

use std::collections::BTreeMap;

use tidewire_kafka::topics::Topics;
use tidewire_kafka::{
    Consumer, Idempotence, PlainProducer, Settings, SourceLimits, TransactionalProducer,
};
use tidewire_shared::spec::{KafkaSecurity, KafkaSource, KafkaTarget};
use tidewire_shared::{ByteSize, Fault, FaultKind};

use crate::broker::{SOON, broker, fresh, fresh_topic, values};

/// A value that has a meaning and is not librdkafka's own. A name without one here was added to a list
/// without being tried.
fn value_of(property: &str) -> &'static str {
    match property {
        "batch.num.messages" | "metadata.max.age.ms" | "topic.metadata.refresh.interval.ms" => {
            "7000"
        }
        "batch.size" | "socket.receive.buffer.bytes" | "socket.send.buffer.bytes" => "70000",
        "broker.address.family" => "v4",
        "broker.address.ttl" | "linger.ms" | "reconnect.backoff.ms" | "retry.backoff.ms" => "70",
        "client.dns.lookup" => "resolve_canonical_bootstrap_servers_only",
        "client.id" | "client.rack" => "seven",
        "compression.level" => "7",
        "connections.max.idle.ms" => "70000",
        "fetch.max.bytes" => "7000000",
        "fetch.message.max.bytes" => "700000",
        "fetch.min.bytes" => "7",
        "fetch.wait.max.ms" | "retry.backoff.max.ms" => "700",
        "queued.max.messages.kbytes" => "7000",
        "reconnect.backoff.max.ms" => "700",
        "socket.connection.setup.timeout.ms" => "7000",
        "socket.keepalive.enable" | "socket.nagle.disable" => "true",
        name => panic!("{name} was never tried"),
    }
}

fn all(names: &[&str]) -> BTreeMap<String, String> {
    names.iter().map(|name| ((*name).to_owned(), value_of(name).to_owned())).collect()
}

fn target(brokers: &str, properties: BTreeMap<String, String>) -> Settings {
    let target =
        KafkaTarget { brokers: vec![brokers.to_owned()], properties, ..KafkaTarget::default() };
    Settings::new(&target, ByteSize(1 << 20)).expect("settings")
}

fn source(brokers: &str, properties: &BTreeMap<String, String>) -> Settings {
    let open = KafkaSecurity::default();
    Settings::source(&[brokers.to_owned()], &open, properties, ByteSize(1 << 20)).expect("settings")
}

/// Makes every client that a target has.
fn write_with(settings: &Settings) -> Result<(), Fault> {
    TransactionalProducer::create(settings, &fresh("id"))?;
    for idempotence in [Idempotence::On, Idempotence::Off] {
        PlainProducer::create(settings, &[], idempotence)?;
    }
    Topics::new(settings).map(drop)
}

#[test]
fn every_property_that_is_allowed_is_one_and_all_together_carry_a_record() {
    let kafka = broker();
    let there = kafka.bootstrap();
    for name in KafkaTarget::ALLOWED_PROPERTIES {
        let settings = target(&there, all(&[name]));
        write_with(&settings).unwrap_or_else(|fault| panic!("{name}: {fault:?}"));
    }
    for name in KafkaSource::ALLOWED_PROPERTIES {
        let settings = source(&there, &all(&[name]));
        let opened = Consumer::open(&settings, SourceLimits::default()).map(drop);
        opened.and_then(|()| Topics::new(&settings).map(drop)).expect(name);
    }

    let topic = fresh_topic(&kafka, 1);
    let settings = target(&there, all(KafkaTarget::ALLOWED_PROPERTIES));
    let mut producer = crate::broker::producer(&settings, &fresh("id"));
    let handle = producer.topic(&topic);
    producer.begin().expect("begin");
    producer.send(&handle, 0, None, b"carried", &[]).expect("queued");
    let end = producer.commit(SOON);
    assert!(end.clean, "{end:?}");
    assert_eq!(values(&kafka, &topic), ["carried"]);
    let settings = source(&there, &all(KafkaSource::ALLOWED_PROPERTIES));
    let mut consumer = Consumer::open(&settings, SourceLimits::default()).expect("consumer");
    let slots = consumer.assign(&[crate::source::from(&topic, 0, 0)], SOON).expect("slots");
    assert_eq!(crate::source::read_to_ends(&mut consumer, slots).0.len(), 1);
}

#[test]
fn a_value_without_a_meaning_is_refused_by_the_name_of_its_property() {
    let wrong = |name: &str| BTreeMap::from([(name.to_owned(), "soon".to_owned())]);
    let here = "127.0.0.1:1";
    for name in ["linger.ms", "socket.keepalive.enable", "broker.address.family"] {
        let fault = write_with(&target(here, wrong(name))).expect_err(name);
        assert_eq!(fault.kind, FaultKind::Configuration, "{fault:?}");
        assert!(fault.object.starts_with("target.properties"), "{fault:?}");
        assert!(fault.message.contains(name), "{fault:?}");
    }
    let settings = source(here, &wrong("fetch.max.bytes"));
    let fault = Consumer::open(&settings, SourceLimits::default()).map(drop).expect_err("soon");
    assert_eq!(fault.kind, FaultKind::Configuration, "{fault:?}");
    assert!(fault.object.starts_with("source.properties"), "{fault:?}");
    assert!(fault.message.contains("fetch.max.bytes"), "{fault:?}");
}
