//! Whether the target topics are still the ones that the task began to write.
//!
//! A topic that is deleted and made again takes our records without an error (librdkafka writes
//! into it silently), so nothing but a look at the ids can tell.

use std::time::Duration;

use tidewire_node_core::takeover::{PinPolicy, TopicDifference};
use tidewire_shared::{Fault, FaultKind};

use crate::config::Settings;
use crate::topics::{Identity, Topics, patiently};

/// Compares topics with what they were.
#[derive(Debug)]
pub struct TopicIdentity {
    topics: Topics,
}

impl TopicIdentity {
    /// Makes the client; connections are made in the background.
    ///
    /// # Errors
    ///
    /// `Configuration`, naming the property that librdkafka refuses.
    pub fn new(settings: &Settings) -> Result<Self, Fault> {
        Ok(Self { topics: Topics::new(settings)? })
    }

    /// Compares every pinned topic with what the cluster has now; whether one is another one than it was
    /// in a way that the policy accepts. Call it every few seconds, and before a commit that follows any
    /// trouble.
    ///
    /// # Errors
    ///
    /// `TargetState` when a topic is gone, or is another one in a way that the policy does not accept;
    /// a transient fault when the cluster could not be asked.
    pub fn check(
        &self,
        pins: &[Identity],
        policy: PinPolicy,
        timeout: Duration,
    ) -> Result<bool, Fault> {
        let names: Vec<&str> = pins.iter().map(|pin| pin.name.as_str()).collect();
        let fewer = |pin: &Identity, now: &Identity| now.partitions < pin.partitions;
        let answers = patiently(
            || self.topics.identify(&names, timeout),
            |answers| {
                pins.iter().zip(answers).any(|(pin, (_, answer))| match answer {
                    Ok(now) => now.as_ref().is_none_or(|now| fewer(pin, now)),
                    Err(_) => false,
                })
            },
        )?;
        let mut changed = false;
        for (pin, (_, answer)) in pins.iter().zip(answers) {
            changed |= compare(pin, answer?.as_ref(), policy)?;
        }
        Ok(changed)
    }

    /// The topics as they are now, to be pinned.
    ///
    /// # Errors
    ///
    /// `TargetState` for a topic that is not there, a transient fault when the cluster could not
    /// be asked.
    pub fn pin(&self, names: &[&str], timeout: Duration) -> Result<Vec<Identity>, Fault> {
        self.topics
            .identify(names, timeout)?
            .into_iter()
            .map(|(name, answer)| {
                answer?.ok_or_else(|| {
                    Fault::new(FaultKind::TargetState, format!("topic {name}"), "does not exist")
                        .remedy("create the topic, then start the task again")
                })
            })
            .collect()
    }
}

fn compare(pin: &Identity, now: Option<&Identity>, policy: PinPolicy) -> Result<bool, Fault> {
    let now = now.ok_or_else(|| policy.gone(&pin.name))?;
    let form = |topic: &Identity| (topic.id, topic.partitions);
    match TopicDifference::between(form(pin), form(now)) {
        None => Ok(false),
        Some(difference) if difference.is_accepted(policy) => Ok(true),
        Some(difference) => Err(difference.fault(&pin.name, policy)),
    }
}

#[cfg(test)]
mod tests {
    use tidewire_shared::spec::TopicChange;

    use super::*;

    fn topic(id: (i64, i64), partitions: u32) -> Identity {
        Identity { name: "orders".to_owned(), id, partitions }
    }

    const STOP: PinPolicy = PinPolicy::Spread(TopicChange::Stop);

    #[test]
    fn another_id_or_count_or_none_is_a_definite_fault() {
        let pin = topic((1, 2), 4);
        assert_eq!(compare(&pin, Some(&pin), STOP), Ok(false));
        for now in [None, Some(topic((1, 3), 4)), Some(topic((1, 2), 5))] {
            let fault = compare(&pin, now.as_ref(), STOP).expect_err("differs");
            assert_eq!(fault.kind, FaultKind::TargetState);
            assert!(!fault.remedy.is_empty());
        }
    }

    #[test]
    fn a_copy_follows_a_topic_that_grew() {
        let (pin, more, fewer) = (topic((1, 2), 4), topic((1, 2), 5), topic((1, 2), 3));
        assert_eq!(compare(&pin, Some(&more), PinPolicy::Copied), Ok(true));
        assert!(compare(&pin, Some(&fewer), PinPolicy::Copied).is_err());
    }

    #[test]
    fn brokers_without_topic_ids_are_judged_by_the_partition_count() {
        let same = |pin, now| compare(&pin, Some(&now), STOP);
        assert_eq!(same(topic((1, 2), 4), topic((0, 0), 4)), Ok(false));
        assert!(same(topic((0, 0), 4), topic((0, 0), 5)).is_err());
    }
}
