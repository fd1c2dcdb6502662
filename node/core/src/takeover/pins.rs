//! The identity of target topics: a topic that was deleted and made again takes our data without an
//! error, so each position record pins what the topics were.

use std::collections::BTreeMap;

use tidewire_shared::{Fault, FaultKind};

use crate::facts::TopicFacts;

/// A target topic as it was when this shard first wrote there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPin {
    /// Name.
    pub name: String,
    /// Kafka's topic id as two halves; (0, 0) where the brokers have none (before 2.8).
    pub id: (i64, i64),
    /// Number of partitions; the partition of every key depends on it.
    pub partitions: u32,
}

const NO_ID: (i64, i64) = (0, 0);

/// Whether a pinned topic may have more partitions than it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// No: records are spread over the partitions by their keys.
    Stops,
    /// Yes: each partition has one at the source, and new ones follow.
    Follows,
}

impl Growth {
    /// What may be done about a topic that is another one than before, behind the reason for it. What a
    /// copy lacks is still at its source; what was taken from a log of changes is not.
    #[must_use]
    pub fn way_on(self, why: &str) -> String {
        match self {
            Self::Stops => format!(
                "{why}; to write to the topic that is there now, from now on: delete the task and create \
                 it again"
            ),
            Self::Follows => format!(
                "{why}; to copy it anew into the topic of that name: `tidewire task rewind NAME --to \
                 TOPIC=earliest --yes`, where TOPIC is its original, then resume; to go on with the others, \
                 exclude TOPIC from the task's topics with `tidewire task apply -f FILE`"
            ),
        }
    }
}

/// Compares the topics of a task, as they are now, with what was pinned, and pins the new ones.
///
/// `None` is a topic that is not there. Pins of topics that the task no longer writes to are kept: it
/// may come back to them.
///
/// # Errors
/// [`FaultKind::TargetState`]: a topic is missing, is another one than before, or has another number
/// of partitions.
pub fn judge_pins(
    pins: &[TopicPin],
    seen: &[(String, Option<TopicFacts>)],
    growth: Growth,
) -> Result<Vec<TopicPin>, Fault> {
    let mut judged = pins.to_vec();
    for (name, topic) in seen {
        let pinned = judged.iter_mut().find(|pin| pin.name == *name);
        let topic = topic.as_ref().ok_or_else(|| absent(name, pinned.is_some(), growth))?;
        match pinned {
            Some(pin) => check(pin, (topic.id, topic.partitions), growth)?,
            None => judged.push(TopicPin {
                name: name.clone(),
                id: topic.id,
                partitions: topic.partitions,
            }),
        }
    }
    judged.sort();
    Ok(judged)
}

/// Compares the topics of a shard, as it has just pinned them, with what the shards before it knew, and
/// adds those that it does not write to now.
///
/// # Errors
/// As [`judge_pins`].
pub fn inherit_pins(
    seen: Vec<TopicPin>,
    inherited: &[TopicPin],
    growth: Growth,
) -> Result<Vec<TopicPin>, Fault> {
    let mut seen: BTreeMap<String, TopicPin> =
        seen.into_iter().map(|pin| (pin.name.clone(), pin)).collect();
    let mut others: BTreeMap<&str, &TopicPin> = BTreeMap::new();
    for old in inherited {
        match seen.get_mut(&old.name) {
            Some(now) => {
                let mut old = old.clone();
                check(&mut old, (now.id, now.partitions), growth)?;
                if now.id == NO_ID {
                    now.id = old.id;
                }
            }
            None => drop(others.entry(&old.name).or_insert(old)),
        }
    }
    Ok(seen.into_values().chain(others.into_values().cloned()).collect())
}

fn check(
    pin: &mut TopicPin,
    (id, partitions): ((i64, i64), u32),
    growth: Growth,
) -> Result<(), Fault> {
    if pin.id == NO_ID {
        pin.id = id;
    }
    if id != NO_ID && id != pin.id {
        return Err(fault(&pin.name, "was deleted and created again since the task wrote there")
            .remedy(growth.way_on("records in the old topic are gone")));
    }
    if growth == Growth::Follows && partitions > pin.partitions {
        pin.partitions = partitions;
    }
    if partitions != pin.partitions {
        let text = format!(
            "has {partitions} partitions, had {} when the task first wrote there",
            pin.partitions
        );
        let why = match growth {
            Growth::Stops => "keys would move to other partitions and lose their order",
            Growth::Follows => "it was made again, and records in the old topic are gone",
        };
        return Err(fault(&pin.name, &text).remedy(growth.way_on(why)));
    }
    Ok(())
}

fn absent(name: &str, pinned: bool, growth: Growth) -> Fault {
    if pinned {
        let message = "does not exist any more: it was deleted with the records in it";
        let why = "a task does not go on by itself in a topic made again under the old name";
        return fault(name, message).remedy(growth.way_on(why));
    }
    fault(name, "does not exist")
        .remedy(format!("kafka-topics.sh --create --topic {name} --partitions N"))
}

fn fault(name: &str, message: &str) -> Fault {
    Fault::new(FaultKind::TargetState, format!("topic {name}"), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(id: (i64, i64), partitions: u32) -> TopicFacts {
        TopicFacts {
            name: "orders".into(),
            id,
            partitions,
            cleanup_policy: "delete".into(),
            max_message_bytes: 1 << 20,
            min_insync_replicas: 1,
            replication_factor: 1,
        }
    }

    fn seen(topic: Option<TopicFacts>) -> Vec<(String, Option<TopicFacts>)> {
        vec![("orders".into(), topic)]
    }

    fn judged(
        pins: &[TopicPin],
        seen: &[(String, Option<TopicFacts>)],
    ) -> Result<Vec<TopicPin>, Fault> {
        judge_pins(pins, seen, Growth::Stops)
    }

    #[test]
    fn a_copy_follows_a_topic_that_grew_but_not_one_that_shrank() {
        let pins = judged(&[], &seen(Some(topic((1, 2), 3)))).expect("pinned");
        let follow =
            |partitions| judge_pins(&pins, &seen(Some(topic((1, 2), partitions))), Growth::Follows);
        assert_eq!(follow(5).expect("grown")[0].partitions, 5);
        assert!(follow(2).is_err());
    }

    #[test]
    fn a_topic_made_again_stops_the_task() {
        let pins = judged(&[], &seen(Some(topic((1, 2), 3)))).expect("pinned");
        assert_eq!(judged(&pins, &seen(Some(topic((1, 2), 3)))).expect("same"), pins);
        for other in [Some(topic((9, 9), 3)), Some(topic((1, 2), 4)), None] {
            let fault = judged(&pins, &seen(other)).expect_err("stops");
            assert_eq!(fault.kind, FaultKind::TargetState);
            assert!(!fault.remedy.is_empty());
        }
    }

    #[test]
    fn a_topic_that_was_deleted_is_not_just_to_be_made_again() {
        let never = judged(&[], &seen(None)).expect_err("absent");
        assert_eq!(never.message, "does not exist");
        assert_eq!(never.remedy, "kafka-topics.sh --create --topic orders --partitions N");
        let pins = judged(&[], &seen(Some(topic((1, 2), 3)))).expect("pinned");
        let gone = judged(&pins, &seen(None)).expect_err("gone");
        assert_eq!(gone.message, "does not exist any more: it was deleted with the records in it");
        assert!(gone.remedy.contains("delete the task and create it again"), "{}", gone.remedy);
    }

    #[test]
    fn a_shard_that_takes_over_knows_the_topics_of_those_before() {
        let pin = |name: &str, id, partitions| TopicPin { name: name.into(), id, partitions };
        let inherit = |now, old: &[TopicPin]| inherit_pins(vec![now], old, Growth::Follows);
        let other = pin("gone", (5, 5), 1);
        let olds =
            [pin("orders", (1, 2), 2), other.clone(), pin("orders", (1, 2), 3), other.clone()];
        let pins = inherit(pin("orders", (1, 2), 3), &olds).expect("the same topics");
        assert_eq!(pins, [pin("orders", (1, 2), 3), other]);
        let known = inherit(pin("orders", NO_ID, 3), &olds).expect("brokers that know no ids");
        assert_eq!(known[0].id, (1, 2));
        for again in [pin("orders", (9, 9), 3), pin("orders", (1, 2), 1)] {
            let fault = inherit(again, &olds).expect_err("another topic");
            assert_eq!(fault.kind, FaultKind::TargetState);
        }
    }

    #[test]
    fn brokers_that_learn_topic_ids_later_fill_the_pin() {
        let old = judged(&[], &seen(Some(topic(NO_ID, 3)))).expect("pinned");
        let new = judged(&old, &seen(Some(topic((1, 2), 3)))).expect("filled");
        assert_eq!(new.first().map(|pin| pin.id), Some((1, 2)));
        assert_eq!(judged(&new, &seen(Some(topic(NO_ID, 3)))).expect("kept"), new);
    }
}
