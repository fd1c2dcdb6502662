//! What deleted tasks left, as JSON and as text.

use serde::Serialize;
use tidewire_proto::admin::v1 as pb;

use super::time;

/// What one deleted task left at source or target.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LeftoversView {
    name: String,
    id: String,
    /// Since when the cluster tries to drop it.
    since: Option<String>,
    left: Vec<String>,
}

impl From<pb::Leftovers> for LeftoversView {
    fn from(left: pb::Leftovers) -> Self {
        Self { name: left.task, id: left.id, since: time(left.since_ms), left: left.left }
    }
}

/// All of them, each with how to drop it by hand.
pub(crate) fn leftovers_table(tasks: &[LeftoversView]) -> String {
    if tasks.is_empty() {
        return "nothing is left of deleted tasks".to_owned();
    }
    let each = tasks.iter().map(|task| {
        let since = task.since.clone().unwrap_or_default();
        format!("{} ({}), since {since}:\n  {}", task.name, task.id, task.left.join("\n  "))
    });
    each.collect::<Vec<_>>().join("\n")
}
