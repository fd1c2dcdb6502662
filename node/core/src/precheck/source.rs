//! The PostgreSQL side of a precheck.

use tidewire_shared::precheck::CheckItem;
use tidewire_shared::{Fault, TaskSpec};

use super::{Finding, tables};
use crate::facts::SourcePrecheck;

/// What a precheck of the source is judged by.
#[derive(Clone, Copy, Debug)]
pub struct SourceLook<'a> {
    /// The task.
    pub spec: &'a TaskSpec,
    /// Name of its slot.
    pub slot: &'a str,
    /// Name of its publication.
    pub publication: &'a str,
    /// It has claimed its shard before: slot and publication must be there.
    pub started_before: bool,
    /// What was seen, or why nothing could be.
    pub seen: Result<&'a SourcePrecheck, &'a Fault>,
}

/// Judges the source: one item per thing to know, in a fixed order. Without a connection there is
/// only `source_connect`.
#[must_use]
pub fn judge_source(look: &SourceLook<'_>) -> Vec<CheckItem> {
    let seen = match look.seen {
        Ok(seen) => seen,
        Err(fault) => {
            return vec![
                Finding::fail(&fault.object, &fault.message, &fault.remedy).item("source_connect"),
            ];
        }
    };
    let mut items =
        vec![Finding::pass(format!("PostgreSQL {}", seen.version)).item("source_connect")];
    items.extend(tables::judge(look, seen));
    items
}
