//! What settings at both ends do to records.

use super::*;

fn with(here: &[(&str, &str)], there: &[(&str, &str)]) -> Vec<CheckItem> {
    let quiet = SyncConfigs { enabled: false, ..SyncConfigs::default() };
    changed(&KafkaTask { sync_configs: quiet, ..task() }, |seen| {
        original(seen).settings = Ok(settings(here));
        copy(seen).settings = Ok(settings(there));
    })
}

fn set(setting: &str) -> String {
    format!(
        "kafka-configs.sh --bootstrap-server east:9092 --alter --entity-type topics --entity-name \
         dr.orders --add-config {setting}"
    )
}

#[test]
fn a_copy_that_restamps_is_told() {
    let item = only(with(&[], &[("message.timestamp.type", "LogAppendTime")]));
    let remedy = set("message.timestamp.type=CreateTime");
    let expected = (
        "topic_configs",
        Warn,
        "dr.orders has message.timestamp.type LogAppendTime: its brokers restamp every record",
        "the copies would differ from their originals",
        remedy.as_str(),
        false,
    );
    assert_eq!(told(&item), expected);
}

#[test]
fn compaction_at_one_end_alone_is_told() {
    let item = only(with(&[], &[("cleanup.policy", "compact")]));
    assert_eq!((item.result, item.overridable), (Fail, true));
    assert_eq!(
        item.found,
        "dr.orders has cleanup.policy compact, its original delete: it refuses records without a key, \
         and removes older ones of a key"
    );
    assert_eq!(item.remedy, set("cleanup.policy=[delete]"));
    let item = only(with(
        &[("cleanup.policy", "compact"), ("retention.ms", "1")],
        &[("retention.ms", "-1")],
    ));
    assert_eq!(item.result, Warn);
    assert!(item.found.ends_with("the last record of a key is removed with time"), "{item:?}");
    let same = [("cleanup.policy", "compact,delete")];
    assert!(with(&same, &same).iter().all(|item| item.result == Pass));
}

#[test]
fn what_the_task_carries_over_is_no_difference() {
    let all = items(|seen| {
        original(seen).settings = Ok(settings(&[("cleanup.policy", "compact")]));
        copy(seen).settings = Ok(settings(&[("retention.ms", "-1")]));
    });
    assert_eq!(named(&all, "topic_configs").result, Pass, "{all:#?}");
}

#[test]
fn a_copy_that_forgets_sooner_is_told() {
    let item = only(with(&[("retention.ms", "-1")], &[]));
    assert_eq!(item.found, "dr.orders keeps records for 7d, its original for ever");
    assert_eq!((item.result, item.remedy), (Warn, set("retention.ms=-1")));
    let item = only(with(&[], &[("retention.ms", "7200000")]));
    assert_eq!(item.found, "dr.orders keeps records for 2h, its original for 7d");
    assert!(with(&[], &[("retention.ms", "-1")]).iter().all(|item| item.result == Pass));
}

#[test]
fn timestamps_that_the_copy_refuses_are_told() {
    let (after, before) = ("message.timestamp.after.max.ms", "message.timestamp.before.max.ms");
    let item = only(with(&[], &[(after, "3600000")]));
    assert_eq!(
        item.found,
        "dr.orders refuses records that are stamped more than 1h ahead, which its original takes: one \
         stops the task"
    );
    let ever = format!("{after}={}", i64::MAX);
    assert_eq!((item.result, item.remedy), (Warn, set(&ever)));
    let alike = [(after, "3600000")];
    assert!(with(&alike, &alike).iter().all(|item| item.result == Pass));
    let item = only(with(&[], &[(before, "86400000")]));
    assert_eq!(
        item.found,
        "dr.orders refuses records that are older than 1d, its original keeps them for 7d: one stops \
         the task"
    );
    assert!(with(&[], &[(before, "604800000")]).iter().all(|item| item.result == Pass));
    let ever = i64::MAX.to_string();
    assert!(with(&[], &[(before, &ever), (after, &ever)]).iter().all(|it| it.result == Pass));
    let both = [("message.timestamp.difference.max.ms", "86400000")];
    assert_eq!(only(with(&[], &both)).result, Warn, "before 3.6");
    let stamps = [(after, "3600000"), ("message.timestamp.type", "LogAppendTime")];
    assert!(!only(with(&[], &stamps)).found.contains("refuses"), "it stamps them itself");
}

#[test]
fn what_no_copy_keeps_is_said() {
    let item = named(&items(|_| {}), "topic_configs");
    assert_eq!(item.result, Pass);
    assert!(item.message.contains("offsets are not kept"), "{item:?}");
    assert!(item.message.contains("timestamp 0"), "{item:?}");
}

#[test]
fn more_replicas_in_sync_than_there_are_fail_also_where_they_are_to_be_made() {
    let item = only(with(&[], &[("min.insync.replicas", "2")]));
    assert_eq!((item.name.as_str(), item.result, item.overridable), ("topic_configs", Fail, false));
    assert_eq!(item.found, "dr.orders demands 2 replicas in sync and has 1");
    let item = only(items(|seen| {
        without_copy(seen);
        original(seen).settings = Ok(settings(&[("min.insync.replicas", "2")]));
    }));
    let expected = (
        "topic_configs",
        Fail,
        "dr.orders is made with min.insync.replicas 2 and 1 replicas",
        "records would be refused, or removed from the copies",
        "add min.insync.replicas to syncConfigs.exclude, or brokers to the target",
        false,
    );
    assert_eq!(told(&item), expected);
}

#[test]
fn copies_that_will_be_made_otherwise_are_told() {
    let made = |own: &[(&str, &str)], sync_configs: SyncConfigs| {
        let own = settings(own);
        changed(&KafkaTask { sync_configs, ..task() }, |seen| {
            without_copy(seen);
            original(seen).settings = Ok(own);
        })
    };
    let item = only(made(&[("retention.ms", "-1")], SyncConfigs::default()));
    assert_eq!(
        item.found,
        "dr.orders is made with the retention of the target's brokers, its original keeps records for ever"
    );
    let short = made(&[("retention.ms", "3600000")], SyncConfigs::default());
    assert!(short.iter().all(|item| item.result == Pass));
    let all = SyncConfigs { enabled: true, exclude: Vec::new() };
    let item = only(made(&[("message.timestamp.type", "LogAppendTime")], all));
    assert!(item.found.ends_with("every record is restamped"), "{item:?}");
}

#[test]
fn a_record_that_does_not_fit_is_told_with_the_limit_that_is_too_small() {
    let item =
        only(with(&[("max.message.bytes", "10485760")], &[("max.message.bytes", "10485760")]));
    let expected = (
        "message_size",
        Fail,
        "orders holds up to 10MiB; limits.recordBytes is 1MiB",
        "a record that does not fit stops the task",
        "write limits.recordBytes: 10MiB",
        true,
    );
    assert_eq!(told(&item), expected);
    let item = only(with(&[], &[("max.message.bytes", "1000")]));
    assert_eq!((item.result, item.overridable), (Fail, true));
    assert_eq!(item.remedy, set("max.message.bytes=1048588"));
}

#[test]
fn a_copy_that_brokers_make_smaller_is_told() {
    let mut task = task();
    task.limits.record_bytes = tidewire_shared::ByteSize(10 << 20);
    let item = only(changed(&task, |seen| {
        without_copy(seen);
        let mut told = settings(&[("max.message.bytes", "10485760")]);
        // Set for all topics of the source's brokers, so no copy is given it.
        told.get_mut("max.message.bytes").expect("told").own = false;
        original(seen).settings = Ok(told);
    }));
    assert_eq!((item.name.as_str(), item.result), ("message_size", Warn));
    assert_eq!(item.found, "dr.orders is made as the target's brokers make topics");
    let given = changed(&task, |seen| {
        without_copy(seen);
        original(seen).settings = Ok(settings(&[("max.message.bytes", "10485760")]));
    });
    assert_eq!(named(&given, "message_size").result, Pass);
}
