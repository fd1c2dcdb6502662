//! Columns and conditions of a task against the tables that are there.

use tidewire_shared::spec::ObjectRule;

use super::{SourceLook, identifier, qualified, tables};
use crate::facts::{SourcePrecheck, TableFacts};
use crate::filter::Condition;
use crate::publish::{filter_columns, identity_columns};

/// What is wrong with the columns that rules name: they are not there, the key would not go out, two
/// would have one name, or the condition does not fit them.
pub(super) fn wrong(look: &SourceLook<'_>, seen: &SourcePrecheck) -> Vec<String> {
    let mut wrong = nowhere(look, seen);
    for (table, rule) in tables::present(look, seen) {
        let Some(rule) = rule else { continue };
        let name = qualified(&table.name);
        wrong.extend(absent(table, rule).map(|column| format!("{name} has no column {column}")));
        wrong.extend(left_out(table, rule).map(|column| {
            format!("{name}: {} is part of the key and may not be left out", identifier(column))
        }));
        if let Some(column) = twice(table, rule) {
            wrong.push(format!("{name}: two columns would be called {}", identifier(&column)));
        }
        if let Some(Err(what)) = condition(rule).map(|it| it?.bind(&filter_columns(table))) {
            wrong.push(format!("{name}: the condition `where` {what}"));
        }
    }
    wrong
}

/// Columns to be left out or renamed that no table of their rule has: a slip of the pen would let out
/// what was to be kept.
fn nowhere(look: &SourceLook<'_>, seen: &SourcePrecheck) -> Vec<String> {
    let mut wrong = Vec::new();
    let present: Vec<_> = tables::present(look, seen).collect();
    let names_columns =
        |rule: &&ObjectRule| !(rule.columns.exclude.is_empty() && rule.rename.columns.is_empty());
    for rule in look.spec.objects.iter().filter(names_columns) {
        let of_rule: Vec<_> = present
            .iter()
            .filter(|(_, of)| of.is_some_and(|of| std::ptr::eq(of, rule)))
            .map(|(table, _)| *table)
            .collect();
        let named = rule.columns.exclude.iter().chain(rule.rename.columns.keys());
        let lost = named.filter(|name| !of_rule.iter().any(|table| has(table, name)));
        if let Some(first) = of_rule.first() {
            let name = qualified(&first.name);
            wrong.extend(lost.map(|column| format!("{name} has no column {}", identifier(column))));
        }
    }
    wrong
}

/// Columns that a condition needs and an update or delete does not bring, and what helps.
pub(super) fn untold(rule: Option<&ObjectRule>, table: &TableFacts) -> Option<(String, String)> {
    let rule = rule.filter(|rule| rule.operations.update || rule.operations.delete)?;
    let condition = condition(rule)?.ok()?;
    if table.identity == 'f' {
        return None;
    }
    let identity = identity_columns(table).unwrap_or_default();
    let outside = |name: &&str| !identity.iter().any(|column| column == name);
    let columns: Vec<_> = condition.columns().into_iter().filter(outside).collect();
    let name = qualified(&table.name);
    (!columns.is_empty()).then(|| {
        (
            format!("{name}: where needs {}, not in the replica identity", columns.join(", ")),
            format!("ALTER TABLE {name} REPLICA IDENTITY FULL;"),
        )
    })
}

fn condition(rule: &ObjectRule) -> Option<Result<Condition, String>> {
    (!rule.filter.is_empty()).then(|| Condition::parse(&rule.filter))
}

fn has(table: &TableFacts, name: &str) -> bool {
    table.columns.iter().any(|column| column.name == name)
}

/// Columns chosen by name that are not there. One to leave out, or to rename, may be in some tables of
/// a rule only.
fn absent<'a>(table: &'a TableFacts, rule: &'a ObjectRule) -> impl Iterator<Item = String> + 'a {
    let chosen = rule.columns.include.iter();
    chosen.filter(|name| !has(table, name)).map(|name| identifier(name))
}

fn goes_out(rule: &ObjectRule, name: &String) -> bool {
    let columns = &rule.columns;
    (columns.include.is_empty() || columns.include.contains(name))
        && !columns.exclude.contains(name)
}

fn left_out<'a>(
    table: &'a TableFacts,
    rule: &'a ObjectRule,
) -> impl Iterator<Item = &'a String> + 'a {
    let keys = || table.unique_keys.iter();
    let key = keys()
        .find(|key| key.primary)
        .or_else(|| keys().find(|key| key.replica_identity))
        .or_else(|| keys().filter(|key| key.not_null).min_by_key(|key| &key.name));
    key.into_iter().flat_map(|key| &key.columns).filter(|name| !goes_out(rule, name))
}

/// A name that two columns would have inside records.
fn twice(table: &TableFacts, rule: &ObjectRule) -> Option<String> {
    let mut names = std::collections::BTreeSet::new();
    let columns = table.columns.iter().map(|column| &column.name);
    columns
        .filter(|name| goes_out(rule, name))
        .map(|name| rule.rename.columns.get(name).unwrap_or(name))
        .find(|name| !names.insert(*name))
        .cloned()
}
