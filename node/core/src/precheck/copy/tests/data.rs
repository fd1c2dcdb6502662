//! What copies hold already, and how many partitions they have.

use super::*;

fn under(existing_data: ExistingData, change: impl FnOnce(&mut CopyPrecheck)) -> CheckItem {
    let task = KafkaTask { existing_data, ..task() };
    only(changed(&task, |seen| {
        copy(seen).ends = look("", &[(0, 100), (7, 9)]).ends;
        change(seen);
    }))
}

const HOLDS: &str = "dr.orders holds up to 102 records";

#[test]
fn records_in_a_copy_are_refused_kept_or_deleted_as_the_document_says() {
    let expected = (
        "topic_data",
        Fail,
        HOLDS,
        "existingData: stop copies nothing to where records are",
        "write existingData: append to leave them and follow them, or existingData: rewrite to delete \
         them once; or rename the copies",
        false,
    );
    assert_eq!(told(&under(ExistingData::Stop, |_| {})), expected);
    let expected = (
        "topic_data",
        Warn,
        HOLDS,
        "they stay, and the copied records follow them",
        "write existingData: rewrite to delete them once",
        false,
    );
    assert_eq!(told(&under(ExistingData::Append, |_| {})), expected);
    let expected = (
        "topic_data",
        Warn,
        HOLDS,
        "the first start deletes them: up to 102 records of 1 topic",
        "nothing to do if that is meant; existingData: append leaves them",
        false,
    );
    assert_eq!(told(&under(ExistingData::Rewrite, |_| {})), expected);
}

#[test]
fn records_that_brokers_do_not_delete_are_not_rewritten() {
    let policy = |value: &'static str| {
        under(ExistingData::Rewrite, |seen| {
            original(seen).settings = Ok(settings(&[("cleanup.policy", value)]));
            copy(seen).settings = Ok(settings(&[("cleanup.policy", value)]));
        })
    };
    let item = policy("compact");
    assert_eq!((item.name.as_str(), item.result, item.overridable), ("topic_data", Fail, false));
    assert!(item.message.contains("only compacted"), "{item:?}");
    assert!(
        item.remedy
            .contains("kafka-topics.sh --bootstrap-server east:9092 --delete --topic dr.orders")
    );
    assert_eq!(policy("compact,delete").result, Warn);
    let task = KafkaTask {
        existing_data: ExistingData::Rewrite,
        delivery: Delivery::AtLeastOnce,
        ..task()
    };
    let all = changed(&task, |seen| {
        copy(seen).ends = look("", &[(0, 1), (0, 0)]).ends;
        seen.target.release = Some(Release::V0_10);
    });
    let item = named(&all, "topic_data");
    assert_eq!(item.result, Fail);
    assert!(item.message.contains("before 0.11 delete no records"), "{item:?}");
}

#[test]
fn what_a_running_copy_wrote_is_no_obstacle() {
    let mut seen = seen();
    copy(&mut seen).ends = look("", &[(0, 100), (7, 9)]).ends;
    let look =
        CopyLook { task: &task(), started_before: true, known: None, neighbours: &[], seen: &seen };
    assert!(judge_copy(&look).iter().all(|item| item.result == Pass));
}

#[test]
fn what_the_copy_of_a_new_topic_holds_is_judged_on_a_running_task_too() {
    let mut seen = seen();
    copy(&mut seen).ends = look("", &[(0, 100), (7, 9)]).ends;
    let judged = |known: &[&str]| {
        let known = known.iter().map(|name| (*name).to_owned()).collect();
        let (task, neighbours, known) = (&task(), &[], Some(&known));
        judge_copy(&CopyLook { task, started_before: true, known, neighbours, seen: &seen })
    };
    assert!(judged(&["orders"]).iter().all(|item| item.result == Pass));
    let item = only(judged(&["clicks"]));
    assert_eq!((item.name.as_str(), item.result, item.found.as_str()), ("topic_data", Fail, HOLDS));
}

#[test]
fn ends_of_a_copy_that_cannot_be_seen_fail() {
    let fault = Fault::new(FaultKind::TargetBusy, "topic dr.orders, partition 0", "no leader");
    let item = only(items(|seen| copy(seen).ends[0] = Err(fault.remedy("start its broker"))));
    assert_eq!(
        (item.name.as_str(), item.found.as_str()),
        ("topic_data", "topic dr.orders, partition 0")
    );
}

#[test]
fn copies_that_are_missing_are_made_if_brokers_would() {
    let all = items(without_copy);
    assert!(all.iter().all(|item| item.result == Pass), "{all:#?}");
    assert_eq!(named(&all, "topics_exist").found, "0 copies are there, 1 will be made: dr.orders");
    let item = only(items(|seen| {
        without_copy(seen);
        let fault = Fault::new(FaultKind::Configuration, "topic dr.orders", "Invalid value never");
        seen.makeable[0].1 = Err(fault.remedy("leave the setting out"));
    }));
    let expected = (
        "topics_exist",
        Fail,
        "dr.orders: Invalid value never",
        "these copies are neither there nor can be made",
        "leave the setting out",
        false,
    );
    assert_eq!(told(&item), expected);
    let item = only(items(|seen| {
        without_copy(seen);
        seen.listed = Ok(vec![SourceTopic { replicas: 3, ..listed("orders", 2) }]);
    }));
    assert_eq!((item.name.as_str(), item.result), ("topics_exist", Warn));
    assert_eq!(
        item.message,
        "1 is made with fewer replicas than at the source: the target has 1 broker"
    );
}

#[test]
fn a_copy_gets_partitions_and_loses_none() {
    let of = |ends: &[(i64, i64)]| {
        let ends = look("", ends).ends;
        named(
            &changed(&KafkaTask { existing_data: ExistingData::Append, ..task() }, |seen| {
                copy(seen).ends = ends;
            }),
            "topic_partitions",
        )
    };
    let item = of(&[(0, 0)]);
    assert_eq!(
        (item.result, item.found.as_str()),
        (Pass, "dr.orders has 1 partition, orders 2: they get as many")
    );
    let item = of(&[(0, 8)]);
    assert_eq!((item.result, item.found.as_str()), (Warn, "dr.orders has 1 partition, orders 2"));
    let item = of(&[(0, 0); 4]);
    assert_eq!((item.result, item.found.as_str()), (Warn, "dr.orders has 4 partitions, orders 2"));
    assert!(item.message.contains("readers that look for a key by its hash"), "{item:?}");
}

#[test]
fn partitions_that_cannot_be_written_or_added_fail() {
    let item = only(items(|seen| copy(seen).health.leaderless = vec![1]));
    let found = "dr.orders: no leader for partitions 1";
    assert_eq!((item.found.as_str(), item.overridable), (found, true));
    let item = only(items(|seen| {
        let copy = copy(seen);
        copy.replicas = 3;
        copy.settings = Ok(settings(&[("min.insync.replicas", "2")]));
        copy.health.least_in_sync = Some(1);
    }));
    assert_eq!(item.found, "dr.orders: 1 replicas in sync, min.insync.replicas is 2");
    let item = only(items(|seen| {
        copy(seen).ends.pop();
        let fault = Fault::new(FaultKind::TargetState, "", "brokers before 1.0 cannot do this");
        seen.widenable = vec![("dr.orders".to_owned(), Err(fault.remedy("do it by hand")))];
    }));
    assert_eq!((item.name.as_str(), item.result), ("topic_partitions", Fail));
    assert_eq!(item.found, "dr.orders: brokers before 1.0 cannot do this");
}
