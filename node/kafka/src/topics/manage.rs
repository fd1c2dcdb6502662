//! Topics are made and changed.
//!
//! What brokers can do: CreateTopics from 0.10.1, DeleteRecords and configurations from 0.11, more
//! partitions from 1.0, changes of single settings from 2.3 (before, all of a topic's settings are
//! written anew, which can undo what someone else changes in the same moment).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;
use tidewire_shared::{Fault, FaultKind};

use super::Topics;
use crate::config::Side;
use crate::fault::KafkaError;
use crate::ffi::{Altered, Change, Changes, Config, TopicPlan};

/// Topics that one request makes or changes: a controller takes its time for each.
const AT_ONCE: usize = 100;

/// A topic to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Name.
    pub name: String,
    /// Number of partitions.
    pub partitions: u32,
    /// Replicas of each; absent: as many as the brokers make by themselves (from 2.4).
    pub replicas: Option<u32>,
    /// Settings of its own.
    pub configs: BTreeMap<String, String>,
}

/// One outcome per topic, in the order of the question.
pub type Outcomes<T> = Vec<(String, Result<T, Fault>)>;

/// What a change needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Needs {
    right: &'static str,
    release: &'static str,
    by_hand: &'static str,
    /// What it means that the brokers' policy is against it.
    policy: &'static str,
}

const CREATE: Needs = Needs {
    right: "Create",
    release: "0.10.1",
    by_hand: "kafka-topics --create",
    policy: "make the topic by hand as the brokers' policy wants it",
};
const PARTITIONS: Needs = Needs {
    right: "Alter",
    release: "1.0",
    by_hand: "kafka-topics --alter --partitions",
    policy: "add the partitions by hand as the brokers' policy wants it",
};
const CONFIGS: Needs = Needs {
    right: "AlterConfigs",
    release: "0.11",
    by_hand: "kafka-configs --alter --entity-type topics",
    policy: "leave the setting out with syncConfigs.exclude, or change the brokers' policy",
};
pub(super) const DELETE: Needs = Needs {
    right: "Delete",
    release: "0.11",
    by_hand: "kafka-delete-records",
    policy: "brokers delete no records of a topic that is only compacted: make the topic anew, or \
             let the task append",
};

impl Topics {
    /// Makes topics, and waits until the controller has them; the other brokers hear of them a little
    /// later. `false` for one that was there.
    ///
    /// # Errors
    ///
    /// The cluster cannot be reached; that of a topic says why it cannot be made so.
    pub fn create(&self, topics: &[NewTopic], timeout: Duration) -> Result<Outcomes<bool>, Fault> {
        self.create_or_try(topics, Change::Make, timeout)
    }

    /// What brokers would say to [`Self::create`]; nothing is made (brokers from 0.10.2).
    ///
    /// # Errors
    ///
    /// As [`Self::create`].
    pub fn try_create(
        &self,
        topics: &[NewTopic],
        timeout: Duration,
    ) -> Result<Outcomes<bool>, Fault> {
        self.create_or_try(topics, Change::Try, timeout)
    }

    fn create_or_try(
        &self,
        topics: &[NewTopic],
        change: Change,
        timeout: Duration,
    ) -> Result<Outcomes<bool>, Fault> {
        let plans: Vec<TopicPlan<'_>> = topics.iter().map(NewTopic::plan).collect();
        let outcomes = in_turns(&plans, timeout, |plans, left| {
            let answer = self.client.create_topics(plans, change, left);
            answer.map_err(|error| self.refused(CREATE, &error, ""))
        })?;
        let judged = outcomes.into_iter().map(|(name, outcome)| {
            let made = match outcome {
                Ok(()) => Ok(true),
                Err(error) if error.code == Code::TopicAlreadyExists => Ok(false),
                Err(error) => Err(self.refused(CREATE, &error, &format!("topic {name}"))),
            };
            (name, made)
        });
        Ok(judged.collect())
    }

    /// As [`Self::create`], all of them: the first that cannot be made is the fault.
    pub(crate) fn create_all(
        &self,
        topics: &[NewTopic],
        timeout: Duration,
    ) -> Result<Vec<bool>, Fault> {
        self.create(topics, timeout)?.into_iter().map(|(_, outcome)| outcome).collect()
    }

    /// Raises numbers of partitions to these totals.
    ///
    /// # Errors
    ///
    /// As [`Self::create`].
    pub fn add_partitions(
        &self,
        totals: &[(&str, u32)],
        timeout: Duration,
    ) -> Result<Outcomes<()>, Fault> {
        self.widen_or_try(totals, Change::Make, timeout)
    }

    /// What brokers would say to [`Self::add_partitions`]; nothing is changed.
    ///
    /// # Errors
    ///
    /// As [`Self::create`].
    pub fn try_add_partitions(
        &self,
        totals: &[(&str, u32)],
        timeout: Duration,
    ) -> Result<Outcomes<()>, Fault> {
        self.widen_or_try(totals, Change::Try, timeout)
    }

    fn widen_or_try(
        &self,
        totals: &[(&str, u32)],
        change: Change,
        timeout: Duration,
    ) -> Result<Outcomes<()>, Fault> {
        let outcomes = in_turns(totals, timeout, |totals, left| {
            self.client
                .create_partitions(totals, change, left)
                .map_err(|error| self.refused(PARTITIONS, &error, ""))
        })?;
        Ok(self.judged(PARTITIONS, outcomes))
    }

    /// Changes single settings; `None` takes one away, so that the brokers' own holds.
    ///
    /// # Errors
    ///
    /// As [`Self::create`].
    pub fn alter_configs(
        &self,
        changes: &[(&str, Changes)],
        timeout: Duration,
    ) -> Result<Outcomes<()>, Fault> {
        let changes: Vec<(&str, &Changes)> =
            changes.iter().map(|(name, changes)| (*name, changes)).collect();
        let outcomes = in_turns(&changes, timeout, |changes, left| {
            match self.client.alter_configs(changes, left) {
                Err(error) if error.code == Code::UnsupportedFeature => self.rewrite(changes, left),
                answer => answer.map_err(|error| self.refused(CONFIGS, &error, "")),
            }
        })?;
        Ok(self.judged(CONFIGS, outcomes))
    }

    /// Changes of single settings where brokers take only all of a topic's.
    fn rewrite(&self, changes: &[(&str, &Changes)], timeout: Duration) -> Result<Altered, Fault> {
        let names: Vec<&str> = changes.iter().map(|(name, _)| *name).collect();
        let before = self.own_configs(&names, timeout)?;
        let mut configs: Vec<(&str, Config)> = Vec::new();
        for ((name, changes), (_, before)) in changes.iter().zip(before) {
            let mut config = before?.unwrap_or_default();
            for (key, value) in *changes {
                match value {
                    Some(value) => drop(config.insert(key.clone(), value.clone())),
                    None => drop(config.remove(key)),
                }
            }
            configs.push((name, config));
        }
        let configs: Vec<(&str, &Config)> =
            configs.iter().map(|(name, config)| (*name, config)).collect();
        self.client
            .replace_configs(&configs, timeout)
            .map_err(|error| self.refused(CONFIGS, &error, ""))
    }

    fn judged(&self, needs: Needs, outcomes: Altered) -> Outcomes<()> {
        let judged = outcomes.into_iter().map(|(name, outcome)| {
            let object = format!("topic {name}");
            (name, outcome.map_err(|error| self.refused(needs, &error, &object)))
        });
        judged.collect()
    }

    /// The fault of a change; without an object that of the request.
    pub(super) fn refused(&self, needs: Needs, error: &KafkaError, object: &str) -> Fault {
        let side = self.settings.side();
        let cluster = format!("brokers {}", self.settings.brokers());
        let object = if object.is_empty() { cluster.as_str() } else { object };
        let Needs { right, release, by_hand, policy } = needs;
        let fault = error.fault_at(side, object);
        match error.code {
            Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => fault.remedy(
                format!("grant the task's user {right} on the topic, or do it by hand: {by_hand}"),
            ),
            Code::PolicyViolation => fault.remedy(policy),
            Code::UnsupportedFeature | Code::UnsupportedVersion => {
                let kind = match side {
                    Side::Source => FaultKind::SourceState,
                    Side::Target => FaultKind::TargetState,
                };
                Fault::new(kind, object, format!("brokers before {release} cannot do this"))
                    .remedy(format!("do it by hand: {by_hand}"))
            }
            Code::InvalidReplicationFactor => {
                fault.remedy("ask for at most as many replicas as there are brokers")
            }
            Code::InvalidPartitions => {
                fault.remedy("a topic's number of partitions can only be raised")
            }
            _ if object == cluster => self.fault(error),
            _ => fault,
        }
    }
}

impl NewTopic {
    fn plan(&self) -> TopicPlan<'_> {
        TopicPlan {
            name: &self.name,
            partitions: self.partitions,
            replicas: self.replicas,
            config: self
                .configs
                .iter()
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .collect(),
        }
    }
}

/// Asks for a part of a list after the other, all within `timeout`.
fn in_turns<T, A>(
    list: &[T],
    timeout: Duration,
    ask: impl Fn(&[T], Duration) -> Result<Vec<A>, Fault>,
) -> Result<Vec<A>, Fault> {
    let deadline = Instant::now() + timeout;
    let mut answers = Vec::with_capacity(list.len());
    for part in list.chunks(AT_ONCE) {
        answers.extend(ask(part, deadline.saturating_duration_since(Instant::now()))?);
    }
    Ok(answers)
}
