//! The Kafka side of a precheck: topics, rights, policies, transactions.

use std::collections::{BTreeMap, BTreeSet};

use tidewire_shared::precheck::CheckItem;
use tidewire_shared::spec::PostgresTask;
use tidewire_shared::spec::{
    BadRecord, Delivery, KafkaSecurity, RecordKey, SaslMechanism, SecurityProtocol,
};
use tidewire_shared::{Fault, FaultKind};

use super::{Finding, listed, topics};
use crate::facts::{Neighbour, TargetPrecheck, TopicFacts};
use crate::objects::ResolvedTable;

/// What a precheck of the target is judged by.
#[derive(Clone, Copy, Debug)]
pub struct TargetLook<'a> {
    /// The task.
    pub spec: &'a PostgresTask,
    /// The tables it has, with their topics.
    pub tables: &'a [ResolvedTable],
    /// The other tasks of the cluster.
    pub neighbours: &'a [Neighbour],
    /// What was seen.
    pub seen: &'a TargetPrecheck,
}

/// Judges the target: one item per thing to know, in a fixed order. Without a connection there is
/// only `target_connect`, without a login `target_auth` besides.
#[must_use]
pub fn judge_target(look: &TargetLook<'_>) -> Vec<CheckItem> {
    let TargetLook { spec, seen, .. } = *look;
    let brokers = match &seen.brokers {
        Ok(brokers) => *brokers,
        Err(fault) if matches!(fault.kind, FaultKind::TargetDenied | FaultKind::TargetLogin) => {
            let connected = Finding::pass(&fault.object).item("target_connect");
            return vec![connected, Finding::of(fault).item("target_auth")];
        }
        Err(fault) => return vec![Finding::of(fault).item("target_connect")],
    };
    vec![
        Finding::pass(format!("{brokers} brokers")).item("target_connect"),
        login("target", &spec.target.security).item("target_auth"),
        version(spec, seen).item("target_version"),
        exist(look).item("topics_exist"),
        rights(seen).item("topic_rights"),
        topics::partitions(spec, seen).item("topic_partitions"),
        policy(spec, seen, brokers).item("topic_policy"),
        topics::collision(look).item("topic_collision"),
        transactions(spec.delivery, &seen.transactions, &seen.positions_topic)
            .item("target_transactions"),
    ]
}

/// It worked; what crosses the network in clear is worth a word.
pub(super) fn login(end: &str, security: &KafkaSecurity) -> Finding {
    let found = match (&security.sasl, &security.cert) {
        (Some(sasl), _) => format!("user {}", sasl.user),
        (None, Some(_)) => "a client certificate".to_owned(),
        (None, None) => "no login".to_owned(),
    };
    let plain = security.sasl.as_ref().is_some_and(|sasl| sasl.mechanism == SaslMechanism::Plain);
    if plain && security.protocol == SecurityProtocol::SaslPlaintext {
        return Finding::warn(
            format!("{found}, PLAIN without TLS"),
            "the password crosses the network in clear",
            format!("write {end}.security.protocol: sasl_ssl, or mechanism: SCRAM-SHA-512"),
        );
    }
    Finding::pass(found)
}

/// Brokers do not say their version; what they answer does: topic ids came with 2.8.
fn version(spec: &PostgresTask, seen: &TargetPrecheck) -> Finding {
    let of_topics = seen.topics.iter().filter_map(|(_, look)| look.as_ref().ok()?.as_ref());
    let of_positions = seen.positions_topic.as_ref().ok().and_then(Option::as_ref);
    let ids: Vec<_> = of_topics.chain(of_positions).map(|topic| topic.id).collect();
    if ids.is_empty() {
        return Finding::pass("not told: there is no topic yet");
    }
    if ids.iter().any(|id| *id != (0, 0)) {
        return Finding::pass("2.8 or later");
    }
    let old = are_before_0_11(seen);
    let headers =
        spec.format.identity_headers || matches!(spec.on_bad_record, BadRecord::DeadLetter(_));
    if old && headers {
        return Finding::fail(
            "older than 0.11",
            "records have no headers there",
            "write format.headers: none and onBadRecord: stop, or upgrade the brokers",
        );
    }
    if old && spec.delivery == Delivery::AtLeastOnce {
        return Finding::warn(
            "older than 0.11",
            "the brokers cannot tell a request that is sent twice: every broken connection may write \
             records twice",
            "upgrade the brokers to 2.8 or later",
        );
    }
    let message = match spec.delivery {
        Delivery::ExactlyOnce => {
            "a topic that is deleted and made again would not be noticed, and exactly_once needs \
             brokers from 2.5 on"
        }
        Delivery::AtLeastOnce => "a topic that is deleted and made again would not be noticed",
    };
    Finding::warn(
        "older than 2.8: topics have no ids",
        message,
        "upgrade the brokers to 2.8 or later",
    )
}

fn are_before_0_11(seen: &TargetPrecheck) -> bool {
    let topics = seen.topics.iter().filter_map(|(_, look)| look.as_ref().ok()?.as_ref());
    topics.into_iter().any(TopicFacts::is_of_old_brokers)
}

/// The topics that the task writes to: those of its tables, and the one for bad records.
fn wanted<'a>(look: &TargetLook<'a>) -> BTreeSet<&'a str> {
    let dead_letters = match &look.spec.on_bad_record {
        BadRecord::Stop => None,
        BadRecord::DeadLetter(topic) => Some(topic.as_str()),
    };
    look.tables.iter().map(|table| table.topic.as_str()).chain(dead_letters).collect()
}

fn exist(look: &TargetLook<'_>) -> Finding {
    let TargetLook { spec, seen, .. } = *look;
    let seen_topics: BTreeMap<_, _> =
        seen.topics.iter().map(|(topic, answer)| (topic.as_str(), answer)).collect();
    let (mut wrong, mut remedies) = (Vec::new(), Vec::new());
    let wanted = wanted(look);
    for name in &wanted {
        match seen_topics.get(name) {
            Some(Ok(Some(_))) => {}
            Some(Err(fault)) => {
                wrong.push(format!("{name}: {}", fault.message));
                remedies.push(fault.remedy.clone());
            }
            Some(Ok(None)) | None if spec.target.create_topics.is_some() => {}
            Some(Ok(None)) | None => {
                wrong.push(format!("{name} does not exist"));
                remedies.push(format!(
                    "kafka-topics.sh --bootstrap-server {} --create --topic {name}",
                    spec.target.brokers.join(",")
                ));
            }
        }
    }
    let absent = |name: &&&str| !matches!(seen_topics.get(**name), Some(Ok(Some(_))));
    if let (Some(form), Ok(brokers), Some(first)) =
        (spec.target.create_topics, &seen.brokers, wanted.iter().find(absent))
        && u32::from(form.replication_factor) > *brokers
    {
        return Finding::fail(
            format!("{first} has to be made with {} replicas", form.replication_factor),
            format!("there are only {brokers} brokers"),
            format!("write target.createTopics.replicationFactor: {brokers}"),
        );
    }
    if wrong.is_empty() {
        return Finding::pass(format!("{} topics", wanted.len()));
    }
    let (found, remedy) = (listed(&wrong, "; "), listed(&remedies, "; "));
    Finding::fail(
        found,
        "the task does not create topics unless target.createTopics says so",
        remedy,
    )
}

fn rights(seen: &TargetPrecheck) -> Finding {
    let refused: Vec<_> = seen
        .writable
        .iter()
        .filter_map(|(topic, right)| right.as_ref().err().map(|fault| (topic, fault)))
        // One trouble, one item: `topics_exist` tells a topic that is missing.
        .filter(|(_, fault)| fault.kind != FaultKind::TargetState)
        .collect();
    let Some((topic, first)) = refused.first() else {
        return Finding::pass("every topic may be written");
    };
    let found: Vec<_> =
        refused.iter().map(|(topic, fault)| format!("{topic}: {}", fault.message)).collect();
    let remedy = if first.remedy.is_empty() {
        format!("kafka-acls.sh --add --allow-principal User:NAME --producer --topic {topic}")
    } else {
        first.remedy.clone()
    };
    Finding::fail(listed(&found, "; "), "the account may not write to every topic", remedy)
}

/// What one topic's settings would do to the task.
enum Objection {
    Fail(String, String),
    /// A record that is as large as the document allows would stop the task.
    Large(String, String),
    Warn(String, String),
}

fn policy(spec: &PostgresTask, seen: &TargetPrecheck, brokers: u32) -> Finding {
    let topics = seen.topics.iter().filter_map(|(_, look)| look.as_ref().ok()?.as_ref());
    let objections: Vec<_> = topics.flat_map(|topic| object_to(spec, topic, brokers)).collect();
    let (mut found, mut remedies) = (Vec::new(), Vec::new());
    let (mut fails, mut yields) = (false, true);
    for objection in objections {
        let (what, remedy) = match objection {
            Objection::Fail(what, remedy) => {
                (fails, yields) = (true, false);
                (what, remedy)
            }
            Objection::Large(what, remedy) => {
                fails = true;
                (what, remedy)
            }
            Objection::Warn(what, remedy) => (what, remedy),
        };
        found.push(what);
        remedies.push(remedy);
    }
    if found.is_empty() {
        return Finding::pass("the topics keep what is written");
    }
    let (found, remedy) = (listed(&found, "; "), listed(&remedies, "; "));
    if fails {
        let failed = Finding::fail(found, "records would be refused or removed", remedy);
        if yields { failed.overridable() } else { failed }
    } else {
        Finding::warn(found, "acknowledged records may be lost with a broker or cleaned up", remedy)
    }
}

fn object_to(spec: &PostgresTask, topic: &TopicFacts, brokers: u32) -> Vec<Objection> {
    let name = &topic.name;
    let set = |setting: &str| {
        format!(
            "kafka-configs.sh --alter --entity-type topics --entity-name {name} --add-config {setting}"
        )
    };
    let mut objections = Vec::new();
    if topic.cleanup_policy.split(',').any(|policy| policy.trim() == "compact") {
        let what = format!("{name} is compacted (cleanup.policy {})", topic.cleanup_policy);
        let remedy = set("cleanup.policy=delete");
        objections.push(if spec.format.key == RecordKey::None {
            Objection::Fail(format!("{what} and refuses records without a key"), remedy)
        } else {
            // Records are changes, not states: the newest of a key alone does not give the row.
            Objection::Warn(format!("{what}, so earlier changes of a key are removed"), remedy)
        });
    }
    let largest = spec.limits.record_bytes.0;
    if topic.max_message_bytes < largest {
        objections.push(Objection::Large(
            format!(
                "{name} takes {} bytes (max.message.bytes), limits.recordBytes is {largest}",
                topic.max_message_bytes
            ),
            // Room for the headers of a batch.
            set(&format!("max.message.bytes={}", largest.saturating_add(16 << 10))),
        ));
    }
    if topic.min_insync_replicas > topic.replication_factor {
        objections.push(Objection::Fail(
            format!(
                "{name} demands {} replicas in sync and has {}",
                topic.min_insync_replicas, topic.replication_factor
            ),
            set(&format!("min.insync.replicas={}", topic.replication_factor)),
        ));
    } else if brokers >= 3 && topic.min_insync_replicas < 2 {
        objections.push(Objection::Warn(
            format!("{name} acknowledges what one replica holds (min.insync.replicas 1)"),
            set("min.insync.replicas=2"),
        ));
    }
    objections
}

/// Transactions and the topic of positions: what exactly_once rests on.
pub(super) fn transactions(
    delivery: Delivery,
    transactions: &Result<(), Fault>,
    positions_topic: &Result<Option<TopicFacts>, Fault>,
) -> Finding {
    if delivery == Delivery::AtLeastOnce {
        return Finding::pass("at_least_once needs none");
    }
    if let Err(fault) = transactions {
        return Finding::of(fault);
    }
    match positions_topic {
        Err(fault) => Finding::of(fault),
        Ok(None) => Finding::pass("transactions work; the positions topic is made at the start"),
        Ok(Some(topic)) if topic.cleanup_policy.trim() != "compact" => Finding::fail(
            format!("{} has cleanup.policy {}", topic.name, topic.cleanup_policy),
            "positions would be removed with time, and the task could not resume",
            format!(
                "kafka-configs.sh --alter --entity-type topics --entity-name {} --add-config \
                 cleanup.policy=compact",
                topic.name
            ),
        ),
        Ok(Some(topic)) => {
            Finding::pass(format!("transactions work; {} has {}", topic.name, topic.partitions))
        }
    }
}
