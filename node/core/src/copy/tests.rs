use tidewire_shared::spec::{ExistingData, KafkaStart, NamePattern, StartOffset, TopicRule};
use tidewire_shared::{Clearing, Epoch, FaultKind, KafkaPosition};

use super::*;
use crate::reconnect::Verdict;
use crate::takeover::PositionEntry;

fn topic(name: &str, partitions: u32) -> SourceTopic {
    SourceTopic { name: name.to_owned(), id: (1, 2), partitions, replicas: 1, internal: false }
}

fn rule(names: &[&str], rename: &str) -> TopicRule {
    let pattern = |name: &&str| match name.contains('*') {
        true => NamePattern::Glob((*name).to_owned()),
        false => NamePattern::Exact((*name).to_owned()),
    };
    let topics = names.iter().map(pattern).collect();
    TopicRule { topics, exclude: Vec::new(), rename: rename.to_owned() }
}

fn all(topics: &[SourceTopic]) -> Layout {
    Layout::new(&[rule(&[], "dr.{topic}")], topics, (0, 1)).expect("a layout")
}

fn no_heritage() -> &'static Heritage {
    static NONE: std::sync::OnceLock<Heritage> = std::sync::OnceLock::new();
    NONE.get_or_init(Heritage::default)
}

const FACTS: PartitionFacts = PartitionFacts { low: 10, end: 50, high: 50 };

fn first<'a>(
    layout: &'a Layout,
    facts: &'a [PartitionFacts],
    start: &'a KafkaStart,
) -> FirstStart<'a> {
    FirstStart {
        layout,
        facts,
        at_timestamp: &[],
        start,
        existing: ExistingData::Stop,
        target: &[],
        heritage: no_heritage(),
    }
}

fn next(position: &KafkaPosition, topic: &str, partition: u32) -> i64 {
    position.of(topic, partition).expect("a position").next
}

#[test]
fn a_topic_that_is_named_goes_by_that_rule() {
    let rules = [rule(&["or*"], "first.{topic}"), rule(&["orders"], "second")];
    let layout = Layout::new(&rules, &[topic("orders", 1), topic("organs", 1)], (0, 1));
    let layout = layout.expect("a layout");
    let names: Vec<_> = layout.topics().iter().map(|it| it.target.as_str()).collect();
    assert_eq!(names, ["second", "first.organs"]);
}

#[test]
fn two_topics_never_meet_in_one_copy() {
    let met = Layout::new(&[rule(&[], "all")], &[topic("a", 1), topic("b", 1)], (0, 1));
    let fault = met.expect_err("they meet");
    assert_eq!((fault.kind, fault.object.as_str()), (FaultKind::Configuration, "topics a and b"));
}

#[test]
fn every_partition_has_one_shard_and_growth_moves_none() {
    let rules = [rule(&[], "{topic}")];
    let of = |partitions, shard| {
        let layout = Layout::new(&rules, &[topic("orders", partitions)], (shard, 6));
        layout.expect("a layout").partitions().map(|it| it.partition).collect::<Vec<_>>()
    };
    let mut seen: Vec<u32> = (0..6).flat_map(|shard| of(64, shard)).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..64).collect::<Vec<_>>());
    for shard in 0..6 {
        assert!((10..=11).contains(&of(64, shard).len()), "spread over all shards");
        assert!(of(80, shard).starts_with(&of(64, shard)));
    }
}

#[test]
fn shards_without_partitions_take_no_part_of_a_limit() {
    let working = |topics: &[SourceTopic]| {
        Layout::new(&[rule(&[], "{topic}")], topics, (4, 6)).expect("a layout").working_shards()
    };
    assert_eq!(working(&[]), 1);
    assert_eq!(working(&[topic("orders", 1)]), 1);
    assert_eq!(working(&[topic("orders", 4)]), 4);
    assert_eq!(working(&[topic("orders", 4), topic("clicks", 64)]), 6);
}

#[test]
fn a_copy_that_appears_among_the_topics_of_the_source_is_not_copied_again() {
    let listed = [topic("orders", 1), SourceTopic { id: (7, 7), ..topic("dr.orders", 1) }];
    let layout = all(&listed);
    assert_eq!(layout.copies_to_read().collect::<Vec<_>>(), ["dr.orders"]);
    let fault = layout.comes_back([("dr.orders", (7, 7))]).expect_err("without end");
    assert_eq!((fault.kind, fault.object.as_str()), (FaultKind::Configuration, "topic dr.orders"));
    assert!(fault.message.contains("as dr.dr.orders"), "{fault}");
    assert!(layout.comes_back([("dr.orders", (8, 8)), ("orders", (0, 0))]).is_ok(), "elsewhere");
    assert!(all(&listed[..1]).comes_back([("dr.orders", (7, 7))]).is_ok(), "not taken");
}

#[test]
fn a_start_becomes_offsets_once() {
    let layout = all(&[topic("orders", 2)]);
    let facts = [FACTS; 2];
    for (start, expected) in [(KafkaStart::Earliest, 10), (KafkaStart::Latest, 50)] {
        let position = first(&layout, &facts, &start).position().expect("a position");
        assert_eq!(
            (next(&position, "orders", 0), next(&position, "orders", 1)),
            (expected, expected)
        );
    }
    let stamped = [Some(20), None];
    let start = KafkaStart::Timestamp(7);
    let at = FirstStart { at_timestamp: &stamped, ..first(&layout, &facts, &start) };
    let position = at.position().expect("a position");
    assert_eq!((next(&position, "orders", 0), next(&position, "orders", 1)), (20, 50));
}

#[test]
fn an_offset_to_start_at_must_be_there() {
    let layout = all(&[topic("orders", 2)]);
    let at = |offset| {
        let start = StartOffset { topic: "orders".into(), partition: 1, offset };
        let start = KafkaStart::Offsets(vec![start]);
        first(&layout, &[FACTS; 2], &start).position()
    };
    let position = at(50).expect("the end is a place, too");
    assert_eq!((next(&position, "orders", 0), next(&position, "orders", 1)), (10, 50));
    for missing in [9, 51] {
        assert_eq!(at(missing).expect_err("not there").kind, FaultKind::SourceState);
    }
}

#[test]
fn records_that_are_there_are_refused_kept_or_cleared_up_to_a_fixed_bound() {
    let layout = all(&[topic("orders", 1)]);
    let start = KafkaStart::Earliest;
    let there = |end| TargetPartition { topic: "dr.orders".into(), partition: 0, low: 3, end };
    let with = |existing, target: &[TargetPartition]| {
        FirstStart { existing, target, ..first(&layout, &[FACTS], &start) }.position()
    };
    let fault = with(ExistingData::Stop, &[there(9)]).expect_err("in the way");
    assert_eq!(fault.object, "topic dr.orders");
    assert!(fault.message.contains("partition 0 has the offsets 3 to 8"), "{fault}");
    assert!(with(ExistingData::Stop, &[there(3)]).is_ok(), "emptied topics are no obstacle");
    assert!(with(ExistingData::Append, &[there(9)]).expect("kept").clearing.is_empty());
    let cleared = with(ExistingData::Rewrite, &[there(9)]).expect("cleared").clearing;
    assert_eq!(cleared.iter().map(|it| it.before).collect::<Vec<_>>(), [9]);
}

fn copied(next: i64) -> KafkaPosition {
    let layout = all(&[topic("orders", 1)]);
    let mut position =
        first(&layout, &[FACTS], &KafkaStart::Earliest).position().expect("a position");
    let topic = position.topics.get_mut("orders").expect("the topic");
    topic.partitions.get_mut(&0).expect("the partition").next = next;
    position
}

fn judged(position: &KafkaPosition, source: SourceTopic) -> Verdict<Vec<PartitionStart>> {
    let partitions = usize::try_from(source.partitions).expect("few");
    judge(&all(&[source]), position, &vec![FACTS; partitions])
}

#[test]
fn a_copy_goes_on_where_it_was_and_takes_partitions_that_appeared() {
    let Verdict::Stream(starts) = judged(&copied(20), topic("orders", 2)) else {
        panic!("goes on")
    };
    let at: Vec<_> = starts.iter().map(|start| (start.partition, start.offset)).collect();
    assert_eq!(at, [(0, 20), (1, 10)]);
}

#[test]
fn what_is_gone_or_was_replaced_stops_the_copy() {
    let other = SourceTopic { id: (9, 9), ..topic("orders", 1) };
    for (position, source, told, goes_on) in [
        (copied(9), topic("orders", 1), "9 to 9 were not copied yet", "orders/0=earliest"),
        (copied(51), topic("orders", 1), "its log was cut", "orders/0=latest"),
        (copied(20), other, "deleted and made again", "orders=earliest"),
    ] {
        let Verdict::Stop(fault) = judged(&position, source) else { panic!("went on: {told}") };
        assert_eq!(fault.kind, FaultKind::SourceHistory);
        assert!(fault.message.contains(told), "{fault}");
        let command = format!("rewind NAME --to {goes_on} --yes");
        assert!(fault.remedy.contains(&command), "{}", fault.remedy);
    }
    let old_brokers = SourceTopic { id: (0, 0), ..topic("orders", 1) };
    assert!(matches!(judged(&copied(20), old_brokers), Verdict::Stream(_)));
}

#[test]
fn a_topic_goes_to_the_copy_that_has_what_came_before() {
    let listed = [topic("orders", 1)];
    let renamed = |rename| Layout::new(&[rule(&[], rename)], &listed, (0, 1)).expect("a layout");
    let mut position = copied(20);
    let Verdict::Stop(fault) = judge(&renamed("far.{topic}"), &position, &[FACTS]) else {
        panic!("began a half copy")
    };
    assert_eq!(
        (fault.kind, fault.object.as_str()),
        (FaultKind::Configuration, "source topic orders")
    );
    assert!(fault.message.contains("was copied to dr.orders so far"), "{fault}");
    assert!(fault.remedy.contains("rewind NAME --to orders=earliest --yes"), "{}", fault.remedy);
    assert!(same_copies(&renamed("far.{topic}"), &position).is_err());
    assert!(same_copies(&renamed("dr.{topic}"), &position).is_ok());

    // Releases before did not record it; what is copied now is.
    position.topics.get_mut("orders").expect("known").target = None;
    let layout = renamed("far.{topic}");
    let Verdict::Stream(starts) = judge(&layout, &position, &[FACTS]) else { panic!("goes on") };
    let topics = Vec::new();
    let claim = PositionEntry { serial: 4, epoch: Epoch(2), claim: true, position, topics };
    let mut progress = CopyProgress::resume(&claim, &layout, &starts);
    let sealed = progress.seal().expect("sealed").expect("there is something to record");
    assert_eq!(sealed.position.topics["orders"].target.as_deref(), Some("far.orders"));
}

#[test]
fn a_copied_topic_that_is_not_listed_any_more_stops_the_copy_unless_it_is_left_out() {
    let position = copied(20);
    let others = [topic("clicks", 1)];
    let judged = |rule: TopicRule| {
        let layout = Layout::new(&[rule], &others, (0, 1)).expect("a layout");
        let unlisted: Vec<_> =
            unlisted(&layout, &position).map(|(name, id)| (name.to_owned(), id)).collect();
        (unlisted, judge(&layout, &position, &[FACTS]))
    };
    let (gone, verdict) = judged(rule(&[], "dr.{topic}"));
    assert_eq!(gone, [("orders".to_owned(), (1, 2))]);
    let Verdict::Stop(fault) = verdict else { panic!("went on without orders") };
    assert_eq!((fault.kind, fault.message.as_str()), (FaultKind::SourceHistory, "was deleted"));
    let exclude = vec![NamePattern::Exact("orders".to_owned())];
    let (gone, verdict) = judged(TopicRule { exclude, ..rule(&[], "dr.{topic}") });
    assert!(gone.is_empty() && matches!(verdict, Verdict::Stream(_)));
}

#[test]
fn a_topic_with_fewer_partitions_than_were_copied_was_made_again() {
    let mut position = copied(20);
    let known = position.topics.get_mut("orders").expect("the topic");
    known.id = (0, 0);
    let at = known.partitions[&0];
    known.partitions.insert(3, at);
    let Verdict::Stop(fault) = judged(&position, topic("orders", 3)) else { panic!("went on") };
    assert!(fault.message.contains("3 partitions, but partition 3"), "{fault}");
    assert!(matches!(judged(&position, topic("orders", 4)), Verdict::Stream(_)));
}

#[test]
fn a_place_behind_an_open_transaction_is_no_cut_log() {
    let facts = [PartitionFacts { low: 10, end: 15, high: 50 }];
    let judged = |next| judge(&all(&[topic("orders", 1)]), &copied(next), &facts);
    assert!(matches!(judged(20), Verdict::Stream(_)));
    assert!(matches!(judged(51), Verdict::Stop(_)));
}

#[test]
fn only_copies_that_the_task_writes_are_cleared() {
    let layout = |rule| Layout::new(&[rule], &[topic("orders", 2)], (0, 1)).expect("a layout");
    let clearing = Clearing { topic: "dr.orders".to_owned(), partition: 1, before: 9 };
    assert!(layout(rule(&[], "dr.{topic}")).clears(&clearing));
    assert!(!layout(rule(&[], "elsewhere.{topic}")).clears(&clearing));
    assert!(!layout(rule(&["clicks"], "dr.{topic}")).clears(&clearing));
}

fn progress() -> CopyProgress {
    let (layout, position) = (all(&[topic("orders", 1)]), copied(20));
    let Verdict::Stream(starts) = judge(&layout, &position, &[FACTS]) else { panic!("goes on") };
    let topics = Vec::new();
    let claim = PositionEntry { serial: 4, epoch: Epoch(2), claim: true, position, topics };
    CopyProgress::resume(&claim, &layout, &starts)
}

#[test]
fn what_was_accepted_is_sealed_under_the_next_serial() {
    let mut progress = progress();
    assert_eq!(progress.seal().expect("nothing wrong"), None);
    progress.accept(0, 25, Some(3)).expect("forward");
    let entry = progress.seal().expect("sealed").expect("something moved");
    assert_eq!((entry.serial, entry.claim, next(&entry.position, "orders", 0)), (5, false, 25));
    progress.committed().expect("was sealed");
    assert_eq!(progress.seal().expect("nothing wrong"), None);
}

#[test]
fn an_epoch_goes_with_the_record_that_has_it_and_no_further() {
    let mut progress = progress();
    let mut at = |next, leader_epoch| {
        progress.accept(0, next, leader_epoch).expect("forward");
        let entry = progress.seal().expect("sealed").expect("something moved");
        progress.committed().expect("was sealed");
        let at = entry.position.of("orders", 0).expect("a position");
        (at.next, at.leader_epoch)
    };
    assert_eq!(at(25, Some(3)), (25, Some(3)));
    assert_eq!(at(27, None), (27, None), "markers of a leader that nobody named");
    assert_eq!(at(28, Some(5)), (28, Some(5)));
    progress.accept(0, 28, None).expect("no way back");
    progress.accept(0, 29, Some(5)).expect("forward");
    progress.accept(0, 29, None).expect("the end, where the last record stands");
    let entry = progress.seal().expect("sealed").expect("something moved");
    assert_eq!(entry.position.of("orders", 0).expect("a position").leader_epoch, Some(5));
}

#[test]
fn a_slot_never_goes_back() {
    let mut progress = progress();
    progress.accept(0, 25, None).expect("forward");
    assert!(progress.accept(0, 24, None).is_err());
    assert!(progress.accept(1, 1, None).is_err(), "nobody opened it");
}

#[test]
fn a_record_that_was_accepted_is_not_admitted_again_not_even_the_last_one() {
    let mut progress = progress();
    progress.accept(0, 25, Some(3)).expect("forward");
    let refused = progress.admit(0, 24).expect_err("a double");
    assert_eq!(refused.kind, FaultKind::Internal);
    assert_eq!(refused.message, "is at 25, and was told 24");
    assert!(progress.admit(1, 1).is_err(), "nobody opened it");
    progress.admit(0, 25).expect("the next one");
    progress.admit(0, 30).expect("behind a gap");
}
