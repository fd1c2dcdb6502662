//! What a precheck is told of the other tasks: two tasks must not share a topic without being told to.

use std::collections::BTreeSet;

use tidewire_coordinator_core::ClusterState;
use tidewire_proto::node::v1::Neighbour;
use tidewire_shared::spec::{
    BadRecord, NamePattern, ObjectRule, PostgresTask, TablePattern, TopicRule,
};
use tidewire_shared::{Desired, TaskId, TaskName, TaskSpec};

/// Every other task that may still write. A document that is not a task yet is told apart by its name.
pub(super) fn neighbours(
    state: &ClusterState,
    id: Option<&TaskId>,
    name: &TaskName,
) -> Vec<Neighbour> {
    let mut neighbours = Vec::new();
    for task in state.tasks() {
        let itself = id.map_or_else(|| task.name() == name, |id| task.id() == id);
        if itself || matches!(task.desired(), Desired::Terminated | Desired::Deleted) {
            continue;
        }
        // A connection that is gone names no brokers.
        if let Ok(spec) = state.resolve(task.spec()) {
            neighbours.push(neighbour(&spec));
        }
    }
    neighbours
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
