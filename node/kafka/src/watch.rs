//! Whether the target topics are still the ones that the task began to write.
//!
//! A topic that is deleted and made again takes our records without an error (librdkafka writes
//! into it silently), so nothing but a look at the ids can tell.

use std::time::Duration;

use tidewire_node_core::takeover::Growth;
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

    /// Compares every pinned topic with what the cluster has now. Call it every few seconds, and
    /// before a commit that follows any trouble.
    ///
    /// # Errors
    ///
    /// `TargetState` when a topic is gone, was made again or has another number of partitions;
    /// a transient fault when the cluster could not be asked.
    pub fn check(&self, pins: &[Identity], growth: Growth, timeout: Duration) -> Result<(), Fault> {
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
        for (pin, (_, answer)) in pins.iter().zip(answers) {
            compare(pin, answer?.as_ref(), growth)?;
        }
        Ok(())
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

fn compare(pin: &Identity, now: Option<&Identity>, growth: Growth) -> Result<(), Fault> {
    let fault = |message: String, why: &str| {
        Err(Fault::new(FaultKind::TargetState, format!("topic {}", pin.name), message)
            .remedy(growth.way_on(why)))
    };
    let Some(now) = now else {
        return fault("was deleted while the task wrote to it".to_owned(), "what it held is gone");
    };
    // Brokers without topic ids answer (0, 0) for all topics.
    let both_known = pin.id != (0, 0) && now.id != (0, 0);
    if both_known && pin.id != now.id {
        return fault(
            "was deleted and made again: it has another topic id than when the task began to write"
                .to_owned(),
            "what the old topic held is gone",
        );
    }
    let grew = growth == Growth::Follows && now.partitions > pin.partitions;
    if pin.partitions != now.partitions && !grew {
        return fault(
            format!("has {} partitions, the task began with {}", now.partitions, pin.partitions),
            match growth {
                Growth::Stops => {
                    "another number of partitions sends keys elsewhere and breaks their order"
                }
                Growth::Follows => "it was made again, and what the old topic held is gone",
            },
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(id: (i64, i64), partitions: u32) -> Identity {
        Identity { name: "orders".to_owned(), id, partitions }
    }

    #[test]
    fn another_id_or_count_or_none_is_a_definite_fault() {
        let pin = topic((1, 2), 4);
        assert!(compare(&pin, Some(&pin), Growth::Stops).is_ok());
        for now in [None, Some(topic((1, 3), 4)), Some(topic((1, 2), 5))] {
            let fault = compare(&pin, now.as_ref(), Growth::Stops).expect_err("differs");
            assert_eq!(fault.kind, FaultKind::TargetState);
            assert!(!fault.remedy.is_empty());
        }
    }

    #[test]
    fn a_copy_follows_a_topic_that_grew() {
        let (pin, more, fewer) = (topic((1, 2), 4), topic((1, 2), 5), topic((1, 2), 3));
        assert!(compare(&pin, Some(&more), Growth::Follows).is_ok());
        assert!(compare(&pin, Some(&fewer), Growth::Follows).is_err());
    }

    #[test]
    fn brokers_without_topic_ids_are_judged_by_the_partition_count() {
        let same = |pin, now| compare(&pin, Some(&now), Growth::Stops);
        assert!(same(topic((1, 2), 4), topic((0, 0), 4)).is_ok());
        assert!(same(topic((0, 0), 4), topic((0, 0), 5)).is_err());
    }
}
