//! What a precheck saw of both ends of a copy. A look that failed carries its fault.

use std::collections::BTreeMap;

use tidewire_shared::Fault;

use super::{PartitionHealth, TopicFacts};
use crate::copy::{PartitionFacts, SourceTopic};

/// Something that our user may do with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "Kafka's own words")]
pub enum Operation {
    Read,
    Write,
    Create,
    Delete,
    Alter,
    Describe,
    DescribeConfigs,
    AlterConfigs,
    Other,
}

impl Operation {
    /// Kafka's own word for it, as in its ACLs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "Read",
            Self::Write => "Write",
            Self::Create => "Create",
            Self::Delete => "Delete",
            Self::Alter => "Alter",
            Self::Describe => "Describe",
            Self::DescribeConfigs => "DescribeConfigs",
            Self::AlterConfigs => "AlterConfigs",
            Self::Other => "other",
        }
    }
}

/// A cluster as one of its brokers describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterFacts {
    /// The id that it was given when it was made; none where brokers have none.
    pub id: Option<String>,
    /// `host:port` of every broker, as they call themselves.
    pub addresses: Vec<String>,
}

/// A release of Kafka that all brokers of a cluster have reached, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    /// 0.10: no headers, no transactions, no settings told.
    V0_10,
    /// 0.11, which has them.
    V0_11,
    /// 1.0: topics can be widened.
    V1_0,
    /// 2.3: brokers say what our user may do.
    V2_3,
    /// 2.5: a producer that is fenced is told apart from one that timed out (KIP-360).
    V2_5,
    /// 2.8, or later: topics have ids.
    V2_8,
}

/// A setting of a topic as it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its value.
    pub value: String,
    /// It was made for the topic itself: what a copy is given too.
    pub own: bool,
}

/// The settings of a topic; empty where brokers tell none (before 0.11).
pub type TopicSettings = BTreeMap<String, Setting>;

/// A topic at one end of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicLook {
    /// Kafka's topic id as two halves; (0, 0) where brokers have none (before 2.8).
    pub id: (i64, i64),
    /// Replicas of partition 0.
    pub replicas: u32,
    /// How its partitions are.
    pub health: PartitionHealth,
    /// What our user may do with it; none where brokers do not say (before 2.3).
    pub operations: Option<Vec<Operation>>,
    /// Its settings, or why they cannot be seen.
    pub settings: Result<TopicSettings, Fault>,
    /// Where each of its partitions begins and ends; a fault also where only the place of the timestamp
    /// cannot be found.
    pub ends: Vec<Result<PartitionFacts, Fault>>,
    /// Of each partition the first offset that is not older than the task's start; none where there is
    /// no such record. Empty where nobody asked.
    pub at_timestamp: Vec<Option<i64>>,
}

impl TopicLook {
    /// Whether our user may do something, as far as brokers say.
    #[must_use]
    pub fn may(&self, operation: Operation) -> bool {
        self.operations.as_ref().is_none_or(|may| may.contains(&operation))
    }

    /// A setting as it holds, if it was told.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&Setting> {
        self.settings.as_ref().ok()?.get(name)
    }

    /// A setting that is a number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<i64> {
        self.setting(name)?.value.parse().ok()
    }

    /// How many partitions it has.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        u32::try_from(self.ends.len()).unwrap_or(u32::MAX)
    }
}

/// One end of a copy.
#[derive(Clone, Debug)]
pub struct EndLook {
    /// The cluster, or why it cannot be asked.
    pub cluster: Result<ClusterFacts, Fault>,
    /// Topics that were asked for by name: there, absent (`Ok(None)`), or not to be seen.
    pub topics: BTreeMap<String, Result<Option<TopicLook>, Fault>>,
    /// How old its brokers are; none where that could not be found out.
    pub release: Option<Release>,
}

impl EndLook {
    /// Whether its brokers are known to be older.
    #[must_use]
    pub fn is_before(&self, release: Release) -> bool {
        self.release.is_some_and(|reached| reached < release)
    }

    /// A topic that is there.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&TopicLook> {
        self.topics.get(name)?.as_ref().ok()?.as_ref()
    }

    /// Whether it is known that a topic is not there.
    #[must_use]
    pub fn lacks(&self, name: &str) -> bool {
        matches!(self.topics.get(name), Some(Ok(None)))
    }
}

/// What a precheck saw of both ends of a copy.
#[derive(Clone, Debug)]
pub struct CopyPrecheck {
    /// The cluster that is copied from.
    pub source: EndLook,
    /// Every topic of the source that our user may describe.
    pub listed: Result<Vec<SourceTopic>, Fault>,
    /// The cluster that is copied to.
    pub target: EndLook,
    /// Where both clusters have one id: the ids of topics of the target that are called as some of the
    /// source, or none where there is no such topic.
    pub namesakes: Vec<(String, Option<(i64, i64)>)>,
    /// Copies that are missing, and what brokers say to making them.
    pub makeable: Vec<(String, Result<(), Fault>)>,
    /// Copies that have too few partitions, and what brokers say to adding some.
    pub widenable: Vec<(String, Result<(), Fault>)>,
    /// Whether transactions work: a transactional producer could be initialised under an id of ours.
    pub transactions: Result<(), Fault>,
    /// The positions topic: there and right, absent, or with what is wrong.
    pub positions_topic: Result<Option<TopicFacts>, Fault>,
}
