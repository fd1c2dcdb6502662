//! May the copy go on from its position? Each partition is judged by what its cluster says of it now:
//! a topic that is another one than before, or lacks what was not copied yet, stops the task with the
//! gap named.

use tidewire_shared::{Fault, FaultKind, KafkaPosition, PartitionPosition, TopicPosition};

use super::layout::{CopiedPartition, Layout};
use crate::reconnect::Verdict;

/// What the source says of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionFacts {
    /// Offset of the oldest record that is kept.
    pub low: i64,
    /// Offset behind the newest record that no open transaction holds back.
    pub end: i64,
    /// Offset behind the newest record, in open transactions too.
    pub high: i64,
}

/// Where a partition is opened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PartitionStart {
    /// Topic of the source.
    pub topic: String,
    /// Its partition.
    pub partition: u32,
    /// Offset of the first record to read.
    pub offset: i64,
    /// Leader epoch of the record before, where known: brokers tell by it whether their log was cut.
    pub leader_epoch: Option<i32>,
}

/// Judges every partition of the shard; `facts` are in the order of [`Layout::partitions`].
///
/// Partitions that were never copied are opened at their oldest record: they appeared later. A topic that
/// the rules still take and that is not there any more stops the copy, as it does while it runs.
#[must_use]
pub fn judge(
    layout: &Layout,
    position: &KafkaPosition,
    facts: &[PartitionFacts],
) -> Verdict<Vec<PartitionStart>> {
    let there =
        known(layout, position).try_for_each(|(name, known)| still_there(layout, name, known));
    match there.and_then(|()| starts(layout, position, facts)) {
        Ok(starts) => Verdict::Stream(starts),
        Err(fault) => Verdict::Stop(fault),
    }
}

/// The topics that a shard has copied some of and should go on copying, which the source does not list.
/// Its brokers may not have heard of one for a moment.
pub fn unlisted<'a>(
    layout: &'a Layout,
    position: &'a KafkaPosition,
) -> impl Iterator<Item = (&'a str, (i64, i64))> {
    known(layout, position)
        .filter(|(name, _)| layout.of(name).is_none())
        .map(|(name, known)| (name, known.id))
}

/// The topics that the rules take and of which the shard has places.
fn known<'a>(
    layout: &'a Layout,
    position: &'a KafkaPosition,
) -> impl Iterator<Item = (&'a str, &'a TopicPosition)> {
    let topics = position.topics.iter().map(|(name, known)| (name.as_str(), known));
    topics.filter(|(name, known)| {
        known.partitions.keys().any(|partition| layout.has(name, *partition)) && layout.takes(name)
    })
}

/// Whether every topic that the shard has copied some of still goes to the copy that has it.
///
/// # Errors
/// [`FaultKind::Configuration`] for one that is called otherwise now: the other copy would lack what was
/// copied before.
pub fn same_copies(layout: &Layout, position: &KafkaPosition) -> Result<(), Fault> {
    known(layout, position).try_for_each(|(name, known)| same_copy(layout, name, known))
}

fn same_copy(layout: &Layout, name: &str, known: &TopicPosition) -> Result<(), Fault> {
    let now = layout.of(name).map(|copied| copied.target.as_str());
    let (Some(before), Some(now)) = (known.target.as_deref(), now) else { return Ok(()) };
    if before == now {
        return Ok(());
    }
    Err(Fault::new(
        FaultKind::Configuration,
        format!("source topic {name}"),
        format!("was copied to {before} so far: {now} would lack the records before its place"),
    )
    .remedy(format!(
        "to copy all of it to {now}: `tidewire task rewind NAME --to {name}=earliest --yes`, then resume; \
         to go on in {before}: give the copy that name again with `tidewire task apply -f FILE`"
    )))
}

fn still_there(layout: &Layout, name: &str, known: &TopicPosition) -> Result<(), Fault> {
    same_copy(layout, name, known)?;
    let now = layout.of(name).map(|copied| &copied.source);
    same_topic(name, known.id, now.map(|topic| topic.id))?;
    let last = known.partitions.keys().rev().find(|partition| layout.has(name, **partition));
    match (now, last) {
        (Some(topic), Some(last)) if *last >= topic.partitions => Err(Fault::new(
            FaultKind::SourceHistory,
            format!("source topic {name}"),
            format!(
                "has {} partitions, but partition {last} was copied: it was deleted and made again",
                topic.partitions
            ),
        )
        .remedy(made_again(name))),
        _ => Ok(()),
    }
}

fn starts(
    layout: &Layout,
    position: &KafkaPosition,
    facts: &[PartitionFacts],
) -> Result<Vec<PartitionStart>, Fault> {
    let pairs = layout.partitions().zip(facts);
    let starts: Vec<_> = pairs.map(|(at, facts)| start(at, position, *facts)).collect();
    let starts = starts.into_iter().collect::<Result<Vec<_>, _>>()?;
    if starts.len() == layout.partitions().count() {
        return Ok(starts);
    }
    Err(Fault::new(FaultKind::Internal, "copy", "was not told of every partition of its shard"))
}

fn start(
    at: CopiedPartition<'_>,
    position: &KafkaPosition,
    facts: PartitionFacts,
) -> Result<PartitionStart, Fault> {
    let topic = &at.copied.source;
    let known = position.topics.get(&topic.name);
    if let Some(known) = known {
        same_topic(&topic.name, known.id, Some(topic.id))?;
    }
    let reached = known.and_then(|known| known.partitions.get(&at.partition));
    let open = |offset, leader_epoch| PartitionStart {
        topic: topic.name.clone(),
        partition: at.partition,
        offset,
        leader_epoch,
    };
    match reached {
        None => Ok(open(facts.low, None)),
        Some(PartitionPosition { next, leader_epoch }) => {
            no_gap(&topic.name, at.partition, *next, facts)?;
            Ok(open(*next, *leader_epoch))
        }
    }
}

/// Compares a topic of the source with what it was when the task last read it; `now` is its id, if it
/// is there.
///
/// # Errors
/// [`FaultKind::SourceHistory`]: it is gone, or was made again.
pub fn same_topic(name: &str, known: (i64, i64), now: Option<(i64, i64)>) -> Result<(), Fault> {
    let Some(now) = now else {
        let object = format!("source topic {name}");
        return Err(Fault::new(FaultKind::SourceHistory, object, "was deleted").remedy(
            "records of it that were not copied are gone; to go on with the others, exclude it from \
             the task's topics with `tidewire task apply -f FILE`, then resume",
        ));
    };
    if !is_other(known, now) {
        return Ok(());
    }
    Err(Fault::new(
        FaultKind::SourceHistory,
        format!("source topic {name}"),
        "was deleted and made again: it has another topic id than when the task last read it",
    )
    .remedy(made_again(name)))
}

/// Whether two ids of a topic are those of two topics. Brokers without topic ids answer (0, 0) for all.
pub(super) fn is_other(known: (i64, i64), now: (i64, i64)) -> bool {
    known != (0, 0) && now != (0, 0) && known != now
}

fn made_again(name: &str) -> String {
    format!(
        "records of the old topic that were not copied are gone; to go on with the new one, behind \
         them in the same copy: `tidewire task rewind NAME --to {name}=earliest --yes`, then resume",
    )
}

fn no_gap(topic: &str, partition: u32, next: i64, facts: PartitionFacts) -> Result<(), Fault> {
    let fault = |message: String, remedy: String| {
        let object = format!("source topic {topic}, partition {partition}");
        Err(Fault::new(FaultKind::SourceHistory, object, message).remedy(remedy))
    };
    let rewind = |to: &str| {
        format!("`tidewire task rewind NAME --to {topic}/{partition}={to} --yes`, then resume")
    };
    let PartitionFacts { low, high, .. } = facts;
    if next < low {
        let lost = low - 1;
        return fault(
            format!(
                "holds records from offset {low} on, but {next} to {lost} were not copied yet: \
                 retention or somebody deleted them"
            ),
            format!(
                "they cannot be had back: raise the topic's retention; to go on without them: {}",
                rewind("earliest")
            ),
        );
    }
    if next > high {
        return fault(
            format!(
                "ends at offset {high}, but everything below {next} was copied: its log was cut, and \
                 new records may stand where copied ones stood"
            ),
            format!(
                "find out what its brokers lost; to go on behind what it holds now: {}, or name an \
                 offset to copy from",
                rewind("latest")
            ),
        );
    }
    Ok(())
}
