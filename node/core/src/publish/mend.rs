//! A managed publication that somebody changed, brought back to what is planned: its user has chosen to
//! go on without what was lost meanwhile.

use super::{Alignment, Note, PublicationPlan, PublishTable, left, noted_lines};
use crate::facts::PublicationFacts;

/// What to do to the publication `seen`, at which `noted` was noted, so that it holds all of `plan`
/// again, whatever was done to it.
#[must_use]
pub fn mend(plan: &PublicationPlan, seen: &PublicationFacts, noted: Option<&Note>) -> Alignment {
    let lines = noted_lines(noted.map(|it| it.text.as_str()));
    let mut result = Alignment {
        publish: (seen.insert, seen.update, seen.delete, seen.truncate)
            != (
                plan.publish.insert,
                plan.publish.update,
                plan.publish.delete,
                plan.publish.truncate,
            ),
        note: noted.map_or_else(|| super::note(&plan.tables), |it| it.next(&plan.tables)),
        drop: left(plan, seen, &lines),
        ..Alignment::default()
    };
    let whole = |table: &PublishTable| table.row_filter.is_none() && table.columns.is_none();
    for table in &plan.tables {
        match seen.tables.iter().find(|published| published.name == table.name) {
            // The server writes filters in its own words: whether one is as planned cannot be told.
            Some(there)
                if whole(table) && there.row_filter.is_none() && there.columns.is_none() =>
            {
                continue;
            }
            Some(_) => result.drop.push(table.name.clone()),
            None => {}
        }
        result.add.push(table.clone());
    }
    result
}
