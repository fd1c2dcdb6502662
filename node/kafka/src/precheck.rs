//! What a precheck wants to know of the target: facts, no verdicts.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidewire_node_core::facts::TargetPrecheck;
use tidewire_shared::{Fault, FaultKind};

use crate::config::Settings;
use crate::ffi::{DescribedTopic, Operation};
use crate::positions;
use crate::producer::TransactionalProducer;
use crate::topics::{Answers, Topics};

/// Longest time that all looks may take together.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Looks at the target of a task with these topics. Takes at most [`TIMEOUT`]; what cannot be seen
/// carries its fault.
#[must_use]
pub fn look(settings: &Settings, names: &[&str]) -> TargetPrecheck {
    let deadline = Instant::now() + TIMEOUT;
    let left = || deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let topics = match Topics::new(settings) {
        Ok(topics) => topics,
        Err(fault) => return blind(names, &fault),
    };
    let brokers = topics.count_brokers(left());
    if let Err(fault) = &brokers {
        return blind(names, fault);
    }
    let facts = topics.describe(names, left());
    let rights = topics.described(names, left());
    TargetPrecheck {
        brokers,
        topics: facts.unwrap_or_else(|fault| same(names, &fault)),
        writable: writable(names, rights),
        transactions: transactions(settings, left()),
        positions_topic: positions::look(settings, &topics, left()),
    }
}

/// Nothing can be seen for one reason.
fn blind(names: &[&str], fault: &Fault) -> TargetPrecheck {
    TargetPrecheck {
        brokers: Err(fault.clone()),
        topics: same(names, fault),
        writable: same(names, fault),
        transactions: Err(fault.clone()),
        positions_topic: Err(fault.clone()),
    }
}

fn same<T>(names: &[&str], fault: &Fault) -> Vec<(String, Result<T, Fault>)> {
    names.iter().map(|name| ((*name).to_owned(), Err(fault.clone()))).collect()
}

fn writable(
    names: &[&str],
    rights: Result<Answers<DescribedTopic>, Fault>,
) -> Vec<(String, Result<(), Fault>)> {
    let rights = match rights {
        Ok(rights) => rights,
        Err(fault) => return same(names, &fault),
    };
    rights
        .into_iter()
        .map(|(name, answer)| {
            let may = answer.and_then(|topic| match topic {
                Some(topic) => may_write(&topic),
                None => Err(Fault::new(
                    FaultKind::TargetState,
                    format!("topic {name}"),
                    "does not exist",
                )
                .remedy("create the topic")),
            });
            (name, may)
        })
        .collect()
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
