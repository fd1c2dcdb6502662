//! Where the copy begins.

use std::collections::BTreeMap;

use tidewire_shared::spec::{KafkaStart, StartOffset};
use tidewire_shared::{Fault, FaultKind};

use super::{Finding, Judged, count, listed};
use crate::copy::PartitionFacts;

/// The place that the document names is there in every partition.
pub(super) fn position(judged: &Judged<'_>) -> Finding {
    if judged.started_before {
        return Finding::pass("the task goes on where it was");
    }
    let ends: Vec<(&str, u32, &Result<PartitionFacts, Fault>)> = judged
        .copies
        .iter()
        .filter_map(|it| {
            Some((it.source.name.as_str(), judged.seen.source.topic(&it.source.name)?))
        })
        .flat_map(|(name, look)| (0..).zip(&look.ends).map(move |(number, it)| (name, number, it)))
        .collect();
    let mut unseen = unseen_topics(judged);
    unseen.extend(ends.iter().filter_map(|(topic, partition, ends)| {
        let fault = ends.as_ref().err()?;
        Some(format!("{topic}, partition {partition}: {}", fault.message))
    }));
    if !unseen.is_empty() {
        return Finding::fail(
            listed(&unseen, "; "),
            "where their partitions begin and end cannot be seen",
            format!(
                "start the brokers that `kafka-topics.sh --bootstrap-server {} --describe \
                 --unavailable-partitions` names",
                judged.task.source.brokers.join(",")
            ),
        );
    }
    let ends: BTreeMap<(&str, u32), PartitionFacts> = ends
        .into_iter()
        .filter_map(|(topic, partition, it)| Some(((topic, partition), *it.as_ref().ok()?)))
        .collect();
    match &judged.task.start {
        KafkaStart::Earliest => {
            let records: i64 = ends.values().map(|it| (it.end - it.low).max(0)).sum();
            Finding::pass(format!("the oldest record of each partition: up to {records} to copy"))
        }
        KafkaStart::Latest => Finding::pass("what is written from the first start on"),
        KafkaStart::Timestamp(_) => timestamp(judged),
        KafkaStart::Offsets(starts) => offsets(judged, starts, &ends),
    }
}

/// Topics that were listed and cannot be looked at; `source_rights` tells those that may not be.
fn unseen_topics(judged: &Judged<'_>) -> Vec<String> {
    let unseen = judged.copies.iter().filter_map(|copied| {
        let name = &copied.source.name;
        let fault = judged.seen.source.topics.get(name)?.as_ref().err()?;
        let denied = fault.kind == FaultKind::SourceDenied;
        (!denied).then(|| format!("{name}: {}", fault.message))
    });
    unseen.collect()
}

/// Every offset that is named lies in its partition.
fn offsets(
    judged: &Judged<'_>,
    starts: &[StartOffset],
    ends: &BTreeMap<(&str, u32), PartitionFacts>,
) -> Finding {
    let wrong: Vec<String> = starts
        .iter()
        .filter_map(|start| {
            let StartOffset { topic, partition, offset } = start;
            let copied = judged.copies.iter().find(|it| it.source.name == *topic);
            let Some(copied) = copied else {
                return Some(format!("{topic} is not among the topics that are copied"));
            };
            match ends.get(&(topic.as_str(), *partition)) {
                None => {
                    let has = copied.source.partitions;
                    let has = count(has as usize, "partition", "partitions");
                    Some(format!("{topic} has {has}, and none is numbered {partition}"))
                }
                Some(ends) if (ends.low..=ends.end).contains(offset) => None,
                Some(PartitionFacts { low, end, .. }) => Some(format!(
                    "{topic}, partition {partition} has the offsets {low} to {end}, not {offset}"
                )),
            }
        })
        .collect();
    if !wrong.is_empty() {
        return Finding::fail(
            listed(&wrong, "; "),
            "the copy cannot begin there",
            "name offsets that are there in start.offsets, or write start: earliest",
        );
    }
    let named = |(topic, partition): &(&str, u32)| {
        starts.iter().any(|start| start.topic == *topic && start.partition == *partition)
    };
    let unnamed: Vec<String> = ends
        .keys()
        .filter(|place| !named(place))
        .map(|(topic, partition)| format!("{topic}/{partition}"))
        .collect();
    if !unnamed.is_empty() {
        return Finding::warn(
            format!("start.offsets does not name {}", listed(&unnamed, ", ")),
            "these partitions are copied from their oldest record",
            "name them in start.offsets too, or exclude their topics, if that is not meant",
        );
    }
    Finding::pass(format!("{} named, all are there", count(starts.len(), "offset", "offsets")))
}

/// Every partition has a record that is as young as the time, or gets it later.
fn timestamp(judged: &Judged<'_>) -> Finding {
    let looks = judged.copies.iter().filter_map(|it| {
        Some((it.source.name.as_str(), judged.seen.source.topic(&it.source.name)?))
    });
    let (mut late, mut found) = (Vec::new(), 0_usize);
    for (topic, look) in looks {
        for (partition, at) in look.at_timestamp.iter().enumerate() {
            match at {
                Some(_) => found += 1,
                None => late.push(format!("{topic}/{partition}")),
            }
        }
    }
    if found == 0 && !late.is_empty() {
        return Finding::warn(
            format!(
                "none of {} has a record as young",
                count(late.len(), "partition", "partitions")
            ),
            "the copy begins with what is written from the first start on",
            "correct start.timestamp (UTC, like 2026-01-01T00:00:00Z) if records are meant that are \
             there",
        );
    }
    let found = count(found, "partition has records as young", "partitions have records as young");
    if late.is_empty() {
        return Finding::pass(found);
    }
    let rest = count(late.len(), "begins at its end", "begin at their end");
    Finding::pass(format!("{found}, {rest}"))
}
