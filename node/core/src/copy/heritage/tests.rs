use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use tidewire_shared::spec::{ExistingData, KafkaStart, NamePattern, TopicRule};
use tidewire_shared::{Epoch, PartitionPosition, TopicPosition};

use super::*;
use crate::copy::{CopyProgress, FirstStart, PartitionFacts, SourceTopic, judge};
use crate::reconnect::Verdict;

const NAMES: [&str; 3] = ["orders", "clicks", "payments"];
const LOW: i64 = 10;

/// One generation of shards, and what changes around it.
#[derive(Clone, Debug)]
struct Age {
    count: u32,
    /// Which of its shards begin.
    begun: u64,
    /// A topic that the task does not copy meanwhile.
    excluded: Option<usize>,
    /// Partitions that each topic gets before it.
    grown: u32,
}

fn age() -> impl Strategy<Value = Age> {
    let begun = prop_oneof![Just(u64::MAX), any::<u64>()];
    (1..8_u32, begun, option::of(0..NAMES.len()), 0..3_u32)
        .prop_map(|(count, begun, excluded, grown)| Age { count, begun, excluded, grown })
}

fn layout(age: &Age, partitions: u32, place: u32) -> Layout {
    let topic = |name: &&str| SourceTopic {
        name: (*name).to_owned(),
        id: (1, i64::try_from(name.len()).expect("short")),
        partitions,
        replicas: 1,
        internal: false,
    };
    let exclude = age.excluded.map(|it| NamePattern::Exact(NAMES[it].to_owned()));
    let rule = TopicRule {
        topics: Vec::new(),
        exclude: exclude.into_iter().collect(),
        rename: "dr.{topic}".to_owned(),
    };
    let topics: Vec<_> = NAMES.iter().map(topic).collect();
    Layout::new(&[rule], &topics, (place, age.count)).expect("a layout")
}

/// What was copied, by whom it does not matter.
#[derive(Default)]
struct Truth {
    next: BTreeMap<(String, u32), i64>,
    /// Partitions that a shard had which began, whether they were there or not.
    settled: BTreeSet<(String, u32)>,
}

impl Truth {
    /// A shard begins, goes on as the truth says, copies something and leaves its newest record.
    fn lives(&mut self, layout: &Layout, heritage: &Heritage, end: i64) -> Left {
        let facts = vec![PartitionFacts { low: LOW, end, high: end }; layout.partitions().count()];
        let first = FirstStart {
            layout,
            facts: &facts,
            at_timestamp: &[],
            start: &KafkaStart::Latest,
            existing: ExistingData::Stop,
            target: &[],
            heritage,
        };
        let position = first.position().expect("a position");
        let Verdict::Stream(starts) = judge(layout, &position, &facts) else { panic!("goes on") };
        for start in &starts {
            let at = (start.topic.clone(), start.partition);
            let appeared = if self.settled.contains(&at) { LOW } else { end };
            let expected = self.next.get(&at).copied().unwrap_or(appeared);
            assert_eq!(start.offset, expected, "{at:?}");
        }
        let epoch = Epoch(1);
        let claim = PositionEntry { serial: 1, epoch, claim: true, position, topics: Vec::new() };
        let mut progress = CopyProgress::resume(&claim, layout, &starts);
        for (slot, start) in starts.iter().enumerate() {
            let copied = i64::from(start.partition) * 7 + 1;
            let next = (start.offset + copied).min(end);
            progress.accept(slot, next, None).expect("forward");
            self.next.insert((start.topic.clone(), start.partition), next);
        }
        for name in NAMES {
            let ours = (0..64).filter(|partition| layout.has(name, *partition));
            self.settled.extend(ours.map(|partition| (name.to_owned(), partition)));
        }
        Some(progress.seal().expect("sealed").unwrap_or(claim))
    }
}

proptest! {
    /// Whatever generations there were, and whichever of their shards began: each partition has one
    /// shard, and goes on exactly where it was.
    #[test]
    fn every_partition_goes_on_where_it_was(ages in vec(age(), 1..6), last in 1..8_u32) {
        let mut truth = Truth::default();
        let mut generations: Vec<Vec<Left>> = Vec::new();
        let mut partitions = 1;
        let last = Age { count: last, begun: u64::MAX, excluded: None, grown: 1 };
        for (number, age) in ages.into_iter().chain([last]).enumerate() {
            partitions += age.grown;
            let end = 100 * (i64::try_from(number).expect("few") + 1);
            let heritage = Heritage::new(generations.clone());
            let begins = |place: u32| age.begun & (1 << place) != 0;
            let left: Vec<Left> = (0..age.count)
                .map(|place| {
                    let layout = layout(&age, partitions, place);
                    begins(place).then(|| truth.lives(&layout, &heritage, end)).flatten()
                })
                .collect();
            // As the coordinators remember them.
            if left.iter().all(Option::is_some) {
                generations.clear();
            }
            generations.insert(0, left);
        }
        let mut found = BTreeMap::new();
        for record in Heritage::new(generations).records() {
            for (name, topic) in &record.position.topics {
                for (partition, at) in &topic.partitions {
                    let before = found.insert((name.clone(), *partition), at.next);
                    prop_assert_eq!(before, None, "in two shards");
                }
            }
        }
        prop_assert_eq!(found, truth.next);
    }
}

fn record(id: (i64, i64), partitions: &[(u32, i64)]) -> PositionEntry<KafkaPosition> {
    let at = |next| PartitionPosition { next, leader_epoch: None };
    let partitions = partitions.iter().map(|(number, next)| (*number, at(*next))).collect();
    let topic = TopicPosition { id, target: Some("dr.orders".to_owned()), partitions };
    let topics = [("orders".to_owned(), topic)].into();
    let position = KafkaPosition { topics, clearing: Vec::new() };
    PositionEntry { serial: 9, epoch: Epoch(3), claim: false, position, topics: Vec::new() }
}

fn one_shard() -> Layout {
    let topic = SourceTopic {
        name: "orders".to_owned(),
        id: (1, 2),
        partitions: 2,
        replicas: 1,
        internal: false,
    };
    let rule = TopicRule { rename: "dr.{topic}".to_owned(), ..TopicRule::default() };
    Layout::new(&[rule], &[topic], (0, 1)).expect("a layout")
}

/// The records of two shards of which each has one partition of `orders`, by partition.
fn two_shards(
    of_zero: PositionEntry<KafkaPosition>,
    of_one: PositionEntry<KafkaPosition>,
) -> Heritage {
    let mut left = [Some(of_zero), Some(of_one)];
    if shard_of("orders", 0, 2) == 1 {
        left.swap(0, 1);
    }
    Heritage::new(vec![left.into()])
}

#[test]
fn a_topic_made_again_is_noticed_by_whichever_shard_knew_the_old_one() {
    let layout = one_shard();
    let facts = [PartitionFacts { low: 0, end: 50, high: 50 }; 2];
    let judged = |zero, one| {
        let heritage = two_shards(record(zero, &[(0, 20)]), record(one, &[(1, 30)]));
        judge(&layout, &heritage.position(&layout), &facts)
    };
    assert!(matches!(judged((1, 2), (1, 2)), Verdict::Stream(_)));
    assert!(matches!(judged((0, 0), (1, 2)), Verdict::Stream(_)), "brokers before 2.8");
    for (zero, one) in [((9, 9), (1, 2)), ((1, 2), (9, 9)), ((9, 9), (0, 0))] {
        assert!(matches!(judged(zero, one), Verdict::Stop(_)), "{zero:?} and {one:?}");
    }
}

#[test]
fn a_copy_that_is_called_otherwise_now_is_noticed_by_whichever_shard_had_the_old_one() {
    let layout = one_shard();
    let facts = [PartitionFacts { low: 0, end: 50, high: 50 }; 2];
    let judged = |zero: Option<&str>, one: Option<&str>| {
        let (mut of_zero, mut of_one) = (record((1, 2), &[(0, 20)]), record((1, 2), &[(1, 30)]));
        for (record, name) in [(&mut of_zero, zero), (&mut of_one, one)] {
            record.position.topics.get_mut("orders").expect("known").target =
                name.map(str::to_owned);
        }
        let position = two_shards(of_zero, of_one).position(&layout);
        judge(&layout, &position, &facts)
    };
    assert!(matches!(judged(Some("dr.orders"), None), Verdict::Stream(_)));
    for (zero, one) in [(Some("old"), Some("dr.orders")), (Some("dr.orders"), Some("old"))] {
        assert!(matches!(judged(zero, one), Verdict::Stop(_)), "{zero:?} and {one:?}");
    }
}

#[test]
fn what_was_to_be_deleted_goes_to_the_shard_that_has_the_partition() {
    let clearing = |topic: &str, partition| Clearing { topic: topic.into(), partition, before: 7 };
    let mut of_zero = record((1, 2), &[(0, 20)]);
    of_zero.position.clearing = (0..6).map(|number| clearing("dr.orders", number)).collect();
    of_zero.position.clearing.push(clearing("no copy any more", 3));
    let of_zero = &of_zero;
    let heritage = two_shards(of_zero.clone(), record((1, 2), &[(1, 30)]));
    let rule = TopicRule { rename: "dr.{topic}".to_owned(), ..TopicRule::default() };
    let topics = [one_shard().topics()[0].source.clone()];
    let of =
        |place| Layout::new(std::slice::from_ref(&rule), &topics, (place, 4)).expect("a layout");
    let mut all = Vec::new();
    for place in 0..4 {
        let layout = of(place);
        let ours = heritage.position(&layout).clearing;
        assert!(ours.iter().all(|it| layout.has("orders", it.partition)));
        all.extend(ours);
    }
    all.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    assert_eq!(all, of_zero.position.clearing[..6], "what is no copy any more stays");
}

#[test]
fn pins_of_topics_that_only_others_write_to_are_left_to_them() {
    let pin = |name: &str| TopicPin { name: name.into(), id: (1, 1), partitions: 1 };
    let mut of_zero = record((1, 2), &[(0, 20)]);
    of_zero.topics = vec![pin("dr.orders"), pin("no copy any more")];
    let heritage = two_shards(of_zero, record((1, 2), &[(1, 30)]));
    let layout = one_shard();
    assert_eq!(heritage.pins(&layout), [pin("dr.orders"), pin("no copy any more")]);
    let rule = TopicRule { rename: "dr.{topic}".to_owned(), ..TopicRule::default() };
    let topics = [layout.topics()[0].source.clone()];
    let none = (0..9)
        .map(|place| {
            Layout::new(std::slice::from_ref(&rule), &topics, (place, 9)).expect("a layout")
        })
        .find(|layout| layout.partitions().count() == 0)
        .expect("a shard without partitions");
    assert_eq!(heritage.pins(&none), [pin("no copy any more")]);
}
