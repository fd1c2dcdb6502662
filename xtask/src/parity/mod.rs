//! `cargo x parity`: Debezium and a task with `debezium_json` on the same database, record by record.

mod compare;
mod explained;
mod golden;
mod json;
mod scene;
mod variant;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;
use postgres::Client;
use tidewire_testbed::cluster::{Cluster, ClusterOptions};
use tidewire_testbed::reader::{Reader, Record};
use tidewire_testbed::servers::{
    Connect, DebeziumConnector, Kafka, KafkaOptions, Postgres, PostgresOptions,
};
use tidewire_testbed::task::TaskDocument;

use crate::{cargo, checks, screen};
use compare::Difference;
use scene::TABLES;
use variant::{VARIANTS, Variant};

/// Unexplained differences that are printed one by one.
const SHOWN: usize = 200;
/// Characters of a value that are shown.
const SHOWN_CHARACTERS: usize = 90;

#[derive(Args)]
pub(crate) struct ParityArguments {
    /// Compare with `schemas: true`, each record with its schema
    #[arg(long)]
    schemas: bool,
    /// Write the records that the unit tests compare with
    #[arg(long, conflicts_with = "schemas")]
    golden: bool,
}

/// Everything that runs.
struct Stage {
    // They end before their servers.
    cluster: Cluster,
    connect: Connect,
    postgres: Postgres,
    kafka: Kafka,
}

pub(crate) fn run(arguments: &ParityArguments) -> Result<()> {
    let mut stage = Stage::prepare(arguments.schemas)?;
    let mut client = stage.postgres.connect()?;
    if arguments.golden {
        golden::begin(&mut client)?;
    }
    screen::step("make the changes", || scene::change(&mut client))?;
    let differences = screen::step("read and compare", || stage.compare())?;
    if arguments.golden {
        let variant = VARIANTS.first().context("options")?;
        let records = stage.read(|table| variant.their_topic(table))?;
        let records = TABLES.iter().copied().zip(records).collect();
        golden::write(&mut client, &records, &differences)?;
    }
    report(&differences)
}

impl Stage {
    fn prepare(schemas: bool) -> Result<Self> {
        screen::step("fetch PostgreSQL, Kafka and Debezium (once)", checks::fetch_servers)?;
        let binary = screen::step("build tidewire", || cargo::build_binary(cargo::Profile::Debug))?;
        let (postgres, kafka) = screen::step("start PostgreSQL and Kafka", || {
            let kafka = thread::spawn(|| Kafka::start(KafkaOptions::default()));
            let postgres = Postgres::start(PostgresOptions::default())?;
            let kafka = kafka.join().map_err(|_| anyhow!("the start of Kafka panicked"))??;
            Ok((postgres, kafka))
        })?;
        screen::step("create tables and topics", || {
            scene::create(&mut postgres.connect()?)?;
            for variant in VARIANTS {
                for table in TABLES {
                    kafka.create_topic(&variant.their_topic(table), 1, &[])?;
                    kafka.create_topic(&variant.our_topic(table), 1, &[])?;
                }
            }
            Ok(())
        })?;
        let connect = screen::step("start Debezium", || {
            let mut connect = start_connectors(&postgres, &kafka, schemas)?;
            until_streaming(&mut postgres.connect()?, &mut connect)?;
            Ok(connect)
        })?;
        let cluster = screen::step("start the tasks", || {
            let options = ClusterOptions { nodes: 1, binary: Some(binary), ..Default::default() };
            let cluster = Cluster::start(options)?;
            for variant in VARIANTS {
                cluster.apply_and_start(&document(variant, &postgres, &kafka, schemas))?;
            }
            Ok(cluster)
        })?;
        Ok(Self { cluster, connect, postgres, kafka })
    }

    fn compare(&mut self) -> Result<Vec<Difference>> {
        let mut differences = Vec::new();
        for variant in VARIANTS {
            self.until_finished(variant)?;
            let theirs = self.read(|table| variant.their_topic(table))?;
            let ours = self.read(|table| variant.our_topic(table))?;
            for ((table, theirs), ours) in TABLES.iter().zip(theirs).zip(ours) {
                compare::topics(variant.name, table, &theirs, &ours, &mut differences)?;
            }
        }
        Ok(differences)
    }

    /// The records of each table's topic.
    fn read(&self, topic: impl Fn(&str) -> String) -> Result<Vec<Vec<Record>>> {
        let topics: Vec<_> = TABLES.iter().map(|table| topic(table)).collect();
        let names: Vec<_> = topics.iter().map(String::as_str).collect();
        let mut of = vec![Vec::new(); topics.len()];
        for record in Reader::all(&self.kafka, &names)? {
            let at = topics.iter().position(|topic| *topic == record.topic);
            at.and_then(|at| of.get_mut(at)).context("a record of no topic")?.push(record);
        }
        Ok(of)
    }

    /// Waits for the last record of both.
    fn until_finished(&mut self, variant: &Variant) -> Result<()> {
        let last = TABLES.last().context("tables")?;
        let wait = |topic: &str| {
            Reader::follow(&self.kafka, &[topic])?.take_within(1, Duration::from_secs(90))
        };
        if let Err(missing) = wait(&variant.their_topic(last)) {
            return Err(missing.context(format!("Debezium stopped\n{}", self.connect.log())));
        }
        wait(&variant.our_topic(last)).with_context(|| {
            let task = self.cluster.task(variant.name).unwrap_or_default();
            format!("the task stopped: {task:#}")
        })?;
        Ok(())
    }
}

fn start_connectors(postgres: &Postgres, kafka: &Kafka, schemas: bool) -> Result<Connect> {
    let schemas = schemas.to_string();
    let properties: Vec<_> = VARIANTS.iter().map(|variant| variant.properties(&schemas)).collect();
    let connectors: Vec<_> = VARIANTS
        .iter()
        .zip(&properties)
        .map(|(variant, properties)| DebeziumConnector {
            name: variant.name,
            postgres: postgres.address(),
            tables: TABLES,
            properties,
        })
        .collect();
    Connect::start(kafka, &connectors)
}

fn until_streaming(client: &mut Client, connect: &mut Connect) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(120);
    let wanted = i64::try_from(VARIANTS.len())?;
    loop {
        let active = "SELECT count(*) FROM pg_replication_slots WHERE active";
        if client.query_one(active, &[])?.get::<_, i64>(0) >= wanted {
            return Ok(());
        }
        ensure!(connect.is_running(), "Kafka Connect ended\n{}", connect.log());
        ensure!(Instant::now() < end, "no connector streams\n{}", connect.log());
        thread::sleep(Duration::from_millis(200));
    }
}

fn document(variant: &Variant, postgres: &Postgres, kafka: &Kafka, schemas: bool) -> String {
    let objects = variant.objects();
    let objects: Vec<_> = objects.iter().map(|(table, topic)| (*table, topic.as_str())).collect();
    let document = TaskDocument {
        name: variant.name,
        postgres: postgres.address(),
        bootstrap: &kafka.bootstrap(),
        objects: &objects,
        format: &variant.format(schemas),
        partition: "by_primary_key",
    };
    let operations = "operations: [insert, update, delete, truncate]";
    let with_operations = |line: &str| match line.trim_start().strip_prefix("topic:") {
        Some(_) => format!("{line}\n    {operations}\n"),
        None => format!("{line}\n"),
    };
    document.yaml().lines().map(with_operations).collect()
}

/// Prints what differs; an error when a difference has no reason.
fn report(differences: &[Difference]) -> Result<()> {
    let mut explained = BTreeMap::<&str, usize>::new();
    let mut unexplained = Vec::new();
    for difference in differences {
        match difference.reason() {
            Some(reason) => *explained.entry(reason).or_default() += 1,
            None => unexplained.push(difference),
        }
    }
    screen::result(format!("{:>7}  explained difference", "count"))?;
    for (reason, count) in &explained {
        screen::result(format!("{count:>7}  {reason}"))?;
    }
    for difference in unexplained.iter().take(SHOWN) {
        screen::result(shown(difference))?;
    }
    screen::result(format!("{:>7}  unexplained", unexplained.len()))?;
    ensure!(unexplained.is_empty(), "{} differences without a reason", unexplained.len());
    Ok(())
}

fn shown(difference: &Difference) -> String {
    let text = |value: &Option<json::Json>| match value {
        Some(value) => value.to_string().chars().take(SHOWN_CHARACTERS).collect(),
        None => "nothing".to_owned(),
    };
    let Difference { variant, table, record, path, theirs, ours } = difference;
    format!("{variant} {table} {record} {path}: Debezium {} | we {}", text(theirs), text(ours))
}
