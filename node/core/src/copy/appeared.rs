//! What appeared since a shard claimed last: topics and partitions that it has no places of.
//!
//! Their places are claimed before anything of them is copied, as those of a first start are, and what
//! the copies of new topics hold by then is judged in the same way. It is judged once: an owner that
//! dies afterwards leaves places, so that the next one takes nothing that was copied, or begun and
//! aborted, for something that was there before.
//!
//! A partition that a topic got later is no new topic: the task itself has widened the copy.

use tidewire_shared::spec::ExistingData;
use tidewire_shared::{Fault, KafkaPosition};

use super::layout::{CopiedTopic, Layout};
use super::open::{PartitionFacts, is_other};
use super::start::{TargetPartition, clearing, place};

/// Everything that the places of what appeared depend on.
#[derive(Clone, Copy, Debug)]
pub struct Appeared<'a> {
    /// What the shard copies.
    pub layout: &'a Layout,
    /// Of each of its partitions, in the order of [`Layout::partitions`].
    pub facts: &'a [PartitionFacts],
    /// Where it stood.
    pub position: &'a KafkaPosition,
    /// What becomes of records that are there already.
    pub existing: ExistingData,
    /// The partitions that fall to the shard of the copies of [`new_topics`].
    pub target: &'a [TargetPartition],
}

/// Whether the shard has partitions without a place.
#[must_use]
pub fn lacks_places(layout: &Layout, position: &KafkaPosition) -> bool {
    layout.partitions().any(|at| position.of(&at.copied.source.name, at.partition).is_none())
}

/// The topics of which the shard has partitions, and had none before.
pub fn new_topics<'a>(
    layout: &'a Layout,
    position: &'a KafkaPosition,
) -> impl Iterator<Item = &'a CopiedTopic> {
    layout.topics_of_shard().filter(|it| !position.topics.contains_key(&it.source.name))
}

impl Appeared<'_> {
    /// The position with a place for every partition, that of the oldest record where there was none.
    ///
    /// # Errors
    /// [`tidewire_shared::FaultKind::TargetState`] when the copy of a new topic holds records and nothing
    /// may be done about it.
    pub fn position(&self) -> Result<KafkaPosition, Fault> {
        let mut position = self.position.clone();
        position.clearing.extend(clearing(self.existing, self.target)?);
        for (at, facts) in self.layout.partitions().zip(self.facts) {
            let source = &at.copied.source;
            let known = self.position.topics.get(&source.name);
            // One that was made again stops the copy where it would go on, and stays as it was known.
            let other = known.is_some_and(|known| is_other(known.id, source.id));
            if !other && self.position.of(&source.name, at.partition).is_none() {
                place(&mut position, at, facts.low);
            }
        }
        Ok(position)
    }
}

#[cfg(test)]
mod tests {
    use tidewire_shared::FaultKind;
    use tidewire_shared::spec::TopicRule;

    use super::*;
    use crate::copy::SourceTopic;

    fn layout(topics: &[(&str, u32)]) -> Layout {
        let topic = |(name, partitions): &(&str, u32)| SourceTopic {
            name: (*name).to_owned(),
            id: (1, 2),
            partitions: *partitions,
            replicas: 1,
            internal: false,
        };
        let listed: Vec<SourceTopic> = topics.iter().map(topic).collect();
        let rule = TopicRule { rename: "dr.{topic}".to_owned(), ..TopicRule::default() };
        Layout::new(&[rule], &listed, (0, 1)).expect("a layout")
    }

    const FACTS: PartitionFacts = PartitionFacts { low: 10, end: 50, high: 50 };

    fn appeared(
        layout: &Layout,
        position: &KafkaPosition,
        existing: ExistingData,
        target: &[TargetPartition],
    ) -> Result<KafkaPosition, Fault> {
        let facts = vec![FACTS; layout.partitions().count()];
        Appeared { layout, facts: &facts, position, existing, target }.position()
    }

    fn copied(topics: &[(&str, u32)]) -> KafkaPosition {
        let begun = layout(topics);
        appeared(&begun, &KafkaPosition::default(), ExistingData::Stop, &[]).expect("places")
    }

    fn filled(partition: u32, low: i64, end: i64) -> TargetPartition {
        TargetPartition { topic: "dr.clicks".to_owned(), partition, low, end }
    }

    #[test]
    fn what_the_copy_of_a_new_topic_holds_is_judged_once() {
        let (before, now) = (copied(&[("orders", 1)]), layout(&[("clicks", 2), ("orders", 1)]));
        assert!(lacks_places(&now, &before));
        let new: Vec<_> = new_topics(&now, &before).map(|it| it.target.as_str()).collect();
        assert_eq!(new, ["dr.clicks"]);
        let there = [filled(0, 0, 0), filled(1, 3, 9)];
        let judged = |existing| appeared(&now, &before, existing, &there);

        let fault = judged(ExistingData::Stop).expect_err("in the way");
        assert_eq!(
            (fault.kind, fault.object.as_str()),
            (FaultKind::TargetState, "topic dr.clicks")
        );
        assert!(fault.message.starts_with("holds up to 6 records already"), "{fault}");
        assert!(judged(ExistingData::Append).expect("follows").clearing.is_empty());
        let claimed = judged(ExistingData::Rewrite).expect("is deleted");
        assert_eq!(claimed.clearing.iter().map(|it| it.before).collect::<Vec<_>>(), [9]);

        assert_eq!(claimed.of("clicks", 1).map(|at| at.next), Some(10));
        assert_eq!(claimed.topics["clicks"].target.as_deref(), Some("dr.clicks"));
        assert!(!lacks_places(&now, &claimed) && new_topics(&now, &claimed).next().is_none());
    }

    #[test]
    fn a_partition_that_a_topic_got_later_is_no_new_topic() {
        let (before, now) = (copied(&[("clicks", 1)]), layout(&[("clicks", 2)]));
        assert!(lacks_places(&now, &before) && new_topics(&now, &before).next().is_none());
        let grown = appeared(&now, &before, ExistingData::Stop, &[]).expect("grows");
        assert_eq!(grown.of("clicks", 1).map(|at| at.next), Some(10));
    }

    #[test]
    fn a_topic_that_was_made_again_gets_no_places() {
        let mut before = copied(&[("clicks", 1)]);
        before.topics.get_mut("clicks").expect("known").id = (9, 9);
        let now = appeared(&layout(&[("clicks", 2)]), &before, ExistingData::Stop, &[]);
        assert_eq!(now.expect("as it was"), before);
    }
}
