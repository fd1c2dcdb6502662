//! Which topics there are, and what they are.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;
use tidewire_node_core::facts::{Operation, Setting, TopicSettings};
use tidewire_shared::Fault;

use super::{Answers, Topics, count};
use crate::ffi::{Asked, Config, DescribedTopic, ToldTopic};
use crate::positions;

/// Topics that one request asks for.
pub(super) const ASKED_AT_ONCE: usize = 500;

/// A topic as its cluster lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedTopic {
    /// Name.
    pub name: String,
    /// Topic id as two halves; (0, 0) where brokers have none (before 2.8).
    pub id: (i64, i64),
    /// Number of partitions.
    pub partitions: u32,
    /// Replicas of the first partition.
    pub replicas: u32,
    /// Kafka's own (`__consumer_offsets`, `__transaction_state`), or ours (`__tidewire_positions`).
    pub internal: bool,
    /// What our user may do with it; brokers before 2.3 do not say.
    pub operations: Option<Vec<Operation>>,
}

impl Topics {
    /// All topics that our user may describe, by name. Every broker has this.
    ///
    /// # Errors
    ///
    /// The cluster cannot be reached, or does not let us in.
    pub fn list(&self, timeout: Duration) -> Result<Vec<ListedTopic>, Fault> {
        let deadline = Instant::now() + timeout;
        let mut listed: Vec<ListedTopic> = self
            .told(timeout)?
            .into_iter()
            .filter(|topic| topic.error.is_none())
            .map(|topic| ListedTopic {
                id: (0, 0),
                partitions: count(topic.partitions),
                replicas: count(topic.replicas_of_first),
                internal: topic.name.starts_with("__"),
                operations: None,
                name: topic.name,
            })
            .collect();
        listed.sort_by(|one, other| one.name.cmp(&other.name));
        for rows in listed.chunks_mut(ASKED_AT_ONCE) {
            let names: Vec<String> = rows.iter().map(|row| row.name.clone()).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let left = deadline.saturating_duration_since(Instant::now());
            let described = match self.client.describe_topics(&names, left) {
                Ok(described) => described,
                // Brokers that cannot say more have said what they can.
                Err(error) if error.code == Code::UnsupportedFeature => break,
                Err(error) => return Err(self.fault(&error)),
            };
            let described: BTreeMap<&str, &DescribedTopic> = described
                .iter()
                .filter_map(|(name, answer)| Some((name.as_str(), answer.as_ref().ok()?)))
                .collect();
            for row in rows {
                if let Some(topic) = described.get(row.name.as_str()) {
                    row.say_more(topic);
                }
            }
        }
        Ok(listed)
    }

    /// Every topic that our user may describe, in the brokers' oldest words.
    pub(crate) fn told(&self, timeout: Duration) -> Result<Vec<ToldTopic>, Fault> {
        self.client.told_topics(Asked::All, timeout).map_err(|error| self.fault(&error))
    }

    /// The settings that were made for each topic itself: what makes another one like it. Brokers before
    /// 0.11 do not tell any; those before 1.1 also tell what their own files set for all topics.
    ///
    /// # Errors
    ///
    /// The cluster cannot be reached; that of a topic says that it may not be seen.
    pub fn own_configs(&self, names: &[&str], timeout: Duration) -> Result<Answers<Config>, Fault> {
        self.configs(names, |setting| setting.own, timeout)
    }

    /// As [`Self::own_configs`], all settings as they hold.
    ///
    /// # Errors
    ///
    /// As [`Self::own_configs`].
    pub fn all_configs(&self, names: &[&str], timeout: Duration) -> Result<Answers<Config>, Fault> {
        self.configs(names, |_| true, timeout)
    }

    fn configs(
        &self,
        names: &[&str],
        wanted: impl Fn(&Setting) -> bool,
        timeout: Duration,
    ) -> Result<Answers<Config>, Fault> {
        let config = |settings: TopicSettings| -> Config {
            let wanted = settings.into_iter().filter(|(_, setting)| wanted(setting));
            wanted.map(|(name, setting)| (name, setting.value)).collect()
        };
        let answers = self.settings_of(names, timeout)?.into_iter();
        Ok(answers.map(|(name, answer)| (name, answer.map(|it| it.map(&config)))).collect())
    }

    /// All settings of topics, each with whether it is the topic's own.
    pub(crate) fn settings_of(
        &self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Answers<TopicSettings>, Fault> {
        let deadline = Instant::now() + timeout;
        let mut answers = Answers::new();
        for names in names.chunks(ASKED_AT_ONCE) {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut told = match self.client.topic_settings(names, left) {
                // DescribeConfigs came with 0.11.
                Err(error) if error.code == Code::UnsupportedFeature => names
                    .iter()
                    .map(|name| ((*name).to_owned(), Ok(TopicSettings::new())))
                    .collect(),
                answer => answer.map_err(|error| self.fault(&error))?,
            };
            answers.extend(names.iter().map(|name| {
                let answer = match told.remove(*name) {
                    Some(Ok(settings)) => Ok(Some(settings)),
                    Some(Err(error)) if error.code != Code::UnknownTopicOrPartition => {
                        Err(self.unseen_config(name, &error))
                    }
                    _ => Ok(None),
                };
                ((*name).to_owned(), answer)
            }));
        }
        Ok(answers)
    }
}

impl ListedTopic {
    fn say_more(&mut self, topic: &DescribedTopic) {
        self.id = topic.id;
        self.partitions = count(topic.partitions);
        self.internal = topic.internal || topic.name == positions::TOPIC;
        if !topic.operations.is_empty() {
            self.operations = Some(topic.operations.clone());
        }
    }
}
