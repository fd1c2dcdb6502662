//! Documents that mean something, and the exact words for those that do not.

use proptest::prelude::*;
use tidewire_shared::spec::{
    HeartbeatMode, Managed, PartitionPolicy, PostgresTask, TableName, TimestampUnit,
};
use tidewire_shared::{ByteSize, Period, SecretRef, TaskSpec};

use super::{Document, Explained};

mod arbitrary;
mod channels;
mod connections;
mod refusals;

const PLAIN: &str = "\
apiVersion: tidewire/v1
kind: postgres_to_kafka
name: orders
source:
  hosts: [db1:5432, db2]
  database: shop
  user: tidewire
  password: {env: PGPASSWORD}
target:
  brokers: [k1:9092]
objects:
  - tables: [public.orders, 'public.\"Mixed Case\"']
    topic: orders
format: {type: dts_avro}
";

fn whole(text: &str) -> TaskSpec {
    match Document::parse(text) {
        Ok(document) => document.spec,
        Err(error) => panic!("{error}"),
    }
}

fn spec(text: &str) -> PostgresTask {
    match whole(text) {
        TaskSpec::PostgresToKafka(task) => task,
        TaskSpec::KafkaToKafka(task) => panic!("{} is from Kafka", task.name),
    }
}

#[test]
fn a_short_document_gets_the_defaults() {
    let spec = spec(PLAIN);
    assert_eq!(spec.source.hosts, ["db1:5432", "db2:5432"]);
    assert_eq!(spec.source.password, Some(SecretRef::Env("PGPASSWORD".into())));
    assert_eq!(spec.source.slot, Managed::Managed);
    assert_eq!(spec.source.heartbeat.mode, HeartbeatMode::Auto);
    assert_eq!(spec.partition, PartitionPolicy::ByPrimaryKey);
    assert_eq!(spec.retry.connection, Period::from_mins(720));
    assert_eq!(spec.retry.other, Period::from_mins(10));
    assert_eq!(spec.limits.record_bytes, ByteSize(1 << 20));
    assert_eq!(
        spec.objects[0].tables[1],
        TableName { schema: "public".into(), table: "Mixed Case".into() }
    );
}

#[test]
fn json_is_a_document_too() {
    let text = r#"{"apiVersion":"tidewire/v1","kind":"postgres_to_kafka","name":"orders",
        "source":{"hosts":["db1:5432"],"database":"shop","user":"u","heartbeat":{"mode":"off"},
                  "slot":{"mode":"existing","name":"mine"}},
        "target":{"brokers":["k1:9092"],"properties":{"linger.ms":5}},
        "objects":[{"tables":["Public.Orders"],"topic":"orders"}],
        "format":{"type":"dts_avro","sourceTimestampUnit":"s"}}"#;
    let spec = spec(text);
    assert_eq!(spec.source.heartbeat.mode, HeartbeatMode::Off);
    assert_eq!(spec.source.slot, Managed::Existing("mine".into()));
    assert_eq!(spec.target.properties["linger.ms"], "5");
    assert_eq!(spec.objects[0].tables[0].to_string(), "public.orders");
    assert_eq!(spec.format.source_timestamp_unit, TimestampUnit::Seconds);
}

#[test]
fn keys_of_later_versions_are_fine_at_their_defaults() {
    let text = PLAIN.replace("  user: tidewire\n", "  user: tidewire\n  flavor: auto\n  walBudget: {warn: 10GiB, limit: 50GiB, atLimit: alert}\n  slot: {mode: managed, failover: auto}\n")
        + "partition: by_primary_key\ndelivery: exactly_once\nstart: now\nalerts: []\nonBadRecord: stop\nlimits: {bytesPerSecond: 0, rowsPerSecond: 0, recordBytes: 1MiB}\n";
    assert_eq!(spec(&text), spec(PLAIN));
}

#[test]
fn a_secret_in_the_document_is_warned_about_without_repeating_it() {
    let text = PLAIN.replace("{env: PGPASSWORD}", "{value: hunter2}");
    let warnings = Document::parse(&text).expect("it parses").warnings;
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("source.password: "), "{warnings:?}");
    assert!(!warnings[0].contains("hunter2"));
}

proptest! {
    #[test]
    fn explained_documents_read_back_as_the_same_task(spec in arbitrary::spec()) {
        let yaml = Explained::new(&spec).yaml().expect("it writes");
        let read = Document::parse(&yaml).map(|document| document.spec);
        prop_assert_eq!(read, Ok(spec.clone()), "{}", yaml);
        let json = serde_json::to_string(&Explained::new(&spec)).expect("it writes");
        prop_assert_eq!(Document::parse(&json).map(|document| document.spec), Ok(spec));
    }

    #[test]
    fn arbitrary_text_never_panics(text in any::<String>()) {
        drop(Document::parse(&text));
    }

    #[test]
    fn damaged_documents_never_panic(
        place in any::<prop::sample::Index>(),
        length in 0..20_usize,
        patch in "[ -~\n\t:{}\\[\\]*&!|>'\"%@`#,?äπ-]{0,12}",
    ) {
        let mut letters: Vec<char> = PLAIN.chars().collect();
        let start = place.index(letters.len());
        let end = (start + length).min(letters.len());
        letters.splice(start..end, patch.chars());
        drop(Document::parse(&letters.into_iter().collect::<String>()));
    }

    #[test]
    fn deep_documents_are_refused(depth in 33..5_000_usize, open in "[\\[{]|- |a: ") {
        prop_assert!(Document::parse(&open.repeat(depth)).is_err());
    }
}
