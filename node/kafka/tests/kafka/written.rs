//! What a task says about the way its records are written, seen in the broker's log.

use tidewire_kafka::Settings;
use tidewire_shared::ByteSize;
use tidewire_shared::spec::{Compression, KafkaTarget};
use tidewire_testbed::servers::kafka::Kafka;

use crate::broker::{SOON, broker, fresh, fresh_topic, producer};

/// One batch of a log: how its records are compressed, and how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Batch {
    codec: u16,
    records: u32,
}

/// The batches of records in a partition's log, as Kafka's message format 2 lays them out; the
/// markers that end transactions are left out.
fn batches(kafka: &Kafka, topic: &str) -> Vec<Batch> {
    let log = std::fs::read(kafka.log_file(topic, 0)).expect("the log of the broker");
    let number = |at: usize, bytes: usize| {
        let field = log.get(at..at + bytes).expect("a whole batch");
        field.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte))
    };
    let (mut at, mut batches) = (0, Vec::new());
    // The file is allocated ahead on some systems: zeros follow what was written.
    while at + 61 <= log.len() && number(at + 8, 4) > 0 {
        assert_eq!(number(at + 16, 1), 2, "message format 2");
        let attributes = number(at + 21, 2);
        let control = attributes & 0x20 != 0;
        if !control {
            let codec = u16::try_from(attributes & 0x7).expect("three bits");
            batches.push(Batch { codec, records: number(at + 57, 4) });
        }
        at += 12 + usize::try_from(number(at + 8, 4)).expect("a length");
    }
    batches
}

/// Writes ten records that compress well, in one transaction.
fn written(change: impl FnOnce(&mut KafkaTarget)) -> Vec<Batch> {
    let kafka = broker();
    let mut target = KafkaTarget { brokers: vec![kafka.bootstrap()], ..KafkaTarget::default() };
    change(&mut target);
    let settings = Settings::new(&target, ByteSize(1 << 20)).expect("settings");
    let topic = fresh_topic(&kafka, 1);
    let mut producer = producer(&settings, &fresh("id"));
    let handle = producer.topic(&topic);
    producer.begin().expect("begin");
    for _ in 0..10 {
        producer.send(&handle, 0, None, &[b'x'; 2_000], &[]).expect("queued");
    }
    let end = producer.commit(SOON);
    assert!(end.clean, "{end:?}");
    let batches = batches(&kafka, &topic);
    assert_eq!(batches.iter().map(|batch| batch.records).sum::<u32>(), 10, "{batches:?}");
    batches
}

#[test]
fn each_compression_is_the_one_in_the_log() {
    let codecs = [
        (Compression::None, 0),
        (Compression::Gzip, 1),
        (Compression::Snappy, 2),
        (Compression::Lz4, 3),
        (Compression::Zstd, 4),
    ];
    for (compression, codec) in codecs {
        let batches = written(|target| target.compression = compression);
        assert!(batches.iter().all(|batch| batch.codec == codec), "{compression:?}: {batches:?}");
    }
}

#[test]
fn properties_change_how_records_are_sent() {
    assert!(written(|_| {}).len() < 10, "records share batches");
    let alone = written(|target| {
        target.properties.insert("batch.num.messages".to_owned(), "1".to_owned());
    });
    assert_eq!(alone.len(), 10, "{alone:?}");
}
