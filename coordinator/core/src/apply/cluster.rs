//! Identity and version of the cluster.

use tidewire_shared::ClusterId;

use super::Verdict;
use crate::outcome::{Event, Outcome, Rejection, RejectionCode};
use crate::state::ClusterState;

/// The version that a fresh cluster writes.
const FIRST_VERSION: u32 = 1;

pub(super) fn bootstrap(
    state: &mut ClusterState,
    cluster: &ClusterId,
    events: &mut Vec<Event>,
) -> Verdict {
    match &state.cluster_id {
        Some(present) if present == cluster => Ok(Outcome::Unchanged),
        Some(present) => Err(Rejection::new(
            RejectionCode::Refused,
            "cluster",
            format_args!("it has the identity {present} already"),
        )),
        None => {
            state.cluster_id = Some(cluster.clone());
            state.cluster_version = FIRST_VERSION;
            events.push(Event::ClusterChanged);
            Ok(Outcome::Done)
        }
    }
}

pub(super) fn raise_version(
    state: &mut ClusterState,
    version: u32,
    events: &mut Vec<Event>,
) -> Verdict {
    if version <= state.cluster_version {
        return Ok(Outcome::Unchanged);
    }
    state.cluster_version = version;
    events.push(Event::ClusterChanged);
    Ok(Outcome::Done)
}
