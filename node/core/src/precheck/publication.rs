//! The publication of a task: there, and publishing what the task asks for.

use std::collections::{BTreeMap, BTreeSet};

use tidewire_shared::LogPlace;
use tidewire_shared::spec::Managed;
use tidewire_shared::spec::PostgresTask;

use super::surroundings::OURS;
use super::{Finding, SourceLook, identifier, listed, qualified, tables};
use crate::facts::{PublicationFacts, SourcePrecheck};
use crate::rewind::way_on;

/// Judges the publication, ours or someone's.
pub(super) fn judge(look: &SourceLook<'_>, seen: &SourcePrecheck) -> Finding {
    let managed = look.spec.source.publication == Managed::Managed;
    let name = identifier(look.publication);
    let Some(published) = &seen.publication else {
        return match (managed, look.started_before) {
            (true, false) if is_left_by_a_task(look) => Finding::fail(
                format!("none yet; slot {} is older", look.slot),
                "what waits in the slot cannot be decoded for a publication that is made later: it would be \
                 left out, or stop the stream for good",
                format!(
                    "write source.publication: {{mode: existing, name: {}}}, which the terminated task made \
                     together with the slot",
                    look.slot
                ),
            ),
            (true, false) if matches!(look.spec.source.slot, Managed::Existing(_)) => {
                Finding::warn(
                    format!("none yet; the task makes it, later than slot {}", look.slot),
                    "what was written in between is not decoded: from PostgreSQL 18 on it is left \
                     out, earlier servers stop the stream there for good",
                    "name a publication that is older than the slot, or let the task make both",
                )
            }
            (true, false) => Finding::pass("none yet; the task makes it"),
            (true, true) => Finding::fail(
                format!("publication {name} does not exist"),
                "someone dropped it, and changes since then may be lost",
                way_on(LogPlace::Now),
            ),
            (false, _) => Finding::fail(
                format!("publication {name} does not exist"),
                "the document names it as one that exists",
                format!("{};", creation(look, seen)),
            ),
        };
    };
    let found = format!("publication {name} of {} tables", published.tables.len());
    if managed {
        // The start adds tables that the document names since, and stops at what someone took away.
        return Finding::pass(found);
    }
    let (wrong, remedies) = lacks(look, seen, published);
    if !wrong.is_empty() {
        let set: Vec<_> =
            remedies.iter().map(|what| format!("ALTER PUBLICATION {name} {what};")).collect();
        return Finding::fail(
            listed(&wrong, "; "),
            "changes that the task asks for would not be published, and nobody would know",
            listed(&set, " "),
        );
    }
    let narrowed = narrowed(look, published);
    if !narrowed.is_empty() {
        return Finding::warn(
            listed(&narrowed, "; "),
            "the publication itself leaves rows or columns out",
            format!(
                "ALTER PUBLICATION {name} SET TABLE … without WHERE and column list, if all shall go out"
            ),
        );
    }
    Finding::pass(found)
}

/// Whether the document names a slot that a task of ours has made.
fn is_left_by_a_task(look: &SourceLook<'_>) -> bool {
    matches!(&look.spec.source.slot, Managed::Existing(name) if name.starts_with(OURS))
}

/// The statement that makes the publication that the document names.
fn creation(look: &SourceLook<'_>, seen: &SourcePrecheck) -> String {
    let tables: Vec<_> = tables::wanted(look).map(qualified).collect();
    let operations = operations(look.spec).join(", ");
    let via_root = match seen.server.version_num {
        130_000.. => ", publish_via_partition_root = true",
        _ => "",
    };
    format!(
        "CREATE PUBLICATION {} FOR TABLE {} WITH (publish = '{operations}'{via_root})",
        identifier(look.publication),
        listed(&tables, ", ")
    )
}

/// The operations that any rule of the task asks for.
fn operations(spec: &PostgresTask) -> Vec<&'static str> {
    let any = |asked: fn(&tidewire_shared::spec::Operations) -> bool| {
        spec.objects.iter().any(|rule| asked(&rule.operations))
    };
    [
        ("insert", any(|of| of.insert)),
        ("update", any(|of| of.update)),
        ("delete", any(|of| of.delete)),
        ("truncate", any(|of| of.truncate)),
    ]
    .into_iter()
    .filter_map(|(operation, asked)| asked.then_some(operation))
    .collect()
}

/// What the task asks for and the publication does not have, and how to alter it.
fn lacks(
    look: &SourceLook<'_>,
    seen: &SourcePrecheck,
    published: &PublicationFacts,
) -> (Vec<String>, Vec<String>) {
    let (mut wrong, mut remedies) = (Vec::new(), Vec::new());
    let of = |operation: &str| match operation {
        "insert" => published.insert,
        "update" => published.update,
        "delete" => published.delete,
        _ => published.truncate,
    };
    let asked = operations(look.spec);
    let missing: Vec<_> = asked.iter().filter(|operation| !of(operation)).copied().collect();
    if !missing.is_empty() {
        wrong.push(format!("it does not publish {}", missing.join(", ")));
        remedies.push(format!("SET (publish = '{}')", asked.join(", ")));
    }
    let mut partitioned = tables::present(look, seen).filter(|(table, _)| table.kind == 'p');
    if seen.server.version_num >= 130_000 && !published.via_root && partitioned.next().is_some() {
        wrong.push("it publishes partitions instead of their roots".to_owned());
        remedies.push("SET (publish_via_partition_root = true)".to_owned());
        // Which tables it has cannot be told before that.
        return (wrong, remedies);
    }
    let held: BTreeSet<_> = published.tables.iter().map(|table| &table.name).collect();
    for (table, _) in tables::present(look, seen).filter(|(it, _)| !held.contains(&it.name)) {
        let name = qualified(&table.name);
        wrong.push(format!("it does not hold {name}"));
        remedies.push(format!("ADD TABLE {name}"));
    }
    (wrong, remedies)
}

/// Tables of the task of which the publication shows a part only.
fn narrowed(look: &SourceLook<'_>, published: &PublicationFacts) -> Vec<String> {
    let mut narrowed = Vec::new();
    let held: BTreeMap<_, _> = published.tables.iter().map(|it| (&it.name, it)).collect();
    for name in tables::wanted(look) {
        let Some(table) = held.get(name) else { continue };
        if table.row_filter.is_some() {
            narrowed.push(format!("{} has a row filter", qualified(name)));
        }
        if table.columns.is_some() {
            narrowed.push(format!("{} has a column list", qualified(name)));
        }
    }
    narrowed
}

/// What happens to a partition alone is published by nobody.
pub(super) fn partition_roots(look: &SourceLook<'_>, seen: &SourcePrecheck) -> Finding {
    let roots: Vec<_> = tables::present(look, seen)
        .filter(|(table, _)| table.kind == 'p')
        .map(|(table, _)| qualified(&table.name))
        .collect();
    if roots.is_empty() {
        return Finding::pass("no table is partitioned");
    }
    let found = format!("partitioned: {}", listed(&roots, ", "));
    if seen.server.version_num < 130_000 {
        return Finding::fail(
            found,
            "PostgreSQL 12 cannot publish a partitioned table",
            "name its partitions in objects instead, or upgrade the server",
        );
    }
    Finding::warn(
        found,
        "a partition that is truncated, attached or detached alone changes the table without a record",
        "TRUNCATE the root instead, and DELETE rows before DETACH PARTITION where readers must know",
    )
}
