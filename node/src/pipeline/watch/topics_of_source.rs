//! What is watched at a source of topics: whether they are still the same ones, whether more appeared,
//! and whether their configurations changed.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tidewire_kafka::topics::{Topics, patiently};
use tidewire_node_core::copy::{Layout, same_topic};
use tidewire_shared::{Fault, Persistence};

use super::identity_period;
use crate::pipeline::kill::KillSwitch;
use crate::shard::{ConfigSync, listed};

/// How often it is looked for topics and partitions that appeared, at the next look at ids.
const APPEARED_PERIOD: Duration = Duration::from_secs(8);
/// How often configurations are compared, at the next look at ids.
const CONFIG_PERIOD: Duration = Duration::from_secs(58);
/// Longest single look.
const LOOK: Duration = Duration::from_secs(10);

/// Whether the topics of a source are the ones that the task began to read.
#[derive(Clone)]
pub(crate) struct SourceIdentity {
    pub(crate) topics: Arc<Topics>,
    /// Names and ids.
    pub(crate) known: Arc<Vec<(String, (i64, i64))>>,
}

impl SourceIdentity {
    /// An error when one of them is gone or another one, or nobody could be asked.
    pub(crate) fn verify(&self) -> Result<(), Fault> {
        let names: Vec<&str> = self.known.iter().map(|(name, _)| name.as_str()).collect();
        if names.is_empty() {
            return Ok(());
        }
        let answers = patiently(
            || self.topics.identify(&names, LOOK),
            |answers| answers.iter().any(|(_, answer)| matches!(answer, Ok(None))),
        )?;
        for ((name, known), (_, answer)) in self.known.iter().zip(answers) {
            same_topic(name, *known, answer?.map(|now| now.id))?;
        }
        Ok(())
    }
}

/// Watches the topics of a source for one shard.
pub(crate) struct TopicsWatch {
    pub(crate) identity: SourceIdentity,
    /// What the shard copies.
    pub(crate) layout: Layout,
    /// The shard that carries configurations over has it.
    pub(crate) configs: Option<ConfigSync>,
    pub(crate) kill: KillSwitch,
    /// Closed when the pipeline has ended.
    pub(crate) ended: Receiver<()>,
}

impl TopicsWatch {
    /// Looks until the pipeline has ended; blocks, so it has a thread of its own.
    pub(crate) fn run(self) {
        let _guard = self.kill.guard("watch-source");
        let period = identity_period(self.identity.known.len());
        let (mut appeared, mut configs) = (Due::every(APPEARED_PERIOD), Due::every(CONFIG_PERIOD));
        while matches!(self.ended.recv_timeout(period), Err(RecvTimeoutError::Timeout)) {
            match self.look(&mut appeared, &mut configs) {
                Err(fault) if fault.persistence() == Persistence::Definite => {
                    return self.kill.trip(fault);
                }
                Err(fault) => tracing::debug!(%fault, "could not look at the topics of the source"),
                Ok(()) => {}
            }
        }
    }

    fn look(&self, appeared: &mut Due, configs: &mut Due) -> Result<(), Fault> {
        self.identity.verify()?;
        if appeared.now() {
            let now = self.layout.again(&listed(&self.identity.topics, LOOK)?)?;
            // Shards that begin to work, or have nothing left to do, change what each may write.
            let shared = now.working_shards() != self.layout.working_shards();
            if shared || now.has_more_than(&self.layout) {
                tracing::info!("topics or partitions appeared that the task copies");
                self.kill.rebuild();
                return Ok(());
            }
        }
        match &self.configs {
            Some(sync) if configs.now() => sync.carry_over(),
            _ => Ok(()),
        }
    }
}

/// Something that is done now and then.
struct Due {
    period: Duration,
    last: Instant,
}

impl Due {
    fn every(period: Duration) -> Self {
        Self { period, last: Instant::now() }
    }

    /// Whether its time has come; if so, the next period begins.
    fn now(&mut self) -> bool {
        let due = self.last.elapsed() >= self.period;
        if due {
            self.last = Instant::now();
        }
        due
    }
}
