//! What a node is told of the other tasks: two must not share a topic without being told to, nor a slot;
//! and what one of them uses is not dropped with another one.

use std::collections::{BTreeSet, HashMap};

use tidewire_coordinator_core::{ClusterState, Task};
use tidewire_proto::node::v1::{Neighbour, SlotOwner};
use tidewire_shared::spec::{
    BadRecord, Managed, NamePattern, ObjectRule, PostgresTask, TablePattern, TopicRule,
};
use tidewire_shared::{Desired, ShardId, TaskId, TaskName, TaskSpec};

/// What is around a task.
#[derive(Debug, Default)]
pub(super) struct Around {
    /// The other tasks, for a precheck.
    pub(super) neighbours: Vec<Neighbour>,
    /// The slots that they hold, for a precheck.
    pub(super) slot_owners: Vec<SlotOwner>,
    /// For a clean-up, what they use of what this one has made.
    pub(super) in_use: HashMap<String, String>,
}

impl Around {
    /// What a precheck is told. A document that is not a task yet is told apart by its name.
    pub(super) fn of(state: &ClusterState, id: Option<&TaskId>, name: &TaskName) -> Self {
        let neighbours = neighbours(state, id, name);
        let slot_owners = slot_owners(state, id, name);
        Self { neighbours, slot_owners, ..Self::default() }
    }

    /// What a clean-up is told.
    pub(super) fn left_by(state: &ClusterState, id: &TaskId) -> Self {
        Self { in_use: in_use(state, id), ..Self::default() }
    }
}

/// Every other task that may still write.
fn neighbours(state: &ClusterState, id: Option<&TaskId>, name: &TaskName) -> Vec<Neighbour> {
    let mut neighbours = Vec::new();
    for task in others(state, id, name) {
        if matches!(task.desired(), Desired::Terminated | Desired::Deleted) {
            continue;
        }
        // A connection that is gone names no brokers.
        if let Ok(spec) = state.resolve(task.spec()) {
            neighbours.push(neighbour(&spec));
        }
    }
    neighbours
}

fn others<'s>(
    state: &'s ClusterState,
    id: Option<&TaskId>,
    name: &TaskName,
) -> impl Iterator<Item = &'s Task> {
    let (id, name) = (id.cloned(), name.clone());
    state.tasks().filter(move |task| match &id {
        Some(id) => task.id() != id,
        None => *task.name() != name,
    })
}

/// The slots that other tasks hold. One that has terminated keeps its slot for whoever wants it; one that
/// was deleted has it dropped, as soon as its server can be reached.
fn slot_owners(state: &ClusterState, id: Option<&TaskId>, name: &TaskName) -> Vec<SlotOwner> {
    let held = others(state, id, name).filter_map(|task| {
        let deleted = task.desired() == Desired::Deleted;
        let spec = task.spec().as_postgres()?;
        let holds = match task.desired() {
            Desired::Terminated => false,
            Desired::Deleted => spec.source.slot == Managed::Managed,
            Desired::Stopped | Desired::Running | Desired::Paused => true,
        };
        let slot = spec.source.slot.name(&ours(task.id()));
        holds.then(|| SlotOwner { slot, task: task.name().to_string(), deleted })
    });
    let left = state.leftovers().filter_map(|(id, left)| {
        let spec = left.document.spec.as_postgres()?;
        let task = spec.name.to_string();
        let managed = spec.source.slot == Managed::Managed;
        managed.then(|| SlotOwner { slot: ours(id), task, deleted: true })
    });
    held.chain(left).collect()
}

/// Slots and publications that other tasks than this one were told to use, each with the task.
pub(super) fn in_use(state: &ClusterState, id: &TaskId) -> HashMap<String, String> {
    let users = state.tasks().filter(|task| task.id() != id && task.desired() != Desired::Deleted);
    let used = users.filter_map(|task| {
        let source = &task.spec().as_postgres()?.source;
        let named = |object: &Managed| match object {
            Managed::Managed => None,
            Managed::Existing(name) => Some((name.clone(), task.name().to_string())),
        };
        Some([named(&source.slot), named(&source.publication)])
    });
    used.flatten().flatten().collect()
}

/// What a task calls the slot that it manages.
pub(super) fn ours(id: &TaskId) -> String {
    ShardId { task: id.clone(), index: 0 }.slot_name()
}

fn neighbour(spec: &TaskSpec) -> Neighbour {
    let neighbour = Neighbour {
        task: spec.name().to_string(),
        brokers: spec.target().brokers.clone(),
        ..Neighbour::default()
    };
    match spec {
        TaskSpec::PostgresToKafka(task) => {
            Neighbour { topics: topics(task).into_iter().collect(), ..neighbour }
        }
        TaskSpec::KafkaToKafka(task) => Neighbour {
            topics: task.topics.iter().flat_map(copies).collect(),
            source_brokers: task.source.brokers.clone(),
            rules: task.topics.iter().cloned().map(Into::into).collect(),
            ..neighbour
        },
    }
}

/// Names of the copies that a rule makes, with `*` and `?` where only the source knows the topics.
fn copies(rule: &TopicRule) -> Vec<String> {
    if rule.topics.is_empty() {
        return vec![rule.renamed("*")];
    }
    rule.topics.iter().map(|topic| rule.renamed(&topic.to_string())).collect()
}

/// The topics of a task, with `*` and `?` where only the source knows the tables.
fn topics(spec: &PostgresTask) -> BTreeSet<String> {
    let mut topics: BTreeSet<String> =
        spec.objects.iter().flat_map(|rule| of_rule(rule, &spec.source.database)).collect();
    if let BadRecord::DeadLetter(topic) = &spec.on_bad_record {
        topics.insert(topic.clone());
    }
    topics
}

fn of_rule(rule: &ObjectRule, database: &str) -> Vec<String> {
    if !rule.topic.contains('{') {
        return vec![rule.topic.clone()];
    }
    let filled = |schema: &str, table: &str| {
        rule.topic
            .replace("{database}", &legal(database))
            .replace("{schema}", &legal(schema))
            .replace("{table}", &legal(table))
    };
    let exact = rule.tables.iter().map(|name| filled(&name.schema, &name.table));
    let patterns = rule.patterns.iter().map(|TablePattern { schema, table }| {
        let text = |pattern: &NamePattern| match pattern {
            NamePattern::Exact(text) | NamePattern::Glob(text) => text.clone(),
        };
        filled(&text(schema), &text(table))
    });
    exact.chain(patterns).collect()
}

/// As templates write a name into a topic, but for what stands for any character.
fn legal(name: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || "._-*?".contains(c);
    name.chars().map(|c| if keep(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use tidewire_shared::spec::TableName;

    use super::*;

    #[test]
    fn copies_are_named_as_their_rule_names_them() {
        let topics = [NamePattern::Exact("orders".into()), NamePattern::Glob("clicks_*".into())];
        let rename = "dr.{topic}".to_owned();
        let some = TopicRule { topics: topics.into(), exclude: Vec::new(), rename };
        assert_eq!(copies(&some), ["dr.orders", "dr.clicks_*"]);
        assert_eq!(copies(&TopicRule { topics: Vec::new(), ..some }), ["dr.*"]);
    }

    #[test]
    fn topics_are_as_exact_as_the_document() {
        let rule = ObjectRule {
            tables: vec![TableName { schema: "public".into(), table: "a b".into() }],
            patterns: vec![TablePattern {
                schema: NamePattern::Exact("public".into()),
                table: NamePattern::Glob("order_*".into()),
            }],
            topic: "{database}.{schema}.{table}".into(),
            ..ObjectRule::default()
        };
        assert_eq!(of_rule(&rule, "shop"), ["shop.public.a_b", "shop.public.order_*"]);
        let plain = ObjectRule { topic: "all".into(), ..rule };
        assert_eq!(of_rule(&plain, "shop"), ["all"]);
    }
}
