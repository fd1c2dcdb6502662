//! One broker for all tests that run at the same time; it stops with the last of them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tidewire_kafka::{Settings, TransactionalProducer};
use tidewire_shared::ByteSize;
use tidewire_shared::spec::{Compression, KafkaTarget};
use tidewire_testbed::reader::{Reader, Record};
use tidewire_testbed::servers::kafka::{Kafka, KafkaOptions};

/// Long enough for anything that a broker answers at all.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) fn broker() -> Arc<Kafka> {
    static SHARED: Mutex<Weak<Kafka>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(kafka) = shared.upgrade() {
        return kafka;
    }
    let kafka = Arc::new(Kafka::start(KafkaOptions::default()).expect("a broker"));
    *shared = Arc::downgrade(&kafka);
    kafka
}

pub(crate) fn settings_at(bootstrap: &str, record_bytes: u64) -> Settings {
    let target = KafkaTarget {
        brokers: bootstrap.split(',').map(str::to_owned).collect(),
        compression: Compression::Lz4,
        ..KafkaTarget::default()
    };
    Settings::new(&target, ByteSize(record_bytes)).expect("settings")
}

pub(crate) fn settings(kafka: &Kafka) -> Settings {
    settings_at(&kafka.bootstrap(), 1 << 20)
}

/// A name that no other test uses.
pub(crate) fn fresh(name: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn fresh_topic(kafka: &Kafka, partitions: u32) -> String {
    let topic = fresh("topic");
    kafka.create_topic(&topic, partitions, &[]).expect("topic");
    topic
}

/// A producer that may begin.
pub(crate) fn producer(settings: &Settings, id: &str) -> TransactionalProducer {
    let mut producer = TransactionalProducer::create(settings, id).expect("producer");
    producer.init(SOON).expect("init");
    producer
}

/// What a read_committed consumer of another library sees.
pub(crate) fn seen(kafka: &Kafka, topic: &str) -> Vec<Record> {
    Reader::all(kafka, &[topic]).expect("reader")
}

pub(crate) fn values(kafka: &Kafka, topic: &str) -> Vec<String> {
    let value = |record: Record| String::from_utf8(record.value.unwrap_or_default()).expect("text");
    seen(kafka, topic).into_iter().map(value).collect()
}
