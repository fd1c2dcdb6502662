//! What removed tasks left behind: fewer things after each clean-up, until none is left.

use tidewire_shared::TaskId;

use super::Verdict;
use crate::outcome::{Outcome, Rejection, RejectionCode};
use crate::revision::Document;
use crate::state::{ClusterState, LEFTOVERS_KEPT, Leftovers, Task};

/// Remembers what the clean-up of a task could not drop.
pub(super) fn keep(state: &mut ClusterState, task: &Task, left: &[String], at_ms: i64) {
    if left.is_empty() {
        return;
    }
    let leftovers = Leftovers {
        document: Document { spec: std::sync::Arc::clone(&task.spec) },
        shards: task.shards_ever(),
        left: left.to_vec(),
        since_ms: at_ms,
    };
    state.leftovers.insert(task.id.clone(), leftovers);
    while state.leftovers.len() > LEFTOVERS_KEPT {
        let oldest = state.leftovers.iter().min_by_key(|(_, it)| it.since_ms);
        let Some(oldest) = oldest.map(|(id, _)| id.clone()) else { return };
        state.leftovers.remove(&oldest);
    }
}

pub(super) fn record(state: &mut ClusterState, id: &TaskId, left: &[String]) -> Verdict {
    let known = state.leftovers.get_mut(id).ok_or_else(|| none(id))?;
    if left.is_empty() {
        state.leftovers.remove(id);
    } else {
        known.left = left.to_vec();
    }
    Ok(Outcome::Done)
}

pub(super) fn forget(state: &mut ClusterState, id: &TaskId) -> Verdict {
    state.leftovers.remove(id).map(|_| Outcome::Done).ok_or_else(|| none(id))
}

fn none(id: &TaskId) -> Rejection {
    Rejection::new(RejectionCode::NotFound, format_args!("task {id}"), "nothing is left of it")
}
