//! One transition: `(state, command) → outcome and events`.

use crate::command::Command;
use crate::outcome::{Applied, Outcome};
use crate::state::ClusterState;

/// Applies one command of the log.
///
/// Deterministic and total: a rejection is data and leaves the state untouched; a request id that was
/// seen before yields the outcome it had.
pub fn apply(state: &mut ClusterState, command: &Command) -> Applied {
    let (_, _) = (state, command);
    Applied { outcome: Ok(Outcome::Unchanged), events: Vec::new() }
}
