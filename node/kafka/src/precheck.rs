//! What a precheck wants to know of the target, or of both ends of a copy: facts, no verdicts.

mod copy;

pub use copy::look as look_at_copy;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidewire_node_core::facts::{Operation, PartitionHealth, TargetPrecheck, TopicFacts};
use tidewire_shared::{Fault, FaultKind};

use crate::config::Settings;
use crate::ffi::DescribedTopic;
use crate::positions;
use crate::producer::TransactionalProducer;
use crate::topics::{Answers, SeenTopic, Topics};

/// Longest time that all looks may take together.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Looks at the target of a task with these topics. Takes at most [`TIMEOUT`]; what cannot be seen
/// carries its fault.
#[must_use]
pub fn look(settings: &Settings, names: &[&str]) -> TargetPrecheck {
    let deadline = Instant::now() + TIMEOUT;
    let seen = look_until(settings, names, deadline);
    if seen.brokers.is_err() {
        return seen;
    }
    let positions_topic =
        Topics::new(settings).and_then(|topics| positions::probe(&topics, left(deadline)));
    TargetPrecheck { transactions: transactions(settings, left(deadline)), positions_topic, ..seen }
}

/// As [`look`], without transactions and positions: at_least_once needs neither, and old brokers have
/// neither.
#[must_use]
pub fn look_at_topics(settings: &Settings, names: &[&str]) -> TargetPrecheck {
    look_until(settings, names, Instant::now() + TIMEOUT)
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

fn look_until(settings: &Settings, names: &[&str], deadline: Instant) -> TargetPrecheck {
    let left = || left(deadline);
    let topics = match Topics::new(settings) {
        Ok(topics) => topics,
        Err(fault) => return blind(names, &fault),
    };
    let addresses = match topics.broker_addresses(left()) {
        Ok(addresses) => addresses,
        Err(fault) => return blind(names, &fault),
    };
    let seen = topics.look(names, left());
    TargetPrecheck {
        brokers: Ok(u32::try_from(addresses.len()).unwrap_or(u32::MAX)),
        addresses,
        health: seen.as_ref().map(health).unwrap_or_default(),
        writable: writable(names, seen.as_ref()),
        topics: match seen {
            Ok(seen) => seen.into_iter().map(|(name, answer)| (name, facts(answer))).collect(),
            Err(fault) => same(names, &fault),
        },
        transactions: Ok(()),
        positions_topic: Ok(None),
    }
}

/// Nothing can be seen for one reason.
fn blind(names: &[&str], fault: &Fault) -> TargetPrecheck {
    TargetPrecheck {
        brokers: Err(fault.clone()),
        addresses: Vec::new(),
        health: Vec::new(),
        topics: same(names, fault),
        writable: same(names, fault),
        transactions: Err(fault.clone()),
        positions_topic: Err(fault.clone()),
    }
}

fn health(seen: &Answers<SeenTopic>) -> Vec<PartitionHealth> {
    let there = seen.iter().filter_map(|(_, answer)| answer.as_ref().ok()?.as_ref());
    there.map(SeenTopic::health).collect()
}

fn same<T>(names: &[&str], fault: &Fault) -> Vec<(String, Result<T, Fault>)> {
    names.iter().map(|name| ((*name).to_owned(), Err(fault.clone()))).collect()
}

fn facts(answer: Result<Option<SeenTopic>, Fault>) -> Result<Option<TopicFacts>, Fault> {
    answer.and_then(|topic| topic.map(SeenTopic::facts).transpose())
}

fn writable(
    names: &[&str],
    seen: Result<&Answers<SeenTopic>, &Fault>,
) -> Vec<(String, Result<(), Fault>)> {
    let seen = match seen {
        Ok(seen) => seen,
        Err(fault) => return same(names, fault),
    };
    let may = |name: &str, answer: &Result<Option<SeenTopic>, Fault>| match answer {
        Ok(Some(topic)) => may_write(&topic.described),
        Ok(None) => {
            let fault =
                Fault::new(FaultKind::TargetState, format!("topic {name}"), "does not exist");
            Err(fault.remedy("create the topic"))
        }
        Err(fault) => Err(fault.clone()),
    };
    seen.iter().map(|(name, answer)| (name.clone(), may(name, answer))).collect()
}

/// Brokers that do not say what we may do leave it to the first write.
fn may_write(topic: &DescribedTopic) -> Result<(), Fault> {
    if topic.operations.is_empty() || topic.operations.contains(&Operation::Write) {
        return Ok(());
    }
    Err(Fault::new(
        FaultKind::TargetDenied,
        format!("topic {}", topic.name),
        "the task's user may not write to it",
    )
    .remedy(format!(
        "kafka-acls --add --allow-principal User:USER --operation Write --operation Describe \
         --topic {}",
        topic.name
    )))
}

/// Initialises a producer under an id of its own, so that no task is fenced by the probe.
fn transactions(settings: &Settings, timeout: Duration) -> Result<(), Fault> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let id = format!("tidewire-precheck-{}-{}", std::process::id(), now.as_nanos());
    TransactionalProducer::create(settings, &id)?.init(timeout)
}
