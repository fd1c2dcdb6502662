//! The identity of target topics: a topic that was deleted and made again takes our data without an
//! error, so each position record pins what the topics were.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use tidewire_shared::spec::TopicChange;
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

/// What a topic is: its id, and its number of partitions.
type Form = ((i64, i64), u32);

/// Which changes of a pinned topic a task goes on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PinPolicy {
    /// Records are spread over the partitions by their keys: what the user has declared.
    Spread(TopicChange),
    /// More partitions: each has one at the source, and new ones follow.
    Copied,
}

/// How a topic differs from what was pinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicDifference {
    /// It has another id: it was deleted and made again.
    MadeAgain,
    /// It has more partitions.
    Grew {
        /// As pinned.
        from: u32,
        /// As it is.
        to: u32,
    },
    /// It has fewer partitions, so it was made again where brokers tell no ids.
    Shrank {
        /// As pinned.
        from: u32,
        /// As it is.
        to: u32,
    },
}

impl TopicDifference {
    /// Compares id and number of partitions; what brokers without ids do not tell differs in nothing.
    #[must_use]
    pub fn between(pinned: Form, now: Form) -> Option<Self> {
        let ((old, from), (new, to)) = (pinned, now);
        match to.cmp(&from) {
            _ if old != NO_ID && new != NO_ID && old != new => Some(Self::MadeAgain),
            Ordering::Greater => Some(Self::Grew { from, to }),
            Ordering::Less => Some(Self::Shrank { from, to }),
            Ordering::Equal => None,
        }
    }

    /// Whether a task goes on with it.
    #[must_use]
    pub fn is_accepted(self, policy: PinPolicy) -> bool {
        matches!(
            (policy, self),
            (PinPolicy::Spread(TopicChange::Accept), _)
                | (
                    PinPolicy::Spread(TopicChange::AcceptGrowth) | PinPolicy::Copied,
                    Self::Grew { .. }
                )
        )
    }

    /// The fault of a task that does not go on with it.
    #[must_use]
    pub fn fault(self, topic: &str, policy: PinPolicy) -> Fault {
        let (why, word) = match (policy, self) {
            (PinPolicy::Spread(_), Self::Grew { .. }) => {
                ("keys would move to other partitions and lose their order", "accept_growth")
            }
            (_, Self::MadeAgain) => ("what the old topic held is gone", "accept"),
            _ => ("it was made again, and what the old topic held is gone", "accept"),
        };
        let here = format!("to go on in {topic} as it is now, write target.onTopicChange: {word}");
        fault(topic, &self.to_string()).remedy(policy.way_on(why, &here))
    }
}

impl fmt::Display for TopicDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MadeAgain => {
                f.write_str("was deleted and created again since the task began to write there")
            }
            Self::Grew { from, to } | Self::Shrank { from, to } => {
                write!(f, "has {to} partitions, the task began with {from}")
            }
        }
    }
}

impl PinPolicy {
    /// What may be done about a topic that is another one than before, behind the reason for it; `here`
    /// is how to go on in it. What is not delivered is still in the slot, or at the source of a copy: no
    /// way on may give that up.
    fn way_on(self, why: &str, here: &str) -> String {
        match self {
            Self::Spread(_) => format!(
                "{why}. What is not delivered waits in the slot: {here}; or give its tables another topic in \
                 `objects`; then `tidewire task apply -f FILE` and `tidewire task resume NAME`"
            ),
            Self::Copied => format!(
                "{why}; to copy it anew into the topic of that name: `tidewire task rewind NAME --to \
                 TOPIC=earliest --yes`, where TOPIC is its original, then resume; to go on with the others, \
                 exclude TOPIC from the task's topics with `tidewire task apply -f FILE`"
            ),
        }
    }

    /// The fault of a task whose topic, to which it wrote, is not there.
    #[must_use]
    pub fn gone(self, topic: &str) -> Fault {
        let create = format!("kafka-topics.sh --create --topic {topic} --partitions N");
        let remedy = match self {
            Self::Spread(TopicChange::Accept) => format!(
                "{create}, then `tidewire task resume NAME`: it goes on in the new topic, as \
                 target.onTopicChange says; what the old one held is gone"
            ),
            Self::Spread(_) | Self::Copied => {
                let why = "what it held is gone, and a task does not go on by itself in a topic made again";
                let here = format!(
                    "to go on in one made again, {create} and write target.onTopicChange: accept"
                );
                self.way_on(why, &here)
            }
        };
        let message = "does not exist any more: it was deleted with the records in it";
        fault(topic, message).remedy(remedy)
    }
}

/// Compares the topics of a task, as they are now, with what was pinned, and pins the new ones.
///
/// `None` is a topic that is not there. Pins of topics that the task no longer writes to are kept: it
/// may come back to them.
///
/// # Errors
/// [`FaultKind::TargetState`]: a topic is missing, or is another one than before in a way that the
/// policy does not accept.
pub fn judge_pins(
    pins: &[TopicPin],
    seen: &[(String, Option<TopicFacts>)],
    policy: PinPolicy,
) -> Result<Vec<TopicPin>, Fault> {
    let mut judged = pins.to_vec();
    for (name, topic) in seen {
        let pinned = judged.iter_mut().find(|pin| pin.name == *name);
        let topic = topic.as_ref().ok_or_else(|| match &pinned {
            Some(_) => policy.gone(name),
            None => never_made(name),
        })?;
        match pinned {
            Some(pin) => follow(pin, (topic.id, topic.partitions), policy)?,
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

/// What a task goes on with, a line for each topic that is another one than it was.
#[must_use]
pub fn accepted_changes(
    pins: &[TopicPin],
    seen: &[(String, Option<TopicFacts>)],
    policy: PinPolicy,
) -> Vec<String> {
    let line = |(name, topic): &(String, Option<TopicFacts>)| {
        let topic = topic.as_ref()?;
        let pin = pins.iter().find(|pin| pin.name == *name)?;
        let difference = pin.difference((topic.id, topic.partitions))?;
        difference.is_accepted(policy).then(|| {
            format!(
                "topic {name} {difference}: what is delivered from here on goes there as it is now"
            )
        })
    };
    seen.iter().filter_map(line).collect()
}

/// Compares the topics of a shard, as it has just pinned them, with what the shards before it knew, and
/// adds those that it does not write to now.
///
/// # Errors
/// As [`judge_pins`].
pub fn inherit_pins(
    seen: Vec<TopicPin>,
    inherited: &[TopicPin],
    policy: PinPolicy,
) -> Result<Vec<TopicPin>, Fault> {
    let mut seen: BTreeMap<String, TopicPin> =
        seen.into_iter().map(|pin| (pin.name.clone(), pin)).collect();
    let mut others: BTreeMap<&str, &TopicPin> = BTreeMap::new();
    for old in inherited {
        match seen.get_mut(&old.name) {
            Some(now) => {
                let mut old = old.clone();
                follow(&mut old, (now.id, now.partitions), policy)?;
                if now.id == NO_ID {
                    now.id = old.id;
                }
            }
            None => drop(others.entry(&old.name).or_insert(old)),
        }
    }
    Ok(seen.into_values().chain(others.into_values().cloned()).collect())
}

impl TopicPin {
    /// How a topic of its name differs from it.
    #[must_use]
    pub fn difference(&self, now: Form) -> Option<TopicDifference> {
        TopicDifference::between((self.id, self.partitions), now)
    }
}

/// Pins the topic as it is now, if that is accepted.
fn follow(pin: &mut TopicPin, now: Form, policy: PinPolicy) -> Result<(), Fault> {
    if let Some(difference) = pin.difference(now)
        && !difference.is_accepted(policy)
    {
        return Err(difference.fault(&pin.name, policy));
    }
    let (id, partitions) = now;
    if id != NO_ID {
        pin.id = id;
    }
    pin.partitions = partitions;
    Ok(())
}

fn never_made(name: &str) -> Fault {
    fault(name, "does not exist")
        .remedy(format!("kafka-topics.sh --create --topic {name} --partitions N"))
}

fn fault(name: &str, message: &str) -> Fault {
    Fault::new(FaultKind::TargetState, format!("topic {name}"), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOP: PinPolicy = PinPolicy::Spread(TopicChange::Stop);

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
        judge_pins(pins, seen, STOP)
    }

    #[test]
    fn a_copy_follows_a_topic_that_grew_but_not_one_that_shrank() {
        let pins = judged(&[], &seen(Some(topic((1, 2), 3)))).expect("pinned");
        let follow = |partitions| {
            judge_pins(&pins, &seen(Some(topic((1, 2), partitions))), PinPolicy::Copied)
        };
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
        assert!(gone.remedy.contains("--create --topic orders"), "{}", gone.remedy);
        assert!(gone.remedy.contains("target.onTopicChange: accept;"), "{}", gone.remedy);
    }

    #[test]
    fn no_way_on_gives_up_what_waits_in_the_slot() {
        let pins = judged(&[], &seen(Some(topic((1, 2), 3)))).expect("pinned");
        for (now, word) in [
            (Some(topic((1, 2), 4)), "onTopicChange: accept_growth;"),
            (Some(topic((9, 9), 3)), "onTopicChange: accept;"),
            (Some(topic((1, 2), 2)), "onTopicChange: accept;"),
            (None, "onTopicChange: accept;"),
        ] {
            let remedy = judged(&pins, &seen(now)).expect_err("stops").remedy;
            assert!(!remedy.contains("delete the task"), "{remedy}");
            for way in
                [word, "another topic in `objects`", "task apply -f FILE", "task resume NAME"]
            {
                assert!(remedy.contains(way), "no `{way}`: {remedy}");
            }
        }
    }

    #[test]
    fn what_the_user_has_declared_is_gone_on_with_and_told() {
        let pins = judged(&[], &seen(Some(topic((1, 2), 3)))).expect("pinned");
        let (grew, again) = (seen(Some(topic((1, 2), 4))), seen(Some(topic((9, 9), 3))));
        let under = |policy, now: &[_]| judge_pins(&pins, now, PinPolicy::Spread(policy));
        for policy in [TopicChange::AcceptGrowth, TopicChange::Accept] {
            assert_eq!(under(policy, &grew).expect("more")[0].partitions, 4);
            let told = accepted_changes(&pins, &grew, PinPolicy::Spread(policy));
            assert!(told[0].starts_with("topic orders has 4 partitions, the task began with 3"));
        }
        assert!(under(TopicChange::AcceptGrowth, &again).is_err());
        assert_eq!(under(TopicChange::Accept, &again).expect("another")[0].id, (9, 9));
        assert!(under(TopicChange::Accept, &seen(None)).is_err(), "it has to be there");
        for (policy, now) in [(TopicChange::Accept, &pins), (TopicChange::Stop, &pins)] {
            let same = seen(Some(topic(now[0].id, now[0].partitions)));
            assert_eq!(accepted_changes(&pins, &same, PinPolicy::Spread(policy)), [""; 0]);
        }
        assert_eq!(accepted_changes(&pins, &grew, STOP), [""; 0]);
    }

    #[test]
    fn a_shard_that_takes_over_knows_the_topics_of_those_before() {
        let pin = |name: &str, id, partitions| TopicPin { name: name.into(), id, partitions };
        let inherit = |now, old: &[TopicPin]| inherit_pins(vec![now], old, PinPolicy::Copied);
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
