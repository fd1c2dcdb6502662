//! The history and the log of a task, as JSON and as text.

use serde::Serialize;
use tidewire_proto::admin::v1 as pb;

use super::time;

/// Documents of a task and what was asked of it, oldest first.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HistoryView {
    name: String,
    revisions: Vec<RevisionView>,
    actions: Vec<ActionView>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RevisionView {
    revision: u64,
    at: Option<String>,
    /// Who, by their own claim.
    by: String,
    verdict: String,
    failed: Vec<String>,
    changes: Vec<ChangeView>,
}

#[derive(Clone, Debug, Serialize)]
struct ChangeView {
    path: String,
    old: Option<String>,
    new: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct ActionView {
    at: Option<String>,
    by: String,
    action: String,
}

impl HistoryView {
    pub(crate) fn new(name: &str, answer: pb::TaskHistoryResponse) -> Self {
        let revisions = answer.revisions.into_iter().map(|it| RevisionView {
            revision: it.number,
            at: time(it.at_ms),
            by: it.by,
            verdict: it.verdict,
            failed: it.failed,
            changes: it.changes.into_iter().map(ChangeView::from).collect(),
        });
        let actions = answer.deeds.into_iter().map(|it| ActionView {
            at: time(it.at_ms),
            by: if it.by.is_empty() { "cluster".to_owned() } else { it.by },
            action: it.what,
        });
        Self { name: name.to_owned(), revisions: revisions.collect(), actions: actions.collect() }
    }
}

impl From<pb::Change> for ChangeView {
    fn from(change: pb::Change) -> Self {
        Self { path: change.path, old: change.old, new: change.new }
    }
}

impl ChangeView {
    fn text(&self) -> String {
        match (&self.old, &self.new) {
            (None, Some(new)) => format!("+ {}: {new}", self.path),
            (Some(old), None) => format!("- {}: {old}", self.path),
            (old, new) => {
                let shown = |side: &Option<String>| side.clone().unwrap_or_default();
                format!("~ {}: {} → {}", self.path, shown(old), shown(new))
            }
        }
    }
}

/// The history as people read it: in the order of time, changes below their revision.
pub(crate) fn history_table(view: &HistoryView) -> String {
    let mut entries: Vec<(Option<String>, String)> = Vec::new();
    for it in &view.revisions {
        let mut text = format!("revision {} {}{}", it.revision, it.verdict, by(&it.by));
        if !it.failed.is_empty() {
            text.push_str(&format!(" at {}", it.failed.join(", ")));
        }
        for change in &it.changes {
            text.push_str(&format!("\n      {}", change.text()));
        }
        entries.push((it.at.clone(), text));
    }
    for it in &view.actions {
        entries.push((it.at.clone(), format!("{}{}", it.action, by(&it.by))));
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    let lines = entries.into_iter().map(|(at, text)| format!("{}  {text}", at.unwrap_or_default()));
    lines.collect::<Vec<_>>().join("\n")
}

fn by(who: &str) -> String {
    if who.is_empty() { String::new() } else { format!(" by {who}") }
}

/// A line of a task's log.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LogView {
    at: Option<String>,
    level: String,
    node: String,
    shard: u32,
    epoch: u64,
    text: String,
}

impl From<pb::TaskLogLine> for LogView {
    fn from(line: pb::TaskLogLine) -> Self {
        Self {
            at: time(line.at_ms),
            level: line.level,
            node: line.node,
            shard: line.shard,
            epoch: line.epoch,
            text: line.text,
        }
    }
}

/// One line as people read it.
pub(crate) fn log_line(line: &LogView) -> String {
    let at = line.at.clone().unwrap_or_default();
    format!("{at} {:<5} {} /{} e{}  {}", line.level, line.node, line.shard, line.epoch, line.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_history_tells_revisions_and_actions_in_the_order_of_time() {
        let change = |path: &str, old: Option<&str>, new: Option<&str>| pb::Change {
            path: path.to_owned(),
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
        };
        let revision = |number, at_ms, verdict: &str, changes| pb::Revision {
            number,
            at_ms,
            by: "ann@laptop".to_owned(),
            verdict: verdict.to_owned(),
            failed: if verdict == "refused" { vec!["tables_exist".into()] } else { vec![] },
            changes,
        };
        let answer = pb::TaskHistoryResponse {
            revisions: vec![
                revision(1, 1_000, "taken", vec![]),
                revision(
                    2,
                    3_000,
                    "refused",
                    vec![
                        change("objects[0].tables", None, Some("public.b")),
                        change("limits.rowsPerSecond", Some("0"), Some("7")),
                    ],
                ),
            ],
            deeds: vec![pb::Deed { at_ms: 2_000, by: String::new(), what: "start".to_owned() }],
        };
        assert_eq!(
            history_table(&HistoryView::new("orders", answer)),
            "1970-01-01T00:00:01.000Z  revision 1 taken by ann@laptop\n\
             1970-01-01T00:00:02.000Z  start by cluster\n\
             1970-01-01T00:00:03.000Z  revision 2 refused by ann@laptop at tables_exist\n      \
             + objects[0].tables: public.b\n      \
             ~ limits.rowsPerSecond: 0 → 7"
        );
    }
}
