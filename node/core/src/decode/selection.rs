//! What of a table's rows goes out where it is not all: columns left out, rows that a condition refuses.
//!
//! An update whose row comes into the condition's view is an insert, one whose row leaves it a
//! delete, as PostgreSQL's own row filters have it.
//! <https://www.postgresql.org/docs/current/logical-replication-row-filter.html>

use super::rows::Images;
use crate::batch::ChangeBatch;
use crate::change::{Column, Flaw, OldRow, Operation};
use crate::filter::{Bound, Condition, FilterColumn};
use crate::schema::RelationColumn;

/// What of the rows that a server sends goes out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Selection {
    /// The columns as the server sends them.
    pub(super) sent: Vec<RelationColumn>,
    /// Indexes of those that go out; `None`: all.
    kept: Option<Vec<usize>>,
    /// The rows that go out; `None`: all.
    pub(super) filter: Option<Bound>,
    /// Indexes of the columns that it looks at.
    looked_at: Vec<usize>,
    /// A column of the condition that is not in the replica identity; `None` when all are.
    untold: Option<String>,
}

impl Selection {
    /// A selection of the columns `kept` and of the rows that the condition takes; `None` for all of
    /// both.
    pub(crate) fn new(
        sent: Vec<RelationColumn>,
        kept: &[RelationColumn],
        condition: Option<&Condition>,
    ) -> Result<Option<Self>, String> {
        let columns: Vec<_> = sent
            .iter()
            .map(|column| FilterColumn {
                name: &column.name,
                type_oid: column.type_oid,
                type_kind: column.type_kind,
                domain: false,
            })
            .collect();
        let filter = condition
            .map(|condition| condition.bind(&columns))
            .transpose()
            .map_err(|what| format!("the condition `where` {what}"))?;
        let names = condition.map(Condition::columns).unwrap_or_default();
        let looked_at = |it: &(usize, &RelationColumn)| names.contains(&it.1.name.as_str());
        let looked_at = sent.iter().enumerate().filter(looked_at).map(|(at, _)| at).collect();
        let hidden = |name: &&str| sent.iter().any(|it| it.name == **name && !it.in_identity);
        let untold = names.iter().copied().find(hidden).map(str::to_owned);
        let goes_out = |column: &RelationColumn| kept.iter().any(|kept| kept.name == column.name);
        let indexes = || sent.iter().enumerate().filter(|(_, c)| goes_out(c)).map(|(at, _)| at);
        let kept = (kept.len() < sent.len()).then(|| indexes().collect());
        if kept.is_none() && filter.is_none() {
            return Ok(None);
        }
        Ok(Some(Self { sent, kept, filter, looked_at, untold }))
    }

    /// What is wrong with a row in which the columns at these places hold no text. What neither goes out
    /// nor is looked at may be anything.
    pub(super) fn flaw(&self, no_texts: &[usize]) -> Option<Flaw> {
        let place = |column: usize| {
            let place = match &self.kept {
                Some(kept) => kept.iter().position(|index| *index == column)?,
                None => column,
            };
            u16::try_from(place).ok()
        };
        let of_condition = no_texts.iter().find(|column| self.looked_at.contains(column));
        match of_condition {
            Some(column) => Some(Flaw::Unjudged(place(*column))),
            None => no_texts.iter().find_map(|column| place(*column)).map(Flaw::NotText),
        }
    }

    /// What an operation is once the condition has looked at its rows; `None` when nothing is left
    /// of it. Without an old row an update did not touch the replica identity; where that holds
    /// every column of the condition the new row answers for both, else nobody knows.
    pub(super) fn operation(
        &self,
        operation: Operation,
        images: Images,
        batch: &ChangeBatch,
    ) -> Result<Option<Operation>, String> {
        let Some(filter) = &self.filter else { return Ok(Some(operation)) };
        let fits = |from: u32| {
            filter.matches(&|at| batch.value(from, at)).map_err(|told| {
                let name = self.sent.get(told.0).map_or("", |column| column.name.as_str());
                format!("the condition `where` needs column {name}, whose value was not sent")
            })
        };
        Ok(match operation {
            Operation::Insert => fits(images.new)?.then_some(operation),
            Operation::Delete => fits(images.old)?.then_some(operation),
            Operation::Update if images.old_row == OldRow::Absent => {
                if let Some(name) = &self.untold {
                    return Err(format!(
                        "the condition `where` needs the old value of column {name}, which is not \
                         in the replica identity"
                    ));
                }
                fits(images.new)?.then_some(operation)
            }
            Operation::Update => match (fits(images.old)?, fits(images.new)?) {
                (true, true) => Some(Operation::Update),
                (true, false) => Some(Operation::Delete),
                (false, true) => Some(Operation::Insert),
                (false, false) => None,
            },
            Operation::Truncate => Some(operation),
        })
    }

    /// Takes the columns that do not go out away from the images at the end of `columns`.
    pub(super) fn narrow(&self, images: &mut Images, columns: &mut Vec<Column>) {
        let Some(kept) = &self.kept else { return };
        let (old, new, end) = (images.old as usize, images.new as usize, columns.len());
        let mut to = old;
        let mut keep = |from: usize| {
            for index in kept {
                if let Some(column) = columns.get(from + index).copied()
                    && let Some(place) = columns.get_mut(to)
                {
                    *place = column;
                    to += 1;
                }
            }
            to
        };
        let mut at = old;
        if new > old {
            at = keep(old);
        }
        // Narrower than it was, so it fits.
        images.new = u32::try_from(at).unwrap_or(images.new);
        if end > new {
            at = keep(new);
        }
        columns.truncate(at);
    }
}
