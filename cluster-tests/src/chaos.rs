//! All faults in random order under load, round after round; each round ends with a proof.
//!
//! A round has a cluster of its own with three coordinators and three nodes, on three brokers behind
//! the proxy: a mixed load runs from begin to end, and one very large transaction is carried while
//! faults happen.

use std::fmt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tidewire_testbed::cluster::ClusterOptions;
use tidewire_testbed::oracle::Proof;
use tidewire_testbed::proxy::{EndTxnFault, Ending, KafkaProxy};
use tidewire_testbed::servers::{Kafka, KafkaOptions};
use tidewire_testbed::workload::{self, Workload, WorkloadOptions};

use crate::{Scene, faults};

/// Longer than every lease and timeout that a frozen owner could still believe in.
const FROZEN: Duration = Duration::from_secs(20);
/// How long a whole plane is missing.
const AWAY: Duration = Duration::from_secs(60);
const LARGE: i64 = 1_000_000;
const LARGE_FIRST: i64 = 9_000_000_000;
const CATCH_UP_LIMIT: Duration = Duration::from_secs(600);

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

    /// One round: `seed` decides the load and the order of the faults. `told` hears of each fault.
    ///
    /// # Errors
    /// When the cluster or the load does not start or the load fails.
    pub fn round(
        &self,
        seed: u64,
        mut faults: Vec<Fault>,
        mut told: impl FnMut(&Made),
    ) -> Result<Round> {
        let start = Instant::now();
        let mut random = StdRng::seed_from_u64(seed);
        faults.shuffle(&mut random);
        let binary = Some(self.binary.clone());
        let cluster = ClusterOptions { nodes: 3, binary, ..ClusterOptions::default() };
        let mut scene = Scene::of_cluster(cluster, &format!("chaos_{seed}"), &self.kafka)?;
        scene.catch_up_limit = CATCH_UP_LIMIT;
        let load = Workload::start(
            &scene.address,
            &WorkloadOptions { seed, ..WorkloadOptions::default() },
        )?;
        let mut writer = scene.address.connect()?;
        let large =
            thread::spawn(move || workload::big_transaction(&mut writer, LARGE_FIRST, LARGE));
        let mut made = Vec::new();
        for fault in faults {
            thread::sleep(Duration::from_millis(random.random_range(500..3_000)));
            let carried = scene.stable_records()?;
            let began = Instant::now();
            let failed = self.make(&mut scene, fault).err().map(|failed| format!("{failed:#}"));
            made.push(Made { fault, carried, took: began.elapsed(), failed });
            made.last().into_iter().for_each(&mut told);
        }
        large.join().map_err(|_| anyhow!("the large transaction's thread panicked"))??;
        let written = load.stop()?;
        ensure!(written.rows > 0, "no load");
        let proof = scene.compare().context("prove");
        Ok(Round { made, proof, took: start.elapsed() })
    }

    fn make(&self, scene: &mut Scene<'_>, fault: Fault) -> Result<()> {
        match fault {
            Fault::KillOwner => faults::kill_owner(scene),
            Fault::KillLeader => faults::kill_leader(scene),
            Fault::Freeze(point) => faults::freeze_at(scene, point, FROZEN),
            Fault::RestartBroker(broker) => faults::restart_broker(scene, broker),
            Fault::CoordinatorsAway => faults::coordinators_away(scene, AWAY),
            Fault::BrokersAway => faults::brokers_away(scene, AWAY),
            Fault::End(fault, ending) => {
                faults::disturb_end(scene, &self.proxy, fault, ending).map(drop)
            }
        }
    }
}
