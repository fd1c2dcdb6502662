//! What must hold in every state.

use crate::state::ClusterState;

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its name, like `INV-01`.
    pub name: &'static str,
    /// What was found.
    pub found: String,
}

/// Every broken invariant of a state.
#[must_use]
pub fn check(state: &ClusterState) -> Vec<Violation> {
    let _ = state;
    Vec::new()
}
