//! The task that all measurements run, and what they ask of it.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tidewire_testbed::cluster::{Cluster, ClusterOptions};
use tidewire_testbed::servers::kafka::Kafka;

use crate::Servers;

/// A task of a measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Task {
    /// What the tables of figures call it.
    pub(crate) title: &'static str,
    pub(crate) name: &'static str,
    pub(crate) topic: &'static str,
    pub(crate) format: &'static str,
    pub(crate) delivery: &'static str,
}

/// What users get who ask for nothing special.
pub(crate) const PLAIN: Task = Task {
    title: "tidewire, exactly_once, dts_avro, lz4",
    name: "bench",
    topic: "orders",
    format: "dts_avro",
    delivery: "exactly_once",
};

/// The table of the comparisons (docs/performance.md): rows of about 300 bytes.
pub(crate) const TABLE: &str = "CREATE TABLE orders (
    id bigint PRIMARY KEY, customer_id int, amount numeric(12,2), status text,
    note text, payload jsonb, created_at timestamptz DEFAULT clock_timestamp())";

/// A cluster with the tasks running and caught up.
pub(crate) fn start(servers: &Servers, tasks: &[&Task]) -> Result<Cluster> {
    servers.postgres.connect()?.batch_execute(TABLE)?;
    let options = ClusterOptions { coordinators: 3, nodes: 2, ..ClusterOptions::default() };
    let cluster = Cluster::start(options)?;
    for task in tasks {
        servers.kafka.create_topic(task.topic, 4, &[])?;
        cluster.apply_and_start(&document(servers, task))?;
        cluster.wait(task.name, "Synchronizing", Duration::from_secs(60))?;
    }
    Ok(cluster)
}

/// Pauses a task, so that its slot keeps what is written from now on.
pub(crate) fn pause(cluster: &Cluster, task: &Task) -> Result<()> {
    cluster.done(&["task", "pause", task.name])?;
    cluster.wait(task.name, "Paused", Duration::from_secs(30))
}

fn document(servers: &Servers, task: &Task) -> String {
    let postgres = servers.postgres.address();
    let Task { name, topic, format, delivery, .. } = task;
    format!(
        "apiVersion: tidewire/v1\nkind: postgres_to_kafka\nname: {name}\n\
         source:\n  hosts: [\"{}:{}\"]\n  database: {}\n  user: {}\n  password: {{value: {}}}\n\
         target:\n  brokers: [{}]\n  compression: lz4\n\
         objects:\n  - tables: [public.orders]\n    topic: {topic}\n\
         format: {{type: {format}}}\npartition: by_primary_key\ndelivery: {delivery}\n",
        postgres.host,
        postgres.port,
        postgres.database,
        postgres.user,
        postgres.password,
        servers
            .kafka
            .bootstrap()
            .split(',')
            .map(|broker| format!("\"{broker}\""))
            .collect::<Vec<_>>()
            .join(", "),
    )
}

/// Longest time in which a backlog may not move.
const STALL: Duration = Duration::from_secs(60);
/// A topic whose committed end has not moved for so long has everything.
const STILL: Duration = Duration::from_secs(2);

/// Waits until the topic holds at least `records` committed records more than `before` and has come
/// to rest; gives the moment of the last movement.
pub(crate) fn filled(kafka: &Kafka, topic: &str, before: u64, records: u64) -> Result<Instant> {
    let (mut seen, mut moved) = (before, Instant::now());
    loop {
        let now = committed(kafka, topic)?;
        if now != seen {
            (seen, moved) = (now, Instant::now());
        } else if seen >= before + records && moved.elapsed() > STILL {
            return Ok(moved);
        } else if moved.elapsed() > STALL {
            bail!("topic {topic} stands still at {seen}, {} were expected", before + records);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sum of the ends that read_committed consumers see.
pub(crate) fn committed(kafka: &Kafka, topic: &str) -> Result<u64> {
    Ok(kafka.end_offsets(topic)?.stable.values().sum())
}
