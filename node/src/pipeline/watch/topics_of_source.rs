//! What is watched at a source of topics: whether they are still the same ones, whether more appeared,
//! and whether their configurations changed.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tidewire_kafka::topics::Topics;
use tidewire_node_core::copy::{Layout, same_topic};
use tidewire_shared::spec::TopicRule;
use tidewire_shared::{Fault, Persistence};

use crate::pipeline::kill::KillSwitch;
use crate::shard::{ConfigSync, listed};

/// How often ids are asked for: bounds what is copied of a topic that was made again.
const IDENTITY_PERIOD: Duration = Duration::from_secs(3);
/// How often it is looked for topics and partitions that appeared, in looks at ids.
const APPEARED_TURNS: u32 = 3;
/// How often configurations are compared, in looks at ids.
const CONFIG_TURNS: u32 = 20;
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
        let answers = self.topics.identify(&names, LOOK)?;
        for ((name, known), (_, answer)) in self.known.iter().zip(answers) {
            same_topic(name, *known, answer?.map(|now| now.id))?;
        }
        Ok(())
    }
}

/// Watches the topics of a source for one shard.
pub(crate) struct TopicsWatch {
    pub(crate) identity: SourceIdentity,
    pub(crate) rules: Vec<TopicRule>,
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
        for turn in 1_u32.. {
            if !matches!(self.ended.recv_timeout(IDENTITY_PERIOD), Err(RecvTimeoutError::Timeout)) {
                return;
            }
            match self.look(turn) {
                Err(fault) if fault.persistence() == Persistence::Definite => {
                    return self.kill.trip(fault);
                }
                Err(fault) => tracing::debug!(%fault, "could not look at the topics of the source"),
                Ok(()) => {}
            }
        }
    }

    fn look(&self, turn: u32) -> Result<(), Fault> {
        self.identity.verify()?;
        if turn.is_multiple_of(APPEARED_TURNS) {
            let now = self.layout.again(&self.rules, &listed(&self.identity.topics, LOOK)?)?;
            if now.has_more_than(&self.layout) {
                tracing::info!("topics or partitions appeared that the task copies");
                self.kill.rebuild();
                return Ok(());
            }
        }
        match &self.configs {
            Some(configs) if turn.is_multiple_of(CONFIG_TURNS) => configs.carry_over(),
            _ => Ok(()),
        }
    }
}
