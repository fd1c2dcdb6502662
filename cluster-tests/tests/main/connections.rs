//! A registered connection, end to end: tried, explored, used by name, and changed under a running task.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;
use tidewire_cluster_tests::{TASK, kafka, postgres};
use tidewire_testbed::cluster::{Cluster, ClusterOptions};
use tidewire_testbed::reader::Reader;
use tidewire_testbed::servers::postgres::PostgresAddress;

const NAME: &str = "rotation";
const LIMIT: Duration = Duration::from_secs(40);

fn shop_db(address: &PostgresAddress, password: &str) -> String {
    format!(
        "apiVersion: tidewire/v1\nkind: postgres_connection\nname: shop-db\n\
         hosts: [\"{}:{}\"]\ndatabase: {}\nuser: rotating\npassword: {{value: {password}}}\n\
         tls: {{mode: disable}}\n",
        address.host, address.port, address.database
    )
}

fn bus() -> String {
    let brokers = kafka().bootstrap();
    format!(
        "apiVersion: tidewire/v1\nkind: kafka_connection\nname: bus\nbrokers: [\"{brokers}\"]\n"
    )
}

fn task() -> String {
    format!(
        "apiVersion: tidewire/v1\nkind: postgres_to_kafka\nname: {TASK}\n\
         source: {{connection: shop-db}}\ntarget: {{connection: bus}}\n\
         format: {{type: shareplex_json}}\n\
         objects: [{{tables: [public.t], topic: {NAME}}}]\n"
    )
}

fn apply(cluster: &Cluster, yaml: &str) -> Value {
    let file = cluster.document("connection", yaml).unwrap();
    cluster.json(&["connection", "apply", "-f", file.to_str().unwrap()]).unwrap()
}

fn until(cluster: &Cluster, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let end = Instant::now() + LIMIT;
    loop {
        let task = cluster.task(TASK).unwrap();
        if holds(&task) {
            return task;
        }
        assert!(Instant::now() < end, "not {what}: {task}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_rotated_password_reaches_a_running_task() {
    let address = postgres().create_database(NAME).unwrap();
    let mut client = address.connect().unwrap();
    client
        .batch_execute(&format!(
            "CREATE TABLE t (id int PRIMARY KEY, note text); \
             CREATE ROLE rotating LOGIN REPLICATION PASSWORD 'one'; ALTER TABLE t OWNER TO rotating; \
             GRANT CREATE ON DATABASE {NAME} TO rotating"
        ))
        .unwrap();
    kafka().create_topic(NAME, 1, &[]).unwrap();
    let cluster = Cluster::start(ClusterOptions { nodes: 1, ..ClusterOptions::default() }).unwrap();
    assert_eq!(apply(&cluster, &shop_db(&address, "one"))["revision"], 1);
    apply(&cluster, &bus());
    looks(&cluster);

    cluster.apply_and_start(&task()).unwrap();
    client.batch_execute("INSERT INTO t SELECT i, 'a' FROM generate_series(1, 10) i").unwrap();
    cluster.wait(TASK, "caught-up", LIMIT).unwrap();
    client
        .batch_execute(
            "ALTER ROLE rotating PASSWORD 'two'; \
             SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'rotating'; \
             INSERT INTO t SELECT i, 'b' FROM generate_series(11, 20) i",
        )
        .unwrap();
    let retrying = until(&cluster, "Retrying for its login", |task| {
        task["phase"] == "Retrying" && task.pointer("/error/kind") == Some(&"SourceLogin".into())
    });
    let epoch = retrying.pointer("/shards/0/epoch").and_then(Value::as_u64).unwrap();
    let refused = cluster.cli(&["connection", "delete", "shop-db"]).unwrap();
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    assert!(refused.stderr.contains(&format!("tasks {TASK} use it")), "{}", refused.stderr);

    assert_eq!(apply(&cluster, &shop_db(&address, "two"))["revision"], 2);
    cluster.wait(TASK, "caught-up", LIMIT).unwrap();
    let after = until(&cluster, "under the next epoch", |task| {
        task.pointer("/shards/0/epoch").and_then(Value::as_u64) == Some(epoch + 1)
    });
    assert_eq!(after["revision"], 1, "the task itself was not touched");
    let records = Reader::all(kafka(), &[NAME]).unwrap();
    let keys: BTreeSet<_> = records.iter().map(|record| record.key.clone()).collect();
    assert_eq!((records.len(), keys.len()), (20, 20), "nothing lost, nothing doubled");
    cluster.done(&["task", "delete", TASK]).unwrap();
    cluster.done(&["connection", "delete", "shop-db"]).unwrap();
}

/// What a person does before a task uses connections; their YAML shows no secret and changes nothing
/// when it is given back.
fn looks(cluster: &Cluster) {
    let test = cluster.json(&["connection", "test", "shop-db"]).unwrap();
    assert_eq!(
        (&test["result"], &test["hosts"][0]["verdict"]),
        (&"passed".into(), &"usable".into())
    );
    let granted = |right: &Value| right["granted"] == true;
    assert!(test["rights"].as_array().unwrap().iter().all(granted), "{test}");
    let test = cluster.json(&["connection", "test", "bus"]).unwrap();
    assert_eq!(test["result"], "passed", "{test}");

    let found = cluster.json(&["connection", "discover", "shop-db"]).unwrap();
    let table = &found["tables"][0];
    assert_eq!((&table["schema"], &table["name"]), (&"public".into(), &"t".into()), "{found}");
    assert_eq!((&table["key"][0], &table["maySelect"]), (&"id".into(), &true.into()), "{found}");
    let found = cluster.json(&["connection", "discover", "bus"]).unwrap();
    let topics = found["topics"].as_array().unwrap();
    let topic = topics.iter().find(|topic| topic["name"] == NAME).unwrap();
    assert_eq!((&topic["partitions"], &topic["replicas"]), (&1.into(), &1.into()), "{topic}");

    let yaml = cluster.done(&["connection", "get", "shop-db", "-o", "yaml"]).unwrap();
    assert!(yaml.contains("***") && !yaml.contains("one"), "{yaml}");
    assert_eq!(apply(cluster, &yaml)["revision"], 1, "{yaml}");
}
