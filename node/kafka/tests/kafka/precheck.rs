//! Each item of a precheck of the target on a real broker: what makes it fail or warn, as a user reads it,
//! and that its repair lets it pass.

use tidewire_kafka::{Settings, precheck};
use tidewire_node_core::objects::resolve;
use tidewire_node_core::precheck::{TargetLook, judge_target};
use tidewire_shared::SecretRef;
use tidewire_shared::precheck::{CheckItem, CheckResult};
use tidewire_shared::spec::{
    BadRecord, CreateTopics, Delivery, Format, KafkaSecurity, KafkaTarget, KeyChange, Limits,
    ObjectRule, PartitionPolicy, PostgresSource, PostgresTask, RecordKey, Retry, Sasl,
    SaslMechanism, SecurityProtocol, StartAt, TableName,
};
use tidewire_testbed::servers::kafka::{Kafka, KafkaOptions};
use tidewire_testbed::servers::kafka_security::{PASSWORD, SecuredKafka, USER};

use crate::broker::{broker, fresh, fresh_topic};

/// A task of one table, into this topic.
pub(crate) fn task(kafka: &Kafka, topic: &str) -> PostgresTask {
    let brokers = kafka.bootstrap().split(',').map(str::to_owned).collect();
    task_at(KafkaTarget { brokers, ..KafkaTarget::default() }, topic)
}

pub(crate) fn task_at(target: KafkaTarget, topic: &str) -> PostgresTask {
    PostgresTask {
        name: "orders".parse().expect("name"),
        display_name: String::new(),
        source: PostgresSource { database: "shop".into(), ..PostgresSource::default() },
        target,
        objects: vec![ObjectRule {
            tables: vec![TableName { schema: "public".into(), table: "orders".into() }],
            topic: topic.into(),
            ..ObjectRule::default()
        }],
        format: Format::default(),
        partition: PartitionPolicy::ByPrimaryKey,
        key_change: KeyChange::Split,
        delivery: Delivery::default(),
        start: StartAt::default(),
        on_bad_record: BadRecord::default(),
        retry: Retry::default(),
        limits: Limits::default(),
        alerts: Vec::new(),
    }
}

fn judged(spec: &PostgresTask) -> Vec<CheckItem> {
    let settings = Settings::new(&spec.target, spec.limits.record_bytes).expect("settings");
    let tables = resolve(&spec.objects, "shop", &[]);
    let topics: Vec<&str> = tables.iter().map(|table| table.topic.as_str()).collect();
    let seen = match spec.delivery {
        Delivery::ExactlyOnce => precheck::look(&settings, &topics),
        Delivery::AtLeastOnce => precheck::look_at_topics(&settings, &topics),
    };
    judge_target(&TargetLook { spec, tables: &tables, neighbours: &[], seen: &seen })
}

/// The items that do not pass.
pub(crate) fn wrong(spec: &PostgresTask) -> Vec<CheckItem> {
    let mut items = judged(spec);
    items.retain(|item| item.result != CheckResult::Pass);
    items
}

/// The one item that does not pass, with something to read in each of its texts.
pub(crate) fn only(spec: &PostgresTask, name: &str) -> CheckItem {
    let mut items = wrong(spec);
    assert!(items.len() == 1 && items[0].name == name, "{name} alone: {items:#?}");
    let item = items.remove(0);
    assert!(!item.found.is_empty() && !item.message.is_empty() && !item.remedy.is_empty());
    item
}

/// What is wrong, how bad it is and whether a user may go on all the same.
fn told(item: &CheckItem) -> (&str, CheckResult, bool) {
    (&item.found, item.result, item.overridable)
}

#[test]
fn what_a_topic_lacks_is_named_and_its_repair_lets_it_pass() {
    use CheckResult::{Fail, Warn};
    let kafka = broker();
    let topic = fresh("prechecked");
    let mut spec = task(&kafka, &topic);
    let item = only(&spec, "topics_exist");
    assert_eq!(told(&item), (&*format!("{topic} does not exist"), Fail, false));
    let bootstrap = kafka.bootstrap();
    let create = format!("kafka-topics.sh --bootstrap-server {bootstrap} --create --topic {topic}");
    assert_eq!(item.remedy, create);

    spec.target.create_topics = Some(CreateTopics { partitions: 3, replication_factor: 3 });
    let item = only(&spec, "topics_exist");
    assert_eq!(item.remedy, "write target.createTopics.replicationFactor: 1");
    spec.target.create_topics = Some(CreateTopics { partitions: 3, replication_factor: 1 });
    assert_eq!(wrong(&spec), [], "it is made at the start");
    kafka.create_topic(&topic, 2, &[]).expect("topic");
    let item = only(&spec, "topic_partitions");
    assert_eq!(told(&item), (&*format!("{topic} has 2 partitions instead of 3"), Warn, false));
    kafka.set_partitions(&topic, 3).expect("grown");
    assert_eq!(wrong(&spec), []);

    let set = |name: &str, value: Option<&str>| {
        kafka.alter_topic_config(&topic, &[(name, value)]).expect("configured");
    };
    set("max.message.bytes", Some("2000"));
    let item = only(&spec, "topic_policy");
    let found =
        format!("{topic} takes 2000 bytes (max.message.bytes), limits.recordBytes is 1048576");
    assert_eq!(told(&item), (&*found, Fail, true));
    assert!(item.remedy.contains("max.message.bytes=1064960"), "{item:?}");
    set("max.message.bytes", None);
    set("min.insync.replicas", Some("2"));
    let item = only(&spec, "topic_policy");
    let found = format!("{topic} demands 2 replicas in sync and has 1");
    assert_eq!(told(&item), (&*found, Fail, false));
    set("min.insync.replicas", None);
    set("cleanup.policy", Some("compact"));
    assert_eq!(only(&spec, "topic_policy").result, Warn);
    spec.format.key = RecordKey::None;
    let item = only(&spec, "topic_policy");
    assert!(
        item.result == Fail && item.found.contains("refuses records without a key"),
        "{item:?}"
    );
    set("cleanup.policy", None);
    assert_eq!(wrong(&spec), []);
}

#[test]
fn a_positions_topic_that_forgets_is_not_taken() {
    let kafka = Kafka::start(KafkaOptions::default()).expect("a broker of its own");
    let topic = fresh_topic(&kafka, 1);
    let spec = task(&kafka, &topic);
    assert_eq!(wrong(&spec), [], "it is made at the start");
    let positions = "__tidewire_positions";
    kafka.create_topic(positions, 2, &[("cleanup.policy", "delete")]).expect("topic");
    let item = only(&spec, "target_transactions");
    assert_eq!(told(&item), (&*format!("topic {positions}"), CheckResult::Fail, false));
    assert_eq!(item.message, "cleanup.policy is `delete`: positions would be deleted by age");
    assert!(item.remedy.contains("cleanup.policy=compact"), "{item:?}");
    kafka.alter_topic_config(positions, &[("cleanup.policy", Some("compact"))]).expect("repaired");
    assert_eq!(wrong(&spec), []);
}

#[test]
fn transactions_need_their_right_and_brokers_that_let_them_last() {
    let secured = SecuredKafka::start_guarded().expect("a broker");
    let (kafka, principal) = (&secured.kafka, format!("User:{USER}"));
    let topic = fresh_topic(kafka, 1);
    for (topic, operations) in [
        (&*topic, &["WRITE", "DESCRIBE_CONFIGS"][..]),
        ("__tidewire_positions", &["CREATE", "READ", "WRITE", "DESCRIBE_CONFIGS"]),
    ] {
        for operation in operations {
            kafka.allow(&principal, operation, topic).expect("allowed");
        }
    }
    let sasl = Sasl {
        mechanism: SaslMechanism::ScramSha256,
        user: USER.to_owned(),
        password: SecretRef::Value(PASSWORD.to_owned()),
    };
    let security = KafkaSecurity {
        protocol: SecurityProtocol::SaslPlaintext,
        sasl: Some(sasl),
        ..KafkaSecurity::default()
    };
    let brokers = vec![format!("127.0.0.1:{}", secured.sasl_plaintext)];
    let spec = task_at(KafkaTarget { brokers, security, ..KafkaTarget::default() }, &topic);
    let item = only(&spec, "target_transactions");
    assert_eq!((item.result, item.overridable), (CheckResult::Fail, false), "{item:?}");
    let remedy =
        "grant the task's user Describe and Write on transactional ids that begin with `tidewire-`";
    assert_eq!(item.remedy, remedy, "{item:?}");
    kafka.allow_transactions(&principal, "DESCRIBE", "tidewire-").expect("allowed");
    assert_eq!(only(&spec, "target_transactions").remedy, remedy, "half of it");
    kafka.allow_transactions(&principal, "WRITE", "tidewire-").expect("allowed");
    assert_eq!(wrong(&spec), []);
    drop(secured);

    let settings = vec![("transaction.max.timeout.ms".to_owned(), "20000".to_owned())];
    let hasty =
        Kafka::start(KafkaOptions { settings, ..KafkaOptions::default() }).expect("a broker");
    let mut spec = task(&hasty, &fresh_topic(&hasty, 1));
    let item = only(&spec, "target_transactions");
    assert_eq!((item.result, item.overridable), (CheckResult::Fail, false), "{item:?}");
    let remedy = "raise transaction.max.timeout.ms of the brokers to 30000 at least";
    assert_eq!(item.remedy, remedy, "{item:?}");
    spec.delivery = Delivery::AtLeastOnce;
    assert_eq!(wrong(&spec), [], "which has no transactions");
}
