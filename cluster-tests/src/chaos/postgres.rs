//! Rounds with changes of a PostgreSQL.
//!
//! A round has a PostgreSQL and a cluster of its own with three coordinators and three nodes, on three
//! brokers behind the proxy. A mixed load, rows of every type and tables that change run from begin to
//! end, and one very large transaction is carried while faults happen.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use tidewire_testbed::oracle::Format;
use tidewire_testbed::proxy::KafkaProxy;
use tidewire_testbed::servers::postgres::PostgresAddress;
use tidewire_testbed::servers::{Kafka, Postgres, PostgresOptions};
use tidewire_testbed::variety::{self, Variety};
use tidewire_testbed::workload::{self, Workload, WorkloadOptions};

use super::fault::{Fault, Side};
use super::round::{self, AWAY, CATCH_UP_LIMIT, Made, Round, Verdict};
use crate::{Scene, Stage, faults};

const LARGE: i64 = 1_000_000;
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
        let Plan { seed, mut faults, postgres, format } = plan;
        let mut random = StdRng::seed_from_u64(seed);
        faults.shuffle(&mut random);
        let options =
            PostgresOptions { version: postgres.to_owned(), ..PostgresOptions::default() };
        let mut postgres = Postgres::start(options)?;
        let mut scene = self.scene(&postgres, seed, format)?;
        let load = Workload::start(
            &scene.address,
            &WorkloadOptions { seed, ..WorkloadOptions::default() },
        )?;
        let variety = Variety::start(&scene.address, seed)?;
        let source = scene.address.clone();
        let large = thread::spawn(move || large_transaction(&source));
        let made = round::strike(&mut scene, &faults, &mut random, &mut told, |scene, fault| {
            self.make(scene, &mut postgres, fault)
        })?;
        large.join().map_err(|_| anyhow!("the large transaction's thread panicked"))??;
        ensure!(variety.stop()? > 0, "no load of variety");
        ensure!(load.stop()?.rows > 0, "no load");
        let proof = scene.compare().context("prove");
        let proof = proof.map(|proof| Verdict { holds: proof.holds(), told: proof.to_string() });
        Ok(Round { made, proof, took: start.elapsed() })
    }

    fn scene(&self, postgres: &Postgres, seed: u64, format: Format) -> Result<Scene<'_>> {
        let cluster = round::processes(&self.binary);
        let stage = Stage { cluster, postgres, kafka: &self.kafka, format };
        let tables = [workload::TABLES.as_slice(), &variety::TABLES].concat();
        let mut scene = Scene::on_stage(stage, &format!("chaos_{seed}"), &tables, |client| {
            workload::create_tables(client)?;
            variety::create_tables(client)
        })?;
        scene.catch_up_limit = CATCH_UP_LIMIT;
        Ok(scene)
    }

    fn make(&self, scene: &mut Scene<'_>, source: &mut Postgres, fault: Fault) -> Result<()> {
        match fault {
            Fault::RestartBroker(Side::Target, broker) => {
                faults::restart_broker(&self.kafka, broker)
            }
            Fault::KillBroker(Side::Target) => faults::kill_broker(&self.kafka, (&scene.topic, 0)),
            Fault::BrokersAway(Side::Target) => faults::brokers_away(scene, &self.kafka, AWAY),
            Fault::RestartSource(stop) => faults::restart_source(scene, source, stop),
            fault => round::make(scene, &self.proxy, fault),
        }
    }
}

/// Commits the large transaction, again if the server went away under it.
fn large_transaction(source: &PostgresAddress) -> Result<()> {
    loop {
        let written = source.connect().and_then(|mut client| {
            let there = "SELECT count(*) FROM public.orders WHERE id = $1";
            let count: i64 = client.query_one(there, &[&LARGE_FIRST])?.get(0);
            match count {
                0 => workload::big_transaction(&mut client, LARGE_FIRST, LARGE),
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
