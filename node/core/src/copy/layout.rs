//! Which topics a task copies, under which names, and which partitions of them a shard has.

use std::collections::BTreeSet;

use tidewire_shared::spec::{NamePattern, TopicRule};
use tidewire_shared::{Clearing, Fault, FaultKind};

/// A topic of the source as its cluster lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTopic {
    /// Name.
    pub name: String,
    /// Kafka's topic id as two halves; (0, 0) where the brokers have none (before 2.8).
    pub id: (i64, i64),
    /// Number of partitions.
    pub partitions: u32,
    /// Replicas of each partition.
    pub replicas: u32,
    /// Kafka's own, or ours.
    pub internal: bool,
}

/// A topic and its copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopiedTopic {
    /// At the source.
    pub source: SourceTopic,
    /// Name of the copy.
    pub target: String,
}

/// A partition that a shard copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CopiedPartition<'l> {
    /// Place of the topic in [`Layout::topics`].
    pub topic: usize,
    /// The topic.
    pub copied: &'l CopiedTopic,
    /// The partition, the same at both ends.
    pub partition: u32,
}

/// The topics of a task as they are now, and which partitions of them one shard has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    rules: Vec<TopicRule>,
    topics: Vec<CopiedTopic>,
    shard: u32,
    shards: u32,
}

impl Layout {
    /// What the rules take of the topics that the source lists, for one of so many shards.
    ///
    /// # Errors
    /// [`FaultKind::Configuration`] when two topics would meet in one copy: their records would mix,
    /// and their partitions, too.
    pub fn new(
        rules: &[TopicRule],
        listed: &[SourceTopic],
        (shard, shards): (u32, u32),
    ) -> Result<Self, Fault> {
        let mut topics = taken(rules, listed);
        topics.sort_by(|a, b| a.target.cmp(&b.target));
        for pair in topics.windows(2) {
            if let [a, b] = pair
                && a.target == b.target
            {
                let (first, second) = (&a.source.name, &b.source.name);
                return Err(Fault::new(
                    FaultKind::Configuration,
                    format!("topics {first} and {second}"),
                    format!("would both be copied to {}", a.target),
                )
                .remedy("give each a name of its own: `rename: \"{topic}\"` keeps them apart"));
            }
        }
        topics.sort_by(|a, b| a.source.name.cmp(&b.source.name));
        Ok(Self { rules: rules.to_vec(), topics, shard, shards })
    }

    /// The same shard of what the source lists now.
    ///
    /// # Errors
    /// As [`Layout::new`].
    pub fn again(&self, listed: &[SourceTopic]) -> Result<Self, Fault> {
        Self::new(&self.rules, listed, (self.shard, self.shards))
    }

    /// Whether the rules take a topic of this name, listed or not.
    #[must_use]
    pub fn takes(&self, topic: &str) -> bool {
        rule_of(&self.rules, topic, false).is_some()
    }

    /// How many shards of the task have something to copy; at least 1.
    #[must_use]
    pub fn working_shards(&self) -> u32 {
        let mut working = BTreeSet::new();
        for topic in self.topics.iter().map(|copied| &copied.source) {
            // A topic goes round the shards: behind one round there are no others.
            let round = 0..topic.partitions.min(self.shards);
            working.extend(round.map(|partition| shard_of(&topic.name, partition, self.shards)));
        }
        u32::try_from(working.len()).unwrap_or(u32::MAX).max(1)
    }

    /// Whether the shard has partitions here that it had not before.
    #[must_use]
    pub fn has_more_than(&self, before: &Self) -> bool {
        self.partitions().any(|at| {
            let known = before.of(&at.copied.source.name);
            known.is_none_or(|known| known.source.partitions <= at.partition)
        })
    }

    /// Every topic of the task, by its name at the source.
    #[must_use]
    pub fn topics(&self) -> &[CopiedTopic] {
        &self.topics
    }

    /// The topic of this name at the source, if the task copies it.
    #[must_use]
    pub fn of(&self, source: &str) -> Option<&CopiedTopic> {
        let place = self.topics.binary_search_by(|it| it.source.name.as_str().cmp(source)).ok()?;
        self.topics.get(place)
    }

    /// The partitions of the shard, in the order of topics and numbers.
    pub fn partitions(&self) -> impl Iterator<Item = CopiedPartition<'_>> {
        self.topics.iter().enumerate().flat_map(move |(topic, copied)| {
            (0..copied.source.partitions)
                .filter(move |partition| self.has(&copied.source.name, *partition))
                .map(move |partition| CopiedPartition { topic, copied, partition })
        })
    }

    /// The topics of the shard that are called as some copy of the task. Where both ends are one cluster,
    /// they are these copies.
    pub fn copies_to_read(&self) -> impl Iterator<Item = &str> {
        let copies: BTreeSet<&str> = self.topics.iter().map(|it| it.target.as_str()).collect();
        let read = self.topics_of_shard().map(|it| it.source.name.as_str());
        read.filter(move |name| copies.contains(name))
    }

    /// Judges copies as they are at the target, by name and id: one that is a topic of the source and is
    /// copied again would never end. Brokers without topic ids (before 2.8) do not tell.
    ///
    /// # Errors
    /// [`FaultKind::Configuration`], naming the copy.
    pub fn comes_back<'c>(
        &self,
        copies: impl IntoIterator<Item = (&'c str, (i64, i64))>,
    ) -> Result<(), Fault> {
        for (name, id) in copies {
            let again = self.of(name).filter(|it| it.source.id == id && id != (0, 0));
            if let Some(again) = again {
                return Err(Fault::new(
                    FaultKind::Configuration,
                    format!("topic {name}"),
                    format!(
                        "is a copy that the task takes again, as {}: it would copy its own copies, without end",
                        again.target
                    ),
                )
                .remedy(
                    "exclude the copies, like rename: \"dr.{topic}\" and exclude: [\"dr.*\"], or name \
                     another target: `tidewire task apply -f FILE`",
                ));
            }
        }
        Ok(())
    }

    /// Whether this is the shard that does what is done once for a task.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.shard == 0
    }

    /// Whether a partition is the shard's.
    #[must_use]
    pub fn has(&self, topic: &str, partition: u32) -> bool {
        shard_of(topic, partition, self.shards) == self.shard
    }

    /// Whether records that are to be deleted are those of a copy that the shard writes. A topic that
    /// the task left out since is nothing to it any more.
    #[must_use]
    pub fn clears(&self, clearing: &Clearing) -> bool {
        let copied = self.topics.iter().find(|it| it.target == clearing.topic);
        copied.is_some_and(|it| self.has(&it.source.name, clearing.partition))
    }

    /// Topics of which the shard has at least one partition.
    pub fn topics_of_shard(&self) -> impl Iterator<Item = &CopiedTopic> {
        self.topics.iter().filter(|copied| {
            let mut partitions = 0..copied.source.partitions;
            partitions.any(|partition| self.has(&copied.source.name, partition))
        })
    }
}

/// The topics that the rules take, with the names of their copies, in the order of the list.
#[must_use]
pub fn taken(rules: &[TopicRule], listed: &[SourceTopic]) -> Vec<CopiedTopic> {
    let copied = |topic: &SourceTopic| {
        let target = rule_of(rules, &topic.name, topic.internal)?.renamed(&topic.name);
        Some(CopiedTopic { source: topic.clone(), target })
    };
    listed.iter().filter_map(copied).collect()
}

/// The rule that takes a topic: one that names it, else the first whose patterns fit.
#[must_use]
pub fn rule_of<'r>(rules: &'r [TopicRule], topic: &str, internal: bool) -> Option<&'r TopicRule> {
    let names = |rule: &&TopicRule| {
        rule.topics.iter().any(|it| matches!(it, NamePattern::Exact(name) if name == topic))
    };
    let takes = |rule: &&TopicRule| rule.takes(topic, internal);
    rules.iter().filter(names).find(takes).or_else(|| rules.iter().find(takes))
}

/// Which of so many shards copies a partition. It depends on nothing else: partitions that appear later
/// move none, and those of one topic go round all shards.
#[must_use]
pub fn shard_of(topic: &str, partition: u32, shards: u32) -> u32 {
    // FNV-1a.
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let first =
        topic.bytes().fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    let place = first.wrapping_add(u64::from(partition)) % u64::from(shards.max(1));
    u32::try_from(place).unwrap_or(0)
}
