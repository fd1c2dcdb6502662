//! A precheck, as JSON and as a table.

use serde::Serialize;
use tidewire_shared::precheck::{
    CheckItem, CheckResult, PrecheckReport, Waiver, WaiverKind, item_rule,
};

use super::{drawn, table, time};

/// `precheck` of the JSON of a task.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PrecheckView {
    result: &'static str,
    at: Option<String>,
    items: Vec<ItemView>,
}

#[derive(Clone, Debug, Serialize)]
struct ItemView {
    name: String,
    /// What the reference calls it, where it has such a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'static str>,
    result: CheckResult,
    found: String,
    message: String,
    remedy: String,
    /// Whether this failure may be overridden.
    overridable: bool,
    /// What a user decided about it; null where nothing was, or where it has no effect.
    waiver: Option<WaiverView>,
}

#[derive(Clone, Debug, Serialize)]
struct WaiverView {
    kind: WaiverKind,
    by: String,
    at: Option<String>,
}

impl From<PrecheckReport> for PrecheckView {
    fn from(report: PrecheckReport) -> Self {
        Self {
            result: if report.passed() { "passed" } else { "failed" },
            at: time(report.at_ms),
            items: report.items.into_iter().map(ItemView::from).collect(),
        }
    }
}

impl From<CheckItem> for ItemView {
    fn from(item: CheckItem) -> Self {
        let CheckItem { name, result, found, message, remedy, overridable, waiver } = item;
        let waiver = waiver.map(WaiverView::from);
        let title = item_rule(&name).and_then(|rule| rule.title);
        Self { name, title, result, found, message, remedy, overridable, waiver }
    }
}

impl From<Waiver> for WaiverView {
    fn from(waiver: Waiver) -> Self {
        Self { kind: waiver.kind, by: waiver.by, at: time(waiver.at_ms) }
    }
}

/// One line for each item, and what to do about it where something is to be done; the wide one also has
/// what the reference calls the item.
pub(crate) fn precheck_table(view: &PrecheckView, wide: bool) -> String {
    let titles: &[&str] = if wide { &["TITLE"] } else { &[] };
    let mut table = table(&[&["ITEM"], titles, &["RESULT", "FOUND", "WHAT TO DO"]].concat());
    for item in &view.items {
        let title = wide.then(|| item.title.unwrap_or_default().to_owned());
        let rest = [item.word(), item.found.clone(), item.todo()];
        table.add_row([item.name.clone()].into_iter().chain(title).chain(rest));
    }
    format!("{}\nprecheck {}", drawn(&table), view.result)
}

impl ItemView {
    fn word(&self) -> String {
        let word = match self.result {
            CheckResult::Pass => "pass",
            CheckResult::Warn => "warn",
            CheckResult::Fail => "FAIL",
        };
        match &self.waiver {
            None => word.to_owned(),
            Some(WaiverView { kind: WaiverKind::Ignored, .. }) => format!("{word}, ignored"),
            Some(WaiverView { kind: WaiverKind::Overridden, .. }) => format!("{word}, overridden"),
        }
    }

    fn todo(&self) -> String {
        let repair = match self.result {
            CheckResult::Pass => return String::new(),
            _ if self.remedy.is_empty() => self.message.clone(),
            _ => format!("{}: {}", self.message, self.remedy),
        };
        match (&self.waiver, self.overridable) {
            (Some(WaiverView { by, .. }), _) if by.is_empty() => repair,
            (Some(WaiverView { by, kind, .. }), _) => {
                let word = match kind {
                    WaiverKind::Ignored => "ignored",
                    WaiverKind::Overridden => "overridden",
                };
                format!("{repair} ({word} by {by})")
            }
            (None, true) => format!("{repair}, or --override {}", self.name),
            (None, false) => repair,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(waiver: Option<WaiverKind>) -> CheckItem {
        CheckItem {
            name: "topic_policy".to_owned(),
            result: CheckResult::Fail,
            found: "orders takes 1000 bytes".to_owned(),
            message: "records would be refused".to_owned(),
            remedy: "set it".to_owned(),
            overridable: true,
            waiver: waiver.map(|kind| Waiver { kind, by: "ann".to_owned(), at_ms: 1_000 }),
        }
    }

    #[test]
    fn a_decision_is_shown_with_who_and_when() {
        let report =
            PrecheckReport { at_ms: 1_000, items: vec![item(Some(WaiverKind::Overridden))] };
        let view = PrecheckView::from(report);
        let json = serde_json::to_string(&view).expect("json");
        let expected = concat!(
            r#"{"result":"passed","at":"1970-01-01T00:00:01.000Z","items":[{"name":"topic_policy","#,
            r#""result":"fail","found":"orders takes 1000 bytes","message":"records would be refused","#,
            r#""remedy":"set it","overridable":true,"#,
            r#""waiver":{"kind":"overridden","by":"ann","at":"1970-01-01T00:00:01.000Z"}}]}"#,
        );
        assert_eq!(json, expected);
        assert_eq!(view.items[0].word(), "FAIL, overridden");
        assert_eq!(view.items[0].todo(), "records would be refused: set it (overridden by ann)");
    }

    #[test]
    fn a_row_of_the_reference_appears_under_its_name() {
        let data = CheckItem { name: "topic_data".to_owned(), ..item(None) };
        let view = PrecheckView::from(PrecheckReport { at_ms: 1_000, items: vec![data] });
        let title = "Target Database Data Existence Check";
        let json = serde_json::to_string(&view).expect("json");
        assert!(json.contains(&format!(r#""name":"topic_data","title":"{title}","#)), "{json}");
        assert!(precheck_table(&view, true).contains(title));
        assert!(!precheck_table(&view, false).contains(title));
    }

    #[test]
    fn a_failure_that_may_be_overridden_says_how() {
        let view = PrecheckView::from(PrecheckReport { at_ms: 1_000, items: vec![item(None)] });
        assert_eq!((view.result, view.items[0].word().as_str()), ("failed", "FAIL"));
        let todo = "records would be refused: set it, or --override topic_policy";
        assert_eq!(view.items[0].todo(), todo);
    }
}
