//! Makes the positions topic and verifies that it keeps what it is given.

use std::time::{Duration, Instant};

use tidewire_node_core::facts::{Operation, TopicFacts};
use tidewire_shared::{Fault, FaultKind};

use super::TOPIC;
use crate::config::Settings;
use crate::ffi::Config;
use crate::topics::{NewTopic, Topics};

/// Most replicas that are asked for.
const REPLICAS: u32 = 3;

/// The partition of the shard with this ordinal; its own as long as there are enough.
#[must_use]
pub fn partition_of(ordinal: u64, partitions: u32) -> u32 {
    // The remainder is below a u32; with no partition at all there is nothing to choose from.
    u32::try_from(ordinal.checked_rem(u64::from(partitions)).unwrap_or(0)).unwrap_or(0)
}

pub(super) fn ensure(
    settings: &Settings,
    partitions: u32,
    timeout: Duration,
) -> Result<TopicFacts, Fault> {
    let topics = Topics::new(settings)?;
    if let Some(facts) = look(&topics, timeout)? {
        return Ok(facts);
    }
    let replicas = topics.count_brokers(timeout)?.clamp(1, REPLICAS);
    if create(&topics, partitions, replicas, timeout)? {
        tracing::info!(topic = TOPIC, partitions, replicas, "topic made");
    }
    // The controller has it; the broker that is asked may hear of it a little later.
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(facts) = look(&topics, timeout)? {
            return Ok(facts);
        }
        if Instant::now() >= deadline {
            return Err(Fault::new(
                FaultKind::TargetBusy,
                format!("topic {TOPIC}"),
                "was made, and the brokers do not know it yet",
            ));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The topic as it is, if it is there; a fault when it could lose records.
pub(super) fn look(topics: &Topics, timeout: Duration) -> Result<Option<TopicFacts>, Fault> {
    Ok(seen(topics, timeout)?.map(|(facts, _)| facts))
}

/// The topic, and what our user may do with it; empty where brokers do not say.
fn seen(topics: &Topics, timeout: Duration) -> Result<Option<(TopicFacts, Vec<Operation>)>, Fault> {
    let answer = topics.look(&[TOPIC], timeout)?.pop().map_or(Ok(None), |(_, answer)| answer)?;
    let Some(seen) = answer else { return Ok(None) };
    let (facts, config) = seen.configured?;
    judge(&config)?;
    Ok(Some((facts, seen.described.operations)))
}

/// The topic as it is, if it is there; a fault when it could lose records, or when our user may not make
/// it, read it or write to it. Nothing is made.
pub(crate) fn probe(topics: &Topics, timeout: Duration) -> Result<Option<TopicFacts>, Fault> {
    let Some((facts, may)) = seen(topics, timeout)? else {
        let replicas = topics.count_brokers(timeout)?.clamp(1, REPLICAS);
        let answers = topics.try_create(&[plan(super::PARTITIONS, replicas)], timeout)?;
        let refused = answers.into_iter().find_map(|(_, answer)| answer.err());
        return refused.map_or(Ok(None), Err);
    };
    let needed = [Operation::Read, Operation::Write];
    let lacks = needed.into_iter().find(|right| !may.is_empty() && !may.contains(right));
    match lacks {
        None => Ok(Some(facts)),
        Some(right) => Err(Fault::new(
            FaultKind::TargetDenied,
            format!("topic {TOPIC}"),
            format!("the task's user lacks {} on it", right.as_str()),
        )
        .remedy(format!(
            "kafka-acls.sh --add --allow-principal User:USER --operation Read --operation Write \
             --operation Describe --operation DescribeConfigs --topic {TOPIC}"
        ))),
    }
}

/// Whether it was not there yet.
fn create(
    topics: &Topics,
    partitions: u32,
    replicas: u32,
    timeout: Duration,
) -> Result<bool, Fault> {
    Ok(topics.create_all(&[plan(partitions, replicas)], timeout)?.contains(&true))
}

fn plan(partitions: u32, replicas: u32) -> NewTopic {
    let in_sync = if replicas >= REPLICAS { "2" } else { "1" };
    let configs = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "16777216"),
        ("min.cleanable.dirty.ratio", "0.1"),
        ("min.insync.replicas", in_sync),
        ("unclean.leader.election.enable", "false"),
    ];
    NewTopic {
        name: TOPIC.to_owned(),
        partitions,
        replicas: Some(replicas),
        configs: configs.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
    }
}

/// Refuses a topic that could lose records.
fn judge(config: &Config) -> Result<(), Fault> {
    for (key, wanted, harm) in [
        ("cleanup.policy", "compact", "positions would be deleted by age"),
        (
            "unclean.leader.election.enable",
            "false",
            "positions that were committed would be taken back",
        ),
    ] {
        let found = config.get(key).map_or("", String::as_str);
        if found != wanted {
            return Err(Fault::new(
                FaultKind::TargetState,
                format!("topic {TOPIC}"),
                format!("{key} is `{found}`: {harm}"),
            )
            .remedy(format!(
                "kafka-configs --alter --entity-type topics --entity-name {TOPIC} \
                 --add-config {key}={wanted}"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_get_partitions_of_their_own_while_there_are_enough() {
        let partitions: Vec<u32> = (0..5).map(|ordinal| partition_of(ordinal, 4)).collect();
        assert_eq!(partitions, [0, 1, 2, 3, 0]);
        assert_eq!(partition_of(u64::MAX, 64), 63);
        assert_eq!(partition_of(7, 0), 0);
    }

    #[test]
    fn a_policy_that_loses_positions_is_refused_with_the_command_that_repairs_it() {
        let config = |policy: &str, unclean: &str| -> Config {
            [("cleanup.policy", policy), ("unclean.leader.election.enable", unclean)]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into()
        };
        assert!(judge(&config("compact", "false")).is_ok());
        for bad in [config("compact,delete", "false"), config("compact", "true"), Config::new()] {
            let fault = judge(&bad).expect_err("refused");
            assert_eq!(fault.kind, FaultKind::TargetState);
            assert!(fault.remedy.contains("--add-config"), "{fault:?}");
        }
    }
}
