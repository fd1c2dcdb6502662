//! Which topics the rules take, and what their copies are called.

use std::collections::BTreeMap;

use tidewire_shared::FaultKind;
use tidewire_shared::spec::NamePattern;

use super::{Finding, Judged, count, listed};
use crate::copy::CopiedTopic;

/// Longest name of a topic.
const LONGEST: usize = 249;
/// Topics that only brokers, or we, may write to.
const NOT_OURS: [&str; 3] = ["__consumer_offsets", "__transaction_state", "__tidewire_positions"];

/// The rules take topics, and every one of these gets a copy of its own.
pub(super) fn topics_match(judged: &Judged<'_>) -> Finding {
    if let Err(fault) = &judged.seen.listed {
        return Finding::of(fault);
    }
    let copies = &judged.copies;
    if copies.is_empty() {
        let seen = judged.seen.listed.as_ref().map_or(0, Vec::len);
        return Finding::fail(
            format!("none of {} that the account may describe", count(seen, "topic", "topics")),
            "there is nothing to copy",
            "correct topics.match and topics.exclude; `tidewire connection discover` lists the topics",
        );
    }
    if let Some(finding) = illegal(copies).or_else(|| meeting(copies)) {
        return finding;
    }
    let (absent, idle) = unmatched(judged);
    if !absent.is_empty() {
        return Finding::fail(
            format!("{} at the source", count_of(&absent, "does not exist", "do not exist")),
            "the task copies a topic that appears later from its beginning; until then nothing of it",
            "correct topics.match, or make the topic",
        )
        .overridable();
    }
    if !idle.is_empty() {
        return Finding::warn(
            format!("no topic fits {}", listed(&idle, ", ")),
            "topics that appear later are copied from their beginning",
            "correct topics.match if a topic should fit now",
        );
    }
    let partitions: u32 = copies.iter().map(|it| it.source.partitions).sum();
    Finding::pass(format!(
        "{}, {}",
        count(copies.len(), "topic", "topics"),
        count(partitions as usize, "partition", "partitions")
    ))
}

fn count_of(names: &[String], one: &str, many: &str) -> String {
    format!("{} {}", listed(names, ", "), if names.len() == 1 { one } else { many })
}

/// Copies that could never be made or written.
fn illegal(copies: &[CopiedTopic]) -> Option<Finding> {
    let told =
        |copied: &CopiedTopic, why| format!("{} to {} ({why})", copied.source.name, copied.target);
    let wrong: Vec<String> =
        copies.iter().filter_map(|it| Some(told(it, objection(&it.target)?))).collect();
    (!wrong.is_empty()).then(|| {
        Finding::fail(
            format!("would copy {}", listed(&wrong, ", ")),
            "no such topic can be written by a task",
            "write another topics.rename, like rename: \"dr.{topic}\"",
        )
    })
}

/// What is wrong with a name, if something is.
fn objection(name: &str) -> Option<&'static str> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match name {
        "" | "." | ".." => Some("which Kafka does not take as a name"),
        _ if name.len() > LONGEST => Some("longer than 249 characters"),
        _ if !name.chars().all(legal) => Some("Kafka takes letters, digits, `.`, `_` and `-` only"),
        _ if NOT_OURS.contains(&name) => Some("a topic of the brokers or of tidewire itself"),
        _ => None,
    }
}

/// Topics that would meet in one copy, or in copies that Kafka does not keep apart.
fn meeting(copies: &[CopiedTopic]) -> Option<Finding> {
    let mut by_name: BTreeMap<String, Vec<&CopiedTopic>> = BTreeMap::new();
    for copied in copies {
        by_name.entry(copied.target.replace('.', "_")).or_default().push(copied);
    }
    let met: Vec<String> = by_name
        .values()
        .filter(|together| together.len() > 1)
        .map(|together| {
            let topics: Vec<&str> = together.iter().map(|it| it.source.name.as_str()).collect();
            let mut copies: Vec<&str> = together.iter().map(|it| it.target.as_str()).collect();
            copies.dedup();
            format!("{} to {}", topics.join(" and "), copies.join(" and "))
        })
        .collect();
    (!met.is_empty()).then(|| {
        Finding::fail(
            format!("would copy {}", listed(&met, "; ")),
            "records of different topics would mix, and Kafka does not keep apart names that differ in \
             `.` and `_` only",
            "give each copy a name of its own: rename: \"{topic}\" keeps them apart",
        )
    })
}

/// Whether a topic is not there, or no topic can be called so.
fn is_absent(judged: &Judged<'_>, name: &str) -> bool {
    match judged.seen.source.topics.get(name) {
        Some(Ok(there)) => there.is_none(),
        Some(Err(fault)) => fault.kind == FaultKind::SourceState,
        None => false,
    }
}

/// Names that are not there, and patterns that fit nothing.
fn unmatched(judged: &Judged<'_>) -> (Vec<String>, Vec<String>) {
    let listed = judged.seen.listed.as_deref().unwrap_or_default();
    let (mut absent, mut idle) = (Vec::new(), Vec::new());
    for pattern in judged.task.topics.iter().flat_map(|rule| &rule.topics) {
        match pattern {
            // One that may not be described is told of by `source_rights`.
            NamePattern::Exact(name) if is_absent(judged, name) => absent.push(name.clone()),
            NamePattern::Exact(_) => {}
            NamePattern::Glob(_)
                if listed.iter().any(|it| !it.internal && pattern.fits(&it.name)) => {}
            NamePattern::Glob(glob) => idle.push(glob.clone()),
        }
    }
    (absent, idle)
}
