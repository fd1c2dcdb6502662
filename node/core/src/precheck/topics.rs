//! The topics of a task: who else writes there, and how their partitions are.

use std::collections::BTreeSet;

use tidewire_shared::spec::NamePattern;
use tidewire_shared::spec::PostgresTask;

use super::{Finding, TargetLook, listed, qualified};
use crate::facts::{Neighbour, TargetPrecheck};
use crate::objects::{self, ResolvedTable};

/// Nobody else writes to the topics, and no two tables meet there by chance.
pub(super) fn collision(look: &TargetLook<'_>) -> Finding {
    let (mut wrong, mut remedies) = (Vec::new(), Vec::new());
    for neighbour in look.neighbours.iter().filter(|it| is_same_cluster(look, it)) {
        let shared = shared_topics(look.tables, neighbour);
        if !shared.is_empty() {
            wrong.push(format!("task {} writes to {} too", neighbour.task, listed(&shared, ", ")));
        }
    }
    if !wrong.is_empty() {
        remedies.push("choose other topics, or delete the task that is not needed".to_owned());
    }
    let met = meetings(look);
    if !met.is_empty() {
        remedies.push("write a topic of its own for each table".to_owned());
        wrong.extend(met);
    }
    if wrong.is_empty() {
        return Finding::pass("no other task writes there");
    }
    Finding::fail(
        listed(&wrong, "; "),
        "readers would find records of different origins mixed",
        format!("{}; override this item if that is wanted", remedies.join("; ")),
    )
    .overridable()
}

/// Clusters are the same when a broker is: as it was named, or as it calls itself.
fn is_same_cluster(look: &TargetLook<'_>, neighbour: &Neighbour) -> bool {
    let ours = look.spec.target.brokers.iter().chain(&look.seen.addresses);
    let ours: BTreeSet<String> = ours.map(|broker| broker.to_ascii_lowercase()).collect();
    neighbour.brokers.iter().any(|broker| ours.contains(&broker.to_ascii_lowercase()))
}

/// Our topics that a neighbour writes to.
fn shared_topics(tables: &[ResolvedTable], neighbour: &Neighbour) -> Vec<String> {
    let (globs, exact): (Vec<&String>, Vec<&String>) =
        neighbour.topics.iter().partition(|topic| topic.contains(['*', '?']));
    let exact: BTreeSet<&String> = exact.into_iter().collect();
    let globs: Vec<_> = globs.into_iter().map(|glob| NamePattern::Glob(glob.clone())).collect();
    let ours: BTreeSet<&String> = tables.iter().map(|table| &table.topic).collect();
    let shared = ours
        .into_iter()
        .filter(|topic| exact.contains(topic) || globs.iter().any(|glob| glob.fits(topic)));
    shared.cloned().collect()
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
        let Some(health) = seen.health.iter().find(|health| health.topic == topic.name) else {
            continue;
        };
        if !health.leaderless.is_empty() {
            let which: Vec<_> = health.leaderless.iter().map(ToString::to_string).collect();
            wrong.push(format!(
                "{}: no leader for partitions {}",
                topic.name,
                listed(&which, ", ")
            ));
        } else if let Some(least) = health.least_in_sync
            && least < topic.min_insync_replicas
            && topic.min_insync_replicas <= topic.replication_factor
        {
            wrong.push(format!(
                "{}: {least} replicas in sync, min.insync.replicas is {}",
                topic.name, topic.min_insync_replicas
            ));
        }
    }
    let brokers = spec.target.brokers.join(",");
    if !wrong.is_empty() {
        return Finding::fail(
            listed(&wrong, "; "),
            "writes would wait until enough brokers are back",
            format!(
                "start the brokers that `kafka-topics.sh --bootstrap-server {brokers} --describe \
                 --unavailable-partitions` and `--under-min-isr-partitions` name"
            ),
        )
        .overridable();
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
