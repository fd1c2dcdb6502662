//! What a round does whatever its task carries, and what it shows.

use std::fmt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rand::Rng as _;
use rand::rngs::StdRng;
use tidewire_testbed::cluster::ClusterOptions;
use tidewire_testbed::proxy::KafkaProxy;
use tidewire_testbed::servers::{Kafka, KafkaOptions};

use super::fault::Fault;
use crate::{Subject, faults};

/// Longer than every lease and timeout that a frozen owner could still believe in.
const FROZEN: Duration = Duration::from_secs(20);
/// How long a whole plane is missing.
pub(super) const AWAY: Duration = Duration::from_secs(60);
/// How long a task may take to catch up after all that happened.
pub(super) const CATCH_UP_LIMIT: Duration = Duration::from_secs(600);

/// What a proof says.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Whether nothing is wrong.
    pub holds: bool,
    /// The proof for whoever reads it, in lines.
    pub told: String,
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.told)
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
    pub proof: Result<Verdict>,
    /// How long it took in all.
    pub took: Duration,
}

impl Round {
    /// Whether all faults happened and nothing is wrong.
    #[must_use]
    pub fn holds(&self) -> bool {
        let all = self.made.iter().all(|made| made.failed.is_none());
        all && self.proof.as_ref().is_ok_and(|proof| proof.holds)
    }
}

/// Three brokers behind a proxy of their own.
pub(super) fn proxied_brokers(settings: &[(&str, &str)]) -> Result<(KafkaProxy, Kafka)> {
    let proxy = KafkaProxy::reserve(3)?;
    let settings = settings.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    let kafka = Kafka::start(KafkaOptions {
        brokers: 3,
        advertised: Some(proxy.ports()?),
        settings: settings.collect(),
        ..KafkaOptions::default()
    })?;
    proxy.serve(&kafka.broker_ports())?;
    Ok((proxy, kafka))
}

/// The processes of a round.
pub(super) fn processes(binary: &Path) -> ClusterOptions {
    ClusterOptions { nodes: 3, binary: Some(binary.to_path_buf()), ..ClusterOptions::default() }
}

/// Makes faults one after the other, at moments that nobody chose; `told` hears of each.
pub(super) fn strike<S: Subject>(
    scene: &mut S,
    faults: &[Fault],
    random: &mut StdRng,
    told: &mut impl FnMut(&Made),
    mut make: impl FnMut(&mut S, Fault) -> Result<()>,
) -> Result<Vec<Made>> {
    let mut made = Vec::new();
    for fault in faults {
        thread::sleep(Duration::from_millis(random.random_range(500..3_000)));
        let carried = scene.stable_records()?;
        let began = Instant::now();
        let failed = make(scene, *fault).err().map(|failed| format!("{failed:#}"));
        made.push(Made { fault: *fault, carried, took: began.elapsed(), failed });
        made.last().into_iter().for_each(&mut *told);
    }
    Ok(made)
}

/// Makes a fault that tasks of every kind meet.
pub(super) fn make(scene: &mut impl Subject, proxy: &KafkaProxy, fault: Fault) -> Result<()> {
    match fault {
        Fault::KillOwner => faults::kill_owner(scene),
        Fault::KillLeader => faults::kill_leader(scene),
        Fault::Freeze(point) => faults::freeze_at(scene, point, FROZEN),
        Fault::Drain => faults::drain_owner(scene),
        Fault::CoordinatorsAway => faults::coordinators_away(scene, AWAY),
        Fault::End(fault, ending) => faults::disturb_end(scene, proxy, fault, ending).map(drop),
        Fault::RestartBroker(..)
        | Fault::KillBroker(_)
        | Fault::BrokersAway(_)
        | Fault::RestartSource(_)
        | Fault::Promote
        | Fault::KillWalsender
        | Fault::RotatePassword
        | Fault::Without(_)
        | Fault::NarrowTopic
        | Fault::AddTable => bail!("a fault of servers that this round has not"),
    }
}
