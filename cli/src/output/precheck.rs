//! A precheck, as JSON and as a table.

use serde::Serialize;
use tidewire_shared::precheck::{CheckItem, CheckResult, PrecheckReport};

use super::{drawn, table, time};

/// `precheck` of the JSON of a task.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PrecheckView {
    result: &'static str,
    at: Option<String>,
    items: Vec<CheckItem>,
}

impl From<PrecheckReport> for PrecheckView {
    fn from(report: PrecheckReport) -> Self {
        Self {
            result: if report.passed() { "passed" } else { "failed" },
            at: time(report.at_ms),
            items: report.items,
        }
    }
}

/// One line for each item, and what to do about it where something is to be done.
pub(crate) fn precheck_table(view: &PrecheckView) -> String {
    let mut table = table(&["ITEM", "RESULT", "FOUND", "WHAT TO DO"]);
    for item in &view.items {
        let todo = match item.result {
            CheckResult::Pass => String::new(),
            _ if item.remedy.is_empty() => item.message.clone(),
            _ => format!("{}: {}", item.message, item.remedy),
        };
        table.add_row([item.name.as_str(), word(item.result), &item.found, &todo]);
    }
    format!("{}\nprecheck {}", drawn(&table), view.result)
}

fn word(result: CheckResult) -> &'static str {
    match result {
        CheckResult::Pass => "pass",
        CheckResult::Warn => "warn",
        CheckResult::Fail => "FAIL",
    }
}
