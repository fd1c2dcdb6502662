//! What is checked of topics.

use tidewire_shared::SecretRef;
use tidewire_shared::spec::{CreateTopics, Sasl, SaslMechanism, SecurityProtocol};

use super::*;
use crate::facts::{Neighbour, PartitionHealth};

fn neighbour(brokers: &str, topics: &[&str]) -> Neighbour {
    Neighbour {
        task: "billing".into(),
        brokers: vec![brokers.into()],
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        ..Neighbour::default()
    }
}

fn beside(spec: &PostgresTask, neighbours: &[Neighbour], seen: &TargetPrecheck) -> CheckItem {
    let tables = resolve(&spec.objects, "shop", &[]);
    let items = judge_target(&TargetLook { spec, tables: &tables, neighbours, seen });
    named(items, "topic_collision")
}

#[test]
fn a_topic_of_another_task_is_refused_until_that_is_wanted() {
    use CheckResult::{Fail, Pass};
    let fine = || target(Some(topic()));
    let expected = (
        "topic_collision",
        Fail,
        "task billing writes to orders too",
        "readers would find records of different origins mixed",
        "choose other topics, or delete the task that is not needed; override this item if that is \
         wanted",
        true,
    );
    let same = neighbour("K:9092", &["clicks", "orders"]);
    assert_eq!(told(&beside(&spec(), &[same], &fine())), expected);
    let pattern = neighbour("k:9092", &["ord*"]);
    assert_eq!(told(&beside(&spec(), &[pattern], &fine())), expected);
    // The same cluster under another name of one of its brokers.
    let seen = TargetPrecheck { addresses: vec!["10.0.0.1:9092".into()], ..fine() };
    assert_eq!(told(&beside(&spec(), &[neighbour("10.0.0.1:9092", &["orders"])], &seen)), expected);
    for apart in [neighbour("other:9092", &["orders"]), neighbour("k:9092", &["clicks", "x*"])] {
        let item = beside(&spec(), &[apart], &fine());
        let passed = ("topic_collision", Pass, "no other task writes there", "", "", false);
        assert_eq!(told(&item), passed);
    }
}

#[test]
fn tables_that_meet_by_chance_are_named() {
    let mut spec = spec();
    spec.objects[0].topic = "{schema}.{table}".into();
    spec.objects[0].tables = ["a b", "a/b"].map(table_named).to_vec();
    let item = beside(&spec, &[], &target(None));
    let expected = (
        "topic_collision",
        CheckResult::Fail,
        "\"public\".\"a b\", \"public\".\"a/b\" meet in topic public.a_b",
        "readers would find records of different origins mixed",
        "write a topic of its own for each table; override this item if that is wanted",
        true,
    );
    assert_eq!(told(&item), expected);
    spec.objects[0].topic = "all".into();
    assert_eq!(beside(&spec, &[], &target(None)).result, CheckResult::Pass);
}

fn table_named(table: &str) -> TableName {
    TableName { schema: "public".into(), table: table.into() }
}

#[test]
fn partitions_that_cannot_be_written_are_named() {
    use CheckResult::{Fail, Pass, Warn};
    let with = |spec: &PostgresTask, health: PartitionHealth, min_insync_replicas| {
        let replicated = TopicFacts { min_insync_replicas, replication_factor: 3, ..topic() };
        let seen = TargetPrecheck { health: vec![health], ..target(Some(replicated)) };
        named(judged_target(spec, &seen), "topic_partitions")
    };
    let health = |leaderless: &[u32], least| PartitionHealth {
        topic: "orders".into(),
        leaderless: leaderless.to_vec(),
        least_in_sync: Some(least),
    };
    let message = "writes would wait until enough brokers are back";
    let remedy = "start the brokers that `kafka-topics.sh --bootstrap-server k:9092 --describe \
                  --unavailable-partitions` and `--under-min-isr-partitions` name";
    let item = with(&spec(), health(&[1, 3], 0), 1);
    let found = "orders: no leader for partitions 1, 3";
    assert_eq!(told(&item), ("topic_partitions", Fail, found, message, remedy, true));
    let item = with(&spec(), health(&[], 1), 2);
    let found = "orders: 1 replicas in sync, min.insync.replicas is 2";
    assert_eq!(told(&item), ("topic_partitions", Fail, found, message, remedy, true));
    let item = with(&spec(), health(&[], 2), 2);
    assert_eq!(told(&item), ("topic_partitions", Pass, "orders 4", "", "", false));

    let mut made = spec();
    made.target.create_topics = Some(CreateTopics { partitions: 6, replication_factor: 3 });
    let item = with(&made, health(&[], 3), 1);
    let expected = (
        "topic_partitions",
        Warn,
        "orders has 4 partitions instead of 6",
        "target.createTopics does not change topics that exist",
        "correct target.createTopics, or delete these topics if they are empty",
        false,
    );
    assert_eq!(told(&item), expected);
}

#[test]
fn a_refused_login_is_told_apart_from_a_broken_way() {
    let fault = Fault::new(FaultKind::TargetDenied, "brokers k:9092", "login refused")
        .remedy("correct user and password");
    let seen = TargetPrecheck { brokers: Err(fault), ..target(None) };
    let items = judged_target(&spec(), &seen);
    let names: Vec<_> = items.iter().map(|item| (item.name.as_str(), item.result)).collect();
    assert_eq!(names, [("target_connect", CheckResult::Pass), ("target_auth", CheckResult::Fail)]);
    let expected = (
        "target_auth",
        CheckResult::Fail,
        "brokers k:9092",
        "login refused",
        "correct user and password",
        false,
    );
    assert_eq!(told(&items[1]), expected);
    let mut plain = spec();
    plain.target.security.protocol = SecurityProtocol::SaslPlaintext;
    plain.target.security.sasl = Some(Sasl {
        mechanism: SaslMechanism::Plain,
        user: "tide".into(),
        password: SecretRef::Env("P".into()),
    });
    let item = named(judged_target(&plain, &target(Some(topic()))), "target_auth");
    let expected = (
        "target_auth",
        CheckResult::Warn,
        "user tide, PLAIN without TLS",
        "the password crosses the network in clear",
        "write target.security.protocol: sasl_ssl, or mechanism: SCRAM-SHA-512",
        false,
    );
    assert_eq!(told(&item), expected);
    let item = named(judged_target(&spec(), &target(Some(topic()))), "target_auth");
    assert_eq!(told(&item), ("target_auth", CheckResult::Pass, "no login", "", "", false));
}

#[test]
fn brokers_without_topic_ids_are_old() {
    let old = TopicFacts { id: (0, 0), ..topic() };
    let item = only(judged_target(&spec(), &target(Some(old))));
    let expected = (
        "target_version",
        CheckResult::Warn,
        "older than 2.8: topics have no ids",
        "a topic that is deleted and made again would not be noticed, and exactly_once needs \
         brokers from 2.5 on",
        "upgrade the brokers to 2.8 or later",
        false,
    );
    assert_eq!(told(&item), expected);
    let item = named(judged_target(&spec(), &target(Some(topic()))), "target_version");
    assert_eq!(told(&item), ("target_version", CheckResult::Pass, "2.8 or later", "", "", false));
}

#[test]
fn only_a_message_limit_of_a_topic_may_be_overridden() {
    let of = |facts: TopicFacts| {
        named(judged_target(&spec(), &target(Some(facts))), "topic_policy").overridable
    };
    let small = TopicFacts { max_message_bytes: 1_000, ..topic() };
    assert!(of(small.clone()));
    assert!(!of(TopicFacts { min_insync_replicas: 2, ..small }));
}

#[test]
fn every_item_of_a_report_has_a_rule_and_yields_only_where_the_rule_says() {
    let mut names: Vec<String> = items(false, |_| {}).into_iter().map(|item| item.name).collect();
    names.extend(judged_target(&spec(), &target(Some(topic()))).into_iter().map(|item| item.name));
    let rules = tidewire_shared::precheck::item_rules().iter().map(|it| it.name);
    let in_order: Vec<_> = rules.filter(|rule| names.iter().any(|name| name == rule)).collect();
    assert_eq!(names, in_order);
}

#[test]
fn topics_are_not_made_with_more_replicas_than_brokers() {
    use CheckResult::{Fail, Pass};
    let mut made = spec();
    made.target.create_topics = Some(CreateTopics { partitions: 4, replication_factor: 3 });
    let mut seen = target(None);
    seen.topics = vec![("orders".into(), Ok(None))];
    seen.brokers = Ok(1);
    let item = named(judged_target(&made, &seen), "topics_exist");
    let expected = (
        "topics_exist",
        Fail,
        "orders has to be made with 3 replicas",
        "there are only 1 brokers",
        "write target.createTopics.replicationFactor: 1",
        false,
    );
    assert_eq!(told(&item), expected);
    seen.brokers = Ok(3);
    assert_eq!(named(judged_target(&made, &seen), "topics_exist").result, Pass);
}
