//! What a precheck found.

use serde::{Deserialize, Serialize};

/// The verdict on one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckResult {
    /// As it should be.
    Pass,
    /// The task can run; someone should know.
    Warn,
    /// The task must not start.
    Fail,
}

/// One row of a precheck (names: CONTRACT §5, docs/operations.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckItem {
    /// Stable name of the item, like `wal_level`.
    pub name: String,
    /// The verdict.
    pub result: CheckResult,
    /// What was seen.
    pub found: String,
    /// What it means.
    pub message: String,
    /// The statement or command that repairs it; empty on pass.
    pub remedy: String,
}

/// A whole precheck.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrecheckReport {
    /// When it ended, milliseconds since 1970.
    pub at_ms: i64,
    /// The items in the order in which they were looked at.
    pub items: Vec<CheckItem>,
}

impl PrecheckReport {
    /// Whether nothing failed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.items.iter().all(|item| item.result != CheckResult::Fail)
    }
}
