//! What differs between two documents, key by key, as people read it. Secrets are never shown.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tidewire_shared::TaskSpec;

/// Changes that are listed of one revision; a task of thousands of tables must not fill the log.
const CHANGES_MAX: usize = 200;
/// Characters of a value that are kept.
const TEXT_MAX: usize = 200;

/// One key that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The key as the document writes it: `objects[0].tables`.
    pub path: String,
    /// What stood there; none: nothing.
    pub old: Option<String>,
    /// What stands there now; none: nothing.
    pub new: Option<String>,
}

/// Every key in which two documents differ, in the order of the document. Lists of names are compared
/// as sets: each name that came or went is a change of its own.
#[must_use]
pub fn difference(old: &TaskSpec, new: &TaskSpec) -> Vec<Change> {
    let mut changes = every_difference(old, new);
    let left_out = changes.len().saturating_sub(CHANGES_MAX);
    if left_out > 0 {
        changes.truncate(CHANGES_MAX);
        changes.push(left_out_of(left_out));
    }
    changes
}

/// The same without a bound: a rule must see the keys that a long list of tables hides, too.
pub(super) fn every_difference(old: &TaskSpec, new: &TaskSpec) -> Vec<Change> {
    let mut found = Found::default();
    if old.kind() != new.kind() {
        let kind = |spec: &TaskSpec| Some(spec.kind().to_owned());
        found.note("kind", kind(old), kind(new));
    }
    found.walk("", &tree(old), &tree(new));
    found.changes
}

fn tree(spec: &TaskSpec) -> Value {
    let tree = match spec {
        TaskSpec::PostgresToKafka(task) => serde_json::to_value(task),
        TaskSpec::KafkaToKafka(task) => serde_json::to_value(task),
    };
    tree.unwrap_or(Value::Null)
}

/// Stands for changes that are not listed.
pub(super) fn left_out_of(count: usize) -> Change {
    Change { path: "…".to_owned(), old: None, new: Some(format!("{count} more")) }
}

#[derive(Default)]
struct Found {
    changes: Vec<Change>,
}

impl Found {
    fn walk(&mut self, path: &str, old: &Value, new: &Value) {
        if old == new {
            return;
        }
        let nothing = Map::new();
        match (old, new) {
            (Value::Array(old), Value::Array(new)) if path == "objects" => self.rules(old, new),
            (Value::Array(old), Value::Array(new)) => self.names(path, old, new),
            (Value::Object(old), Value::Object(new))
                if !(is_choice(path, old) || is_choice(path, new)) =>
            {
                self.fields(path, old, new);
            }
            (Value::Null, Value::Object(new)) if !is_choice(path, new) => {
                self.fields(path, &nothing, new);
            }
            (Value::Object(old), Value::Null) if !is_choice(path, old) => {
                self.fields(path, old, &nothing);
            }
            _ => self.note(path, shown(path, old), shown(path, new)),
        }
    }

    fn fields(&mut self, path: &str, old: &Map<String, Value>, new: &Map<String, Value>) {
        let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for key in keys {
            let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let value = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or(Value::Null);
            self.walk(&below, &value(old), &value(new));
        }
    }

    fn names(&mut self, path: &str, old: &[Value], new: &[Value]) {
        let went: Vec<&Value> = old.iter().filter(|name| !new.contains(name)).collect();
        let came: Vec<&Value> = new.iter().filter(|name| !old.contains(name)).collect();
        if went.is_empty() && came.is_empty() {
            let list = |names: &[Value]| shown(path, &Value::Array(names.to_vec()));
            return self.note(path, list(old), list(new));
        }
        for name in went {
            self.note(path, shown(path, name), None);
        }
        for name in came {
            self.note(path, None, shown(path, name));
        }
    }

    /// Entries of `objects` belong together when they write to the same topic, else by their place.
    fn rules(&mut self, old: &[Value], new: &[Value]) {
        let mut left: Vec<(usize, &Value)> =
            old.iter().enumerate().filter(|(_, rule)| !new.contains(rule)).collect();
        let topic = |rule: &Value| rule.get("topic").cloned();
        let mut unmatched = Vec::new();
        for (index, rule) in new.iter().enumerate().filter(|(_, rule)| !old.contains(rule)) {
            match left.iter().position(|(_, before)| topic(before) == topic(rule)) {
                Some(at) => self.walk(&format!("objects[{index}]"), left.remove(at).1, rule),
                None => unmatched.push((index, rule)),
            }
        }
        for (index, rule) in unmatched {
            let path = format!("objects[{index}]");
            match left.iter().position(|(before, _)| *before == index) {
                Some(at) => self.walk(&path, left.remove(at).1, rule),
                None => self.note(&path, None, shown(&path, rule)),
            }
        }
        for (index, rule) in left {
            let path = format!("objects[{index}]");
            self.note(&path, shown(&path, rule), None);
        }
        if self.changes.is_empty() {
            self.note("objects", Some("one order".to_owned()), Some("another order".to_owned()));
        }
    }

    fn note(&mut self, path: &str, old: Option<String>, new: Option<String>) {
        self.changes.push(Change { path: in_document(path), old, new });
    }
}

/// One of several forms with its value, as `{"env": "PGPASSWORD"}`; maps of names are not.
fn is_choice(path: &str, fields: &Map<String, Value>) -> bool {
    let is_map = path.ends_with(".columns") || path.ends_with(".properties");
    fields.len() == 1 && !is_map && fields.values().all(|value| !value.is_object())
}

/// A value as people read it; none for nothing.
fn shown(path: &str, value: &Value) -> Option<String> {
    let text = match value {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().filter_map(|item| shown(path, item)).collect();
            if items.is_empty() {
                return None;
            }
            items.join(", ")
        }
        Value::Object(fields) => fields_shown(path, fields),
    };
    Some(if text.chars().count() > TEXT_MAX {
        text.chars().take(TEXT_MAX).chain(['…']).collect()
    } else {
        text
    })
}

fn fields_shown(path: &str, fields: &Map<String, Value>) -> String {
    if is_choice(path, fields) {
        let form = |(form, value): (&String, &Value)| match form.as_str() {
            "value" => "***".to_owned(),
            "exact" | "glob" => shown(path, value).unwrap_or_default(),
            form => format!("{form} {}", shown(path, value).unwrap_or_default()),
        };
        return fields.iter().map(form).collect();
    }
    if let (2, Some(schema), Some(table)) =
        (fields.len(), fields.get("schema"), fields.get("table"))
    {
        let name = |part| shown(path, part).unwrap_or_default();
        return format!("{}.{}", name(schema), name(table));
    }
    let told = fields.iter().filter_map(|(key, value)| {
        let value = shown(&format!("{path}.{key}"), value)?;
        Some(format!("{}: {value}", in_document(key)))
    });
    told.collect::<Vec<_>>().join("; ")
}

/// The key of the document that holds this field of the specification.
fn in_document(path: &str) -> String {
    match path {
        "format.kind" => "format.type".to_owned(),
        "format.identityHeaders" => "format.headers".to_owned(),
        "source.slotFailover" => "source.slot.failover".to_owned(),
        "filter" => "where".to_owned(),
        _ => match (path.strip_prefix("format.debezium."), path.strip_suffix(".filter")) {
            (Some(option), _) => format!("format.{option}"),
            (None, Some(rule)) => format!("{rule}.where"),
            (None, None) => path.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use tidewire_shared::SecretRef;
    use tidewire_shared::spec::{
        FormatKind, KafkaSecurity, Managed, NamePattern, ObjectRule, PostgresTask, Sasl,
        SaslMechanism, TableName, TablePattern,
    };

    use super::*;
    use crate::revision::rules::sample;

    fn lines(change: impl FnOnce(&mut PostgresTask)) -> Vec<String> {
        let old = sample();
        let mut new = old.clone();
        change(&mut new);
        let none = || "-".to_owned();
        difference(&old.into(), &new.into())
            .into_iter()
            .map(|it| {
                format!(
                    "{}: {} → {}",
                    it.path,
                    it.old.unwrap_or_else(none),
                    it.new.unwrap_or_else(none)
                )
            })
            .collect()
    }

    fn table(name: &str) -> TableName {
        TableName { schema: "public".into(), table: name.into() }
    }

    #[test]
    fn the_same_document_differs_in_nothing() {
        assert_eq!(lines(|_| {}), Vec::<String>::new());
    }

    #[test]
    fn tables_come_and_go_by_name() {
        let seen = lines(|spec| {
            spec.objects[0].tables = vec![table("customers")];
            let schema = NamePattern::Exact("public".into());
            let pattern = NamePattern::Glob("order_*".into());
            spec.objects[0].patterns = vec![TablePattern { schema, table: pattern }];
        });
        assert_eq!(
            seen,
            [
                "objects[0].patterns: - → public.order_*",
                "objects[0].tables: public.orders → -",
                "objects[0].tables: - → public.customers",
            ]
        );
    }

    #[test]
    fn a_whole_entry_comes_and_goes() {
        let rule = ObjectRule {
            tables: vec![table("audit")],
            topic: "audit".into(),
            ..ObjectRule::default()
        };
        let seen = lines(|spec| spec.objects.push(rule));
        assert_eq!(seen.len(), 1);
        assert!(seen[0].starts_with("objects[1]: - → "), "{seen:?}");
        assert!(seen[0].contains("tables: public.audit"), "{seen:?}");
    }

    #[test]
    fn keys_are_those_of_the_document() {
        let seen = lines(|spec| {
            spec.objects[0].filter = "id > 3".into();
            spec.format.kind = FormatKind::CanalJson;
            spec.source.slot = Managed::Existing("mine".into());
            spec.limits.rows_per_second = 7;
        });
        assert_eq!(
            seen,
            [
                "format.type: dts_avro → canal_json",
                "limits.rowsPerSecond: 0 → 7",
                "objects[0].where:  → id > 3",
                "source.slot: managed → existing mine",
            ]
        );
    }

    #[test]
    fn a_secret_is_never_shown() {
        let seen = lines(|spec| {
            spec.source.password = Some(SecretRef::Value("hunter2".into()));
            spec.target.security = KafkaSecurity {
                sasl: Some(Sasl {
                    mechanism: SaslMechanism::Plain,
                    user: "u".into(),
                    password: SecretRef::Value("hunter3".into()),
                }),
                ..KafkaSecurity::default()
            };
        });
        let text = seen.join("\n");
        assert!(text.contains("source.password: env PGPASSWORD → ***"), "{text}");
        assert!(text.contains("target.security.sasl.password: - → ***"), "{text}");
        assert!(!text.contains("hunter"), "{text}");
    }

    #[test]
    fn a_secret_that_changes_is_a_change_though_both_look_alike() {
        let mut old = sample();
        old.source.password = Some(SecretRef::Value("one".into()));
        let mut new = old.clone();
        new.source.password = Some(SecretRef::Value("two".into()));
        let found = difference(&old.into(), &new.into());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].old, found[0].new);
    }
}
