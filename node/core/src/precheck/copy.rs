//! Whether a copy of topics may start: one file for each theme, items in the order of a report.

mod configs;
mod data;
mod ends;
mod feedback;
mod matches;
mod partitions;
mod rights;
mod size;
mod start;

use std::collections::BTreeSet;

use tidewire_shared::precheck::CheckItem;
use tidewire_shared::spec::{KafkaSecurity, KafkaTask};

use super::{Finding, listed, target, topics};
use crate::copy::{CopiedTopic, taken};
use crate::facts::{CopyPrecheck, Neighbour, TopicLook};

/// What a precheck of a copy is judged by.
#[derive(Clone, Copy, Debug)]
pub struct CopyLook<'a> {
    /// The task.
    pub task: &'a KafkaTask,
    /// It has a position: where it begins, and what its copies hold, was decided long ago.
    pub started_before: bool,
    /// Topics of the source that it has copied some of; none: that could not be found out.
    pub known: Option<&'a BTreeSet<String>>,
    /// The other tasks of the cluster.
    pub neighbours: &'a [Neighbour],
    /// What was seen.
    pub seen: &'a CopyPrecheck,
}

/// A look, and the topics that are copied.
struct Judged<'a> {
    task: &'a KafkaTask,
    started_before: bool,
    known: Option<&'a BTreeSet<String>>,
    neighbours: &'a [Neighbour],
    seen: &'a CopyPrecheck,
    /// By the name at the source.
    copies: Vec<CopiedTopic>,
}

/// Judges both ends: one item per thing to know, in a fixed order. An end that cannot be asked has its
/// `…_connect` and `…_auth` only.
#[must_use]
pub fn judge_copy(look: &CopyLook<'_>) -> Vec<CheckItem> {
    let CopyLook { task, started_before, known, neighbours, seen } = *look;
    let listed = seen.listed.as_deref().unwrap_or_default();
    let copies = taken(&task.topics, listed);
    let judged = Judged { task, started_before, known, neighbours, seen, copies };
    let mut items = judged.source();
    items.extend(judged.target());
    items
}

impl Judged<'_> {
    fn source(&self) -> Vec<CheckItem> {
        let source = &self.task.source;
        let mut items = ends::connection("source", &self.seen.source, &source.security);
        if self.seen.source.cluster.is_err() {
            return items;
        }
        items.push(ends::source_version(self).item("source_version"));
        // Without its topics nothing is known of rights and places.
        if self.seen.listed.is_ok() {
            items.push(rights::source(self).item("source_rights"));
        }
        items.push(matches::topics_match(self).item("topics_match"));
        if self.seen.listed.is_ok() {
            items.push(start::position(self).item("start_position"));
        }
        items
    }

    fn target(&self) -> Vec<CheckItem> {
        let (seen, target) = (self.seen, &self.task.target);
        let mut items = ends::connection("target", &seen.target, &target.security);
        if seen.target.cluster.is_err() {
            return items;
        }
        items.push(ends::target_version(self).item("target_version"));
        // Without the topics of the source nothing is known of their copies.
        if seen.listed.is_ok() {
            items.push(partitions::exist(self).item("topics_exist"));
            items.push(rights::target(self).item("topic_rights"));
            items.push(data::existing(self).item("topic_data"));
            items.push(partitions::numbers(self).item("topic_partitions"));
            items.push(configs::judge(self).item("topic_configs"));
            items.push(size::judge(self).item("message_size"));
            items.push(self.collision().item("topic_collision"));
            items.push(feedback::judge(self).item("loop"));
        }
        items.push(ends::transactions(self).item("target_transactions"));
        items
    }

    /// Nobody else writes to the copies.
    fn collision(&self) -> Finding {
        let brokers = self.task.target.brokers.iter().chain(self.target_addresses());
        let copies = self.copies.iter().map(|copied| copied.target.as_str());
        let wrong = topics::writers(self.neighbours, brokers, copies);
        topics::met_by_chance(&wrong, "rename the copies, or delete the task that is not needed")
    }

    fn target_addresses(&self) -> &[String] {
        self.seen.target.cluster.as_ref().map_or(&[], |cluster| &cluster.addresses)
    }

    /// Whether nothing of a topic was copied yet, as far as that is known.
    fn is_new(&self, copied: &CopiedTopic) -> bool {
        !self.started_before || self.known.is_some_and(|known| !known.contains(&copied.source.name))
    }

    /// Topics whose copies are there, with both.
    fn pairs(&self) -> impl Iterator<Item = (&CopiedTopic, Option<&TopicLook>, &TopicLook)> {
        self.copies.iter().filter_map(|copied| {
            let copy = self.seen.target.topic(&copied.target)?;
            Some((copied, self.seen.source.topic(&copied.source.name), copy))
        })
    }

    /// Topics whose copies have to be made, with what is known of them.
    fn missing(&self) -> impl Iterator<Item = (&CopiedTopic, Option<&TopicLook>)> {
        let missing = self.copies.iter().filter(|it| self.seen.target.lacks(&it.target));
        missing.map(|copied| (copied, self.seen.source.topic(&copied.source.name)))
    }

    /// `--bootstrap-server` of the target.
    fn at_target(&self) -> String {
        format!("--bootstrap-server {}", self.task.target.brokers.join(","))
    }

    /// The command that changes a setting of a copy.
    fn set(&self, copy: &str, setting: &str) -> String {
        format!(
            "kafka-configs.sh {} --alter --entity-type topics --entity-name {copy} --add-config \
             {setting}",
            self.at_target()
        )
    }
}

/// Who we are at an end, as ACLs name it.
fn principal(security: &KafkaSecurity) -> String {
    security.sasl.as_ref().map_or_else(|| "User:NAME".to_owned(), |it| format!("User:{}", it.user))
}

/// A number of things, with their name.
fn count(number: usize, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        number => format!("{number} {many}"),
    }
}

#[cfg(test)]
mod tests;
