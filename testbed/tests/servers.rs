//! The servers start, restart and answer; the readers see what is there.

use std::time::Duration;

use tidewire_testbed::dts_reader::DtsReader;
use tidewire_testbed::reader::Reader;
use tidewire_testbed::servers::postgres::StopMode;
use tidewire_testbed::servers::{Kafka, KafkaOptions, Postgres, PostgresOptions};

#[test]
fn postgres_keeps_its_rows_over_a_kill_and_a_restart() {
    let mut postgres = Postgres::start(PostgresOptions::default()).unwrap();
    let mut client = postgres.connect().unwrap();
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)").unwrap();
    postgres.kill();
    postgres.resume().unwrap();
    postgres.restart(StopMode::Fast).unwrap();
    let row = postgres.connect().unwrap().query_one("SELECT id FROM t", &[]).unwrap();
    assert_eq!(row.get::<_, i32>(0), 1);
    postgres.stop();
}

#[test]
fn kafka_creates_topics_and_survives_the_kill_of_its_broker() {
    let kafka = Kafka::start(KafkaOptions::default()).unwrap();
    kafka.create_topic("t", 2, &[("cleanup.policy", "delete")]).unwrap();
    assert!(kafka.create_topic("t", 2, &[]).unwrap_err().to_string().contains("TopicExists"));
    kafka.alter_topic_config("t", &[("max.message.bytes", Some("2000000"))]).unwrap();
    kafka.kill_broker(0);
    kafka.restart_broker(0).unwrap();
    assert_eq!(kafka.topics().unwrap(), ["t"]);
    assert_eq!(kafka.end_offsets("t").unwrap().stable.len(), 2);
    assert!(Reader::all(&kafka, &["t"]).unwrap().is_empty());
    let mut follower = Reader::follow(&kafka, &["t"]).unwrap();
    assert!(follower.next_within(Duration::from_millis(100)).unwrap().is_none());
    kafka.delete_topic("t").unwrap();
}

#[test]
fn the_official_sdk_refuses_what_is_no_record() {
    let mut reader = DtsReader::start().unwrap();
    assert!(reader.read(b"no record").unwrap().exception.is_some());
    assert!(reader.read(b"").unwrap().exception.is_some());
}
