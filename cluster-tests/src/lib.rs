//! What every cluster test starts from: shared servers, a cluster of its own, a task under proof.

pub mod chaos;
pub mod copy;
pub mod faults;
pub mod repairs;
pub mod subject;

use std::env;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use postgres::Client;
use tidewire_testbed::cluster::{Cluster, ClusterOptions};
use tidewire_testbed::fault_points::FaultPoints;
use tidewire_testbed::live::Live;
use tidewire_testbed::oracle::truth::{Change, Keys, keys};
use tidewire_testbed::oracle::{Format, Proof, TruthSlot, prove};
use tidewire_testbed::reader::Reader;
use tidewire_testbed::servers::postgres::PostgresAddress;
use tidewire_testbed::servers::{Kafka, KafkaOptions, Postgres, PostgresOptions};
use tidewire_testbed::task::TaskDocument;
use tidewire_testbed::workload::{self, TABLES, Workload, WorkloadOptions};

pub use subject::Subject;

/// The server that tests share which do nothing to it; each has a database of its own.
///
/// # Panics
/// When it does not start: no test can go on then.
pub fn postgres() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(|| {
        // Slots of ended clusters stay behind, and tasks that nobody ended.
        let many = ["max_replication_slots", "max_wal_senders", "max_connections"];
        let settings = many.map(|it| (it.to_owned(), "300".to_owned())).to_vec();
        Postgres::start(PostgresOptions { settings, ..PostgresOptions::default() })
            .expect("the shared PostgreSQL starts")
    })
}

/// The broker that tests share which do nothing to it; each has topics of its own.
///
/// # Panics
/// When it does not start: no test can go on then.
pub fn kafka() -> &'static Kafka {
    static SHARED: OnceLock<Kafka> = OnceLock::new();
    SHARED.get_or_init(|| Kafka::start(KafkaOptions::default()).expect("the shared Kafka starts"))
}

/// The task's name in every test.
pub const TASK: &str = "orders";
const CATCH_UP_LIMIT: Duration = Duration::from_secs(120);
/// Of the topic of a scene.
const PARTITIONS: u32 = 4;

/// A cluster with a running task, and the truth of its source since before the task.
#[expect(missing_debug_implementations, reason = "the client has none")]
pub struct Scene<'k> {
    /// The cluster, with three coordinators.
    pub cluster: Cluster,
    /// A connection to the source, for changes by hand.
    pub client: Client,
    /// The source's address.
    pub address: PostgresAddress,
    /// The target.
    pub kafka: &'k Kafka,
    /// The topic of all tables.
    pub topic: String,
    /// Places inside the cluster's nodes where they can be held.
    pub points: FaultPoints,
    /// How long the task may take to catch up before a proof.
    pub catch_up_limit: Duration,
    format: Format,
    tables: Vec<String>,
    truth: TruthSlot,
}

/// What a scene is played on.
#[derive(Debug)]
pub struct Stage<'k> {
    /// The processes.
    pub cluster: ClusterOptions,
    /// The target.
    pub kafka: &'k Kafka,
    /// What the task writes.
    pub format: Format,
}

/// The database of a scene, watched by the truth before the task begins.
#[expect(missing_debug_implementations, reason = "the client has none")]
pub struct SceneSource {
    /// Also of the topic and, behind `truth_`, of the slot of the truth.
    pub name: String,
    /// The database.
    pub address: PostgresAddress,
    /// A connection to it.
    pub client: Client,
    /// The tables of the task, as `schema.table` without quotes.
    pub tables: Vec<String>,
    /// What is committed from now on.
    pub truth: TruthSlot,
}

impl SceneSource {
    /// A database of this name with `tables`, which `create` makes.
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub fn on(
        postgres: &Postgres,
        name: &str,
        tables: &[&str],
        create: impl FnOnce(&mut Client) -> Result<()>,
    ) -> Result<Self> {
        let address = postgres.create_database(name)?;
        let mut client = address.connect()?;
        create(&mut client)?;
        let truth = TruthSlot::create(&mut client, &format!("truth_{name}"), tables)?;
        let tables = tables.iter().map(|table| (*table).to_owned()).collect();
        Ok(Self { name: name.to_owned(), address, client, tables, truth })
    }
}

impl<'k> Scene<'k> {
    /// Starts a cluster of `nodes` nodes and the task on the workload's tables. `name` becomes
    /// database, topic and truth slot.
    ///
    /// # Errors
    /// When anything does not start.
    pub fn start(name: &str, nodes: usize, kafka: &'k Kafka) -> Result<Self> {
        Self::on_tables(name, nodes, kafka, &TABLES, workload::create_tables)
    }

    /// As [`Scene::start`], on `tables` that `create` makes.
    ///
    /// # Errors
    /// When anything does not start.
    pub fn on_tables(
        name: &str,
        nodes: usize,
        kafka: &'k Kafka,
        tables: &[&str],
        create: impl FnOnce(&mut Client) -> Result<()>,
    ) -> Result<Self> {
        let cluster = ClusterOptions { nodes, ..ClusterOptions::default() };
        let stage = Stage { cluster, kafka, format: Format::DtsAvro };
        let source = SceneSource::on(postgres(), name, tables, create)?;
        Self::on_stage(stage, source, |yaml| yaml)
    }

    /// A scene with the processes, target and format of `stage`; `document` has the last word on the
    /// task's document.
    ///
    /// # Errors
    /// When anything does not start.
    pub fn on_stage(
        stage: Stage<'k>,
        source: SceneSource,
        document: impl FnOnce(String) -> String,
    ) -> Result<Self> {
        let Stage { mut cluster, kafka, format } = stage;
        let SceneSource { name, address, client, tables, truth } = source;
        kafka.create_topic(&name, PARTITIONS, &[])?;
        let points = FaultPoints::new()?;
        cluster.env.push(points.variable());
        let cluster = Cluster::start(cluster)?;
        let objects: Vec<_> = tables.iter().map(|table| (table.as_str(), name.as_str())).collect();
        let task = TaskDocument {
            name: TASK,
            postgres: &address,
            bootstrap: &kafka.bootstrap(),
            objects: &objects,
            format: format.document(),
            partition: "by_primary_key",
        };
        cluster.apply_and_start(&document(task.yaml()))?;
        Ok(Self {
            cluster,
            client,
            address,
            kafka,
            topic: name,
            points,
            catch_up_limit: CATCH_UP_LIMIT,
            format,
            tables,
            truth,
        })
    }

    /// The name of the slot of the truth.
    #[must_use]
    pub fn truth_slot(&self) -> &str {
        self.truth.name()
    }

    /// Runs `faults` while changes are written, then proves that all of them arrived once and in
    /// order. Prints the interruption that a consumer saw.
    ///
    /// # Errors
    /// When the fault cannot be made or the proof does not hold.
    pub fn prove_under_load(
        &mut self,
        faults: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<Proof> {
        let live = Live::start(self.kafka, &[&self.topic])?;
        let options = WorkloadOptions { seed: seed(), ..WorkloadOptions::default() };
        let load = Workload::start(&self.address, &options)?;
        thread::sleep(Duration::from_secs(3));
        faults(self)?;
        thread::sleep(Duration::from_secs(3));
        let written = load.stop()?;
        let proof = self.prove()?;
        ensure!(written.rows > 100, "only {written:?} written: no load");
        let silence = live.longest_silence().unwrap_or_default();
        eprintln!("{}: {} records, {silence:?} of silence at most", self.topic, proof.records);
        Ok(proof)
    }

    /// Waits until the task has caught up, then compares everything.
    ///
    /// # Errors
    /// When the task does not catch up or the proof does not hold.
    pub fn prove(&mut self) -> Result<Proof> {
        let proof = self.compare()?;
        ensure!(proof.holds(), "the proof does not hold (seed {})\n{proof}", seed());
        Ok(proof)
    }

    /// Waits until the task has caught up, then compares everything, whatever comes of it.
    ///
    /// # Errors
    /// When the task does not catch up or a record cannot be read.
    pub fn compare(&mut self) -> Result<Proof> {
        let (changes, keys) = self.truth()?;
        let records = Reader::until_end(self.kafka, &[&self.topic])?;
        prove(&changes, &keys, self.format, PARTITIONS, records)
    }

    /// Waits until the task has caught up, then takes what was committed since the last time, and
    /// the keys of the tables.
    ///
    /// # Errors
    /// When the task does not catch up.
    pub fn truth(&mut self) -> Result<(Vec<Change>, Keys)> {
        self.cluster
            .wait(TASK, "caught-up", self.catch_up_limit)
            .with_context(|| self.cluster.task(TASK).unwrap_or_default().to_string())?;
        let tables: Vec<&str> = self.tables.iter().map(String::as_str).collect();
        // A server that was restarted has closed the connection, which shows at its next use only.
        self.client = self.address.connect()?;
        Ok((self.truth.take(&mut self.client)?, keys(&mut self.client, &tables)?))
    }
}

impl Subject for Scene<'_> {
    fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    fn cluster_mut(&mut self) -> &mut Cluster {
        &mut self.cluster
    }

    fn points(&self) -> &FaultPoints {
        &self.points
    }

    fn task(&self) -> &str {
        TASK
    }

    fn stable_records(&self) -> Result<u64> {
        Ok(self.kafka.end_offsets(&self.topic)?.stable.values().sum())
    }
}

impl Drop for Scene<'_> {
    fn drop(&mut self) {
        // A slot that nobody reads would hold the shared server's log. The task's own slot is in
        // use as long as its cluster runs: it stays, and its database is not used again.
        let drop_truth = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots \
                          WHERE database = current_database() AND NOT active";
        drop(self.client.batch_execute(drop_truth));
    }
}

/// What decides the load: `TIDEWIRE_SEED`, else 1.
#[must_use]
pub fn seed() -> u64 {
    env::var("TIDEWIRE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}
