//! How far a copy has come: what is accepted, and what is durable.
//!
//! A position is durable when the record that holds it was committed in one transaction with the
//! records it speaks of; a restart goes on exactly there.

use tidewire_shared::{Epoch, Fault, FaultKind, KafkaPosition, PartitionPosition};

use super::layout::Layout;
use super::open::PartitionStart;
use crate::takeover::{PositionEntry, TopicPin};

/// The progress of one shard under one owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyProgress {
    epoch: Epoch,
    /// Of the newest position record that was written.
    serial: u64,
    pins: Vec<TopicPin>,
    /// What is durable; with every partition that the shard ever copied.
    durable: KafkaPosition,
    /// The partitions that are open, by slot.
    slots: Vec<Slot>,
    /// Something moved since the newest record.
    moved: bool,
    sealed: Option<PositionEntry<KafkaPosition>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot {
    topic: String,
    id: (i64, i64),
    /// Name of its copy.
    target: String,
    partition: u32,
    at: PartitionPosition,
}

impl CopyProgress {
    /// Goes on from a claim; slots are numbered as the starts are.
    #[must_use]
    pub fn resume(
        claim: &PositionEntry<KafkaPosition>,
        layout: &Layout,
        starts: &[PartitionStart],
    ) -> Self {
        let slot = |start: &PartitionStart| {
            let copied = layout.of(&start.topic);
            Slot {
                topic: start.topic.clone(),
                id: copied.map_or((0, 0), |copied| copied.source.id),
                target: copied.map(|copied| copied.target.clone()).unwrap_or_default(),
                partition: start.partition,
                at: PartitionPosition { next: start.offset, leader_epoch: start.leader_epoch },
            }
        };
        let mut durable = claim.position.clone();
        // They are carried out before anything is copied.
        let cleared = !std::mem::take(&mut durable.clearing).is_empty();
        // Releases before did not record where a topic goes.
        let unrecorded = starts.iter().any(|start| {
            durable.topics.get(&start.topic).is_some_and(|known| known.target.is_none())
        });
        Self {
            epoch: claim.epoch,
            serial: claim.serial,
            pins: claim.topics.clone(),
            durable,
            slots: starts.iter().map(slot).collect(),
            moved: cleared || unrecorded,
            sealed: None,
        }
    }

    /// Whether there is something to make durable.
    #[must_use]
    pub fn has_moved(&self) -> bool {
        self.moved
    }

    /// Whether the record at this offset may be handed to the producer.
    ///
    /// # Errors
    /// [`FaultKind::Internal`] for a slot that is not open, or a record that was accepted before: it
    /// would be doubled.
    pub fn admit(&self, slot: usize, offset: i64) -> Result<(), Fault> {
        let next = self.slots.get(slot).ok_or_else(no_slot)?.at.next;
        if offset < next { Err(back(next, offset)) } else { Ok(()) }
    }

    /// Everything below `next` of a slot was handed to the producer, or is nothing to copy. The epoch is
    /// that of the leader that took the record just below; none where that is no record.
    ///
    /// # Errors
    /// [`FaultKind::Internal`] for a slot that is not open, or when it would go back.
    pub fn accept(
        &mut self,
        slot: usize,
        next: i64,
        leader_epoch: Option<i32>,
    ) -> Result<(), Fault> {
        let at = &mut self.slots.get_mut(slot).ok_or_else(no_slot)?.at;
        if next < at.next {
            return Err(back(at.next, next));
        }
        self.moved |= next > at.next;
        *at = at.then(PartitionPosition { next, leader_epoch });
        Ok(())
    }

    /// Everything of a slot below this offset is durable.
    #[must_use]
    pub fn durable(&self, slot: usize) -> Option<i64> {
        let slot = self.slots.get(slot)?;
        let durable = self.durable.of(&slot.topic, slot.partition);
        durable.map(|position| position.next)
    }

    /// The record that makes durable what was accepted; none when nothing moved.
    ///
    /// # Errors
    /// [`FaultKind::Internal`] when the record before has not ended.
    pub fn seal(&mut self) -> Result<Option<PositionEntry<KafkaPosition>>, Fault> {
        if self.sealed.is_some() {
            return Err(internal("was sealed twice"));
        }
        if !self.moved {
            return Ok(None);
        }
        let serial = self.serial.checked_add(1).ok_or_else(|| internal("has no serial left"))?;
        let mut position = self.durable.clone();
        for slot in &self.slots {
            let topic = match position.topics.get_mut(&slot.topic) {
                Some(topic) => topic,
                None => position.topics.entry(slot.topic.clone()).or_default(),
            };
            if slot.id != (0, 0) {
                topic.id = slot.id;
            }
            topic.target.get_or_insert_with(|| slot.target.clone());
            topic.partitions.insert(slot.partition, slot.at);
        }
        let entry = PositionEntry {
            serial,
            epoch: self.epoch,
            claim: false,
            position,
            topics: self.pins.clone(),
        };
        self.sealed = Some(entry.clone());
        Ok(Some(entry))
    }

    /// The record that was sealed is durable.
    ///
    /// # Errors
    /// [`FaultKind::Internal`] when nothing was sealed.
    pub fn committed(&mut self) -> Result<&KafkaPosition, Fault> {
        let entry = self.sealed.take().ok_or_else(|| internal("had nothing sealed"))?;
        self.serial = entry.serial;
        self.durable = entry.position;
        self.moved = false;
        Ok(&self.durable)
    }
}

fn no_slot() -> Fault {
    internal("has no such slot")
}

fn back(next: i64, told: i64) -> Fault {
    internal(&format!("is at {next}, and was told {told}"))
}

fn internal(message: &str) -> Fault {
    Fault::new(FaultKind::Internal, "progress of the copy", message)
}
