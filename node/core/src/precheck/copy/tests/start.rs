//! Where the copy begins.

use tidewire_shared::spec::StartOffset;

use super::*;

fn from(start: KafkaStart, change: impl FnOnce(&mut CopyPrecheck)) -> CheckItem {
    named(&changed(&KafkaTask { start, ..task() }, change), "start_position")
}

fn at(places: &[(u32, i64)]) -> KafkaStart {
    let place = |(partition, offset): &(u32, i64)| StartOffset {
        topic: "orders".to_owned(),
        partition: *partition,
        offset: *offset,
    };
    KafkaStart::Offsets(places.iter().map(place).collect())
}

#[test]
fn an_offset_that_is_not_there_is_told_with_those_that_are() {
    let item = from(at(&[(0, 9), (1, 5), (7, 0)]), |_| {});
    let expected = (
        "start_position",
        Fail,
        "orders, partition 0 has the offsets 10 to 50, not 9; orders, partition 1 has the offsets 0 to \
         4, not 5; orders has 2 partitions, and none is numbered 7",
        "the copy cannot begin there",
        "name offsets that are there in start.offsets, or write start: earliest",
        false,
    );
    assert_eq!(told(&item), expected);
    let other = StartOffset { topic: "clicks".to_owned(), partition: 0, offset: 1 };
    let item = from(KafkaStart::Offsets(vec![other]), |_| {});
    assert_eq!(item.found, "clicks is not among the topics that are copied");
    // The end is a place, too.
    let item = from(at(&[(0, 50), (1, 0)]), |_| {});
    assert_eq!((item.result, item.found.as_str()), (Pass, "2 offsets named, all are there"));
}

#[test]
fn partitions_that_are_not_named_begin_at_their_oldest_record() {
    let item = from(at(&[(1, 2)]), |_| {});
    let expected = (
        "start_position",
        Warn,
        "start.offsets does not name orders/0",
        "these partitions are copied from their oldest record",
        "name them in start.offsets too, or exclude their topics, if that is not meant",
        false,
    );
    assert_eq!(told(&item), expected);
}

#[test]
fn a_time_without_younger_records_is_told() {
    let young = |at: [Option<i64>; 2]| {
        from(KafkaStart::Timestamp(7), move |seen| original(seen).at_timestamp = at.to_vec())
    };
    assert_eq!(young([Some(20), Some(1)]).found, "2 partitions have records as young");
    let some = young([Some(20), None]);
    assert_eq!(
        (some.result, some.found.as_str()),
        (Pass, "1 partition has records as young, 1 begins at its end")
    );
    let none = young([None, None]);
    assert_eq!(
        (none.result, none.found.as_str()),
        (Warn, "none of 2 partitions has a record as young")
    );
}

#[test]
fn ends_that_cannot_be_seen_fail() {
    let fault = Fault::new(FaultKind::SourceBusy, "topic orders, partition 1", "no leader");
    let item = from(KafkaStart::Earliest, |seen| original(seen).ends[1] = Err(fault));
    assert_eq!((item.result, item.found.as_str()), (Fail, "orders, partition 1: no leader"));
    assert!(item.remedy.contains("--bootstrap-server west:9092"), "{item:?}");
    let fault = Fault::new(FaultKind::SourceBusy, "brokers west:9092", "timed out");
    let item = from(KafkaStart::Latest, |seen| {
        seen.source.topics.insert("orders".to_owned(), Err(fault));
    });
    assert_eq!((item.result, item.found.as_str()), (Fail, "orders: timed out"));
}

#[test]
fn where_a_task_began_no_longer_matters() {
    let task = KafkaTask { start: at(&[(0, 999)]), ..task() };
    let look =
        CopyLook { task: &task, started_before: true, known: None, neighbours: &[], seen: &seen() };
    let item = named(&judge_copy(&look), "start_position");
    assert_eq!((item.result, item.found.as_str()), (Pass, "the task goes on where it was"));
}
