//! The Kafka side of a precheck: topics, rights, policies, transactions.

use std::collections::BTreeSet;

use tidewire_shared::precheck::CheckItem;
use tidewire_shared::spec::RecordKey;
use tidewire_shared::{FaultKind, TaskSpec};

use super::Finding;
use crate::facts::{TargetPrecheck, TopicFacts};

/// Judges the target: one item per thing to know, in a fixed order. Without a connection there is
/// only `target_connect`.
#[must_use]
pub fn judge_target(spec: &TaskSpec, seen: &TargetPrecheck) -> Vec<CheckItem> {
    let brokers = match &seen.brokers {
        Ok(brokers) => *brokers,
        Err(fault) => return vec![Finding::of(fault).item("target_connect")],
    };
    vec![
        Finding::pass(format!("{brokers} brokers")).item("target_connect"),
        exist(spec, seen).item("topics_exist"),
        rights(seen).item("topic_rights"),
        policy(spec, seen, brokers).item("topic_policy"),
        transactions(seen).item("target_transactions"),
    ]
}

fn wanted(spec: &TaskSpec) -> BTreeSet<&str> {
    spec.objects.iter().map(|rule| rule.topic.as_str()).collect()
}

fn exist(spec: &TaskSpec, seen: &TargetPrecheck) -> Finding {
    let (mut wrong, mut remedies) = (Vec::new(), Vec::new());
    for name in wanted(spec) {
        let look = seen.topics.iter().find(|(topic, _)| topic == name).map(|(_, look)| look);
        match look {
            Some(Ok(Some(_))) => {}
            Some(Err(fault)) => {
                wrong.push(format!("{name}: {}", fault.message));
                remedies.push(fault.remedy.clone());
            }
            Some(Ok(None)) | None => {
                wrong.push(format!("{name} does not exist"));
                remedies.push(format!(
                    "kafka-topics.sh --bootstrap-server {} --create --topic {name}",
                    spec.target.brokers.join(",")
                ));
            }
        }
    }
    if wrong.is_empty() {
        return Finding::pass(format!("{} topics", wanted(spec).len()));
    }
    Finding::fail(wrong.join("; "), "topics are never created by the task", remedies.join("; "))
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
    Finding::fail(found.join("; "), "the account may not write to every topic", remedy)
}

/// What one topic's settings would do to the task.
enum Objection {
    Fail(String, String),
    Warn(String, String),
}

fn policy(spec: &TaskSpec, seen: &TargetPrecheck, brokers: u32) -> Finding {
    let topics = seen.topics.iter().filter_map(|(_, look)| look.as_ref().ok()?.as_ref());
    let objections: Vec<_> = topics.flat_map(|topic| object_to(spec, topic, brokers)).collect();
    let (mut found, mut remedies, mut fails) = (Vec::new(), Vec::new(), false);
    for objection in objections {
        let (what, remedy) = match objection {
            Objection::Fail(what, remedy) => {
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
    let (found, remedy) = (found.join("; "), remedies.join("; "));
    if fails {
        Finding::fail(found, "records would be refused or removed", remedy)
    } else {
        Finding::warn(found, "acknowledged records may be lost with a broker or cleaned up", remedy)
    }
}

fn object_to(spec: &TaskSpec, topic: &TopicFacts, brokers: u32) -> Vec<Objection> {
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
        objections.push(Objection::Fail(
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

fn transactions(seen: &TargetPrecheck) -> Finding {
    if let Err(fault) = &seen.transactions {
        return Finding::of(fault);
    }
    match &seen.positions_topic {
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
