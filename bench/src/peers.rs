//! The rivals beside us: one backlog, read by each in turn from a slot of its own.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use postgres::Client;
use tidewire_testbed::servers::connect::{Connect, DebeziumConnector};

use crate::backlog::{self, Run, rate, walsender};
use crate::report::{Figures, step};
use crate::task::{self, Task};
use crate::{Servers, catch_up, usage};

/// Ours, in each format and delivery.
const OURS: [Task; 5] = [
    task::PLAIN,
    Task {
        title: "tidewire, exactly_once, shareplex_json, lz4",
        name: "shareplex",
        topic: "shareplex",
        format: "shareplex_json",
        delivery: "exactly_once",
    },
    Task {
        title: "tidewire, exactly_once, canal_json, lz4",
        name: "canal",
        topic: "canal",
        format: "canal_json",
        delivery: "exactly_once",
    },
    Task {
        title: "tidewire, exactly_once, debezium_json, lz4",
        name: "debezium",
        topic: "debezium",
        format: "debezium_json",
        delivery: "exactly_once",
    },
    Task {
        title: "tidewire, at_least_once, dts_avro, lz4",
        name: "alo",
        topic: "alo",
        format: "dts_avro",
        delivery: "at_least_once",
    },
];

/// Debezium's connector, with and without transactions.
const RIVALS: [Rival; 2] = [
    Rival { title: "Debezium tuned, at least once", name: "dbz_tuned", exactly_once: false },
    Rival { title: "Debezium tuned, exactly once", name: "dbz_exact", exactly_once: true },
];

#[derive(Clone, Copy)]
struct Rival {
    title: &'static str,
    /// Of its slot and publication, and the prefix of its topic.
    name: &'static str,
    exactly_once: bool,
}

/// What makes the connector fast (docs/performance.md).
const TUNED: [(&str, &str); 7] = [
    ("publication.autocreate.mode", "disabled"),
    ("max.batch.size", "16384"),
    ("max.queue.size", "65536"),
    ("producer.override.batch.size", "262144"),
    ("producer.override.linger.ms", "10"),
    ("producer.override.buffer.memory", "67108864"),
    ("producer.override.compression.type", "lz4"),
];

pub(crate) fn measure(servers: &mut Servers, rows: u64, rounds: usize) -> Result<Figures> {
    let cluster = task::start(servers, &OURS.each_ref())?;
    let mut sql = servers.postgres.connect()?;
    for publication in [catch_up::FLOOR].into_iter().chain(RIVALS.map(|rival| rival.name)) {
        sql.batch_execute(&format!("CREATE PUBLICATION {publication} FOR TABLE orders"))?;
    }
    for rival in RIVALS {
        servers.kafka.create_topic(&rival.topic(), 4, &[])?;
    }
    let mut floor = Vec::new();
    let mut readers: Vec<(&str, Vec<Run>)> = Vec::new();
    readers.extend(OURS.map(|task| (task.title, Vec::new())));
    readers.extend(RIVALS.map(|rival| (rival.title, Vec::new())));
    for round in 1..=rounds {
        for task in &OURS {
            task::pause(&cluster, task)?;
        }
        for slot in [catch_up::FLOOR].into_iter().chain(RIVALS.map(|rival| rival.name)) {
            let create = "SELECT pg_create_logical_replication_slot($1, 'pgoutput')";
            sql.execute(create, &[&slot])?;
        }
        step(&format!("round {round} of {rounds}: writing {rows} rows"));
        backlog::load(&mut sql, round, rows)?;
        let mut runs = Vec::new();
        step("reading them with pg_recvlogical");
        floor.push(catch_up::read_with_recvlogical(servers, &mut sql, rows)?);
        for task in &OURS {
            step(&format!("carrying them with {}", task.title));
            runs.push(backlog::carry(servers, &cluster, task, &mut sql, rows)?);
            task::pause(&cluster, task)?;
        }
        for rival in RIVALS {
            step(&format!("carrying them with {}", rival.title));
            runs.push(debezium(servers, &mut sql, rival, rows)?);
        }
        for slot in [catch_up::FLOOR].into_iter().chain(RIVALS.map(|rival| rival.name)) {
            sql.execute("SELECT pg_drop_replication_slot($1)", &[&slot])?;
        }
        readers.iter_mut().zip(runs).for_each(|((_, of), run)| of.push(run));
    }
    readers.insert(0, ("pg_recvlogical to /dev/null", floor));
    Ok(backlog::figures(rows, &readers))
}

impl Rival {
    fn topic(self) -> String {
        format!("{}.public.orders", self.name)
    }
}

/// Lets a connector carry the backlog that its slot holds. Its clock starts when its walsender does:
/// the start of the worker is not counted against it, though its CPU time is.
fn debezium(servers: &Servers, sql: &mut Client, rival: Rival, rows: u64) -> Result<Run> {
    let broker = servers.kafka.broker_pid(0).context("the broker has ended")?;
    let topic = rival.topic();
    let before = task::committed(&servers.kafka, &topic)?;
    let broker_before = usage::cpu_seconds(broker)?;
    let connector = DebeziumConnector {
        name: rival.name,
        postgres: servers.postgres.address(),
        tables: &["public.orders"],
        properties: &TUNED,
    };
    let mut connect = if rival.exactly_once {
        Connect::start_exactly_once(&servers.kafka, &connector)?
    } else {
        Connect::start(&servers.kafka, &[connector])?
    };
    let sender = loop {
        if let Some(sender) = walsender(sql, "Debezium%")? {
            break sender;
        }
        ensure!(connect.is_running(), "Connect ended\n{}", connect.log());
        std::thread::sleep(Duration::from_millis(5));
    };
    let began = Instant::now();
    let ended = task::filled(&servers.kafka, &topic, before, rows)?;
    let run = Run {
        rows_per_second: rate(rows, ended - began),
        tool_cpu: usage::cpu_seconds(connect.pid())?,
        walsender_cpu: usage::cpu_seconds(sender)?,
        broker_cpu: usage::cpu_seconds(broker)? - broker_before,
        peak_mib: usage::peak_mib(connect.pid())?,
    };
    drop(connect);
    while walsender(sql, "Debezium%")?.is_some() {
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(run)
}
