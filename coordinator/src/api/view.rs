//! Tasks and nodes as people see them: the log, seen through the newest reports.

use tidewire_coordinator_core::{
    ClusterState, Leftovers, Node, Observed, Task, node_state, phase_of,
};
use tidewire_proto::admin::v1 as pb;
use tidewire_shared::TaskId;

use super::alert;
use crate::leader::Term;

/// A task with its shards.
pub(super) fn task(state: &ClusterState, task: &Task, term: &Term) -> pb::Task {
    let shards = task.shards().map(|(id, shard)| {
        let node = shard.assignment().map(|owner| &owner.node);
        let report = node.and_then(|node| term.report(node, &id));
        pb::Shard {
            index: id.index,
            node: node.map_or_else(String::new, ToString::to_string),
            epoch: shard.epoch().0,
            report: report.filter(|report| report.epoch == shard.epoch().0).cloned(),
            committed_lsn: shard.checkpoint().map_or(0, |checkpoint| checkpoint.lsn.0),
        }
    });
    let shards: Vec<pb::Shard> = shards.collect();
    let retrying = shards.iter().find_map(|shard| shard.report.as_ref()?.fault.clone());
    pb::Task {
        name: task.name().to_string(),
        id: task.id().to_string(),
        kind: task.spec().kind().to_owned(),
        phase: phase_of(task, &term.observed).to_string(),
        desired: task.desired().as_str().to_owned(),
        revision: task.revision(),
        created_at_ms: task.created_at_ms(),
        updated_at_ms: task.updated_at_ms(),
        error: task.fault().cloned().map(Into::into).or(retrying),
        precheck: task.precheck().cloned().map(Into::into),
        // Secrets that stand in it are shown to nobody.
        spec: Some(task.spec().as_ref().clone().hidden().into()),
        display_name: task.spec().display_name().to_owned(),
        modification: task.draft().map(|draft| pb::Modification {
            revision: draft.revision,
            refused: draft.refused.clone().map(Into::into),
        }),
        idle_wal_bytes: term.idle_wal.get(task.id()).copied().unwrap_or_default(),
        shards,
        alerts: alert::of_task(state, task, term),
    }
}

/// What a deleted task left.
pub(super) fn leftovers(id: &TaskId, left: &Leftovers) -> pb::Leftovers {
    pb::Leftovers {
        task: left.document.spec.name().to_string(),
        id: id.to_string(),
        left: left.left.clone(),
        since_ms: left.since_ms,
    }
}

/// A node with what it carries.
pub(super) fn node(
    state: &ClusterState,
    observed: &Observed,
    node: &Node,
    now_ms: u64,
) -> pb::Node {
    let heard_ms = observed.session(node.name()).map(|session| session.heard_ms);
    pb::Node {
        name: node.name().to_string(),
        address: node.host().to_owned(),
        state: node_state(state, observed, node, now_ms).as_str().to_owned(),
        tasks: state.load_of(node.name()),
        capacity: node.capacity(),
        last_heartbeat_ms: heard_ms.map_or(0, |heard_ms| now_ms.saturating_sub(heard_ms)),
        version: node.version().to_owned(),
        pid: node.pid(),
    }
}
