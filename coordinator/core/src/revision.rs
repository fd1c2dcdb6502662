//! Revisions of a task: what changed between two documents, what may change, and who did it when.
//!
//! ```text
//!  apply -f ─► difference ─► rules ─► draft ─precheck on a node─► taken: the shards change over
//!                              │                          └─────► refused: the old revision runs on
//!                              └ a key that is fixed: refused at once
//! ```

mod difference;
mod rules;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidewire_shared::TaskSpec;
use tidewire_shared::precheck::PrecheckReport;

use crate::ring::Ring;

pub use difference::{Change, difference};
pub use rules::{Permit, fixed_key, permit};

/// Revisions of a task that are remembered with what changed.
pub const REVISIONS_KEPT: usize = 100;

/// Changes that are listed in all of them together; beyond, the oldest revisions tell only how many.
pub const CHANGES_KEPT: usize = 500;

/// Wishes about a task that are remembered.
pub const DEEDS_KEPT: usize = 200;

/// A task document as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// The document.
    #[serde(with = "crate::spec_text")]
    pub spec: Arc<TaskSpec>,
}

/// A document that shall replace the one of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    /// Its number.
    pub revision: u64,
    /// The document.
    pub document: Document,
    /// Why its precheck refused it; none: the precheck is still to be made.
    pub refused: Option<PrecheckReport>,
}

/// One revision in the history of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Counts documents from 1, those that were refused included.
    pub number: u64,
    /// When it was asked for, milliseconds since 1970.
    pub at_ms: i64,
    /// Who asked, by their own claim.
    pub by: String,
    /// What differs from the revision before; empty for the first.
    pub changes: Vec<Change>,
    /// What became of it.
    pub verdict: RevisionVerdict,
}

/// What became of a revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RevisionVerdict {
    /// A node looks whether the task could run with it.
    Checking,
    /// The task runs with it, or did until the next was taken.
    Taken,
    /// Its precheck failed at these items; the task kept the revision before.
    Refused(Vec<String>),
}

/// Adds a revision to the history of a task, which keeps its bounds: a hundred revisions of thousands of
/// tables must not fill the state.
pub(crate) fn remember(revisions: &mut Ring<Revision>, newest: Revision) {
    let mut listed = newest.changes.len();
    revisions.push(newest, REVISIONS_KEPT);
    for older in revisions.iter_mut().rev().skip(1) {
        listed = listed.saturating_add(older.changes.len());
        if listed > CHANGES_KEPT && older.changes.len() > 1 {
            older.changes = vec![difference::left_out_of(older.changes.len())];
        }
    }
}

impl RevisionVerdict {
    /// The word that clients see.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Checking => "checking",
            Self::Taken => "taken",
            Self::Refused(_) => "refused",
        }
    }
}

/// A wish about a task that was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deed {
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// Who, by their own claim; empty where the cluster acted by itself.
    pub by: String,
    /// What: `start`, `pause`, `rewind to 0/16B3748`.
    pub what: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_revisions_lose_their_changes_before_the_state_grows() {
        let mut history = Ring::default();
        for number in 1..=250 {
            let change = |at| Change { path: format!("objects[{at}]"), old: None, new: None };
            let revision = Revision {
                number,
                at_ms: 0,
                by: String::new(),
                changes: (0..201).map(change).collect(),
                verdict: RevisionVerdict::Taken,
            };
            remember(&mut history, revision);
            let listed: usize = history.iter().map(|it| it.changes.len()).sum();
            assert!(listed <= CHANGES_KEPT + REVISIONS_KEPT, "{listed}");
        }
        let newest: Vec<usize> = history.iter().rev().map(|it| it.changes.len()).collect();
        assert_eq!((newest.len(), &newest[..4]), (REVISIONS_KEPT, &[201, 201, 1, 1][..]));
        let oldest = history.iter().next().expect("a revision");
        assert_eq!(oldest.changes[0].new.as_deref(), Some("201 more"));
    }
}
