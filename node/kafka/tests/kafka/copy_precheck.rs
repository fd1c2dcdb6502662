//! The precheck of a copy against two real clusters: what brokers say, and what is made of it.

use std::time::{Duration, Instant};

use tidewire_kafka::topics::{At, Config, NewTopic, Topics};
use tidewire_kafka::{Settings, positions, precheck};
use tidewire_node_core::facts::{CopyPrecheck, Neighbour};
use tidewire_node_core::precheck::{CopyLook, judge_copy};
use tidewire_shared::SecretRef;
use tidewire_shared::precheck::{CheckItem, CheckResult};
use tidewire_shared::spec::{
    Compression, Delivery, ExistingData, KafkaSecurity, KafkaSource, KafkaStart, KafkaTarget,
    KafkaTask, Limits, NamePattern, Retry, Sasl, SaslMechanism, SecurityProtocol, Shards,
    StartOffset, SyncConfigs, TopicRule,
};
use tidewire_testbed::servers::kafka::{Kafka, KafkaOptions};
use tidewire_testbed::servers::kafka_security::{PASSWORD, SecuredKafka, USER};
use tidewire_testbed::servers::old_kafka::{OldKafka, V0_10, V1_0};
use tidewire_testbed::writer::{Writer, Written};

use crate::broker::settings;

use CheckResult::{Fail, Pass, Warn};

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

fn task(source: &str, target: &str, rules: &[TopicRule]) -> KafkaTask {
    let brokers = |bootstrap: &str| bootstrap.split(',').map(str::to_owned).collect();
    KafkaTask {
        name: "mirror".parse().expect("name"),
        display_name: String::new(),
        source: KafkaSource { brokers: brokers(source), ..KafkaSource::default() },
        target: KafkaTarget {
            brokers: brokers(target),
            compression: Compression::Lz4,
            ..KafkaTarget::default()
        },
        start: KafkaStart::Earliest,
        existing_data: ExistingData::Stop,
        topics: rules.to_vec(),
        sync_configs: SyncConfigs::default(),
        shards: Shards::default(),
        delivery: Delivery::ExactlyOnce,
        retry: Retry::default(),
        limits: Limits::default(),
        alerts: Vec::new(),
    }
}

fn seen(task: &KafkaTask) -> CopyPrecheck {
    let from = &task.source;
    let bytes = task.limits.record_bytes;
    let source = Settings::source(&from.brokers, &from.security, &from.properties, bytes);
    precheck::look_at_copy(source, Settings::new(&task.target, bytes), task)
}

fn judged(task: &KafkaTask, started_before: bool, neighbours: &[Neighbour]) -> Vec<CheckItem> {
    let look = CopyLook { task, started_before, known: None, neighbours, seen: &seen(task) };
    judge_copy(&look)
}

fn items(task: &KafkaTask) -> Vec<CheckItem> {
    judged(task, false, &[])
}

/// The one item of this name.
fn named(items: &[CheckItem], name: &str) -> CheckItem {
    let found = items.iter().find(|item| item.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {items:?}")).clone()
}

/// Names and results of what does not pass.
fn troubles(items: &[CheckItem]) -> Vec<(&str, CheckResult)> {
    let troubles = items.iter().filter(|item| item.result != Pass);
    troubles.map(|item| (item.name.as_str(), item.result)).collect()
}

fn fill(kafka: &Kafka, topic: &str, records: i64) {
    let mut writer = Writer::start(kafka, "none", None).expect("writer");
    let at = |n| Written { timestamp: Some(1_000 * (n + 1)), ..Written::value("v") };
    let records: Vec<_> = (0..records).map(at).collect();
    writer.send(topic, &records).expect("sent");
}

fn two() -> (Kafka, Kafka) {
    let start = || Kafka::start(KafkaOptions::default()).expect("a broker");
    (start(), start())
}

#[test]
fn two_clusters_are_looked_at_and_every_trouble_has_its_item() {
    let (source, target) = two();
    source.create_topic("orders", 2, &[("min.insync.replicas", "1")]).expect("topic");
    source.create_topic("clicks_a", 1, &[]).expect("topic");
    fill(&source, "orders", 3);
    let rules = [rule(&["orders", "clicks_*"], "dr.{topic}")];
    let plain = task(&source.bootstrap(), &target.bootstrap(), &rules);

    let all = items(&plain);
    assert_eq!(troubles(&all), [], "{all:?}");
    assert_eq!(named(&all, "topics_match").found, "2 topics, 3 partitions");
    let exist = named(&all, "topics_exist");
    assert_eq!(exist.found, "0 copies are there, 2 will be made: dr.clicks_a, dr.orders");
    assert!(
        target.topics().expect("topics").iter().all(|it| !it.starts_with("dr.")),
        "a look only"
    );
    assert_eq!(named(&all, "source_version").found, "2.8 or later");

    begins(&plain);
    missing(&plain);
    holds_data(&plain, &target);
    shapes(&plain, &target);
    feeds_itself(&source, &target);
}

/// Places to begin at: offsets that are not there, partitions that are not named, times.
fn begins(plain: &KafkaTask) {
    let at = |offset| StartOffset { topic: "orders".to_owned(), partition: 0, offset };
    let from = |start| named(&items(&KafkaTask { start, ..plain.clone() }), "start_position");
    let item = from(KafkaStart::Offsets(vec![at(99)]));
    assert_eq!(item.result, Fail, "{item:?}");
    assert_eq!(item.found, "orders, partition 0 has the offsets 0 to 3, not 99");
    let item = from(KafkaStart::Offsets(vec![at(2)]));
    assert_eq!(item.result, Warn, "{item:?}");
    assert_eq!(item.found, "start.offsets does not name clicks_a/0, orders/1");
    let item = from(KafkaStart::Timestamp(1_500));
    assert_eq!((item.result, item.found.as_str()), (Pass, ONE_YOUNG));
    let item = from(KafkaStart::Timestamp(4_102_444_800_000));
    assert_eq!(item.result, Warn, "{item:?}");
    let begun = KafkaTask { start: KafkaStart::Offsets(vec![at(99)]), ..plain.clone() };
    assert_eq!(named(&judged(&begun, true, &[]), "start_position").result, Pass);
}

const ONE_YOUNG: &str = "1 partition has records as young, 2 begin at their end";

/// Topics that are not there, and nothing at all.
fn missing(plain: &KafkaTask) {
    let of = |names: &[&str]| {
        let topics = vec![rule(names, "dr.{topic}")];
        named(&items(&KafkaTask { topics, ..plain.clone() }), "topics_match")
    };
    let item = of(&["orders", "ordres"]);
    assert_eq!((item.result, item.overridable), (Fail, true), "{item:?}");
    assert_eq!(item.found, "ordres does not exist at the source");
    let item = of(&["orders", "nothing_*"]);
    assert_eq!((item.result, item.found.as_str()), (Warn, "no topic fits nothing_*"));
    let item = of(&["nothing_*"]);
    assert_eq!((item.result, item.overridable), (Fail, false), "{item:?}");
}

/// Records in a copy, under each policy, and after the first start.
fn holds_data(plain: &KafkaTask, target: &Kafka) {
    target.create_topic("dr.orders", 1, &[]).expect("topic");
    fill(target, "dr.orders", 5);
    let under = |existing_data| KafkaTask { existing_data, ..plain.clone() };
    let all = items(&under(ExistingData::Stop));
    let item = named(&all, "topic_data");
    assert_eq!((item.result, item.found.as_str()), (Fail, "dr.orders holds up to 5 records"));
    let item = named(&all, "topic_partitions");
    assert_eq!(item.result, Warn, "{item:?}");
    assert_eq!(item.found, "dr.orders has 1 partition, orders 2");
    assert_eq!(named(&items(&under(ExistingData::Append)), "topic_data").result, Warn);
    let item = named(&items(&under(ExistingData::Rewrite)), "topic_data");
    assert_eq!(item.result, Warn, "{item:?}");
    assert!(item.message.contains("deletes them: up to 5 records of 1 topic"), "{item:?}");
    let item = named(&judged(&under(ExistingData::Stop), true, &[]), "topic_data");
    assert_eq!(item.result, Pass, "{item:?}");
    target.alter_topic_config("dr.orders", &[("cleanup.policy", Some("compact"))]).expect("config");
    until(|| {
        let all = items(&under(ExistingData::Rewrite));
        let item = named(&all, "topic_data");
        item.result == Fail && item.message.contains("only compacted")
    });
    let item = named(&items(&under(ExistingData::Append)), "topic_configs");
    assert_eq!((item.result, item.overridable), (Fail, true), "{item:?}");
    target.alter_topic_config("dr.orders", &[("cleanup.policy", None)]).expect("config");
}

/// A broker tells of a change a moment after it was made.
fn until(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "never");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Copies that are wider, smaller, or restamp.
fn shapes(plain: &KafkaTask, target: &Kafka) {
    let configs = [("message.timestamp.type", "LogAppendTime"), ("max.message.bytes", "1000")];
    target.create_topic("dr.clicks_a", 4, &configs).expect("topic");
    let all = items(&KafkaTask { existing_data: ExistingData::Append, ..plain.clone() });
    let item = named(&all, "topic_partitions");
    assert!(item.found.contains("dr.clicks_a has 4 partitions, clicks_a 1"), "{item:?}");
    let item = named(&all, "topic_configs");
    assert!(item.found.contains("LogAppendTime"), "{item:?}");
    let item = named(&all, "message_size");
    assert_eq!((item.result, item.overridable), (Fail, true), "{item:?}");
    assert!(item.remedy.contains("--entity-name dr.clicks_a"), "{item:?}");
}

/// One cluster at both ends, under another name; and a task that brings everything back.
fn feeds_itself(source: &Kafka, target: &Kafka) {
    let (here, there) = (source.bootstrap(), target.bootstrap());
    let again = here.replace("127.0.0.1", "localhost");
    let item = named(&items(&task(&here, &again, &[rule(&[], "dr.{topic}")])), "loop");
    assert_eq!((item.result, item.overridable), (Fail, false), "{item:?}");
    assert!(item.found.contains("orders to dr.orders to dr.dr.orders"), "{item:?}");
    let back = Neighbour {
        task: "back".to_owned(),
        brokers: vec![here.clone()],
        source_brokers: vec![there.clone()],
        rules: vec![rule(&[], "{topic}")],
        topics: vec!["*".to_owned()],
    };
    let forth = task(&here, &there, &[rule(&[], "dr.{topic}")]);
    let item = named(&judged(&forth, false, std::slice::from_ref(&back)), "loop");
    assert_eq!(item.result, Fail, "{item:?}");
    assert!(item.found.contains("(task back)"), "{item:?}");
    let some = task(&here, &there, &[rule(&["orders"], "dr.{topic}")]);
    let item = named(&judged(&some, false, &[back]), "loop");
    assert_eq!(item.result, Pass, "{item:?}");
}

fn login(password: &str) -> KafkaSecurity {
    let password = SecretRef::Value(password.to_owned());
    let sasl = Sasl { mechanism: SaslMechanism::ScramSha256, user: USER.to_owned(), password };
    let protocol = SecurityProtocol::SaslPlaintext;
    KafkaSecurity { protocol, sasl: Some(sasl), ..KafkaSecurity::default() }
}

#[test]
fn each_right_that_is_missing_is_named_with_the_command_that_grants_it() {
    let (source, target) = (SecuredKafka::start_guarded(), SecuredKafka::start_guarded());
    let (source, target) = (source.expect("a broker"), target.expect("a broker"));
    source.kafka.create_topic("orders", 2, &[]).expect("topic");
    let at = |secured: &SecuredKafka| format!("127.0.0.1:{}", secured.sasl_plaintext);
    let mut task = task(&at(&source), &at(&target), &[rule(&["orders"], "{topic}")]);
    task.source.security = login(PASSWORD);
    task.target.security = login(PASSWORD);
    task.existing_data = ExistingData::Rewrite;
    let principal = format!("User:{USER}");

    let all = items(&task);
    let item = named(&all, "source_rights");
    assert_eq!((item.result, item.found.as_str()), (Fail, "may not read orders"));
    let command = "--add --allow-principal User:carrier --operation Read --operation Describe \
                   --operation DescribeConfigs --topic orders";
    assert!(item.remedy.contains(command), "{item:?}");
    assert_eq!(named(&all, "topics_match").result, Fail);
    assert_eq!(named(&all, "target_transactions").result, Fail, "{all:?}");

    let source_may = |what| source.kafka.allow(&principal, what, "orders").expect("allowed");
    source_may("DESCRIBE");
    until(|| named(&items(&task), "topics_match").result == Pass);
    assert_eq!(named(&items(&task), "source_rights").found, "may not read orders");
    source_may("READ");
    // The copy has to be made like it.
    until(|| named(&items(&task), "source_rights").found.contains("settings of orders"));
    source_may("DESCRIBE_CONFIGS");
    until(|| named(&items(&task), "source_rights").result == Pass);

    // At the target it may do nothing, then one thing after the other.
    let told = || named(&items(&task), "topic_rights");
    let item = told();
    assert_eq!(item.result, Fail, "{item:?}");
    assert!(item.remedy.contains("--operation Describe --topic orders"), "{item:?}");
    let target_may = |what| target.kafka.allow(&principal, what, "orders").expect("allowed");
    target_may("DESCRIBE");
    until(|| told().found == "the account lacks Create (to make it) on orders");
    target.kafka.create_topic("orders", 1, &[]).expect("topic");
    fill(&target.kafka, "orders", 2);
    let everything = "the account lacks Write (to write to it) on orders; DescribeConfigs (to see its \
                      settings) on orders; Alter (to add partitions) on orders; Delete (to delete its \
                      records) on orders";
    until(|| told().found == everything);
    for right in ["WRITE", "DESCRIBE_CONFIGS", "ALTER", "DELETE"] {
        target_may(right);
    }
    until(|| told().result == Warn);
    assert!(told().found.contains("AlterConfigs on orders"), "{:?}", told());
    target_may("ALTER_CONFIGS");
    until(|| told().result == Pass);
    keeps_positions(&task, &target, &principal);
}

/// The topic of positions is made by the first start, if our account may.
fn keeps_positions(task: &KafkaTask, target: &SecuredKafka, principal: &str) {
    let fault = || seen(task).positions_topic.expect_err("refused");
    let may = |what| target.kafka.allow(principal, what, positions::TOPIC).expect("allowed");
    may("DESCRIBE");
    until(|| fault().remedy.contains("grant the task's user Create"));
    target
        .kafka
        .create_topic(positions::TOPIC, 1, &[("cleanup.policy", "compact")])
        .expect("topic");
    may("DESCRIBE_CONFIGS");
    may("READ");
    until(|| fault().message == "the task's user lacks Write on it");
    may("WRITE");
    until(|| seen(task).positions_topic.is_ok());
}

#[test]
fn an_end_that_cannot_be_asked_is_told_by_connection_or_login() {
    let secured = SecuredKafka::start_guarded().expect("a broker");
    let there = format!("127.0.0.1:{}", secured.sasl_plaintext);
    let nobody = "127.0.0.1:1";
    let mut task = task(nobody, &there, &[rule(&["orders"], "{topic}")]);
    task.target.security = login("wrong");
    let began = Instant::now();
    let all = items(&task);
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
    let names: Vec<_> = all.iter().map(|it| (it.name.as_str(), it.result)).collect();
    assert_eq!(names, [("source_connect", Fail), ("target_connect", Pass), ("target_auth", Fail)]);
    assert!(named(&all, "source_connect").remedy.contains("source.brokers"), "{all:?}");
    assert!(!format!("{all:?}").contains("wrong"), "{all:?}");
}

/// The topic as the broker sees it, which hears of it from ZooKeeper a while after it was made.
fn old(version: &str) -> OldKafka {
    let kafka = OldKafka::start(version).expect("a broker");
    kafka.create_topic("orders", 2).expect("topic");
    kafka
}

#[test]
fn old_brokers_are_judged_by_what_they_say() {
    let (source, target) = (old(V1_0), old(V0_10));
    let rules = [rule(&["orders"], "{topic}"), rule(&["ord*"], "copy.{topic}")];
    let mut task = task(&source.bootstrap(), &target.bootstrap(), &rules);
    task.delivery = Delivery::AtLeastOnce;
    until(|| named(&items(&task), "topics_exist").found == "1 copy is there");
    let all = items(&task);
    let expected = [("source_version", Warn), ("target_version", Warn)];
    assert_eq!(troubles(&all), expected, "{all:#?}");
    assert_eq!(named(&all, "source_version").found, "1.0 or later, older than 2.3");
    let item = named(&all, "target_version");
    assert_eq!(item.found, "older than 0.11", "{item:?}");
    assert!(item.message.contains("a record with headers, which they cannot hold"), "{item:?}");
    // A copy that is missing may be made there, too.
    task.topics = vec![rule(&["orders"], "copy.{topic}")];
    let item = named(&items(&task), "topics_exist");
    assert_eq!((item.result, item.found.as_str()), (Pass, WILL_BE_MADE), "{item:?}");
    // The other way round.
    (task.source.brokers, task.target.brokers) = (task.target.brokers, task.source.brokers);
    let all = items(&task);
    assert_eq!(troubles(&all), [("source_version", Warn), ("target_version", Warn)], "{all:#?}");
    task.delivery = Delivery::ExactlyOnce;
    let item = named(&items(&task), "target_transactions");
    assert_eq!((item.result, item.found.as_str()), (Fail, "1.0 or later, older than 2.3"));
    assert!(item.message.contains("2.5"), "{item:?}");
}

const WILL_BE_MADE: &str = "0 copies are there, 1 will be made: copy.orders";

#[test]
fn hundreds_of_topics_take_seconds() {
    of_many(200);
}

#[test]
#[ignore = "a broker takes a minute to make so many topics"]
fn a_thousand_topics_take_seconds() {
    of_many(1_000);
}

/// Times a precheck whose copies have to be made, and one whose copies are there.
fn of_many(number: u32) {
    let (source, target) = two();
    let topics = Topics::new(&settings(&source)).expect("topics");
    let many = (0..number).map(|number| NewTopic {
        name: format!("many_{number}"),
        partitions: 3,
        replicas: None,
        configs: Config::new(),
    });
    let made = topics.create(&many.collect::<Vec<_>>(), PATIENCE).expect("asked");
    assert!(made.iter().all(|(_, outcome)| *outcome == Ok(true)));
    // The broker hears of them, and makes their logs, after the controller.
    let deadline = Instant::now() + PATIENCE;
    let last = format!("many_{}", number - 1);
    let ready = |last: &str| matches!(topics.offsets(&[(last, 2)], At::Earliest, PATIENCE), Ok(it) if it[0].is_ok());
    while topics.list(PATIENCE).expect("list").len() < number as usize || !ready(&last) {
        assert!(Instant::now() < deadline, "never there");
        std::thread::sleep(Duration::from_millis(500));
    }
    let rules = [rule(&["many_*"], "{topic}")];
    let to_make = task(&source.bootstrap(), &target.bootstrap(), &rules);
    let there = task(&source.bootstrap(), &source.bootstrap(), &rules);
    for (task, expected) in [(&to_make, vec![]), (&there, vec![("loop", Fail)])] {
        let began = Instant::now();
        let all = items(task);
        let elapsed = began.elapsed();
        assert_eq!(troubles(&all), expected, "{all:?}");
        let found = format!("{number} topics, {} partitions", 3 * number);
        assert_eq!(named(&all, "topics_match").found, found);
        assert!(elapsed < Duration::from_secs(10), "{elapsed:?}");
    }
}

const PATIENCE: Duration = Duration::from_secs(180);
