//! Coordinators and nodes, as JSON and as tables.

use std::collections::BTreeMap;

use serde::Serialize;
use tidewire_proto::admin::v1 as pb;

use super::{drawn, table};

/// The cluster as scripts read it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterView {
    cluster_id: String,
    /// Null while there is none.
    leader: Option<String>,
    term: u64,
    committed_index: u64,
    members: Vec<MemberView>,
    nodes: Vec<NodeView>,
    tasks: BTreeMap<String, u32>,
}

#[derive(Clone, Debug, Serialize)]
struct MemberView {
    id: String,
    address: String,
    role: String,
    healthy: bool,
    lag: u64,
}

/// A node as scripts read it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeView {
    id: String,
    address: String,
    state: String,
    tasks: u32,
    capacity: u32,
    last_heartbeat_ms: u64,
    version: String,
    pid: u32,
}

impl From<pb::Node> for NodeView {
    fn from(node: pb::Node) -> Self {
        Self {
            id: node.name,
            address: node.address,
            state: node.state,
            tasks: node.tasks,
            capacity: node.capacity,
            last_heartbeat_ms: node.last_heartbeat_ms,
            version: node.version,
            pid: node.pid,
        }
    }
}

impl From<pb::ClusterStatusResponse> for ClusterView {
    fn from(status: pb::ClusterStatusResponse) -> Self {
        let member = |member: pb::Member| MemberView {
            id: member.id,
            address: member.address,
            role: member.role,
            healthy: member.healthy,
            lag: member.lag,
        };
        let mut members: Vec<_> = status.members.into_iter().map(member).collect();
        members.sort_by(|one, other| one.id.cmp(&other.id));
        Self {
            cluster_id: status.cluster_id,
            leader: (!status.leader.is_empty()).then_some(status.leader),
            term: status.term,
            committed_index: status.committed_index,
            members,
            nodes: status.nodes.into_iter().map(Into::into).collect(),
            tasks: status.tasks.into_iter().collect(),
        }
    }
}

pub(crate) fn cluster_table(view: &ClusterView, wide: bool) -> String {
    let mut members = table(&["COORDINATOR", "ADDRESS", "ROLE", "HEALTHY", "LAG"]);
    for member in &view.members {
        let healthy = if member.healthy { "yes" } else { "no" };
        let lag = member.lag.to_string();
        members.add_row([&member.id, &member.address, &member.role, healthy, &lag]);
    }
    let tasks: Vec<_> =
        view.tasks.iter().map(|(phase, count)| format!("{count} {phase}")).collect();
    let tasks = if tasks.is_empty() { "none".to_owned() } else { tasks.join(", ") };
    format!(
        "cluster {}, leader {}, term {}\n\n{}\n\n{}\n\ntasks: {tasks}",
        view.cluster_id,
        view.leader.as_deref().unwrap_or("unknown"),
        view.term,
        drawn(&members),
        node_table(&view.nodes, wide),
    )
}

pub(crate) fn node_table(nodes: &[NodeView], wide: bool) -> String {
    if nodes.is_empty() {
        return "no nodes".to_owned();
    }
    let mut header = vec!["NODE", "ADDRESS", "STATE", "SHARDS", "HEARTBEAT"];
    if wide {
        header.extend(["VERSION", "PID"]);
    }
    let mut table = table(&header);
    for node in nodes {
        let mut row = vec![
            node.id.clone(),
            node.address.clone(),
            node.state.clone(),
            format!("{}/{}", node.tasks, node.capacity),
            format!("{}ms ago", node.last_heartbeat_ms),
        ];
        if wide {
            row.extend([node.version.clone(), node.pid.to_string()]);
        }
        table.add_row(row);
    }
    drawn(&table)
}
