//! What the leader sees during one term.

use std::collections::BTreeMap;

use tidewire_coordinator_core::alert::Watch;
use tidewire_coordinator_core::{Observed, Timing};
use tidewire_proto::node::v1::{ToNode, WorkOrder};
use tidewire_proto::task::v1::ShardReport;
use tidewire_shared::{NodeName, ShardId, TaskId};
use tokio::sync::mpsc;

use super::work::Order;

/// Everything the leader sees; begins empty with each term.
#[derive(Debug)]
pub(crate) struct Term {
    /// The Raft term.
    pub(super) number: u64,
    /// What decisions are made from.
    pub(crate) observed: Observed,
    /// Open sessions.
    pub(super) sessions: BTreeMap<NodeName, Outbox<ToNode>>,
    /// Open work streams.
    pub(super) workers: BTreeMap<NodeName, Outbox<WorkOrder>>,
    /// Orders that are not answered.
    pub(super) orders: BTreeMap<u64, Order>,
    /// The newest report of each shard by each node, as it came.
    pub(super) reports: BTreeMap<NodeName, BTreeMap<ShardId, ShardReport>>,
    /// What slots of tasks that do not stream held back when a node last looked, bytes.
    pub(crate) idle_wal: BTreeMap<TaskId, u64>,
    /// How long the conditions of alerts hold.
    pub(crate) alerts: Watch,
    /// Counts sessions, work streams and orders.
    serial: u64,
}

/// The way to a node over one of its streams.
#[derive(Debug)]
pub(super) struct Outbox<T> {
    /// Tells this stream from an earlier one of the same node.
    pub(super) serial: u64,
    /// The process at the other end.
    pub(super) instance: u64,
    /// Bounded: a node that does not read is not written to.
    pub(super) sender: mpsc::Sender<Result<T, tonic::Status>>,
}

impl Term {
    pub(super) fn new(number: u64, timing: Timing, now_ms: u64) -> Self {
        Self {
            number,
            observed: Observed::new(timing, now_ms),
            sessions: BTreeMap::new(),
            workers: BTreeMap::new(),
            orders: BTreeMap::new(),
            reports: BTreeMap::new(),
            idle_wal: BTreeMap::new(),
            alerts: Watch::default(),
            serial: 0,
        }
    }

    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// The newest report of a shard by this node, whatever its epoch.
    pub(crate) fn report(&self, node: &NodeName, shard: &ShardId) -> Option<&ShardReport> {
        self.reports.get(node)?.get(shard)
    }
}
