//! A minute of many tasks, in one entry.

use tidewire_shared::TaskId;

use crate::indicators::{Indicators, MINUTES_KEPT};
use crate::outcome::Outcome;
use crate::state::ClusterState;

/// Keeps them with their tasks; those of tasks that are gone by now are left out.
pub(super) fn record(state: &mut ClusterState, minutes: &[(TaskId, Indicators)]) -> Outcome {
    for (id, minute) in minutes {
        if let Some(task) = state.tasks.get_mut(id) {
            task.indicators.push(*minute, MINUTES_KEPT);
        }
    }
    Outcome::Done
}
