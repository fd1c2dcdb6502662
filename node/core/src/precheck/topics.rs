//! The topics of a task: who else writes there, and how their partitions are.

use std::collections::BTreeSet;

use tidewire_shared::spec::NamePattern;
use tidewire_shared::spec::PostgresTask;

use super::{Finding, TargetLook, listed, qualified};
use crate::facts::{Neighbour, PartitionHealth, TargetPrecheck};
use crate::objects;

/// Nobody else writes to the topics, and no two tables meet there by chance.
pub(super) fn collision(look: &TargetLook<'_>) -> Finding {
    let mut remedies = Vec::new();
    let brokers = look.spec.target.brokers.iter().chain(&look.seen.addresses);
    let mut wrong =
        writers(look.neighbours, brokers, look.tables.iter().map(|table| table.topic.as_str()));
    if !wrong.is_empty() {
        remedies.push("choose other topics, or delete the task that is not needed".to_owned());
    }
    let met = meetings(look);
    if !met.is_empty() {
        remedies.push("write a topic of its own for each table".to_owned());
        wrong.extend(met);
    }
    met_by_chance(&wrong, &remedies.join("; "))
}

/// What it means that several write to one topic.
pub(super) fn met_by_chance(wrong: &[String], remedy: &str) -> Finding {
    if wrong.is_empty() {
        return Finding::pass("no other task writes there");
    }
    Finding::fail(
        listed(wrong, "; "),
        "readers would find records of different origins mixed",
        format!("{remedy}; override this item if that is wanted"),
    )
    .overridable()
}

/// The other tasks that write to these topics of the cluster of these brokers, one sentence each.
pub(super) fn writers<'a>(
    neighbours: &[Neighbour],
    brokers: impl Iterator<Item = &'a String>,
    topics: impl Iterator<Item = &'a str>,
) -> Vec<String> {
    // Clusters are the same when a broker is: as it was named, or as it calls itself.
    let brokers: BTreeSet<String> = brokers.map(|broker| broker.to_ascii_lowercase()).collect();
    let same = |other: &&Neighbour| {
        other.brokers.iter().any(|broker| brokers.contains(&broker.to_ascii_lowercase()))
    };
    let topics: BTreeSet<&str> = topics.collect();
    let there = neighbours.iter().filter(same);
    let shared = there.map(|other| (other, shared_topics(&topics, other)));
    shared
        .filter(|(_, shared)| !shared.is_empty())
        .map(|(other, shared)| {
            format!("task {} writes to {} too", other.task, listed(&shared, ", "))
        })
        .collect()
}

/// Our topics that a neighbour writes to.
fn shared_topics(ours: &BTreeSet<&str>, neighbour: &Neighbour) -> Vec<String> {
    let (globs, exact): (Vec<&String>, Vec<&String>) =
        neighbour.topics.iter().partition(|topic| topic.contains(['*', '?']));
    let exact: BTreeSet<&str> = exact.into_iter().map(String::as_str).collect();
    let globs: Vec<_> = globs.into_iter().map(|glob| NamePattern::Glob(glob.clone())).collect();
    let shared =
        ours.iter().filter(|topic| exact.contains(*topic) || globs.iter().any(|it| it.fits(topic)));
    shared.map(|topic| (*topic).to_owned()).collect()
}

/// Tables that meet in a topic that a template made: nobody wrote that they shall.
fn meetings(look: &TargetLook<'_>) -> Vec<String> {
    let met = objects::collisions(&look.spec.objects, look.tables).into_iter();
    met.map(|(topic, tables)| {
        let tables: Vec<_> = tables.iter().map(qualified).collect();
        format!("{} meet in topic {topic}", listed(&tables, ", "))
    })
    .collect()
}

/// Every partition can be written, and there are as many as the document says.
pub(super) fn partitions(spec: &PostgresTask, seen: &TargetPrecheck) -> Finding {
    let (mut wrong, mut told) = (Vec::new(), Vec::new());
    for topic in seen.topics.iter().filter_map(|(_, look)| look.as_ref().ok()?.as_ref()) {
        told.push(format!("{} {}", topic.name, topic.partitions));
        let health = seen.health.iter().find(|health| health.topic == topic.name);
        let least = (topic.min_insync_replicas, topic.replication_factor);
        wrong.extend(health.and_then(|health| waits(health, least)));
    }
    if !wrong.is_empty() {
        return unwritable(&wrong, &spec.target.brokers);
    }
    let odd = otherwise_made(spec, seen);
    if !odd.is_empty() {
        return Finding::warn(
            listed(&odd, "; "),
            "target.createTopics does not change topics that exist",
            "correct target.createTopics, or delete these topics if they are empty",
        );
    }
    Finding::pass(if told.is_empty() { "no topic yet".to_owned() } else { listed(&told, ", ") })
}

/// Why writes to a topic would wait, if they would; given how many replicas have to be in sync, and how
/// many there are.
pub(super) fn waits(health: &PartitionHealth, (needed, replicas): (u32, u32)) -> Option<String> {
    let PartitionHealth { topic, leaderless, least_in_sync } = health;
    if !leaderless.is_empty() {
        let which: Vec<_> = leaderless.iter().map(ToString::to_string).collect();
        return Some(format!("{topic}: no leader for partitions {}", listed(&which, ", ")));
    }
    let least = least_in_sync.filter(|least| *least < needed && needed <= replicas)?;
    Some(format!("{topic}: {least} replicas in sync, min.insync.replicas is {needed}"))
}

/// What it means that writes to some topics would wait.
pub(super) fn unwritable(wrong: &[String], brokers: &[String]) -> Finding {
    let brokers = brokers.join(",");
    Finding::fail(
        listed(wrong, "; "),
        "writes would wait until enough brokers are back",
        format!(
            "start the brokers that `kafka-topics.sh --bootstrap-server {brokers} --describe \
             --unavailable-partitions` and `--under-min-isr-partitions` name"
        ),
    )
    .overridable()
}

/// Topics that exist with other numbers than `createTopics` would give them.
fn otherwise_made(spec: &PostgresTask, seen: &TargetPrecheck) -> Vec<String> {
    let Some(wanted) = spec.target.create_topics else { return Vec::new() };
    let topics = seen.topics.iter().filter_map(|(_, look)| look.as_ref().ok()?.as_ref());
    topics
        .filter(|topic| topic.partitions != wanted.partitions)
        .map(|topic| {
            let (name, has) = (&topic.name, topic.partitions);
            format!("{name} has {has} partitions instead of {}", wanted.partitions)
        })
        .collect()
}
