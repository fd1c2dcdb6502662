//! Sees changes of a publication that were taken back before anyone looked.
//!
//! A table that is taken out of a publication and put back looks as before, and so does an operation
//! that is switched off and on; the changes in between are not decoded, and the server says nothing.
//! The catalog's rows tell: an entry that was put back is another row, and a row that was changed has
//! another `xmin` (PostgreSQL documentation, "System Columns", `pg_publication_rel`).

use std::collections::BTreeMap;

use tidewire_shared::{Fault, FaultKind};

use crate::Sql;

/// The rows of the catalog that a publication consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicationMark {
    /// Its object id; 0 when there is none.
    oid: u32,
    /// `xmin` of its row in `pg_publication`; empty when there is none.
    row: String,
    /// Per table: its name now, object id and `xmin` of its entry.
    entries: BTreeMap<u32, Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    table: String,
    oid: u32,
    xmin: String,
}

impl PublicationMark {
    /// Looks at the rows now.
    ///
    /// # Errors
    /// `SourceUnreachable` when the connection breaks.
    pub async fn look(sql: &Sql, publication: &str) -> Result<Self, Fault> {
        let statement = "SELECT p.xmin::text, r.prrelid, r.prrelid::regclass::text, r.oid, r.xmin::text, p.oid \
             FROM pg_publication p LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid \
             WHERE p.pubname = $1::text::name";
        let rows = sql.about(&object(publication), statement, &[&publication]).await?;
        let row = rows.first().map_or_else(String::new, |row| row.get(0));
        let oid = rows.first().map_or(0, |row| row.get(5));
        let entries = rows.iter().filter_map(|row| {
            let table: u32 = row.get::<_, Option<u32>>(1)?;
            Some((table, Entry { table: row.get(2), oid: row.get(3), xmin: row.get(4) }))
        });
        Ok(Self { oid, row, entries: entries.collect() })
    }

    /// Whether the table with this object id has an entry.
    #[must_use]
    pub fn has(&self, table: u32) -> bool {
        self.entries.contains_key(&table)
    }

    /// Whether nothing was taken out, changed or renamed between this look and a later one. Tables
    /// that came in are fine.
    ///
    /// # Errors
    /// `SourceState` with what was changed.
    pub fn compare(&self, publication: &str, later: &Self) -> Result<(), Fault> {
        let fault = |message: String, remedy: &str| {
            Err(Fault::new(FaultKind::SourceState, object(publication), message).remedy(remedy))
        };
        const LOST: &str = "changes in between may be lost; bring the target up to date for that \
                            time, then resume the task";
        // Another publication, or none: that is said by those who look at it as a whole.
        if later.oid != self.oid {
            return Ok(());
        }
        for (table, entry) in &self.entries {
            let Some(now) = later.entries.get(table) else { continue };
            if (now.oid, &now.xmin) != (entry.oid, &entry.xmin) {
                let message = format!("table {} was taken out and put back", entry.table);
                return fault(message, LOST);
            }
            if now.table != entry.table {
                let message = format!("table {} is called {} now", entry.table, now.table);
                return fault(
                    message,
                    "rename it back, or change the task's objects to the new name, then resume the \
                     task; nothing is lost so far",
                );
            }
        }
        if later.row != self.row {
            return fault("was altered, if only for a moment".to_owned(), LOST);
        }
        Ok(())
    }
}

fn object(publication: &str) -> String {
    format!("publication {publication}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(row: &str, entries: &[(u32, &str, u32)]) -> PublicationMark {
        let entry = |(table, name, oid): &(u32, &str, u32)| {
            let entry = Entry { table: (*name).to_owned(), oid: *oid, xmin: "9".to_owned() };
            (*table, entry)
        };
        PublicationMark {
            oid: 3,
            row: row.to_owned(),
            entries: entries.iter().map(entry).collect(),
        }
    }

    #[test]
    fn what_was_taken_back_is_seen_and_what_came_in_is_fine() {
        let before = mark("7", &[(1, "a", 100), (2, "b", 101)]);
        let same = |later: &PublicationMark| before.compare("p", later);
        assert_eq!(same(&before), Ok(()));
        assert_eq!(same(&mark("7", &[(1, "a", 100), (2, "b", 101), (3, "c", 102)])), Ok(()));
        for (later, word) in [
            (mark("7", &[(1, "a", 100), (2, "b", 105)]), "put back"),
            (mark("7", &[(1, "a", 100), (2, "z", 101)]), "called z"),
            (mark("8", &[(1, "a", 100), (2, "b", 101)]), "altered"),
        ] {
            let fault = same(&later).expect_err("is seen");
            assert!(fault.message.contains(word), "{fault}");
            assert!(!fault.remedy.is_empty());
        }
    }
}
