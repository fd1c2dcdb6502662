//! Which partition has which number, both ways and without looking a name up per record.

use std::collections::BTreeMap;
use std::sync::Arc;

use rdkafka::types::RDKafkaErrorCode as Code;
use tidewire_shared::{Fault, FaultKind};

use super::{SourcePartition, object};
use crate::config::Side;
use crate::ffi::{Client, Message, ToldTopic, Topic, TopicOptions};

/// The partitions of a consumer.
#[derive(Debug, Default)]
pub(super) struct Slots {
    topics: Vec<Known>,
    by_name: BTreeMap<String, usize>,
    slots: BTreeMap<usize, Slot>,
}

/// A topic, known to librdkafka by its place in the list. It stays when nothing of it is read any more:
/// librdkafka would give a new handle of the name the old place.
#[derive(Debug)]
struct Known {
    name: String,
    handle: Arc<Topic>,
    /// Slots of its partitions.
    slots: Vec<Option<u32>>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    topic: usize,
    partition: i32,
}

/// A partition that is about to get a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) topic: usize,
    pub(super) partition: i32,
}

impl Slots {
    /// The topic of a partition is looked up, or made known to librdkafka.
    pub(super) fn wanted(
        &mut self,
        client: &Arc<Client>,
        partition: &SourcePartition,
    ) -> Result<Wanted, Fault> {
        let number = i32::try_from(partition.partition).map_err(|_| {
            Fault::new(FaultKind::Internal, object(partition), "Kafka numbers none as high")
        })?;
        if let Some(topic) = self.by_name.get(&partition.topic) {
            return Ok(Wanted { topic: *topic, partition: number });
        }
        let topic = self.topics.len();
        let options = TopicOptions { index: Some(topic), ..TopicOptions::default() };
        let handle = Topic::with(client, &partition.topic, options)
            .map_err(|error| error.fault_at(Side::Source, format!("topic {}", partition.topic)))?;
        let name = partition.topic.clone();
        self.by_name.insert(name.clone(), topic);
        self.topics.push(Known { name, handle: Arc::new(handle), slots: Vec::new() });
        Ok(Wanted { topic, partition: number })
    }

    pub(super) fn topic(&self, index: usize) -> &Topic {
        &self.topics[index].handle
    }

    /// Gives these partitions slots of these numbers; one that has a slot already loses the old one.
    pub(super) fn add(&mut self, wanted: &[Wanted], numbers: &[usize]) {
        for (Wanted { topic, partition }, number) in wanted.iter().zip(numbers) {
            let slot = u32::try_from(*number).unwrap_or(u32::MAX);
            self.slots.insert(*number, Slot { topic: *topic, partition: *partition });
            let slots = &mut self.topics[*topic].slots;
            let place = usize::try_from(*partition).unwrap_or(0);
            if slots.len() <= place {
                slots.resize(place + 1, None);
            }
            slots[place] = Some(slot);
        }
    }

    /// Takes a slot away, unless its partition has another by now.
    pub(super) fn remove(&mut self, slot: usize) -> Option<(&Topic, i32)> {
        let Slot { topic, partition } = *self.slots.get(&slot)?;
        let known = self.topics.get_mut(topic)?;
        let place = known.slots.get_mut(usize::try_from(partition).ok()?)?;
        place.take_if(|current| *current as usize == slot)?;
        Some((&*known.handle, partition))
    }

    /// The slot of a message; none when its partition is not read any more.
    pub(super) fn of(&self, message: &Message) -> Option<u32> {
        let slots = &self.topics.get(message.topic_index()?)?.slots;
        *slots.get(usize::try_from(message.partition()).ok()?)?
    }

    /// The slot of a partition; none when it is not read.
    pub(super) fn slot_of(&self, partition: &SourcePartition) -> Option<usize> {
        let slots = &self.topics[*self.by_name.get(&partition.topic)?].slots;
        slots.get(partition.partition as usize)?.map(|slot| slot as usize)
    }

    /// Topic and partition of a slot.
    pub(super) fn name(&self, slot: usize) -> Option<(&str, i32)> {
        let Slot { topic, partition } = *self.slots.get(&slot)?;
        Some((&self.topics.get(topic)?.name, partition))
    }

    /// Whether a partition of the topic is read.
    pub(super) fn reads(&self, topic: &str) -> bool {
        let known = self.by_name.get(topic).and_then(|index| self.topics.get(*index));
        known.is_some_and(|known| known.slots.iter().any(Option::is_some))
    }

    /// Takes away all slots.
    pub(super) fn drain(&mut self) -> Vec<(Arc<Topic>, i32)> {
        let mut read = Vec::new();
        for known in &mut self.topics {
            for (partition, slot) in (0..).zip(&mut known.slots) {
                if slot.take().is_some() {
                    read.push((Arc::clone(&known.handle), partition));
                }
            }
        }
        read
    }
}

/// The first partition that cannot be read, by what brokers tell of its topic.
pub(super) fn missing<'a>(
    partitions: &'a [SourcePartition],
    told: &[ToldTopic],
) -> Option<(&'a SourcePartition, Code)> {
    let told: BTreeMap<&str, &ToldTopic> =
        told.iter().map(|topic| (topic.name.as_str(), topic)).collect();
    partitions.iter().find_map(|partition| {
        let code = match told.get(partition.topic.as_str()) {
            None => Code::UnknownTopicOrPartition,
            Some(ToldTopic { error: Some(code), .. }) => *code,
            Some(topic) if partition.partition as usize >= topic.partitions => {
                Code::UnknownPartition
            }
            Some(_) => return None,
        };
        Some((partition, code))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(topic: &str, partition: u32) -> SourcePartition {
        SourcePartition { topic: topic.to_owned(), partition, offset: 0, leader_epoch: None }
    }

    #[test]
    fn what_is_missing_is_told_with_its_reason() {
        let told = [
            ToldTopic { name: "a".to_owned(), partitions: 2, replicas_of_first: 1, error: None },
            ToldTopic {
                name: "b".to_owned(),
                partitions: 0,
                replicas_of_first: 0,
                error: Some(Code::TopicAuthorizationFailed),
            },
        ];
        let code =
            |topic, number| missing(&[partition(topic, number)], &told).map(|(_, code)| code);
        assert_eq!(code("a", 1), None);
        assert_eq!(code("a", 2), Some(Code::UnknownPartition));
        assert_eq!(code("b", 0), Some(Code::TopicAuthorizationFailed));
        assert_eq!(code("c", 0), Some(Code::UnknownTopicOrPartition));
    }
}
