//! Rounds with changes of a PostgreSQL.
//!
//! A round has a PostgreSQL, with a standby where that can be promoted, and a cluster of its own with three
//! coordinators and three nodes, on three brokers behind the proxy. A mixed load, rows of every type and
//! tables of every kind run from begin to end, and one very large transaction is carried while faults happen.

use std::cell::RefCell;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use tidewire_testbed::oracle::Format;
use tidewire_testbed::proxy::KafkaProxy;
use tidewire_testbed::servers::postgres::{PostgresAddress, major};
use tidewire_testbed::servers::{Kafka, Postgres, PostgresOptions, free_port};
use tidewire_testbed::task::quoted;
use tidewire_testbed::variety::{self, Variety};
use tidewire_testbed::workload::{self, Workload, WorkloadOptions};

use super::account::{Account, ROLE};
use super::fault::{Fault, Lack, Side};
use super::round::{self, AWAY, CATCH_UP_LIMIT, Made, Round, Verdict};
use crate::{Scene, SceneSource, Stage, Subject as _, faults, repairs};

/// The table that appears while a round runs.
const ADDED: &str = "public.added_1";
const PUBLISHED_LIMIT: Duration = Duration::from_secs(60);
const LARGE_FIRST: i64 = 9_000_000_000;

/// What a round is about.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides the load and the order of the faults.
    pub seed: u64,
    /// What happens.
    pub faults: Vec<Fault>,
    /// The source's version, of [`VERSIONS`].
    pub postgres: &'static str,
    /// What the task writes.
    pub format: Format,
    /// Rows of the large transaction.
    pub large: i64,
}

/// The versions of PostgreSQL that rounds run on.
pub const VERSIONS: [&str; 7] =
    ["12.22.0", "13.22.0", "14.19.0", "15.14.0", "16.10.0", "17.6.0", "18.0.0"];

/// The brokers of all rounds.
#[derive(Debug)]
pub struct PostgresRounds {
    binary: PathBuf,
    proxy: KafkaProxy,
    kafka: Kafka,
}

impl PostgresRounds {
    /// Starts three brokers behind the proxy; `binary` has the feature `fault-points`.
    ///
    /// # Errors
    /// When they do not start.
    pub fn start(binary: PathBuf) -> Result<Self> {
        let (proxy, kafka) = round::proxied_brokers(&[])?;
        Ok(Self { binary, proxy, kafka })
    }

    /// One round. `told` hears of each fault.
    ///
    /// # Errors
    /// When the servers, the cluster or the load do not start or the load fails.
    pub fn round(&self, plan: Plan, mut told: impl FnMut(&Made)) -> Result<Round> {
        let start = Instant::now();
        let Plan { seed, mut faults, postgres, format, large } = plan;
        let mut random = StdRng::seed_from_u64(seed);
        faults.retain(|fault| fault.fits(major(postgres)));
        faults.shuffle(&mut random);
        let promoted = faults.contains(&Fault::Promote);
        let (mut source, mut scene) = self.scene(postgres, seed, format, promoted)?;
        let load = Workload::start(
            &scene.address,
            &WorkloadOptions { seed, ..WorkloadOptions::default() },
        )?;
        let variety = Variety::start(&scene.address, seed)?;
        let address = scene.address.clone();
        let large = thread::spawn(move || large_transaction(&address, large));
        let made = round::strike(&mut scene, &faults, &mut random, &mut told, |scene, fault| {
            self.make(scene, &mut source, fault)
        })?;
        large.join().map_err(|_| anyhow!("the large transaction's thread panicked"))??;
        ensure!(variety.stop()? > 0, "no load of variety");
        ensure!(load.stop()?.rows > 0, "no load");
        let proof = scene.compare().context("prove");
        let proof = proof.map(|proof| Verdict { holds: proof.holds(), told: proof.to_string() });
        Ok(Round { made, proof, took: start.elapsed() })
    }

    fn scene(
        &self,
        version: &str,
        seed: u64,
        format: Format,
        promoted: bool,
    ) -> Result<(Source, Scene<'_>)> {
        let primary = Postgres::start(PostgresOptions {
            version: version.to_owned(),
            settings: vec![owned(variety::SETTING)],
        })?;
        let tables = [workload::TABLES.as_slice(), &variety::tables(major(version))].concat();
        let watched = [tables.as_slice(), &[ADDED]].concat();
        let mut database =
            SceneSource::on(&primary, &format!("chaos_{seed}"), &watched, |client| {
                workload::create_tables(client)?;
                variety::create_tables(client)
            })?;
        // At once: a standby takes over no slot that holds on to older rows than its own.
        let standby = promoted.then(|| standby(&primary, &mut database)).transpose()?;
        database.truth = database
            .truth
            .inserts_only(&[variety::KEYLESS])
            .truncated(&variety::tables(major(version)));
        let account = Account::create(&mut database.client, &tables)?;
        // These have entries of their own.
        database.tables.retain(|table| table != variety::KEYLESS && table != ADDED);
        let cluster = round::processes(&self.binary);
        let stage = Stage { cluster, kafka: &self.kafka, format };
        let topic = database.name.clone();
        let mut scene = Scene::on_stage(stage, database, |yaml| {
            format!(
                "{}    operations: [insert, update, delete, truncate]\n  \
                 - tables: [{}]\n    topic: {topic}\n    operations: [insert, truncate]\n  \
                 - tables: [\"public.added_*\"]\n    topic: {topic}\n",
                account.named_in(&yaml),
                variety::KEYLESS
            )
        })?;
        scene.catch_up_limit = CATCH_UP_LIMIT;
        Ok((Source { primary, standby, account }, scene))
    }

    fn make(&self, scene: &mut Scene<'_>, source: &mut Source, fault: Fault) -> Result<()> {
        let Source { primary, standby, account } = source;
        match fault {
            Fault::RestartBroker(Side::Target, broker) => {
                faults::restart_broker(&self.kafka, broker)
            }
            Fault::KillBroker(Side::Target) => faults::kill_broker(&self.kafka, (&scene.topic, 0)),
            Fault::BrokersAway(Side::Target) => faults::brokers_away(scene, &self.kafka, AWAY),
            Fault::RestartSource(stop) => faults::restart_source(scene, primary, stop),
            Fault::Promote => repairs::promote(scene, primary, standby),
            Fault::KillWalsender => repairs::kill_walsender(scene),
            Fault::AddTable => add_table(scene),
            Fault::RotatePassword => rotate_password(scene, account),
            Fault::Without(lack) => without(scene, primary, lack),
            Fault::NarrowTopic => {
                let limit = |bytes| {
                    self.kafka.alter_topic_config(&scene.topic, &[("max.message.bytes", bytes)])
                };
                let (narrow, wide) = (|| limit(Some("1000")), || limit(None));
                repairs::troubled(scene, "max.message.bytes", narrow, wide)
            }
            fault => round::make(scene, &self.proxy, fault),
        }
    }
}

/// Where changes of a round come from.
struct Source {
    primary: Postgres,
    standby: Option<Postgres>,
    account: Account,
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// A standby that has all that was handed out, and the slot of the truth.
fn standby(primary: &Postgres, database: &mut SceneSource) -> Result<Postgres> {
    let port = free_port()?;
    let standby = primary.standby(port)?;
    standby.wait_synced(database.truth.name(), Duration::from_secs(60))?;
    primary.wait_for_standby()?;
    database.address.standby = Some(port);
    Ok(standby)
}

/// Makes a table, waits until the task has published it, and writes into it.
fn add_table(scene: &Scene<'_>) -> Result<()> {
    scene.settled_owner()?;
    let mut client = scene.address.connect()?;
    let table = format!("CREATE TABLE {ADDED} (id int PRIMARY KEY, note text)");
    client.batch_execute(&format!("{table}; ALTER TABLE {ADDED} OWNER TO {ROLE}"))?;
    let published = "SELECT 1 FROM pg_publication_tables WHERE schemaname || '.' || tablename = $1";
    let end = Instant::now() + PUBLISHED_LIMIT;
    while client.query(published, &[&ADDED])?.is_empty() {
        ensure!(Instant::now() < end, "{ADDED} is not published in {PUBLISHED_LIMIT:?}");
        thread::sleep(Duration::from_millis(200));
    }
    let before = scene.stable_records()?;
    let rows = format!("INSERT INTO {ADDED} SELECT g, 'new' FROM generate_series(1, 1000) AS g");
    client.batch_execute(&format!("{rows}; UPDATE {ADDED} SET note = 'changed' WHERE id < 100"))?;
    faults::flows_again(scene, before)
}

/// Nodes hear of the new password once they have failed with the old one.
fn rotate_password(scene: &Scene<'_>, account: &Account) -> Result<()> {
    let rotate = || {
        let mut client = scene.address.connect()?;
        Ok(client.batch_execute(&format!("ALTER ROLE {ROLE} PASSWORD 'second'"))?)
    };
    repairs::locked_out(scene, "28P01", rotate, || account.tell("second"))
}

fn without(scene: &Scene<'_>, primary: &mut Postgres, lack: Lack) -> Result<()> {
    let database = quoted(&scene.address.database);
    let (taken, given, word) = match lack {
        Lack::Replication => (
            format!("ALTER ROLE {ROLE} NOREPLICATION"),
            format!("ALTER ROLE {ROLE} REPLICATION"),
            "42501",
        ),
        Lack::Connect => (
            format!("REVOKE CONNECT ON DATABASE {database} FROM PUBLIC"),
            format!("GRANT CONNECT ON DATABASE {database} TO PUBLIC"),
            "42501",
        ),
        Lack::Sessions => (
            format!("ALTER ROLE {ROLE} CONNECTION LIMIT 0"),
            format!("ALTER ROLE {ROLE} CONNECTION LIMIT -1"),
            "53300",
        ),
        Lack::Walsenders => {
            let primary = RefCell::new(primary);
            let with = |settings: &[_]| primary.borrow_mut().restart_with(settings);
            let none = [variety::SETTING, ("max_wal_senders", "0")];
            let again = || with(&[variety::SETTING]);
            return repairs::troubled(scene, "53300", || with(&none), again);
        }
    };
    let execute = |statement: &str| Ok(scene.address.connect()?.batch_execute(statement)?);
    repairs::locked_out(scene, word, || execute(&taken), || execute(&given))
}

/// Commits the large transaction, again if the server went away under it.
fn large_transaction(source: &PostgresAddress, rows: i64) -> Result<()> {
    loop {
        let written = source.connect().and_then(|mut client| {
            let there = "SELECT count(*) FROM public.orders WHERE id = $1";
            let count: i64 = client.query_one(there, &[&LARGE_FIRST])?.get(0);
            match count {
                0 => workload::big_transaction(&mut client, LARGE_FIRST, rows),
                _ => Ok(()),
            }
        });
        match written {
            Err(failed) if workload::connection_lost(&failed) => {
                thread::sleep(Duration::from_millis(500));
            }
            written => return written,
        }
    }
}
