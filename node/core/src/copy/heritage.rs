//! What the shards of a task leave to those that replace them: the place of every partition.
//!
//! A task that gets another number of shards gets new ones, and almost every partition another shard. Its
//! place stands in the record of the shard that had it last and began; that shard is fenced before the
//! record is read, so that it stays the newest. Records of generations before that one are older.

use std::collections::BTreeSet;

use tidewire_shared::{Clearing, KafkaPosition};

use super::layout::{Layout, shard_of};
use crate::takeover::{PositionEntry, TopicPin};

/// The newest record of a shard; none: it never began.
pub type Left = Option<PositionEntry<KafkaPosition>>;

/// What generations of shards left, the newest first, each in the order of its shards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heritage {
    generations: Vec<Vec<Left>>,
}

impl Heritage {
    /// Of these generations; each holds all of its shards.
    #[must_use]
    pub fn new(generations: Vec<Vec<Left>>) -> Self {
        Self { generations }
    }

    /// Whether there is a shard before this one that began.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records().next().is_none()
    }

    /// The record of the shard that had a partition last and began. Where it does not hold the
    /// partition, that appeared later.
    fn of(&self, topic: &str, partition: u32) -> Option<&PositionEntry<KafkaPosition>> {
        self.generations.iter().find_map(|shards| {
            let count = u32::try_from(shards.len()).ok()?;
            let place = usize::try_from(shard_of(topic, partition, count)).ok()?;
            shards.get(place)?.as_ref()
        })
    }

    /// Whether a shard began that had this partition: what a first start means was settled by it.
    #[must_use]
    pub fn covers(&self, topic: &str, partition: u32) -> bool {
        self.of(topic, partition).is_some()
    }

    /// The places of the partitions that are now the shard's, also of topics that the task does not copy
    /// at present: it may come back to them.
    #[must_use]
    pub fn position(&self, layout: &Layout) -> KafkaPosition {
        let mut position = KafkaPosition { clearing: self.clearing(layout), ..Default::default() };
        for name in self.judged_without_places() {
            position.topics.entry(name.to_owned()).or_default();
        }
        for (name, partition) in self.partitions() {
            let known = self.of(name, partition).filter(|_| layout.has(name, partition));
            let Some(known) = known.and_then(|record| record.position.topics.get(name)) else {
                continue;
            };
            let Some(at) = known.partitions.get(&partition) else { continue };
            let topic = position.topics.entry(name.to_owned()).or_default();
            let now = layout.of(name);
            // Of two ids one is of a topic that was made again: the copy must not go on in it.
            let id = now.map(|copied| copied.source.id);
            if topic.id == (0, 0) || (known.id != (0, 0) && id == Some(topic.id)) {
                topic.id = known.id;
            }
            // Of two copies one lacks what the other has: neither may be gone on with as if it were all.
            let target = now.map(|copied| copied.target.as_str());
            if topic.target.is_none()
                || (known.target.is_some() && topic.target.as_deref() == target)
            {
                topic.target.clone_from(&known.target);
            }
            topic.partitions.insert(partition, *at);
        }
        position
    }

    /// The topics of the target as the shards knew them, but for those of which only others have
    /// partitions now.
    #[must_use]
    pub fn pins(&self, layout: &Layout) -> Vec<TopicPin> {
        let mut others: BTreeSet<&str> =
            layout.topics().iter().map(|copied| copied.target.as_str()).collect();
        for copied in layout.topics_of_shard() {
            others.remove(copied.target.as_str());
        }
        let pins = self.records().flat_map(|record| &record.topics);
        pins.filter(|pin| !others.contains(pin.name.as_str())).cloned().collect()
    }

    /// What is still to be deleted in the partitions of the shard. Doing it again deletes nothing that
    /// was copied: the bounds are from before the first record.
    fn clearing(&self, layout: &Layout) -> Vec<Clearing> {
        let all = self.records().flat_map(|record| &record.position.clearing);
        all.filter(|clearing| layout.clears(clearing)).cloned().collect()
    }

    /// Topics of whose copies shards had partitions that the topics had not.
    fn judged_without_places(&self) -> impl Iterator<Item = &str> {
        let topics = self.records().flat_map(|record| &record.position.topics);
        topics.filter(|(_, topic)| topic.partitions.is_empty()).map(|(name, _)| name.as_str())
    }

    fn records(&self) -> impl Iterator<Item = &PositionEntry<KafkaPosition>> {
        self.generations.iter().flatten().flatten()
    }

    /// Every partition that any record holds.
    fn partitions(&self) -> BTreeSet<(&str, u32)> {
        let topics = self.records().flat_map(|record| &record.position.topics);
        topics.flat_map(|(name, topic)| partitions_of(name, topic)).collect()
    }
}

fn partitions_of<'p>(
    name: &'p str,
    topic: &'p tidewire_shared::TopicPosition,
) -> impl Iterator<Item = (&'p str, u32)> {
    topic.partitions.keys().map(move |partition| (name, *partition))
}

#[cfg(test)]
mod tests;
