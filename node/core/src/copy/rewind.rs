//! Other places for partitions of a copy to go on from: positions and places in, the records that move
//! them out.
//!
//! Back means that records are copied again, forward that some are never copied. Either is the user's
//! choice, so each partition that moves is told with both offsets.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use tidewire_shared::spec::TopicRule;
use tidewire_shared::{
    Epoch, Fault, FaultKind, KafkaPosition, PartitionPosition, Place, PlaceAt, TopicPosition,
};

use super::layout::rule_of;
use super::open::PartitionFacts;
use crate::takeover::PositionEntry;

/// A partition that a place means, with what the source says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMove {
    /// Topic of the source.
    pub topic: String,
    /// Its partition.
    pub partition: u32,
    /// Where it goes on.
    pub at: PlaceAt,
    /// Its whole topic moves, at least.
    pub whole_topic: bool,
    /// What is there now; none: the topic has no such partition any more.
    pub found: Option<MoveFacts>,
}

/// What the source says of a partition that moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MoveFacts {
    /// Kafka's id of the topic; (0, 0) where the brokers have none.
    pub id: (i64, i64),
    /// Where it begins and ends.
    pub bounds: PartitionFacts,
    /// Offset of the first record that is not older than the place's timestamp; none where there is no
    /// such record, or where the place is no time.
    pub at_timestamp: Option<i64>,
}

/// The partitions of each position that the places mean; `found` is for the shell to fill.
///
/// Of several places that fit a partition, one that names it goes before one of its topic, and that
/// before one of all; of two alike the last counts.
///
/// # Errors
/// [`FaultKind::Configuration`] for a place that fits no partition of any position.
pub fn moves(
    places: &[Place],
    positions: &[&KafkaPosition],
) -> Result<Vec<Vec<PartitionMove>>, Fault> {
    for place in places {
        let fits = |position: &&KafkaPosition| {
            partitions(position).any(|(topic, partition)| means(place, topic, partition))
        };
        if !positions.iter().any(fits) {
            return Err(not_copied(place));
        }
    }
    let of = |position: &&KafkaPosition| {
        partitions(position)
            .filter_map(|(topic, partition)| moved(places, topic, partition))
            .collect()
    };
    Ok(positions.iter().map(of).collect())
}

fn partitions(position: &KafkaPosition) -> impl Iterator<Item = (&str, u32)> {
    let topics = position.topics.iter();
    topics.flat_map(|(topic, known)| known.partitions.keys().map(move |it| (topic.as_str(), *it)))
}

fn means(place: &Place, topic: &str, partition: u32) -> bool {
    place.topic.as_ref().is_none_or(|named| named == topic)
        && place.partition.is_none_or(|named| named == partition)
}

fn moved(places: &[Place], topic: &str, partition: u32) -> Option<PartitionMove> {
    let fitting = || places.iter().filter(|place| means(place, topic, partition));
    let names = |place: &&Place| (place.partition.is_some(), place.topic.is_some());
    let place = fitting().max_by_key(names)?;
    let whole_topic = fitting().any(|place| place.partition.is_none());
    Some(PartitionMove {
        topic: topic.to_owned(),
        partition,
        at: place.at,
        whole_topic,
        found: None,
    })
}

fn not_copied(place: &Place) -> Fault {
    let what = match (&place.topic, place.partition) {
        (Some(topic), Some(partition)) => format!("source topic {topic}, partition {partition}"),
        (Some(topic), None) => format!("source topic {topic}"),
        (None, _) => "topics".to_owned(),
    };
    Fault::new(FaultKind::Configuration, what, "no shard of the task has a position there")
        .remedy("`tidewire positions show` lists what has one")
}

/// The record that moves partitions of a shard, and a line about each.
///
/// Where a whole topic moves, whatever is its copy by then is taken for it: that is how a copy that was
/// deleted is filled again.
///
/// # Errors
/// [`FaultKind::Fenced`] when somebody runs the shard; [`FaultKind::SourceHistory`] for an offset that is
/// not there, and for a part of a topic that was made again.
pub fn rewound(
    newest: &PositionEntry<KafkaPosition>,
    epoch: Epoch,
    moves: &[PartitionMove],
    rules: &[TopicRule],
) -> Result<(PositionEntry<KafkaPosition>, Vec<String>), Fault> {
    if newest.epoch > epoch {
        let text = format!("a later owner, {}, has claimed it", newest.epoch);
        return Err(Fault::new(FaultKind::Fenced, "shard", text)
            .remedy("pause the task and wait until it is Paused"));
    }
    let serial = newest.serial.checked_add(1).ok_or_else(|| {
        Fault::new(FaultKind::TargetHistory, "positions", "the newest record is not ours")
            .remedy("restore the positions topic")
    })?;
    let mut position = newest.position.clone();
    let mut told = Vec::new();
    for wanted in moves {
        let before = newest.position.topics.get(&wanted.topic);
        if let (Some(known), Some(before)) = (position.topics.get_mut(&wanted.topic), before) {
            told.push(wanted.carry_out(known, before.id)?);
        }
    }
    let mut anew = BTreeSet::new();
    for wanted in moves.iter().filter(|wanted| wanted.whole_topic) {
        let Some(rule) = rule_of(rules, &wanted.topic, false) else { continue };
        let copy = rule.renamed(&wanted.topic);
        if let Some(topic) = position.topics.get_mut(&wanted.topic) {
            topic.target = Some(copy.clone());
        }
        anew.insert(copy);
    }
    // A topic without partitions would keep the id that it had, and stop a later one of its name. That it
    // was copied is not forgotten: its copy holds what was.
    for topic in position.topics.values_mut().filter(|topic| topic.partitions.is_empty()) {
        *topic = TopicPosition::default();
    }
    let mut topics = newest.topics.clone();
    topics.retain(|pin| !anew.contains(&pin.name));
    Ok((PositionEntry { serial, epoch, claim: true, position, topics }, told))
}

impl PartitionMove {
    fn carry_out(&self, known: &mut TopicPosition, id: (i64, i64)) -> Result<String, Fault> {
        let (topic, partition) = (&self.topic, self.partition);
        let before = known.partitions.get(&partition).map_or(0, |known| known.next);
        let Some(found) = self.found else {
            known.partitions.remove(&partition);
            return Ok(format!("{topic}/{partition}: {before} → nowhere: it is gone"));
        };
        let both_known = id != (0, 0) && found.id != (0, 0);
        let made_again = both_known && id != found.id;
        if made_again && !self.whole_topic {
            let message =
                "was deleted and made again: the offsets of all its partitions are others";
            return Err(Fault::new(
                FaultKind::SourceHistory,
                format!("source topic {topic}"),
                message,
            )
            .remedy(format!("move all of it, like `--to {topic}=earliest`")));
        }
        let next = self.offset(found)?;
        // All partitions of the topic move, so what the old one was does not matter any more.
        known.id = found.id;
        known.partitions.insert(partition, PartitionPosition { next, leader_epoch: None });
        Ok(format!("{topic}/{partition}: {before} → {next}{}", meaning(made_again, before, next)))
    }

    fn offset(&self, found: MoveFacts) -> Result<i64, Fault> {
        let PartitionFacts { low, end, high } = found.bounds;
        match self.at {
            PlaceAt::Earliest => Ok(low),
            PlaceAt::Latest => Ok(end),
            PlaceAt::Timestamp(_) => Ok(found.at_timestamp.unwrap_or(end).max(low)),
            PlaceAt::Offset(offset) if (low..=high).contains(&offset) => Ok(offset),
            PlaceAt::Offset(offset) => Err(Fault::new(
                FaultKind::SourceHistory,
                format!("source topic {}, partition {}", self.topic, self.partition),
                format!("has the offsets {low} to {high}, not {offset}"),
            )
            .remedy(format!("name an offset from {low} to {high}, earliest or latest"))),
        }
    }
}

fn meaning(made_again: bool, before: i64, next: i64) -> String {
    match next.cmp(&before) {
        _ if made_again => " of the topic made again".to_owned(),
        Ordering::Less => format!(", {} offsets are copied again", before - next),
        Ordering::Equal => ", as before".to_owned(),
        Ordering::Greater => format!(", {} offsets are never copied", next - before),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::takeover::TopicPin;

    const OLD: (i64, i64) = (1, 1);

    fn position(topics: &[(&str, &[(u32, i64)])]) -> KafkaPosition {
        let partition = |(number, next): &(u32, i64)| {
            (*number, PartitionPosition { next: *next, leader_epoch: Some(3) })
        };
        let topic = |(name, partitions): &(&str, &[(u32, i64)])| {
            let partitions = partitions.iter().map(partition).collect();
            ((*name).to_owned(), TopicPosition { id: OLD, target: None, partitions })
        };
        KafkaPosition { topics: topics.iter().map(topic).collect(), clearing: Vec::new() }
    }

    fn place(topic: Option<&str>, partition: Option<u32>, at: PlaceAt) -> Place {
        Place { topic: topic.map(str::to_owned), partition, at }
    }

    fn entry(position: KafkaPosition) -> PositionEntry<KafkaPosition> {
        PositionEntry { serial: 7, epoch: Epoch(3), claim: false, position, topics: Vec::new() }
    }

    fn there(id: (i64, i64), low: i64, end: i64) -> Option<MoveFacts> {
        Some(MoveFacts { id, bounds: PartitionFacts { low, end, high: end }, at_timestamp: None })
    }

    #[test]
    fn what_names_a_partition_goes_before_what_names_its_topic_or_none() {
        let (first, second) =
            (position(&[("a", &[(0, 5), (2, 6)])]), position(&[("b", &[(1, 7)])]));
        let places = [
            place(Some("a"), Some(2), PlaceAt::Offset(4)),
            place(None, None, PlaceAt::Earliest),
            place(Some("a"), None, PlaceAt::Latest),
        ];
        let moves = moves(&places, &[&first, &second]).expect("all fit");
        let told = |shard: usize| {
            moves[shard]
                .iter()
                .map(|it| (it.topic.as_str(), it.partition, it.at))
                .collect::<Vec<_>>()
        };
        assert_eq!(told(0), [("a", 0, PlaceAt::Latest), ("a", 2, PlaceAt::Offset(4))]);
        assert_eq!(told(1), [("b", 1, PlaceAt::Earliest)]);
    }

    #[test]
    fn a_place_that_nothing_has_is_refused() {
        let known = position(&[("a", &[(0, 5)])]);
        for nowhere in
            [place(Some("a"), Some(1), PlaceAt::Latest), place(Some("b"), None, PlaceAt::Latest)]
        {
            let fault = moves(&[nowhere], &[&known]).expect_err("nothing there");
            assert_eq!(fault.kind, FaultKind::Configuration);
        }
    }

    fn after(
        at: PlaceAt,
        whole_topic: bool,
        found: Option<MoveFacts>,
    ) -> Result<(i64, String), Fault> {
        let wanted = PartitionMove { topic: "a".into(), partition: 0, at, whole_topic, found };
        let newest = entry(position(&[("a", &[(0, 50), (1, 60)])]));
        let (moved, told) = rewound(&newest, Epoch(3), &[wanted], &[])?;
        assert_eq!((moved.serial, moved.claim), (8, true));
        assert_eq!(moved.position.of("a", 1).map(|it| it.next), Some(60), "the others stay");
        let next = moved.position.of("a", 0).map_or(-1, |it| it.next);
        Ok((next, told.join("\n")))
    }

    #[test]
    fn a_gap_is_passed_over_and_told() {
        let (next, told) = after(PlaceAt::Earliest, false, there(OLD, 80, 90)).expect("moved");
        assert_eq!((next, told.as_str()), (80, "a/0: 50 → 80, 30 offsets are never copied"));
        let (next, told) = after(PlaceAt::Offset(40), false, there(OLD, 10, 90)).expect("moved");
        assert_eq!((next, told.as_str()), (40, "a/0: 50 → 40, 10 offsets are copied again"));
        let fault = after(PlaceAt::Offset(91), false, there(OLD, 10, 90)).expect_err("not there");
        assert_eq!(fault.remedy, "name an offset from 10 to 90, earliest or latest");
    }

    #[test]
    fn a_topic_made_again_moves_as_a_whole_or_not_at_all() {
        let fault = after(PlaceAt::Earliest, false, there((2, 2), 0, 9)).expect_err("in part");
        assert_eq!(fault.remedy, "move all of it, like `--to a=earliest`");
        let (next, told) = after(PlaceAt::Earliest, true, there((2, 2), 0, 9)).expect("moved");
        assert_eq!((next, told.as_str()), (0, "a/0: 50 → 0 of the topic made again"));
        let (next, told) = after(PlaceAt::Earliest, true, None).expect("moved");
        assert_eq!((next, told.as_str()), (-1, "a/0: 50 → nowhere: it is gone"));
    }

    #[test]
    fn a_whole_topic_that_moves_forgets_what_it_and_its_copy_were() {
        let pin = |name: &str| TopicPin { name: name.to_owned(), id: (7, 7), partitions: 1 };
        let topics = vec![pin("dr.a"), pin("dr.b")];
        let known = position(&[("a", &[(3, 50)]), ("b", &[(0, 5)])]);
        let newest = PositionEntry { topics, ..entry(known) };
        let rename = "dr.{topic}".to_owned();
        let rules = [TopicRule { topics: Vec::new(), exclude: Vec::new(), rename }];
        let moved = |whole_topic, found| {
            let at = PlaceAt::Earliest;
            let wanted = PartitionMove { topic: "a".into(), partition: 3, at, whole_topic, found };
            rewound(&newest, Epoch(3), &[wanted], &rules).expect("moved").0
        };
        let gone = moved(true, None);
        assert_eq!(gone.position.topics["a"], TopicPosition::default(), "known, and nowhere");
        assert_eq!(gone.topics, [pin("dr.b")]);
        assert_eq!(moved(false, there(OLD, 0, 90)).topics, newest.topics, "only a part moved");
        let copy = |entry: PositionEntry<KafkaPosition>| entry.position.topics["a"].target.clone();
        assert_eq!(
            copy(moved(true, there(OLD, 0, 90))).as_deref(),
            Some("dr.a"),
            "as it is called now"
        );
        assert_eq!(copy(moved(false, there(OLD, 0, 90))), None);
    }

    #[test]
    fn a_later_owner_keeps_its_position() {
        let fault = rewound(&entry(position(&[])), Epoch(2), &[], &[]).expect_err("fenced");
        assert_eq!(fault.kind, FaultKind::Fenced);
    }
}
