//! What topics are: id, partitions, rights and the configuration that a task depends on; and how they
//! become what a copy needs.

mod list;
mod manage;
mod offsets;

pub use list::ListedTopic;
pub use manage::{NewTopic, Outcomes};
pub use offsets::At;

pub use crate::ffi::{Changes, Config};
pub use tidewire_node_core::facts::Operation;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;
use tidewire_node_core::facts::{ClusterFacts, PartitionHealth, Release, TopicFacts};
use tidewire_shared::spec::CreateTopics;
use tidewire_shared::{Fault, FaultKind};

use crate::config::{Properties, Settings, Side};
use crate::fault::{KafkaError, kind_of};
use crate::ffi::{Client, DescribedTopic, Kind};

/// One answer per topic, in the order of the question: there, absent, or not to be seen.
pub type Answers<T> = Vec<(String, Result<Option<T>, Fault>)>;

/// Looks at a topic that a broker does not know, and the pause between them: one that was just started may
/// not have heard of it.
const LOOKS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(700);

/// Looks again while `doubted`, a few times: what a broker does not know may not have reached it yet.
///
/// # Errors
///
/// That of a look.
pub fn patiently<T>(
    look: impl Fn() -> Result<T, Fault>,
    doubted: impl Fn(&T) -> bool,
) -> Result<T, Fault> {
    let mut seen = look()?;
    for _ in 1..LOOKS {
        if !doubted(&seen) {
            break;
        }
        std::thread::sleep(PAUSE);
        seen = look()?;
    }
    Ok(seen)
}

/// Between two looks at whether a topic that was made is known everywhere.
const SPREADING: Duration = Duration::from_millis(100);

/// Identity of a topic: another id means that it was deleted and made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Name.
    pub name: String,
    /// Kafka's topic id as two halves; (0, 0) where brokers have none (before 2.8).
    pub id: (i64, i64),
    /// Number of partitions.
    pub partitions: u32,
}

/// All that is known of a topic.
#[derive(Clone, Debug)]
pub(crate) struct SeenTopic {
    pub(crate) described: DescribedTopic,
    /// Facts and configuration, or why the configuration cannot be seen.
    pub(crate) configured: Result<(TopicFacts, Config), Fault>,
}

impl SeenTopic {
    pub(crate) fn facts(self) -> Result<TopicFacts, Fault> {
        self.configured.map(|(facts, _)| facts)
    }

    pub(crate) fn health(&self) -> PartitionHealth {
        self.described.health()
    }
}

impl DescribedTopic {
    pub(crate) fn health(&self) -> PartitionHealth {
        PartitionHealth {
            topic: self.name.clone(),
            leaderless: self.leaderless.clone(),
            least_in_sync: self.least_in_sync.map(count),
        }
    }
}

/// Asks a cluster about its topics, over a connection that it keeps.
#[derive(Debug)]
pub struct Topics {
    client: Arc<Client>,
    settings: Settings,
}

impl Topics {
    /// Makes the client; connections are made in the background.
    ///
    /// # Errors
    ///
    /// `Configuration`, naming the property that librdkafka refuses.
    pub fn new(settings: &Settings) -> Result<Self, Fault> {
        Self::with(settings, &settings.base())
    }

    /// As [`Self::new`]; it can say how old its brokers are.
    pub(crate) fn telling(settings: &Settings) -> Result<Self, Fault> {
        Self::with(settings, &settings.release_teller())
    }

    /// The release that every broker has reached that was asked something.
    pub(crate) fn release(&self) -> Option<Release> {
        self.client.release()
    }

    fn with(settings: &Settings, properties: &Properties) -> Result<Self, Fault> {
        let client = Client::new(Kind::Producer, properties).map_err(|error| {
            let side = settings.side();
            error.fault_at(side, format!("{}.properties", side.as_str()))
        })?;
        Ok(Self { client: Arc::new(client), settings: settings.clone() })
    }

    /// Number of brokers in the cluster.
    ///
    /// # Errors
    ///
    /// `TargetUnreachable` or `TargetDenied`.
    pub fn count_brokers(&self, timeout: Duration) -> Result<u32, Fault> {
        self.broker_addresses(timeout).map(|brokers| count(brokers.len()))
    }

    /// `host:port` of every broker of the cluster, as they call themselves.
    pub(crate) fn broker_addresses(&self, timeout: Duration) -> Result<Vec<String>, Fault> {
        self.cluster(timeout).map(|cluster| cluster.addresses)
    }

    /// The cluster as one of its brokers describes it.
    pub(crate) fn cluster(&self, timeout: Duration) -> Result<ClusterFacts, Fault> {
        self.client.cluster(timeout).map_err(|error| self.fault(&error))
    }

    /// Ids and partition counts, all in one request.
    ///
    /// # Errors
    ///
    /// `TargetUnreachable`, `TargetDenied` or `TargetBusy` when no answer came at all.
    pub fn identify(&self, names: &[&str], timeout: Duration) -> Result<Answers<Identity>, Fault> {
        Ok(self
            .described(names, timeout)?
            .into_iter()
            .map(|(name, answer)| {
                let identity = answer.map(|topic| {
                    topic.map(|topic| Identity {
                        name: topic.name,
                        id: topic.id,
                        partitions: count(topic.partitions),
                    })
                });
                (name, identity)
            })
            .collect())
    }

    /// Everything that a precheck and a start want to know, in two requests.
    ///
    /// # Errors
    ///
    /// As [`Self::identify`].
    pub fn describe(
        &self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Answers<TopicFacts>, Fault> {
        let facts = |seen: Option<SeenTopic>| seen.map(SeenTopic::facts).transpose();
        let seen = self.look(names, timeout)?.into_iter();
        Ok(seen.map(|(name, answer)| (name, answer.and_then(facts))).collect())
    }

    /// As [`Self::describe`], after those of `wanted` that are missing were made.
    ///
    /// # Errors
    ///
    /// As [`Self::identify`], and `TargetDenied` or `Configuration` when a topic cannot be made so.
    pub fn describe_made(
        &self,
        _: &Settings,
        names: &[&str],
        wanted: &[&str],
        form: CreateTopics,
        timeout: Duration,
    ) -> Result<Answers<TopicFacts>, Fault> {
        let seen = self.describe(names, timeout)?;
        let absent = |name: &String| wanted.contains(&name.as_str());
        let missing: Vec<&str> = seen
            .iter()
            .filter(|(name, answer)| matches!(answer, Ok(None)) && absent(name))
            .map(|(name, _)| name.as_str())
            .collect();
        if missing.is_empty() {
            return Ok(seen);
        }
        let plans: Vec<NewTopic> = missing
            .iter()
            .map(|name| NewTopic {
                name: (*name).to_owned(),
                partitions: form.partitions,
                replicas: Some(u32::from(form.replication_factor)),
                configs: Config::new(),
            })
            .collect();
        self.create_all(&plans, timeout)?;
        tracing::info!(topics = ?missing, "made topics");
        self.describe_until(names, &missing, Instant::now() + timeout)
    }

    /// A topic that the controller has made reaches the other brokers a little later.
    fn describe_until(
        &self,
        names: &[&str],
        made: &[&str],
        deadline: Instant,
    ) -> Result<Answers<TopicFacts>, Fault> {
        loop {
            let seen = self.describe(names, deadline.saturating_duration_since(Instant::now()))?;
            let awaited = |(name, answer): &(String, Result<Option<TopicFacts>, Fault>)| {
                matches!(answer, Ok(None)) && made.contains(&name.as_str())
            };
            if !seen.iter().any(awaited) || Instant::now() >= deadline {
                return Ok(seen);
            }
            std::thread::sleep(SPREADING);
        }
    }

    /// Facts, configuration and rights together.
    pub(crate) fn look(
        &self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Answers<SeenTopic>, Fault> {
        let described = self.described(names, timeout)?;
        let present: Vec<&str> = described
            .iter()
            .filter(|(_, answer)| matches!(answer, Ok(Some(_))))
            .map(|(name, _)| name.as_str())
            .collect();
        let configs = self.all_configs(&present, timeout)?;
        let mut configs: BTreeMap<String, _> = configs.into_iter().collect();
        let mut with_config = |topic: DescribedTopic| {
            let configured = match configs.remove(&topic.name) {
                Some(Ok(Some(config))) => facts(&topic, &config).map(|facts| (facts, config)),
                // It vanished between the two requests.
                None | Some(Ok(None)) => return None,
                Some(Err(fault)) => Err(fault),
            };
            Some(SeenTopic { described: topic, configured })
        };
        Ok(described
            .into_iter()
            .map(|(name, answer)| (name, answer.map(|topic| topic.and_then(&mut with_config))))
            .collect())
    }

    pub(crate) fn described(
        &self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Answers<DescribedTopic>, Fault> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let deadline = Instant::now() + timeout;
        let mut answers: BTreeMap<String, _> = BTreeMap::new();
        for names in names.chunks(list::ASKED_AT_ONCE) {
            let left = deadline.saturating_duration_since(Instant::now());
            let described = self.client.describe_topics(names, left);
            answers.extend(described.map_err(|error| self.fault(&error))?);
        }
        names
            .iter()
            .map(|name| {
                let object = || format!("topic {name}");
                let answer = match answers.remove(*name) {
                    Some(Ok(topic)) => Ok(Some(topic)),
                    Some(Err(error)) if error.code == Code::UnknownTopicOrPartition => Ok(None),
                    Some(Err(error)) => Err(error.fault_at(self.settings.side(), object())),
                    None => return Err(self.silent(object())),
                };
                Ok(((*name).to_owned(), answer))
            })
            .collect()
    }

    /// The fault of a request. A bare timeout is explained by what the connection reported.
    fn fault(&self, error: &KafkaError) -> Fault {
        let object = format!("brokers {}", self.settings.brokers());
        let side = self.settings.side();
        let late = matches!(error.code, Code::OperationTimedOut | Code::RequestTimedOut);
        match self.client.trouble() {
            Some(trouble) if late && kind_of(trouble.code) != FaultKind::TargetBusy => {
                trouble.fault_at(side, object)
            }
            _ if late => {
                KafkaError { code: Code::BrokerTransportFailure, text: error.text.clone() }
                    .fault_at(side, object)
            }
            _ => error.fault_at(side, object),
        }
    }

    /// The fault of something for which the brokers gave no answer of its own.
    fn silent(&self, object: String) -> Fault {
        let kind = match self.settings.side() {
            Side::Source => FaultKind::SourceBusy,
            Side::Target => FaultKind::TargetBusy,
        };
        Fault::new(kind, object, "the brokers did not answer for it")
    }

    fn unseen_config(&self, topic: &str, error: &KafkaError) -> Fault {
        let fault = error.fault_at(self.settings.side(), format!("configuration of topic {topic}"));
        match error.code {
            Code::TopicAuthorizationFailed => {
                fault.remedy("grant the task's user DescribeConfigs on the topic")
            }
            _ => fault,
        }
    }
}

/// Brokers before 0.11 tell no configuration: what they would refuse shows when it is written.
fn facts(topic: &DescribedTopic, config: &Config) -> Result<TopicFacts, Fault> {
    if config.is_empty() {
        return Ok(TopicFacts {
            name: topic.name.clone(),
            id: topic.id,
            partitions: count(topic.partitions),
            cleanup_policy: String::new(),
            max_message_bytes: u64::MAX,
            min_insync_replicas: 1,
            replication_factor: count(topic.replicas_of_first),
        });
    }
    Ok(TopicFacts {
        name: topic.name.clone(),
        id: topic.id,
        partitions: count(topic.partitions),
        cleanup_policy: config.get("cleanup.policy").cloned().unwrap_or_default(),
        max_message_bytes: number(topic, config, "max.message.bytes")?,
        min_insync_replicas: number(topic, config, "min.insync.replicas")?,
        replication_factor: count(topic.replicas_of_first),
    })
}

fn number<T: std::str::FromStr>(
    topic: &DescribedTopic,
    config: &Config,
    key: &str,
) -> Result<T, Fault> {
    config.get(key).and_then(|value| value.parse().ok()).ok_or_else(|| {
        Fault::new(
            FaultKind::TargetBusy,
            format!("topic {}", topic.name),
            format!("the brokers do not tell its {key}"),
        )
    })
}

pub(crate) fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
