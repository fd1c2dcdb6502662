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
use crate::shard::meter::Meter;
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
    /// Why configurations were not carried over, as it was told last.
    pub(crate) configs_refused: Option<Fault>,
    pub(crate) meter: Meter,
    pub(crate) kill: KillSwitch,
    /// Closed when the pipeline has ended.
    pub(crate) ended: Receiver<()>,
}

impl TopicsWatch {
    /// Looks until the pipeline has ended; blocks, so it has a thread of its own.
    pub(crate) fn run(mut self) {
        let _guard = self.kill.guard("watch-source");
        let period = identity_period(self.identity.known.len());
        let mut appeared = Due::every(APPEARED_PERIOD);
        // What is taken away later is known by what was there at first.
        let mut configs = Due::at_once_and_every(CONFIG_PERIOD);
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

    fn look(&mut self, appeared: &mut Due, configs: &mut Due) -> Result<(), Fault> {
        self.identity.verify()?;
        if appeared.now() {
            let now = self.layout.again(&listed(&self.identity.topics, LOOK)?)?;
            // Shards that begin to work, or have nothing left to do, change what each may write.
            let shared = now.working_shards() != self.layout.working_shards();
            if shared || now.has_more_than(&self.layout) {
                tracing::info!("topics or partitions appeared that the task copies");
                // The next watch will not know what was there before.
                self.carry_configs_over();
                self.kill.rebuild();
                return Ok(());
            }
        }
        if configs.now() {
            self.carry_configs_over();
        }
        Ok(())
    }

    /// Records go on where settings cannot: whoever runs the task is told, once for each reason.
    fn carry_configs_over(&mut self) {
        let Some(sync) = &mut self.configs else { return };
        match sync.carry_over() {
            Ok(()) => self.configs_refused = None,
            Err(fault) if fault.persistence() == Persistence::Definite => {
                if self.configs_refused.as_ref() != Some(&fault) {
                    self.meter.log().warn(&fault, "settings of topics do not reach their copies");
                    self.configs_refused = Some(fault);
                }
            }
            Err(fault) => tracing::debug!(%fault, "could not carry configurations over"),
        }
    }
}

/// Something that is done now and then.
struct Due {
    period: Duration,
    last: Option<Instant>,
}

impl Due {
    fn every(period: Duration) -> Self {
        Self { period, last: Some(Instant::now()) }
    }

    fn at_once_and_every(period: Duration) -> Self {
        Self { period, last: None }
    }

    /// Whether its time has come; if so, the next period begins.
    fn now(&mut self) -> bool {
        let due = self.last.is_none_or(|last| last.elapsed() >= self.period);
        if due {
            self.last = Some(Instant::now());
        }
        due
    }
}
