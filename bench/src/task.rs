//! The task that all measurements run, and what they ask of it.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tidewire_testbed::cluster::{Cluster, ClusterOptions};
use tidewire_testbed::servers::kafka::Kafka;

use crate::Servers;

pub(crate) const TOPIC: &str = "orders";
pub(crate) const TASK: &str = "bench";

/// The table of the comparisons (docs/performance.md): rows of about 300 bytes.
pub(crate) const TABLE: &str = "CREATE TABLE orders (
    id bigint PRIMARY KEY, customer_id int, amount numeric(12,2), status text,
    note text, payload jsonb, created_at timestamptz DEFAULT clock_timestamp())";

/// A cluster with the task running and caught up.
pub(crate) fn start(servers: &Servers) -> Result<Cluster> {
    servers.postgres.connect()?.batch_execute(TABLE)?;
    servers.kafka.create_topic(TOPIC, 4, &[])?;
    let options = ClusterOptions { coordinators: 3, nodes: 2, ..ClusterOptions::default() };
    let cluster = Cluster::start(options)?;
    cluster.apply_and_start(&document(servers))?;
    cluster.wait(TASK, "Synchronizing", Duration::from_secs(60))?;
    Ok(cluster)
}

fn document(servers: &Servers) -> String {
    let postgres = servers.postgres.address();
    format!(
        "apiVersion: tidewire/v1\nkind: postgres_to_kafka\nname: {TASK}\n\
         source:\n  hosts: [\"{}:{}\"]\n  database: {}\n  user: {}\n  password: {{value: {}}}\n\
         target:\n  brokers: [{}]\n  compression: lz4\n\
         objects:\n  - tables: [public.orders]\n    topic: {TOPIC}\n\
         format: {{type: dts_avro}}\npartition: by_primary_key\ndelivery: exactly_once\n",
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
pub(crate) fn filled(kafka: &Kafka, before: u64, records: u64) -> Result<Instant> {
    let (mut seen, mut moved) = (before, Instant::now());
    loop {
        let now = committed(kafka)?;
        if now != seen {
            (seen, moved) = (now, Instant::now());
        } else if seen >= before + records && moved.elapsed() > STILL {
            return Ok(moved);
        } else if moved.elapsed() > STALL {
            bail!("the topic stands still at {seen}, {} were expected", before + records);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sum of the ends that read_committed consumers see.
pub(crate) fn committed(kafka: &Kafka) -> Result<u64> {
    Ok(kafka.end_offsets(TOPIC)?.stable.values().sum())
}
