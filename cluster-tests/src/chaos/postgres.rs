//! Rounds with changes of a PostgreSQL.
//!
//! A round has a PostgreSQL, with a standby where that can be promoted, and a cluster of its own with three
//! coordinators and three nodes, on three brokers behind the proxy. A mixed load, rows of every type and
//! tables of every kind run from begin to end, and one very large transaction is carried while faults happen.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use tidewire_testbed::oracle::Format;
use tidewire_testbed::proxy::KafkaProxy;
use tidewire_testbed::servers::Kafka;
use tidewire_testbed::servers::postgres::{PostgresAddress, major};
use tidewire_testbed::variety::Variety;
use tidewire_testbed::workload::{self, Workload, WorkloadOptions};

use super::fault::{Fault, Side};
use super::round::{self, AWAY, CATCH_UP_LIMIT, Made, Round, Verdict};
use super::source::Source;
use crate::{Scene, SceneSource, Stage, faults, repairs};

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
        let (mut source, database) = Source::start(postgres, &format!("chaos_{seed}"), promoted)?;
        let mut scene = self.scene(&source, database, format)?;
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

    fn scene(&self, source: &Source, database: SceneSource, format: Format) -> Result<Scene<'_>> {
        let cluster = round::processes(&self.binary);
        let stage = Stage { cluster, kafka: &self.kafka, format };
        let topic = database.name.clone();
        let mut scene = Scene::on_stage(stage, database, |yaml| source.document(&yaml, &topic))?;
        scene.catch_up_limit = CATCH_UP_LIMIT;
        Ok(scene)
    }

    fn make(&self, scene: &mut Scene<'_>, source: &mut Source, fault: Fault) -> Result<()> {
        match fault {
            Fault::RestartBroker(Side::Target, broker) => {
                faults::restart_broker(&self.kafka, broker)
            }
            Fault::KillBroker(Side::Target) => faults::kill_broker(&self.kafka, (&scene.topic, 0)),
            Fault::BrokersAway(Side::Target) => faults::brokers_away(scene, &self.kafka, AWAY),
            Fault::RestartSource(stop) => faults::restart_source(scene, &mut source.primary, stop),
            Fault::Promote => repairs::promote(scene, &mut source.primary, &mut source.standby),
            Fault::KillWalsender => repairs::kill_walsender(scene),
            Fault::AddTable => source.add_table(scene),
            Fault::RotatePassword => source.rotate_password(scene),
            Fault::Without(lack) => source.without(scene, lack),
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
