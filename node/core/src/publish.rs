//! What the managed publications of a task hold, decided so that the source is never hurt.
//!
//! A table is published in the publication of all changes, or, when the task wants neither its updates
//! nor its deletes, in the one of inserts: there a table needs no replica identity. Conditions and
//! column lists are left to the server only where no UPDATE or DELETE of the application could fail
//! for them; the decoder applies them in any case.

mod mend;

pub use mend::mend;

use std::collections::{BTreeMap, BTreeSet};

use tidewire_shared::spec::{Operations, TableName};
use tidewire_shared::{Fault, FaultKind, LogPlace};

use crate::facts::{PublicationFacts, TableFacts};
use crate::filter::{Condition, FilterColumn};
use crate::objects::ListedTable;
use crate::rewind::way_on;
use crate::schema::{TableRule, TaskTables};

/// A table as it is to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishTable {
    /// Which.
    pub name: TableName,
    /// Object id; 0 where the catalog does not have it.
    pub oid: u32,
    /// It is named in the task, not taken by a pattern.
    pub named: bool,
    /// Columns that are published; `None`: all.
    pub columns: Option<Vec<String>>,
    /// Row filter, as SQL; `None`: all rows.
    pub row_filter: Option<String>,
}

/// What one publication is to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicationPlan {
    /// Its tables, in name order.
    pub tables: Vec<PublishTable>,
    /// The operations that it publishes.
    pub publish: Operations,
}

/// What the publications of a task are to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicationPlans {
    /// All changes.
    pub changes: PublicationPlan,
    /// Inserts only. It is there from the first start on, with or without tables: servers up to 17
    /// cannot decode what was written before a publication that they are asked for was made. `None`
    /// beside a publication of someone else.
    pub inserts: Option<PublicationPlan>,
}

impl PublicationPlans {
    /// The managed publications of the tables that a task has. `listed` gives their object ids, `facts`
    /// what is known of those of which not everything goes out. Row filters and column lists exist from
    /// version 15 on.
    #[must_use]
    pub fn managed(
        tables: &TaskTables,
        listed: &[ListedTable],
        facts: &[TableFacts],
        version_num: u32,
    ) -> Self {
        let all = Operations { insert: true, update: true, delete: true, truncate: false };
        let mut changes = PublicationPlan { tables: Vec::new(), publish: all };
        let none = Operations { update: false, delete: false, ..all };
        let mut inserts = PublicationPlan { tables: Vec::new(), publish: none };
        let oids: BTreeMap<_, _> = listed.iter().map(|table| (&table.name, table.oid)).collect();
        let facts: BTreeMap<_, _> = facts.iter().map(|table| (&table.name, table)).collect();
        for (name, rule) in tables.iter() {
            let plan = if inserts_only(rule) { &mut inserts } else { &mut changes };
            plan.publish.truncate |= rule.operations.truncate;
            let mut table = PublishTable {
                name: name.clone(),
                oid: oids.get(name).copied().unwrap_or(0),
                named: tables.names_outright(name),
                columns: None,
                row_filter: None,
            };
            if let Some(known) = facts.get(name).filter(|_| version_num >= 150_000) {
                let guarded = plan.publish.update;
                let pushed = Pushed { rule, table: known, guarded, version_num };
                table.row_filter = pushed.row_filter();
                table.columns = pushed.columns();
            }
            plan.tables.push(table);
        }
        Self { changes, inserts: Some(inserts) }
    }

    /// What a publication of someone else has to hold for the task.
    #[must_use]
    pub fn existing(tables: &TaskTables) -> Self {
        let none = Operations { insert: false, update: false, delete: false, truncate: false };
        let mut plan = PublicationPlan { tables: Vec::new(), publish: none };
        for (name, rule) in tables.iter() {
            let (publish, asked) = (&mut plan.publish, rule.operations);
            publish.insert |= asked.insert;
            publish.update |= asked.update;
            publish.delete |= asked.delete;
            publish.truncate |= asked.truncate;
            plan.tables.push(PublishTable {
                name: name.clone(),
                oid: 0,
                named: tables.names_outright(name),
                columns: None,
                row_filter: None,
            });
        }
        Self { changes: plan, inserts: None }
    }
}

/// The tables of a task of which the server may leave something out: their facts are needed.
pub fn narrowed(tables: &TaskTables) -> impl Iterator<Item = &TableName> {
    tables
        .iter()
        .filter(|(_, rule)| rule.filter.is_some() || !rule.columns.include.is_empty())
        .map(|(name, _)| name)
}

/// Whether a table belongs in the publication of inserts.
pub(crate) fn inserts_only(rule: &TableRule) -> bool {
    !rule.operations.update && !rule.operations.delete
}

/// What of a rule the server may apply.
struct Pushed<'a> {
    rule: &'a TableRule,
    table: &'a TableFacts,
    /// Updates and deletes are published, so the replica identity must hold what is looked at.
    guarded: bool,
    version_num: u32,
}

impl Pushed<'_> {
    fn row_filter(&self) -> Option<String> {
        let condition = self.rule.filter.as_ref()?;
        if self.guarded && !self.identity_holds(&condition.columns(), true) {
            return None;
        }
        let columns = filter_columns(self.table);
        condition.bind(&columns).ok()?.sql().map(str::to_owned)
    }

    /// Only where columns are chosen by name: a list that stands for "all but these" would hide the
    /// columns that appear later.
    fn columns(&self) -> Option<Vec<String>> {
        let include = &self.rule.columns.include;
        if include.is_empty() || self.table.kind != 'r' {
            return None;
        }
        let mut wanted: Vec<&str> = include.iter().map(String::as_str).collect();
        wanted.extend(self.rule.filter.iter().flat_map(|condition| condition.columns()));
        wanted.sort_unstable();
        wanted.dedup();
        let listable = wanted.iter().all(|name| {
            let column = self.table.columns.iter().find(|column| column.name == *name);
            column.is_some_and(|column| self.version_num >= 180_000 || !column.generated)
        });
        let covers = || {
            let identity = identity_columns(self.table);
            identity.is_some_and(|names| names.iter().all(|name| wanted.contains(&name.as_str())))
        };
        let safe = listable && (!self.guarded || covers());
        safe.then(|| wanted.into_iter().map(str::to_owned).collect())
    }

    /// Whether every update and delete brings these columns. Partitions have identities of their own,
    /// so that of a partitioned table says nothing.
    fn identity_holds(&self, columns: &[&str], full: bool) -> bool {
        if self.table.kind != 'r' {
            return false;
        }
        if self.table.identity == 'f' {
            return full;
        }
        let identity = identity_columns(self.table).unwrap_or_default();
        columns.iter().all(|name| identity.iter().any(|column| column == name))
    }
}

/// The columns of a table as conditions look at them.
#[must_use]
pub fn filter_columns(table: &TableFacts) -> Vec<FilterColumn<'_>> {
    let columns = table.columns.iter();
    columns
        .map(|column| FilterColumn {
            name: &column.name,
            type_oid: column.base.oid,
            type_kind: column.base.kind,
            domain: column.type_oid != column.base.oid,
        })
        .collect()
}

/// The columns of the index that is a table's replica identity; `None` under FULL and without one.
#[must_use]
pub fn identity_columns(table: &TableFacts) -> Option<&[String]> {
    let index = table.unique_keys.iter().find(|key| match table.identity {
        'd' => key.primary,
        'i' => key.replica_identity,
        _ => false,
    });
    index.map(|key| key.columns.as_slice())
}

/// Whether the server can name the row of an UPDATE or DELETE. Publishing the changes of a table where
/// it cannot makes those of the application fail.
#[must_use]
pub fn identifies(table: &TableFacts) -> bool {
    match table.identity {
        'f' => true,
        'd' => table.unique_keys.iter().any(|key| key.primary),
        'i' => table.unique_keys.iter().any(|key| key.replica_identity && key.not_null),
        _ => false,
    }
}

/// Columns of a rule's condition that are not in the replica identity of a table: whether its
/// updates and deletes go out could not be told.
#[must_use]
pub fn untold<'a>(rule: &'a TableRule, table: &TableFacts) -> Vec<&'a str> {
    let condition = rule.filter.as_ref().filter(|_| !inserts_only(rule) && table.identity != 'f');
    let identity = identity_columns(table).unwrap_or_default();
    let columns = condition.map(Condition::columns).unwrap_or_default();
    columns.into_iter().filter(|name| !identity.iter().any(|column| column == name)).collect()
}

/// What has to be done so that a publication holds what is planned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alignment {
    /// Tables to take out, because the task does not have them any more or has them otherwise.
    pub drop: Vec<TableName>,
    /// Tables to put in.
    pub add: Vec<PublishTable>,
    /// Whether its operations have to be set: truncates were asked for, or are no longer.
    pub publish: bool,
    /// What is noted at the publication from then on.
    pub note: String,
}

impl Alignment {
    /// Whether nothing has to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.drop.is_empty() && self.add.is_empty() && !self.publish
    }
}

/// What is noted at a publication about its tables, one a line: object id, how it is published, name.
/// It tells a table that someone else took out, whose changes are lost since, from one that the task
/// did not have yet.
#[must_use]
pub fn note(tables: &[PublishTable]) -> String {
    let line = |table: &PublishTable| {
        let form = form(table);
        format!("\n{} {form:08x} {}", table.oid, table.name.to_string().escape_default())
    };
    let lines: String = tables.iter().map(line).collect();
    format!("{HEADING}{lines}")
}

/// The comment of a publication, and the transaction that wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it says.
    pub text: String,
    /// `xmin` of its row in `pg_description`.
    pub transaction: u32,
}

impl Note {
    /// The transactions in which the task changed the publication last: each change writes the note anew.
    /// A row of the catalog that one of them wrote is the task's own doing, whether or not a position
    /// that says so became durable after it. None where the comment is someone else's.
    #[must_use]
    pub fn transactions(&self) -> BTreeSet<u32> {
        if !self.text.starts_with(HEADING) {
            return BTreeSet::new();
        }
        self.earlier().chain([self.transaction]).collect()
    }

    fn earlier(&self) -> impl DoubleEndedIterator<Item = u32> {
        let line = self.text.lines().find_map(|line| line.strip_prefix(EARLIER));
        line.unwrap_or_default().split_ascii_whitespace().filter_map(|xid| xid.parse().ok())
    }

    /// The note of a publication that is changed from how this one notes it.
    fn next(&self, tables: &[PublishTable]) -> String {
        let mut known: Vec<String> = Vec::new();
        if self.text.starts_with(HEADING) {
            let newest = self.earlier().rev().take(EARLIER_KEPT - 1);
            known.extend(newest.map(|xid| format!(" {xid}")));
            known.reverse();
            known.push(format!(" {}", self.transaction));
        }
        let earlier = if known.is_empty() { String::new() } else { format!("\n{EARLIER}") };
        format!("{}{earlier}{}", note(tables), known.concat())
    }
}

/// Begins the line of the transactions of earlier notes.
const EARLIER: &str = "changed before in transactions";
/// How many of them are kept: changes after each of which no position became durable.
const EARLIER_KEPT: usize = 16;

const HEADING: &str = "managed by Tidewire; object id, form and name of its tables:";

/// A number that tells forms apart: which columns and rows of a table are published; 0 for all of them.
#[must_use]
pub fn form(table: &PublishTable) -> u32 {
    let text = format!("{:?} {:?}", table.columns, table.row_filter);
    if table.columns.is_none() && table.row_filter.is_none() {
        return 0;
    }
    crate::partition::murmur2(text.as_bytes())
}

/// What to do to the publication `seen`, which has the comment `noted`, so that it holds `plan`.
///
/// # Errors
/// `SourceState`: a table was taken out by someone else, or a table that the task names is another
/// one than was published; its changes since then are not decoded. Or it was renamed, by which nothing
/// is lost.
pub fn align(
    plan: &PublicationPlan,
    seen: &PublicationFacts,
    comment: Option<&Note>,
) -> Result<Alignment, Fault> {
    let object = || format!("publication {}", seen.name);
    let lost = |name: &TableName| {
        let text = format!("does not publish {name} any more: its changes are lost");
        Fault::new(FaultKind::SourceState, object(), text)
            .remedy(format!("to go on without them: {}", way_on(LogPlace::Now)))
    };
    let noted = comment.map(|it| it.text.as_str()).filter(|text| text.starts_with(HEADING));
    let lines = noted_lines(noted);
    let mut result = Alignment {
        publish: plan.publish.truncate != seen.truncate,
        note: comment.map_or_else(|| note(&plan.tables), |it| it.next(&plan.tables)),
        ..Alignment::default()
    };
    for table in &plan.tables {
        let published = seen.tables.iter().any(|published| published.name == table.name);
        let name = table.name.to_string().escape_default().to_string();
        let line =
            lines.iter().find(|(oid, _, noted)| *oid == table.oid && (*oid != 0 || *noted == name));
        // The one that was published under that name, unless the task has it under another by now.
        let before = lines.iter().find(|(oid, _, noted)| {
            *noted == name && !plan.tables.iter().any(|it| it.oid == *oid && it.oid != 0)
        });
        let before = before.filter(|_| table.named);
        if let (false, Some((oid, ..))) = (published, before)
            && let Some(now) = seen.tables.iter().find(|published| published.oid == *oid)
        {
            return Err(renamed(object(), &table.name, &now.name));
        }
        match (published, line) {
            (true, Some((_, as_noted, _))) if *as_noted != form(table) => {
                result.drop.push(table.name.clone());
                result.add.push(table.clone());
            }
            (true, _) => {}
            (false, Some(_)) => return Err(lost(&table.name)),
            (false, None) if before.is_some() || (table.named && noted.is_none()) => {
                return Err(lost(&table.name));
            }
            (false, None) => result.add.push(table.clone()),
        }
    }
    result.drop.extend(left(plan, seen, &lines));
    Ok(result)
}

/// Tables of the publication that the task had and does not have any more.
fn left(
    plan: &PublicationPlan,
    seen: &PublicationFacts,
    lines: &[(u32, u32, &str)],
) -> Vec<TableName> {
    let of_task = |name: &TableName| plan.tables.iter().any(|table| table.name == *name);
    let left = seen.tables.iter().filter(|published| {
        !of_task(&published.name) && lines.iter().any(|(oid, _, _)| *oid == published.oid)
    });
    left.map(|published| published.name.clone()).collect()
}

/// The lines of a note of ours. A comment of someone else says nothing of what the task had.
fn noted_lines(noted: Option<&str>) -> Vec<(u32, u32, &str)> {
    let noted = noted.filter(|text| text.starts_with(HEADING));
    noted.unwrap_or_default().lines().skip(1).filter_map(parse_line).collect()
}

/// A table that is still published, under another name.
fn renamed(publication: String, was: &TableName, now: &TableName) -> Fault {
    let text = format!("holds table {was} under the name {now}: it is called {now} now");
    Fault::new(FaultKind::SourceState, publication, text).remedy(
        "rename it back, or change the task's objects to the new name, then resume the task; \
         nothing is lost so far",
    )
}

fn parse_line(line: &str) -> Option<(u32, u32, &str)> {
    let (oid, rest) = line.split_once(' ')?;
    let (form, name) = rest.split_once(' ')?;
    Some((oid.parse().ok()?, u32::from_str_radix(form, 16).ok()?, name))
}

#[cfg(test)]
mod tests;
