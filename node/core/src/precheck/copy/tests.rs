use std::collections::BTreeMap;

use tidewire_shared::precheck::{CheckResult, item_rule, item_rules};
use tidewire_shared::spec::{
    Delivery, ExistingData, KafkaSource, KafkaStart, KafkaTarget, Limits, NamePattern, Retry, Sasl,
    SaslMechanism, SecurityProtocol, Shards, SyncConfigs, TopicRule,
};
use tidewire_shared::{Fault, FaultKind, SecretRef};

use super::*;
use crate::copy::{PartitionFacts, SourceTopic};
use crate::facts::{ClusterFacts, EndLook, Operation, PartitionHealth, Release, Setting};

use CheckResult::{Fail, Pass, Warn};

mod data;
mod ends;
mod feedback;
mod matches;
mod rights;
mod settings;
mod start;

fn rule(topics: &[&str], rename: &str) -> TopicRule {
    let pattern = |text: &&str| match text.contains('*') {
        true => NamePattern::Glob((*text).to_owned()),
        false => NamePattern::Exact((*text).to_owned()),
    };
    TopicRule {
        topics: topics.iter().map(pattern).collect(),
        exclude: Vec::new(),
        rename: rename.to_owned(),
    }
}

/// Copies `orders` to `dr.orders`.
fn task() -> KafkaTask {
    KafkaTask {
        name: "mirror".parse().expect("name"),
        display_name: String::new(),
        source: KafkaSource { brokers: vec!["west:9092".to_owned()], ..KafkaSource::default() },
        target: KafkaTarget { brokers: vec!["east:9092".to_owned()], ..KafkaTarget::default() },
        start: KafkaStart::Earliest,
        existing_data: ExistingData::Stop,
        topics: vec![rule(&["orders"], "dr.{topic}")],
        sync_configs: SyncConfigs::default(),
        shards: Shards::default(),
        delivery: Delivery::ExactlyOnce,
        retry: Retry::default(),
        limits: Limits::default(),
        alerts: Vec::new(),
    }
}

fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, Setting> {
    let all = [
        ("cleanup.policy", "delete"),
        ("retention.ms", "604800000"),
        ("min.insync.replicas", "1"),
        ("max.message.bytes", "1048588"),
        ("message.timestamp.type", "CreateTime"),
    ];
    let setting = |value: &str, own| Setting { value: value.to_owned(), own };
    let all = all.map(|(name, value)| (name.to_owned(), setting(value, false)));
    let own = pairs.iter().map(|(name, value)| ((*name).to_owned(), setting(value, true)));
    all.into_iter().chain(own).collect()
}

fn look(name: &str, ends: &[(i64, i64)]) -> TopicLook {
    use Operation::{Alter, AlterConfigs, Delete, Describe, DescribeConfigs, Read, Write};
    TopicLook {
        id: (1, 1),
        replicas: 1,
        health: PartitionHealth { topic: name.to_owned(), ..PartitionHealth::default() },
        operations: Some(vec![Read, Write, Describe, DescribeConfigs, Alter, AlterConfigs, Delete]),
        settings: Ok(settings(&[])),
        ends: ends
            .iter()
            .map(|(low, end)| Ok(PartitionFacts { low: *low, end: *end, high: *end }))
            .collect(),
        at_timestamp: Vec::new(),
    }
}

fn listed(name: &str, partitions: u32) -> SourceTopic {
    SourceTopic { name: name.to_owned(), id: (1, 1), partitions, replicas: 1, internal: false }
}

fn end(id: &str, broker: &str) -> EndLook {
    EndLook {
        cluster: Ok(ClusterFacts {
            id: Some(id.to_owned()),
            addresses: vec![format!("{broker}:9092")],
        }),
        topics: BTreeMap::new(),
        release: Some(Release::V2_8),
    }
}

/// `orders` with two partitions at the source; its copy, which is there and empty.
fn seen() -> CopyPrecheck {
    let mut source = end("w", "west");
    source.topics.insert("orders".to_owned(), Ok(Some(look("orders", &[(10, 50), (0, 4)]))));
    let mut target = end("e", "east");
    let copy = TopicLook { id: (2, 2), ..look("dr.orders", &[(0, 0), (0, 0)]) };
    target.topics.insert("dr.orders".to_owned(), Ok(Some(copy)));
    CopyPrecheck {
        source,
        listed: Ok(vec![listed("orders", 2)]),
        target,
        namesakes: Vec::new(),
        makeable: Vec::new(),
        widenable: Vec::new(),
        transactions: Ok(()),
        positions_topic: Ok(None),
    }
}

/// The copy, to be changed.
fn copy(seen: &mut CopyPrecheck) -> &mut TopicLook {
    topic(&mut seen.target, "dr.orders")
}

/// The topic at the source, to be changed.
fn original(seen: &mut CopyPrecheck) -> &mut TopicLook {
    topic(&mut seen.source, "orders")
}

fn topic<'a>(end: &'a mut EndLook, name: &str) -> &'a mut TopicLook {
    let look = end.topics.get_mut(name).expect("asked for");
    look.as_mut().expect("seen").as_mut().expect("there")
}

/// The copy is not there, and brokers would make it.
fn without_copy(seen: &mut CopyPrecheck) {
    seen.target.topics.insert("dr.orders".to_owned(), Ok(None));
    seen.makeable = vec![("dr.orders".to_owned(), Ok(()))];
}

fn denied(kind: FaultKind, object: &str) -> Fault {
    Fault::new(kind, object, "TopicAuthorizationFailed").remedy("grant it")
}

fn items_of(task: &KafkaTask, seen: &CopyPrecheck) -> Vec<CheckItem> {
    judge_copy(&CopyLook { task, started_before: false, known: None, neighbours: &[], seen })
}

/// The items after a change of what was seen.
fn items(change: impl FnOnce(&mut CopyPrecheck)) -> Vec<CheckItem> {
    changed(&task(), change)
}

fn changed(task: &KafkaTask, change: impl FnOnce(&mut CopyPrecheck)) -> Vec<CheckItem> {
    let mut seen = seen();
    change(&mut seen);
    items_of(task, &seen)
}

/// The one item that does not pass.
fn only(items: Vec<CheckItem>) -> CheckItem {
    let mut wrong: Vec<_> = items.into_iter().filter(|item| item.result != Pass).collect();
    assert_eq!(wrong.len(), 1, "{wrong:#?}");
    let item = wrong.remove(0);
    assert!(!item.found.is_empty() && !item.message.is_empty() && !item.remedy.is_empty());
    let stands = item_rule(&item.name).expect("a rule").stands.is_some();
    assert!(!(item.overridable && stands), "{} never yields", item.name);
    item
}

fn named(items: &[CheckItem], name: &str) -> CheckItem {
    items.iter().find(|item| item.name == name).expect(name).clone()
}

/// Everything that a user reads of an item.
fn told(item: &CheckItem) -> (&str, CheckResult, &str, &str, &str, bool) {
    let CheckItem { name, result, found, message, remedy, overridable, .. } = item;
    (name, *result, found, message, remedy, *overridable)
}

const ALL: [&str; 18] = [
    "source_connect",
    "source_auth",
    "source_version",
    "source_rights",
    "topics_match",
    "start_position",
    "target_connect",
    "target_auth",
    "target_version",
    "topics_exist",
    "topic_rights",
    "topic_data",
    "topic_partitions",
    "topic_configs",
    "message_size",
    "topic_collision",
    "loop",
    "target_transactions",
];

#[test]
fn a_copy_as_it_should_be_passes_every_item() {
    let items = items(|_| {});
    let told: Vec<_> = items.iter().map(|item| (item.name.as_str(), item.found.as_str())).collect();
    let found = [
        "1 broker",
        "no login",
        "2.8 or later",
        "1 topic may be read",
        "1 topic, 2 partitions",
        "the oldest record of each partition: up to 44 to copy",
        "1 broker",
        "no login",
        "2.8 or later",
        "1 copy is there",
        "every copy may be written",
        "no copy holds records",
        "2 partitions",
        "1 copy keeps what is written",
        "limits.recordBytes 1MiB",
        "no other task writes there",
        "nothing that is copied comes back",
        "transactions work; the positions topic is made at the start",
    ];
    assert_eq!(told, ALL.into_iter().zip(found).collect::<Vec<_>>());
    assert!(items.iter().all(|item| item.result == Pass), "{items:#?}");
}

#[test]
fn items_stand_in_the_order_of_their_rules() {
    let rules = item_rules().iter().map(|rule| rule.name);
    assert_eq!(rules.filter(|name| ALL.contains(name)).collect::<Vec<_>>(), ALL);
}

#[test]
fn the_rows_of_the_reference_are_all_there() {
    let titles = ALL.iter().filter_map(|name| Some((*name, item_rule(name)?.title?)));
    let expected = [
        ("source_connect", "Source Data Source Connection Check"),
        ("source_auth", "Source Data Source Connection Check"),
        ("target_connect", "Target Data Source Connection Check"),
        ("target_auth", "Target Data Source Connection Check"),
        ("topics_exist", "Target Database Data Existence Check"),
        ("topic_rights", "Target Database Permission Check"),
        ("topic_data", "Target Database Data Existence Check"),
    ];
    assert_eq!(titles.collect::<Vec<_>>(), expected);
}
