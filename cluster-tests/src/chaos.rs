//! All faults in random order under load, round after round; each round ends with a proof.
//!
//! A round has a PostgreSQL and a cluster of its own with three coordinators and three nodes, on three
//! brokers behind the proxy. A mixed load, rows of every type and tables that change run from begin to
//! end, and one very large transaction is carried while faults happen.

use std::fmt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tidewire_testbed::cluster::ClusterOptions;
use tidewire_testbed::oracle::{Format, Proof};
use tidewire_testbed::proxy::{EndTxnFault, Ending, KafkaProxy};
use tidewire_testbed::servers::postgres::PostgresAddress;
use tidewire_testbed::servers::{Kafka, KafkaOptions, Postgres, PostgresOptions};
use tidewire_testbed::variety::{self, Variety};
use tidewire_testbed::workload::{self, Workload, WorkloadOptions};

use crate::{Scene, Stage, faults};

/// Longer than every lease and timeout that a frozen owner could still believe in.
const FROZEN: Duration = Duration::from_secs(20);
/// How long a whole plane is missing.
const AWAY: Duration = Duration::from_secs(60);
const LARGE: i64 = 1_000_000;
const LARGE_FIRST: i64 = 9_000_000_000;
const CATCH_UP_LIMIT: Duration = Duration::from_secs(600);

/// How PostgreSQL ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceStop {
    /// `pg_ctl stop -m fast`.
    Fast,
    /// `pg_ctl stop -m immediate`.
    Immediate,
    /// `kill -9` of the postmaster.
    Kill,
}

impl SourceStop {
    const ALL: [Self; 3] = [Self::Fast, Self::Immediate, Self::Kill];
}

/// A fault of the rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The owner is killed.
    KillOwner,
    /// The leader of the coordinators is killed.
    KillLeader,
    /// Whoever comes to the named point of its code is frozen there.
    Freeze(&'static str),
    /// The broker of this number, from 0, is stopped and started.
    RestartBroker(usize),
    /// All coordinators are killed and stay away for a minute.
    CoordinatorsAway,
    /// All brokers are killed and stay away for a minute.
    BrokersAway,
    /// PostgreSQL is stopped in this way, and started.
    RestartSource(SourceStop),
    /// The request that ends a transaction in this way suffers.
    End(EndTxnFault, Ending),
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KillOwner => out.write_str("kill_owner"),
            Self::KillLeader => out.write_str("kill_leader"),
            Self::Freeze(point) => write!(out, "freeze_{point}"),
            Self::RestartBroker(_) => out.write_str("restart_broker"),
            Self::CoordinatorsAway => out.write_str("coordinators_away"),
            Self::BrokersAway => out.write_str("brokers_away"),
            Self::RestartSource(SourceStop::Fast) => out.write_str("restart_source_fast"),
            Self::RestartSource(SourceStop::Immediate) => out.write_str("restart_source_immediate"),
            Self::RestartSource(SourceStop::Kill) => out.write_str("kill_source"),
            Self::End(fault, ending) => {
                let ending = if *ending == Ending::Commit { "commit" } else { "abort" };
                let suffering = match fault {
                    EndTxnFault::Hold(_) => "held",
                    EndTxnFault::DropAnswer => "unanswered",
                    EndTxnFault::CutAndForwardLate(_) => "cut",
                };
                write!(out, "{ending}_{suffering}")
            }
        }
    }
}

impl Fault {
    /// The faults of one round, each as often as it happens there.
    #[must_use]
    pub fn of_a_round() -> Vec<Self> {
        let points = [
            "before_init_producer",
            "after_claim",
            "before_end_txn",
            "after_end_txn",
            "before_source_reply",
        ];
        let ends = [
            EndTxnFault::Hold(Duration::from_secs(10)),
            EndTxnFault::DropAnswer,
            EndTxnFault::CutAndForwardLate(Duration::from_secs(3)),
        ];
        let mut all = [[Self::KillOwner; 5].as_slice(), &[Self::KillLeader; 3]].concat();
        all.extend(points.map(Self::Freeze));
        all.extend([0, 1, 2].map(Self::RestartBroker));
        all.extend([Self::CoordinatorsAway, Self::BrokersAway]);
        all.extend(SourceStop::ALL.map(Self::RestartSource));
        for ending in [Ending::Commit, Ending::Abort] {
            all.extend(ends.map(|fault| Self::End(fault, ending)));
        }
        all
    }
}

/// A fault that happened, or what kept it from happening.
#[derive(Debug)]
pub struct Made {
    /// The fault.
    pub fault: Fault,
    /// Records that readers could see just before: shows which faults met the large transaction.
    pub carried: u64,
    /// How long it took, recovery included.
    pub took: Duration,
    /// Why it could not be made or survived.
    pub failed: Option<String>,
}

/// What a round showed.
#[derive(Debug)]
pub struct Round {
    /// The faults, in their order.
    pub made: Vec<Made>,
    /// The proof; an error where the task never caught up.
    pub proof: Result<Proof>,
    /// How long it took in all.
    pub took: Duration,
}

impl Round {
    /// Whether all faults happened and nothing is wrong.
    #[must_use]
    pub fn holds(&self) -> bool {
        let all = self.made.iter().all(|made| made.failed.is_none());
        all && self.proof.as_ref().is_ok_and(Proof::holds)
    }
}

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
pub struct Chaos {
    binary: PathBuf,
    proxy: KafkaProxy,
    kafka: Kafka,
}

impl Chaos {
    /// Starts three brokers behind the proxy; `binary` has the feature `fault-points`.
    ///
    /// # Errors
    /// When they do not start.
    pub fn start(binary: PathBuf) -> Result<Self> {
        let proxy = KafkaProxy::reserve(3)?;
        let advertised = Some(proxy.ports()?);
        let options = KafkaOptions { brokers: 3, advertised, ..KafkaOptions::default() };
        let kafka = Kafka::start(options)?;
        proxy.serve(&kafka.broker_ports())?;
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
        let mut made = Vec::new();
        for fault in faults {
            thread::sleep(Duration::from_millis(random.random_range(500..3_000)));
            let carried = scene.stable_records()?;
            let began = Instant::now();
            let failed = self.make(&mut scene, &mut postgres, fault).err();
            let failed = failed.map(|failed| format!("{failed:#}"));
            made.push(Made { fault, carried, took: began.elapsed(), failed });
            made.last().into_iter().for_each(&mut told);
        }
        large.join().map_err(|_| anyhow!("the large transaction's thread panicked"))??;
        ensure!(variety.stop()? > 0, "no load of variety");
        ensure!(load.stop()?.rows > 0, "no load");
        let proof = scene.compare().context("prove");
        Ok(Round { made, proof, took: start.elapsed() })
    }

    fn scene(&self, postgres: &Postgres, seed: u64, format: Format) -> Result<Scene<'_>> {
        let binary = Some(self.binary.clone());
        let cluster = ClusterOptions { nodes: 3, binary, ..ClusterOptions::default() };
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
            Fault::KillOwner => faults::kill_owner(scene),
            Fault::KillLeader => faults::kill_leader(scene),
            Fault::Freeze(point) => faults::freeze_at(scene, point, FROZEN),
            Fault::RestartBroker(broker) => faults::restart_broker(scene, broker),
            Fault::CoordinatorsAway => faults::coordinators_away(scene, AWAY),
            Fault::BrokersAway => faults::brokers_away(scene, AWAY),
            Fault::RestartSource(stop) => faults::restart_source(scene, source, stop),
            Fault::End(fault, ending) => {
                faults::disturb_end(scene, &self.proxy, fault, ending).map(drop)
            }
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
