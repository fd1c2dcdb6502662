//! What became of a publication since it was looked at last: was anything of a task unpublished, if only
//! for a moment?
//!
//! The server evaluates a publication as it was at the place of the log that it decodes. What was changed
//! and changed back, while the task ran or while it did not, left something out in silence; the rows of
//! the catalog tell ([`PublicationMark`]). A position holds the marks, so that the next start, on
//! whatever node, compares with how things were when the task last ran.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use tidewire_shared::{CatalogRow, Fault, FaultKind, Lsn, PublicationMark};

use crate::partition::murmur2;

/// Tables that are named in an error; of further ones it tells how many.
const NAMED: usize = 8;

/// A publication as seen in one look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicationLook {
    /// Its rows, as far as they concern the task.
    pub mark: PublicationMark,
    /// The tables that decide: those of the task that it publishes, and the partitioned tables above
    /// them; by object id, whether or not it has a row for them.
    pub tables: BTreeMap<u32, DecisiveTable>,
    /// The schemas of these tables.
    pub schemas: BTreeMap<u32, String>,
    /// Transactions that were the task's own changes ([`crate::publish::Note::transactions`]).
    pub ours: BTreeSet<u32>,
}

/// A table on which it depends what is published of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisiveTable {
    /// Its qualified name.
    pub name: String,
    /// The task names it; it did not come by a pattern.
    pub named: bool,
}

/// Identity of a name in a mark.
#[must_use]
pub fn name_hash(name: &str) -> u32 {
    murmur2(name.as_bytes())
}

/// A look at a publication, and what it is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Comparison<'a> {
    /// Name of the publication.
    pub publication: &'a str,
    /// How it was when it was looked at last.
    pub before: &'a PublicationMark,
    /// How it is.
    pub now: &'a PublicationLook,
}

impl Comparison<'_> {
    /// What was unpublished, or may have been, since the look before; `None`: nothing. Tables and schemas
    /// that came in are fine, and so is what the task did itself.
    ///
    /// The text holds the transactions that did it: the same happening gives the same text, and another
    /// one another.
    #[must_use]
    pub fn gap(&self) -> Option<String> {
        let (before, now) = (self.before, &self.now.mark);
        // Another publication, or none: that is said by those who look at it as a whole.
        if before.oid != now.oid {
            return None;
        }
        let altered = (before.xmin != now.xmin && !self.is_ours(now.xmin))
            .then(|| format!("was altered, if only for a moment, by transaction {}", now.xmin));
        let clauses: Vec<_> = altered.into_iter().chain(self.of_rows()).collect();
        (!clauses.is_empty()).then(|| clauses.join("; "))
    }

    fn is_ours(&self, xmin: u32) -> bool {
        self.now.ours.contains(&xmin)
    }

    fn of_rows(&self) -> Vec<String> {
        let (before, now) = (self.before, &self.now.mark);
        let table = |oid: &u32| self.now.tables.get(oid).map(|table| table.name.as_str());
        let schema = |oid: &u32| self.now.schemas.get(oid).map(String::as_str);
        let tables = Rows { before: &before.tables, now: &now.tables };
        let schemas = Rows { before: &before.schemas, now: &now.schemas };
        let foreign = |row: &CatalogRow| !self.is_ours(row.xmin);
        let again = "taken out and put back";
        let mut clauses = Vec::new();
        clauses.extend(told("table", again, tables.remade(&foreign, &table)));
        clauses.extend(told("schema", again, schemas.remade(&foreign, &schema)));
        let is_named = |oid: &u32| self.now.tables.get(oid).filter(|table| table.named);
        let named = |oid: &u32| is_named(oid).map(|table| table.name.as_str());
        let exists = |oid: &u32| self.now.tables.contains_key(oid);
        let dropped = tables.another_of_its_name(&foreign, &named, &exists);
        clauses.extend(told("table", "dropped and made again", dropped));
        // What holds a table now may have begun to when what held it before had ended.
        if let Some(newest) = newest(tables.arrived(&foreign).chain(schemas.arrived(&foreign))) {
            let by = |gone: Vec<_>| gone.into_iter().map(|name| (name, newest)).collect();
            let late = "taken out while another entry came in";
            clauses.extend(told("table", late, by(tables.gone(&table))));
            clauses.extend(told("schema", late, by(schemas.gone(&schema))));
        }
        clauses
    }

    /// The fault of a gap that opened between two places of the log, for the task of this name.
    #[must_use]
    pub fn fault(&self, gap: &str, (from, to): (Lsn, Lsn), task: &str) -> Fault {
        Fault::new(FaultKind::SourceState, object(self.publication), gap).remedy(format!(
            "changes between {from} and {to} that it did not publish meanwhile are missing; bring the \
             target up to date for that time, then go on behind the gap: tidewire task resume {task}"
        ))
    }

    /// Whether a user has resumed the task over exactly this gap, as the texts of the errors say that
    /// it was resumed over.
    #[must_use]
    pub fn is_answered(&self, gap: &str, resumed_over: &[String]) -> bool {
        let text = format!("{}: {gap}", object(self.publication));
        resumed_over.contains(&text)
    }
}

fn object(publication: &str) -> String {
    format!("publication {publication}")
}

/// Rows of one kind, by what they hold.
#[derive(Clone, Copy)]
struct Rows<'a> {
    before: &'a BTreeMap<u32, CatalogRow>,
    now: &'a BTreeMap<u32, CatalogRow>,
}

/// What something is called that concerns the task.
type NameOf<'n, 'a> = &'n dyn Fn(&u32) -> Option<&'a str>;
type IsForeign<'n> = &'n dyn Fn(&CatalogRow) -> bool;

impl<'a> Rows<'a> {
    /// Held by another row than before.
    fn remade(self, foreign: IsForeign<'_>, name: NameOf<'_, 'a>) -> Vec<(&'a str, u32)> {
        let pairs =
            self.before.iter().filter_map(|(held, was)| Some((held, was, self.now.get(held)?)));
        pairs
            .filter(|(_, was, now)| (was.oid, was.xmin) != (now.oid, now.xmin) && foreign(now))
            .filter_map(|(held, _, now)| Some((name(held)?, now.xmin)))
            .collect()
    }

    /// New, under the name of one that was held before and does not exist any more.
    fn another_of_its_name(
        self,
        foreign: IsForeign<'_>,
        name: NameOf<'_, 'a>,
        exists: &dyn Fn(&u32) -> bool,
    ) -> Vec<(&'a str, u32)> {
        let namesakes: BTreeSet<u32> =
            self.before.iter().filter(|(held, _)| !exists(held)).map(|(_, was)| was.name).collect();
        let new = self.now.iter().filter(|(held, _)| !self.before.contains_key(held));
        new.filter(|(_, row)| namesakes.contains(&row.name) && foreign(row))
            .filter_map(|(held, row)| Some((name(held)?, row.xmin)))
            .collect()
    }

    /// Not held any more, and still of the task.
    fn gone(self, name: NameOf<'_, 'a>) -> Vec<&'a str> {
        let gone = self.before.keys().filter(|held| !self.now.contains_key(held));
        gone.filter_map(name).collect()
    }

    /// Transactions of the rows that came.
    fn arrived(self, foreign: IsForeign<'_>) -> impl Iterator<Item = u32> {
        let new = self.now.iter().filter(|(held, _)| !self.before.contains_key(held));
        new.map(|(_, row)| row).filter(|row| foreign(row)).map(|row| row.xmin)
    }
}

/// The newest of transactions, whose numbers wrap around.
fn newest(transactions: impl Iterator<Item = u32>) -> Option<u32> {
    transactions.reduce(|a, b| if b.wrapping_sub(a) < 1 << 31 { b } else { a })
}

/// `tables a, b and 3 more were taken out and put back, last by transaction 751`.
fn told(noun: &str, what: &str, rows: Vec<(&str, u32)>) -> Option<String> {
    let newest = newest(rows.iter().map(|(_, xmin)| *xmin))?;
    if let [(name, _)] = rows.as_slice() {
        return Some(format!("{noun} {name} was {what} by transaction {newest}"));
    }
    let names: Vec<_> = rows.iter().take(NAMED).map(|(name, _)| *name).collect();
    let mut text = format!("{} {}", plural(noun), names.join(", "));
    if let more @ 1.. = rows.len().saturating_sub(NAMED) {
        // Writing into a text does not fail.
        let _written = write!(text, " and {more} more");
    }
    Some(format!("{text} were {what}, last by transaction {newest}"))
}

fn plural(noun: &str) -> String {
    match noun.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{noun}s"),
    }
}

#[cfg(test)]
mod tests;
