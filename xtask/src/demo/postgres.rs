//! The demo of changes of a PostgreSQL: tables, a topic, and a load of transactions.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use tidewire_testbed::cluster::{Cluster, ClusterOptions, Member};
use tidewire_testbed::live::Live;
use tidewire_testbed::oracle::truth::keys;
use tidewire_testbed::oracle::{Format, TruthSlot, prove};
use tidewire_testbed::reader::Reader;
use tidewire_testbed::servers::{Kafka, KafkaOptions, Postgres, PostgresOptions};
use tidewire_testbed::task::TaskDocument;
use tidewire_testbed::workload::{self, TABLES, Workload, WorkloadOptions};

use super::Play;
use super::report::Proven;
use crate::servers::Left;
use crate::{cargo, checks, screen};

const TASK: &str = "orders";
/// The topic of all three tables.
const TOPIC: &str = "shop";
const PARTITIONS: u32 = 4;

/// Everything that runs.
pub(super) struct Changes {
    // Stands first: the cluster ends before its servers.
    cluster: Cluster,
    load: Option<Workload>,
    live: Live,
    postgres: Postgres,
    kafka: Kafka,
    truth: TruthSlot,
}

impl Play for Changes {
    const KIND: &'static str = "postgres";

    fn begin() -> Result<Self> {
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
        let live = Live::start(&kafka, &[TOPIC])?;
        let load = Some(Workload::start(postgres.address(), &WorkloadOptions::default())?);
        Ok(Self { cluster, load, live, postgres, kafka, truth })
    }

    fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    fn task(&self) -> &'static str {
        TASK
    }

    fn live(&self) -> &Live {
        &self.live
    }

    fn title(&self) -> String {
        format!("{} tables → topic {TOPIC}", TABLES.len())
    }

    fn written(&self) -> (&'static str, u64) {
        ("rows", self.load.as_ref().map_or(0, |load| load.written().rows))
    }

    fn victim(&mut self) -> Result<Member> {
        self.cluster.owner(TASK)
    }

    fn takeover(&self, kill: i64) -> Option<Duration> {
        self.live.takeover(kill)
    }

    fn end_load(&mut self) -> Result<String> {
        let load = self.load.take().context("no load runs")?;
        Ok(format!("transactions            {:>10}", load.stop()?.transactions))
    }

    fn prove(&mut self) -> Result<Proven> {
        let mut client = self.postgres.connect()?;
        let changes = self.truth.take(&mut client)?;
        let keys = keys(&mut client, &TABLES)?;
        let records = Reader::until_end(&self.kafka, &[TOPIC])?;
        prove(&changes, &keys, Format::DtsAvro, PARTITIONS, records).map(Proven::from)
    }

    fn keep(self) -> Result<()> {
        let Self { cluster, postgres, kafka, truth, .. } = self;
        // A slot that nobody reads would hold PostgreSQL's log for ever.
        truth.drop(&mut postgres.connect()?)?;
        let endpoints = cluster.endpoints.join(",");
        let (pid, folder) = cluster.detach().context("leave the cluster running")?;
        let mut left = Left::behind(postgres, kafka);
        left.precede(pid, folder);
        left.announce(&endpoints)
    }
}
