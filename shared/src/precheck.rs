//! What a precheck found, and what users decided about it.

mod catalog;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use catalog::{ItemRule, item_rule, item_rules};

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
    /// A `fail` that a user may override: it neither loses data nor hurts the source.
    #[serde(default)]
    pub overridable: bool,
    /// What a user decided about it, where that has an effect.
    #[serde(default)]
    pub waiver: Option<Waiver>,
}

impl CheckItem {
    /// Whether it keeps the task from starting.
    #[must_use]
    pub fn blocks(&self) -> bool {
        let overridden =
            self.waiver.as_ref().is_some_and(|waiver| waiver.kind == WaiverKind::Overridden);
        self.result == CheckResult::Fail && !(self.overridable && overridden)
    }
}

/// What a user may decide about an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WaiverKind {
    /// Its warning is known.
    Ignored,
    /// The task shall start although it failed, where that may be overridden.
    Overridden,
}

/// A user's decision about an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiver {
    /// What was decided.
    pub kind: WaiverKind,
    /// Who decided it, as the client named itself.
    pub by: String,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
}

/// What users decided about the items of one task, by the name of the item.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waivers(BTreeMap<String, Waiver>);

impl Waivers {
    /// Notes a decision. One that goes less far than the one there is changes nothing.
    pub fn add(&mut self, item: &str, waiver: Waiver) {
        if self.0.get(item).is_none_or(|present| present.kind <= waiver.kind) {
            self.0.insert(item.to_owned(), waiver);
        }
    }

    /// The decision about an item, if it has an effect there: a warning that is known, a failure
    /// that is overridden.
    fn about(&self, item: &CheckItem) -> Option<&Waiver> {
        self.0.get(&item.name).filter(|waiver| match item.result {
            CheckResult::Pass => false,
            CheckResult::Warn => true,
            CheckResult::Fail => item.overridable && waiver.kind == WaiverKind::Overridden,
        })
    }
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
    /// Whether nothing keeps the task from starting: no item failed that is not overridden.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self.items.iter().any(CheckItem::blocks)
    }

    /// The same report with what users decided about its items.
    #[must_use]
    pub fn waived(mut self, waivers: &Waivers) -> Self {
        for item in &mut self.items {
            item.waiver = waivers.about(item).cloned();
        }
        self
    }
}

#[cfg(test)]
mod tests;
