//! The first start of a shard: where those stood that it replaces, and what `start` and `existingData`
//! mean in offsets for what none of them had.

use std::collections::BTreeMap;

use tidewire_shared::spec::{ExistingData, KafkaStart, StartOffset};
use tidewire_shared::{Clearing, Fault, FaultKind, KafkaPosition, PartitionPosition};

use super::heritage::Heritage;
use super::layout::{CopiedPartition, CopiedTopic, Layout};
use super::open::PartitionFacts;

/// One partition of a target topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPartition {
    /// Topic of the target.
    pub topic: String,
    /// Its partition.
    pub partition: u32,
    /// Offset of the oldest record that is kept.
    pub low: i64,
    /// Offset behind the newest record, committed or not.
    pub end: i64,
}

/// Everything that the first position of a shard depends on.
#[derive(Clone, Copy, Debug)]
pub struct FirstStart<'a> {
    /// What the shard copies.
    pub layout: &'a Layout,
    /// Of each of its partitions, in the order of [`Layout::partitions`].
    pub facts: &'a [PartitionFacts],
    /// Of each of them, the offset of the first record that is not older than the start's timestamp;
    /// none where there is no such record, or where the start is no timestamp.
    pub at_timestamp: &'a [Option<i64>],
    /// Where the task's document says to begin.
    pub start: &'a KafkaStart,
    /// What becomes of records that are there already.
    pub existing: ExistingData,
    /// The partitions of the copies that fall to this shard and that no shard before it covers, more than
    /// the source has among them.
    pub target: &'a [TargetPartition],
    /// What shards that this one replaces have left: it goes on from there.
    pub heritage: &'a Heritage,
}

impl FirstStart<'_> {
    /// The position to claim.
    ///
    /// # Errors
    /// [`FaultKind::TargetState`] when the copies hold records and nothing may be done about it;
    /// [`FaultKind::SourceState`] when an offset to start at does not exist.
    pub fn position(&self) -> Result<KafkaPosition, Fault> {
        let clearing = clearing(self.existing, self.target)?;
        let wanted = self.wanted();
        let mut position = self.heritage.position(self.layout);
        position.clearing.extend(clearing);
        self.note_judged(&mut position);
        let mut at_timestamp = self.at_timestamp.iter();
        for (at, facts) in self.layout.partitions().zip(self.facts) {
            let stamped = at_timestamp.next().copied().flatten();
            if self.heritage.covers(&at.copied.source.name, at.partition) {
                continue;
            }
            place(&mut position, at, self.next(at, *facts, stamped, &wanted)?);
        }
        Ok(position)
    }

    /// Notes the topics whose copies have partitions for this shard alone: what those hold is judged now,
    /// and not when the topic has grown so far.
    fn note_judged(&self, position: &mut KafkaPosition) {
        for there in self.target {
            let original = self.layout.topics().iter().find(|it| it.target == there.topic);
            if let Some(original) = original {
                position.topics.entry(original.source.name.clone()).or_default();
            }
        }
    }

    fn wanted(&self) -> BTreeMap<(&str, u32), i64> {
        let KafkaStart::Offsets(starts) = self.start else { return BTreeMap::new() };
        let named = |start: &'_ StartOffset| (start.partition, start.offset);
        starts
            .iter()
            .map(|start| {
                let (partition, offset) = named(start);
                ((start.topic.as_str(), partition), offset)
            })
            .collect()
    }

    fn next(
        &self,
        at: CopiedPartition<'_>,
        facts: PartitionFacts,
        stamped: Option<i64>,
        wanted: &BTreeMap<(&str, u32), i64>,
    ) -> Result<i64, Fault> {
        match self.start {
            KafkaStart::Earliest => Ok(facts.low),
            KafkaStart::Latest => Ok(facts.end),
            KafkaStart::Timestamp(_) => Ok(stamped.unwrap_or(facts.end).max(facts.low)),
            KafkaStart::Offsets(_) => {
                let topic = &at.copied.source.name;
                match wanted.get(&(topic.as_str(), at.partition)) {
                    None => Ok(facts.low),
                    Some(offset) if (facts.low..=facts.high).contains(offset) => Ok(*offset),
                    Some(offset) => Err(Fault::new(
                        FaultKind::SourceState,
                        format!("source topic {topic}, partition {}", at.partition),
                        format!(
                            "has the offsets {} to {}, but start names {offset}",
                            facts.low, facts.high
                        ),
                    )
                    .remedy("name an offset that is there, or start: earliest")),
                }
            }
        }
    }
}

/// Gives a partition a place.
pub(super) fn place(position: &mut KafkaPosition, at: CopiedPartition<'_>, next: i64) {
    let CopiedTopic { source, target } = at.copied;
    let topic = position.topics.entry(source.name.clone()).or_default();
    // Another id, or another copy, that is known already is judged where the copy goes on.
    if topic.id == (0, 0) {
        topic.id = source.id;
    }
    topic.target.get_or_insert_with(|| target.clone());
    topic.partitions.insert(at.partition, PartitionPosition { next, leader_epoch: None });
}

/// What is to be deleted of what these partitions hold.
pub(super) fn clearing(
    existing: ExistingData,
    target: &[TargetPartition],
) -> Result<Vec<Clearing>, Fault> {
    let filled: Vec<_> = target.iter().filter(|it| it.low < it.end).collect();
    match (existing, filled.first()) {
        (ExistingData::Append, _) | (_, None) => Ok(Vec::new()),
        (ExistingData::Rewrite, _) => Ok(filled.iter().map(|it| it.clearing()).collect()),
        (ExistingData::Stop, Some(first)) => {
            let of_topic: Vec<_> = filled.iter().filter(|it| it.topic == first.topic).collect();
            let records = of_topic.iter().map(|it| it.end - it.low).sum();
            Err(first.in_the_way(of_topic.len(), records))
        }
    }
}

impl TargetPartition {
    fn clearing(&self) -> Clearing {
        Clearing { topic: self.topic.clone(), partition: self.partition, before: self.end }
    }

    fn in_the_way(&self, partitions: usize, records: i64) -> Fault {
        let object = format!("topic {}", self.topic);
        let message = format!(
            "holds up to {records} records already: partition {} has the offsets {} to {}{}",
            self.partition,
            self.low,
            self.end - 1,
            if partitions > 1 {
                format!(", and {} more have some", partitions - 1)
            } else {
                String::new()
            }
        );
        Fault::new(FaultKind::TargetState, object, message).remedy(
            "existingData: append leaves them and follows them, existingData: rewrite deletes them \
             once; or rename the copy, or leave its topic out: `tidewire task apply -f FILE`",
        )
    }
}
