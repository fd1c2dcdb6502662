//! Which tables a task has: its rules held against what the database holds, and their topics.

use std::collections::{BTreeMap, BTreeSet};

use tidewire_shared::spec::{ObjectRule, TableName};
use tidewire_shared::{Fault, FaultKind};

/// A table that patterns may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedTable {
    /// Which.
    pub name: TableName,
    /// Object id.
    pub oid: u32,
    /// Object ids of the partitioned tables that it is a partition of, at any level.
    pub ancestors: Vec<u32>,
}

/// A table that the task has now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedTable {
    /// Which.
    pub name: TableName,
    /// Index of its rule.
    pub rule: usize,
    /// The topic it goes to.
    pub topic: String,
}

/// Whether a task's tables depend on what the database holds.
#[must_use]
pub fn has_patterns(rules: &[ObjectRule]) -> bool {
    rules.iter().any(|rule| !rule.patterns.is_empty())
}

/// The rule that takes a table: one that names it, else the first whose patterns take it.
#[must_use]
pub fn rule_of(rules: &[ObjectRule], name: &TableName) -> Option<usize> {
    let takes = |rule: &ObjectRule| {
        rule.patterns.iter().any(|pattern| pattern.fits(name))
            && !rule.exclude.iter().any(|pattern| pattern.fits(name))
    };
    let named = rules.iter().position(|rule| rule.tables.contains(name));
    named.or_else(|| rules.iter().position(takes))
}

/// The tables of a task, in name order: those it names, whether or not they exist, and those of
/// `listed` that its patterns take. A partition whose root is taken too, named or not, is left to the
/// root, under whose name its changes come.
#[must_use]
pub fn resolve(rules: &[ObjectRule], database: &str, listed: &[ListedTable]) -> Vec<ResolvedTable> {
    let named = rules.iter().flat_map(|rule| &rule.tables);
    let mut names: BTreeSet<&TableName> = named.collect();
    let matched: Vec<_> =
        listed.iter().filter(|table| rule_of(rules, &table.name).is_some()).collect();
    let roots: BTreeSet<u32> = matched.iter().map(|table| table.oid).collect();
    for table in matched {
        if table.ancestors.iter().any(|ancestor| roots.contains(ancestor)) {
            names.remove(&table.name);
        } else {
            names.insert(&table.name);
        }
    }
    let resolved = names.into_iter().filter_map(|name| {
        let rule = rule_of(rules, name)?;
        let topic = topic_of(&rules.get(rule)?.topic, database, name);
        Some(ResolvedTable { name: name.clone(), rule, topic })
    });
    resolved.collect()
}

/// The topic of a table: the rule's text, with the names of the source in place of `{database}`,
/// `{schema}` and `{table}`, and `_` in place of what Kafka refuses.
#[must_use]
pub fn topic_of(template: &str, database: &str, table: &TableName) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    pieces(template)
        .into_iter()
        .map(|piece| match piece {
            Piece::Plain(text) => text.to_owned(),
            Piece::Database => database.chars().map(legal).collect(),
            Piece::Schema => table.schema.chars().map(legal).collect(),
            Piece::Table => table.table.chars().map(legal).collect(),
        })
        .collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece<'a> {
    Plain(&'a str),
    Database,
    Schema,
    Table,
}

/// Cuts a template in one pass: a name that looks like one of the template's words stays a name.
fn pieces(template: &str) -> Vec<Piece<'_>> {
    const PLACEHOLDERS: [(&str, Piece<'static>); 3] =
        [("{database}", Piece::Database), ("{schema}", Piece::Schema), ("{table}", Piece::Table)];
    let mut pieces = Vec::new();
    let mut rest = template;
    while !rest.is_empty() {
        let first = PLACEHOLDERS
            .iter()
            .filter_map(|(text, piece)| Some((rest.split_once(text)?, *piece)))
            .min_by_key(|((before, _), _)| before.len());
        let Some(((before, after), piece)) = first else {
            pieces.push(Piece::Plain(rest));
            break;
        };
        if !before.is_empty() {
            pieces.push(Piece::Plain(before));
        }
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Topics in which tables meet without having been told to: through a template that gives different
/// tables the same name. Tables that a plain topic, or a template of the same values, brings
/// together are meant to meet.
#[must_use]
pub fn collisions(
    rules: &[ObjectRule],
    resolved: &[ResolvedTable],
) -> Vec<(String, Vec<TableName>)> {
    let mut by_topic: BTreeMap<&str, Vec<&ResolvedTable>> = BTreeMap::new();
    for table in resolved {
        by_topic.entry(&table.topic).or_default().push(table);
    }
    let meant = |table: &ResolvedTable| {
        let template = rules.get(table.rule).map_or("", |rule| rule.topic.as_str());
        let pieces = pieces(template);
        let used = |piece, name: &String| pieces.contains(&piece).then(|| name.clone());
        let schema = used(Piece::Schema, &table.name.schema);
        (schema, used(Piece::Table, &table.name.table), template.to_owned())
    };
    let met = |tables: &[&ResolvedTable]| {
        let told: BTreeSet<_> = tables.iter().map(|table| meant(table)).collect();
        told.len() > 1
    };
    by_topic
        .into_iter()
        .filter(|(_, tables)| met(tables))
        .map(|(topic, tables)| {
            (topic.to_owned(), tables.into_iter().map(|table| table.name.clone()).collect())
        })
        .collect()
}

/// Refuses a topic name that a template made and Kafka, or this program, has no use for.
///
/// # Errors
/// `Configuration`, naming table and topic.
pub(crate) fn usable(table: &ResolvedTable) -> Result<(), Fault> {
    let topic = table.topic.as_str();
    let reserved = ["__tidewire_positions", "__consumer_offsets", "__transaction_state"];
    let why = match topic {
        "" | "." | ".." => "is no topic name",
        topic if topic.len() > 249 => "is longer than the 249 characters of a topic name",
        topic if reserved.contains(&topic) => "is not for records",
        _ => return Ok(()),
    };
    let message = format!("would go to `{topic}`, which {why}");
    Err(Fault::new(FaultKind::Configuration, format!("table {}", table.name), message)
        .remedy("give it a rule of its own with another topic"))
}

#[cfg(test)]
mod tests {
    use tidewire_shared::spec::{NamePattern, TablePattern};

    use super::*;

    fn name(schema: &str, table: &str) -> TableName {
        TableName { schema: schema.into(), table: table.into() }
    }

    fn glob(table: &str) -> TablePattern {
        TablePattern {
            schema: NamePattern::Exact("public".into()),
            table: NamePattern::Glob(table.into()),
        }
    }

    fn rule(topic: &str, tables: &[&str], patterns: &[&str], exclude: &[&str]) -> ObjectRule {
        ObjectRule {
            tables: tables.iter().map(|table| name("public", table)).collect(),
            patterns: patterns.iter().map(|pattern| glob(pattern)).collect(),
            exclude: exclude.iter().map(|pattern| glob(pattern)).collect(),
            topic: topic.into(),
            ..ObjectRule::default()
        }
    }

    fn listed(tables: &[(&str, u32, &[u32])]) -> Vec<ListedTable> {
        let table = |(table, oid, ancestors): &(&str, u32, &[u32])| ListedTable {
            name: name("public", table),
            oid: *oid,
            ancestors: ancestors.to_vec(),
        };
        tables.iter().map(table).collect()
    }

    fn shown(rules: &[ObjectRule], listed: &[ListedTable]) -> Vec<String> {
        let table = |t: ResolvedTable| format!("{} {} {}", t.name.table, t.rule, t.topic);
        resolve(rules, "shop", listed).into_iter().map(table).collect()
    }

    #[test]
    fn a_name_beats_a_pattern_and_the_first_pattern_wins() {
        let rules = [
            rule("a", &[], &["order_*"], &["order_tmp*"]),
            rule("b", &["order_2", "gone"], &["*"], &[]),
        ];
        let there = listed(&[("order_1", 1, &[]), ("order_2", 2, &[]), ("order_tmp", 3, &[])]);
        assert_eq!(
            shown(&rules, &there),
            ["gone 1 b", "order_1 0 a", "order_2 1 b", "order_tmp 1 b"]
        );
    }

    #[test]
    fn what_is_excluded_is_not_taken_and_what_appears_is() {
        let rules = [rule("t", &[], &["o*"], &["o_tmp"])];
        assert_eq!(shown(&rules, &listed(&[("o_tmp", 1, &[])])), Vec::<String>::new());
        let later = listed(&[("o_tmp", 1, &[]), ("o1", 2, &[])]);
        assert_eq!(shown(&rules, &later), ["o1 0 t"]);
    }

    #[test]
    fn partitions_are_left_to_a_root_that_is_taken() {
        let there = listed(&[("m", 1, &[]), ("m_1", 2, &[1]), ("m_1_1", 3, &[2, 1])]);
        assert_eq!(shown(&[rule("t", &[], &["m*"], &[])], &there), ["m 0 t"]);
        assert_eq!(shown(&[rule("t", &[], &["m_*"], &[])], &there), ["m_1 0 t"]);
        assert_eq!(shown(&[rule("t", &["m", "m_1"], &[], &[])], &there), ["m 0 t"]);
        assert_eq!(shown(&[rule("t", &["m_1"], &[], &[])], &there), ["m_1 0 t"]);
    }

    #[test]
    fn templates_give_each_table_its_topic() {
        let odd = name("a b", "{schema}");
        assert_eq!(
            topic_of("{database}.{schema}.{table}", "my shop", &odd),
            "my_shop.a_b._schema_"
        );
        assert_eq!(topic_of("cdc-{table}-x", "d", &name("s", "Ört")), "cdc-_rt-x");
        assert_eq!(topic_of("plain", "d", &odd), "plain");
    }

    #[test]
    fn tables_that_meet_by_accident_are_told() {
        let both = |template: &str, tables: &[&str]| {
            let rules = [rule(template, tables, &[], &[])];
            collisions(&rules, &resolve(&rules, "shop", &[]))
        };
        assert_eq!(both("{schema}.{table}", &["a b", "a_b", "c"]).len(), 1);
        assert!(both("{schema}", &["a", "b"]).is_empty());
        assert!(both("all", &["a", "b"]).is_empty());
        let rules = [rule("{table}", &["a"], &[], &[]), rule("a", &["b"], &[], &[])];
        assert_eq!(collisions(&rules, &resolve(&rules, "shop", &[])).len(), 1);
        let rules = [rule("a", &["c"], &[], &[]), rule("a", &["b"], &[], &[])];
        assert!(collisions(&rules, &resolve(&rules, "shop", &[])).is_empty());
    }
}
