//! Which keys of a document may change while its task lives, and why the others may not.

use tidewire_shared::TaskSpec;
use tidewire_shared::spec::{ObjectRule, PostgresTask, TableName, TablePattern};

use super::difference::every_difference;

/// Whether a key may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// It may; the task goes on with the new value from the change-over on.
    Free,
    /// It may not, for this reason.
    Fixed(&'static str),
}

use Permit::{Fixed, Free};

const SLOT: &str =
    "the slot holds the place of the task, and its name comes from the task's identity";
const TWO_FORMATS: &str = "readers of a topic would meet two forms of record in it";
const TWO_PARTITIONS: &str =
    "records of one key would lie in two partitions, and their order would be lost";

/// Keys of the document, the longest that fits decides. A task that never ran may change them all.
const RULES: &[(&str, Permit)] = &[
    ("name", Fixed("a task is found by its name")),
    ("displayName", Free),
    ("kind", Fixed("its records come from elsewhere")),
    ("source.connection", Free),
    ("source.brokers", Free),
    ("source.security", Free),
    ("source.properties", Free),
    ("source.hosts", Free),
    ("source.database", Fixed("a slot decodes one database")),
    ("source.user", Free),
    ("source.password", Free),
    ("source.tls", Free),
    ("source.flavor", Free),
    ("source.slot", Fixed(SLOT)),
    ("source.publication", Fixed("changes that only the other one publishes would be lost")),
    ("source.heartbeat", Free),
    ("source.walBudget", Free),
    ("target.connection", Free),
    ("target.brokers", Free),
    ("target.security", Free),
    ("target.compression", Free),
    ("target.properties", Free),
    ("target.createTopics", Free),
    ("target.onTopicChange", Free),
    ("objects", Free),
    ("topics", Free),
    ("syncConfigs", Free),
    // It counts for what is copied for the first time.
    ("existingData", Free),
    ("shards", Free),
    ("format", Fixed(TWO_FORMATS)),
    ("format.headers", Free),
    ("partition", Fixed(TWO_PARTITIONS)),
    ("keyChange", Free),
    ("delivery", Fixed("the truth about the position is kept elsewhere under the other")),
    ("start", Fixed("the task has started already")),
    ("onBadRecord", Free),
    ("retry", Free),
    ("limits", Free),
    ("alerts", Free),
];

/// Whether the key at this path, as [`super::difference()`] writes it, may change; none: nobody decided.
#[must_use]
pub fn permit(path: &str) -> Option<Permit> {
    let fits = |key: &str| {
        path.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    RULES
        .iter()
        .filter(|(key, _)| fits(key))
        .max_by_key(|(key, _)| key.len())
        .map(|(_, permit)| *permit)
}

/// The first key that a task which ran may not change this way, and why.
#[must_use]
pub fn fixed_key(old: &TaskSpec, new: &TaskSpec) -> Option<(String, &'static str)> {
    for change in every_difference(old, new) {
        match permit(&change.path) {
            Some(Free) => {}
            Some(Fixed(why)) => return Some((change.path, why)),
            None => return Some((change.path, "nobody knows what would become of the records")),
        }
    }
    let (old, new) = old.as_postgres().zip(new.as_postgres())?;
    partitions_anew(old, new).then(|| ("objects[].partitionBy".to_owned(), TWO_PARTITIONS))
}

fn partitions_anew(old: &PostgresTask, new: &PostgresTask) -> bool {
    let rules = || old.objects.iter().chain(&new.objects);
    let first = rules().next().map(|rule| &rule.partition_by);
    if rules().all(|rule| Some(&rule.partition_by) == first) {
        return false;
    }
    let moved = old.objects.iter().any(|before| {
        new.objects
            .iter()
            .any(|after| before.partition_by != after.partition_by && shares_tables(before, after))
    });
    moved || rules().flat_map(|rule| &rule.tables).any(|table| is_partitioned_anew(old, new, table))
}

/// Whether a table that both take goes by other columns: also one that a pattern took and that is named
/// now, or the other way round.
fn is_partitioned_anew(old: &PostgresTask, new: &PostgresTask, table: &TableName) -> bool {
    let rules = rule_of(&old.objects, table).zip(rule_of(&new.objects, table));
    rules.is_some_and(|(before, after)| before.partition_by != after.partition_by)
}

/// The rule that takes a table, as nodes choose it: one that names it, else the first whose patterns do.
fn rule_of<'r>(rules: &'r [ObjectRule], table: &TableName) -> Option<&'r ObjectRule> {
    let takes = |rule: &&ObjectRule| {
        rule.patterns.iter().any(|pattern| pattern.fits(table))
            && !rule.exclude.iter().any(|pattern| pattern.fits(table))
    };
    let named = rules.iter().find(|rule| rule.tables.contains(table));
    named.or_else(|| rules.iter().find(takes))
}

fn shares_tables(before: &ObjectRule, after: &ObjectRule) -> bool {
    let named = |table: &TableName| after.tables.contains(table);
    let alike = |pattern: &TablePattern| after.patterns.contains(pattern);
    before.tables.iter().any(named) || before.patterns.iter().any(alike)
}

/// A document with one table.
#[cfg(test)]
pub(super) fn sample() -> PostgresTask {
    use std::collections::BTreeMap;

    use tidewire_shared::SecretRef;
    use tidewire_shared::spec::{Format, KafkaTarget, KeyChange, PartitionPolicy, PostgresSource};

    PostgresTask {
        name: "orders".parse().expect("a name"),
        display_name: String::new(),
        source: PostgresSource {
            hosts: vec!["db1:5432".into()],
            database: "shop".into(),
            user: "tidewire".into(),
            password: Some(SecretRef::Env("PGPASSWORD".into())),
            ..PostgresSource::default()
        },
        target: KafkaTarget {
            brokers: vec!["k1:9092".into()],
            properties: BTreeMap::new(),
            ..KafkaTarget::default()
        },
        objects: vec![ObjectRule {
            tables: vec![TableName { schema: "public".into(), table: "orders".into() }],
            topic: "orders".into(),
            ..ObjectRule::default()
        }],
        format: Format::default(),
        partition: PartitionPolicy::ByPrimaryKey,
        key_change: KeyChange::Split,
        delivery: tidewire_shared::spec::Delivery::default(),
        start: tidewire_shared::spec::StartAt::default(),
        on_bad_record: tidewire_shared::spec::BadRecord::default(),
        retry: tidewire_shared::spec::Retry::default(),
        limits: tidewire_shared::spec::Limits::default(),
        alerts: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tidewire_shared::spec::{Delivery, FormatKind, NamePattern, PartitionPolicy};

    use super::*;

    #[test]
    fn every_key_of_a_document_has_a_rule() {
        let tree = serde_json::to_value(sample()).expect("a tree");
        let Value::Object(top) = tree else { panic!("an object") };
        for (key, value) in &top {
            match (key.as_str(), value) {
                ("source" | "target", Value::Object(fields)) => {
                    for field in fields.keys() {
                        let path = match field.as_str() {
                            "slotFailover" => "source.slot.failover".to_owned(),
                            field => format!("{key}.{field}"),
                        };
                        assert!(permit(&path).is_some(), "{path}");
                    }
                }
                _ => assert!(permit(key).is_some(), "{key}"),
            }
        }
    }

    fn refused(change: impl FnOnce(&mut PostgresTask)) -> Option<String> {
        let old = sample();
        let mut new = old.clone();
        change(&mut new);
        fixed_key(&old.into(), &new.into()).map(|(key, _)| key)
    }

    #[test]
    fn what_would_break_order_or_place_is_refused_by_its_key() {
        assert_eq!(
            refused(|it| it.source.database = "b".into()).as_deref(),
            Some("source.database")
        );
        assert_eq!(
            refused(|it| it.format.kind = FormatKind::CanalJson).as_deref(),
            Some("format.type")
        );
        assert_eq!(
            refused(|it| it.partition = PartitionPolicy::ByTable).as_deref(),
            Some("partition")
        );
        assert_eq!(refused(|it| it.delivery = Delivery::AtLeastOnce).as_deref(), Some("delivery"));
        assert_eq!(
            refused(|it| it.objects[0].partition_by = vec!["b".into()]).as_deref(),
            Some("objects[].partitionBy")
        );
    }

    #[test]
    fn a_fixed_key_does_not_hide_behind_many_tables() {
        let seen = refused(|it| {
            let table = |number| TableName { schema: "public".into(), table: format!("t{number}") };
            it.objects[0].tables.extend((0..1_000).map(table));
            it.source.database = "b".into();
        });
        assert_eq!(seen.as_deref(), Some("source.database"));
    }

    #[test]
    fn a_table_keeps_its_partitions_when_a_pattern_takes_it_over() {
        let anew = |columns: &[&str]| {
            refused(|it| {
                let exact = NamePattern::Exact("public".into());
                let glob = NamePattern::Glob("order*".into());
                it.objects[0].tables.clear();
                it.objects[0].patterns = vec![TablePattern { schema: exact, table: glob }];
                it.objects[0].partition_by = columns.iter().map(ToString::to_string).collect();
            })
        };
        assert_eq!(anew(&["b"]).as_deref(), Some("objects[].partitionBy"));
        assert_eq!(anew(&[]), None);
    }

    #[test]
    fn what_only_changes_the_way_is_taken() {
        assert_eq!(refused(|it| it.source.hosts = vec!["db2:5432".into()]), None);
        assert_eq!(refused(|it| it.format.identity_headers = true), None);
        assert_eq!(refused(|it| it.objects[0].topic = "other".into()), None);
        assert_eq!(refused(|it| it.retry = tidewire_shared::spec::Retry::default()), None);
        let added = TableName { schema: "public".into(), table: "customers".into() };
        assert_eq!(refused(|it| it.objects[0].tables.push(added)), None);
    }
}
