//! What a deleted task could not drop, because servers were away, is tried again until it is gone.

use std::time::Duration;

use tidewire_cluster_tests::postgres;
use tidewire_testbed::servers::{Kafka, KafkaOptions, Postgres, PostgresOptions};

use crate::others::until;
use crate::solo::{TABLE, Task, cluster};

/// What is left of a task, or nothing.
fn left(name: &str) -> String {
    let all = cluster().json(&["task", "list", "--leftovers"]).unwrap();
    let ours = all.as_array().unwrap().iter().filter(|task| task["name"] == name);
    ours.map(ToString::to_string).collect()
}

#[test]
fn what_servers_that_were_away_hold_of_a_deleted_task_goes_when_they_are_back() {
    let mut server = Postgres::start(PostgresOptions::default()).unwrap();
    let beats = "  heartbeat: {mode: table, interval: 1s}\ntarget:\n";
    let mut task =
        Task::with("left-source", &server, TABLE, |yaml| yaml.replace("target:\n", beats));
    task.insert(1..=3);
    assert_eq!(task.delivered_inserts_of_the_table(), 3);
    let slot = task.slot.clone();
    server.kill();
    let told = cluster().cli(&["task", "delete", "left-source", "--yes"]).unwrap();
    assert_eq!(told.code, 0, "{}", told.stderr);
    assert_eq!(cluster().cli(&["task", "get", "left-source"]).unwrap().code, 3);
    let drop_slot = format!("SELECT pg_drop_replication_slot('{slot}');");
    let drop_publication = format!("DROP PUBLICATION \\\"{slot}\\\";");
    for by_hand in [&drop_slot, &drop_publication] {
        assert!(
            left("left-source").contains(by_hand),
            "{by_hand} is not in {}",
            left("left-source")
        );
    }
    // At least one further attempt finds the server still away.
    std::thread::sleep(Duration::from_secs(6));
    assert!(left("left-source").contains(&drop_slot), "{}", left("left-source"));
    server.resume().unwrap();
    until("gone", || left("left-source").is_empty());
    task.reconnect(server.address());
    for query in [
        "SELECT 1 FROM pg_replication_slots",
        "SELECT 1 FROM pg_publication",
        "SELECT 1 FROM tidewire.dts_postgres_heartbeat",
    ] {
        assert!(task.client.query(query, &[]).unwrap().is_empty(), "{query}");
    }
    drop(server);

    let broker: &'static Kafka =
        Box::leak(Box::new(Kafka::start(KafkaOptions::default()).unwrap()));
    let mut task = Task::on_broker(broker, "left-target", postgres(), |yaml| yaml);
    task.insert(1..=3);
    assert_eq!(task.delivered_inserts_of_the_table(), 3);
    task.pause();
    let brokers = broker.bootstrap();
    let positions = || {
        let show = ["positions", "show", "--brokers", &brokers, "-o", "json"];
        cluster().done(&show).unwrap()
    };
    let id = task.slot.strip_prefix("tidewire_").unwrap().to_owned();
    assert!(positions().contains(&id), "{}", positions());
    broker.kill_broker(0);
    let told = cluster().cli(&["task", "delete", "left-target", "--yes"]).unwrap();
    assert_eq!(told.code, 0, "{}", told.stderr);
    assert!(
        left("left-target").contains("they are harmless and may stay"),
        "{}",
        left("left-target")
    );
    assert!(
        !left("left-target").contains("pg_drop_replication_slot"),
        "the source was there: {}",
        left("left-target")
    );
    broker.restart_broker(0).unwrap();
    until("gone", || left("left-target").is_empty());
    assert!(!positions().contains(&id), "{}", positions());
    broker.kill_broker(0);
}
