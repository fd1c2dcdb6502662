//! The demo's servers, cluster and task.

use std::thread;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;
use tidewire_testbed::cluster::{Cluster, ClusterOptions};
use tidewire_testbed::oracle::truth::keys;
use tidewire_testbed::oracle::{Format, Proof, TruthSlot, prove};
use tidewire_testbed::reader::Reader;
use tidewire_testbed::servers::{Kafka, KafkaOptions, Postgres, PostgresOptions};
use tidewire_testbed::task::TaskDocument;
use tidewire_testbed::workload::{self, TABLES};

use crate::servers::Left;
use crate::{cargo, checks, screen};

/// The task's name.
pub(crate) const TASK: &str = "orders";
/// The topic of all three tables.
pub(crate) const TOPIC: &str = "shop";
const PARTITIONS: u32 = 4;

/// Everything that runs.
pub(crate) struct Stage {
    // Stands first: the cluster ends before its servers.
    pub(crate) cluster: Cluster,
    pub(crate) postgres: Postgres,
    pub(crate) kafka: Kafka,
    truth: TruthSlot,
}

impl Stage {
    /// Fetches, builds and starts everything, creates tables, topic and task.
    pub(crate) fn prepare() -> Result<Self> {
        screen::step("fetch PostgreSQL and Kafka (once)", checks::fetch_servers)?;
        let binary = screen::step("build tidewire", || cargo::build_binary(cargo::Profile::Debug))?;
        let (postgres, kafka) = screen::step("start PostgreSQL and Kafka", || {
            let kafka = thread::spawn(|| Kafka::start(KafkaOptions::default()));
            let postgres = Postgres::start(PostgresOptions::default())?;
            let kafka = kafka.join().map_err(|_| anyhow!("the start of Kafka panicked"))??;
            Ok((postgres, kafka))
        })?;
        let cluster = screen::step("start 3 coordinators and 2 nodes", || {
            Cluster::start(ClusterOptions { binary: Some(binary), ..ClusterOptions::default() })
        })?;
        let truth = screen::step("create tables, topic and task", || {
            let mut client = postgres.connect()?;
            workload::create_tables(&mut client)?;
            let truth = TruthSlot::create(&mut client, "demo_truth", &TABLES)?;
            kafka.create_topic(TOPIC, PARTITIONS, &[])?;
            let objects = TABLES.map(|table| (table, TOPIC));
            let document = TaskDocument {
                name: TASK,
                postgres: postgres.address(),
                bootstrap: &kafka.bootstrap(),
                objects: &objects,
                format: "dts_avro",
                partition: "by_primary_key",
            };
            cluster.apply_and_start(&document.yaml())?;
            Ok(truth)
        })?;
        Ok(Self { cluster, postgres, kafka, truth })
    }

    /// Compares all that PostgreSQL committed with all that Kafka holds.
    pub(crate) fn prove(&mut self) -> Result<Proof> {
        let mut client = self.postgres.connect()?;
        let changes = self.truth.take(&mut client)?;
        let keys = keys(&mut client, &TABLES)?;
        prove(&changes, &keys, Format::DtsAvro, Reader::until_end(&self.kafka, &[TOPIC])?)
    }

    /// What the task says is wrong, for error messages.
    pub(crate) fn task_error(&self) -> String {
        let shown = self.cluster.task(TASK).unwrap_or_default();
        let part = |name| shown.get(name).map_or_else(String::new, Value::to_string);
        format!("task {TASK} is {} with error {}", part("phase"), part("error"))
    }

    /// Leaves everything running; `cargo x servers down` stops it.
    pub(crate) fn keep(self) -> Result<()> {
        let Self { cluster, postgres, kafka, truth } = self;
        // A slot that nobody reads would hold PostgreSQL's log for ever.
        truth.drop(&mut postgres.connect()?)?;
        let endpoints = cluster.endpoints.join(",");
        let (pid, folder) = cluster.detach().context("leave the cluster running")?;
        let mut left = Left::behind(postgres, kafka);
        left.pids.insert(0, pid);
        left.folders.push(folder);
        left.save()?;
        screen::note(&format!("endpoints   export TIDEWIRE_ENDPOINT={endpoints}"));
        screen::note(&format!("PostgreSQL  {}", left.postgres.dsn()));
        screen::note(&format!("Kafka       {}", left.bootstrap));
        screen::note("stop with   cargo x servers down");
        Ok(())
    }
}
