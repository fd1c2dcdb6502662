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

pub use difference::{Change, difference};
pub use rules::{Permit, fixed_key, permit};

/// Revisions of a task that are remembered with what changed.
pub const REVISIONS_KEPT: usize = 100;

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
