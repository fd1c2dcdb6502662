//! The replicated state: what every coordinator knows after the same log.
//!
//! Ordered maps only, so that the same log gives the same bytes everywhere. Liveness is not here: it
//! is an observation of the leader ([`crate::Observed`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidewire_shared::precheck::{PrecheckReport, Waivers};
use tidewire_shared::{
    ClusterId, ConnectionName, Desired, Epoch, Fault, NodeName, ShardId, TaskId, TaskName, TaskSpec,
};

use crate::alert::Alerts;
use crate::command::{Checkpoint, DrainCause, RequestId};
use crate::connection::{Registered, SpecRevisions};
use crate::generation::Generation;
use crate::indicators::Indicators;
use crate::outcome::{Outcome, Rejection};
use crate::revision::{Deed, Document, Draft, Revision};
use crate::ring::Ring;

/// A fault of the crash kind on this many different nodes quarantines the task.
pub const QUARANTINE_NODES: usize = 3;

/// Wishes whose outcome is remembered, so that a repeated one is not applied again.
pub const REQUESTS_KEPT: usize = 10_000;

/// Entries of the audit log that are kept.
pub const AUDIT_KEPT: usize = 1_000;

/// Removed tasks that are remembered with what their clean-up left behind.
pub const REMOVED_KEPT: usize = 1_000;

/// Removed tasks whose leftovers the cluster still tries to drop; beyond, the oldest are given up.
pub const LEFTOVERS_KEPT: usize = 1_000;

/// Everything that is replicated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterState {
    pub(crate) cluster_id: Option<ClusterId>,
    pub(crate) cluster_version: u32,
    pub(crate) nodes: BTreeMap<NodeName, Node>,
    pub(crate) tasks: BTreeMap<TaskId, Task>,
    pub(crate) requests: Requests,
    pub(crate) removed: Ring<RemovedTask>,
    pub(crate) connections: BTreeMap<ConnectionName, Registered>,
    pub(crate) leftovers: BTreeMap<TaskId, Leftovers>,
    pub(crate) audit: Ring<AuditEntry>,
    pub(crate) alerts: Alerts,
}

impl ClusterState {
    /// The identity of the cluster; none before it is bootstrapped.
    #[must_use]
    pub fn cluster_id(&self) -> Option<&ClusterId> {
        self.cluster_id.as_ref()
    }

    /// What every member can read; 0 before the cluster is bootstrapped.
    #[must_use]
    pub fn cluster_version(&self) -> u32 {
        self.cluster_version
    }

    /// All nodes that ever registered and were not forgotten, by name.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// One node.
    #[must_use]
    pub fn node(&self, name: &NodeName) -> Option<&Node> {
        self.nodes.get(name)
    }

    /// All tasks by identity.
    pub fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.tasks.values()
    }

    /// One task by its identity.
    #[must_use]
    pub fn task(&self, id: &TaskId) -> Option<&Task> {
        self.tasks.get(id)
    }

    /// One task by the name people use.
    #[must_use]
    pub fn task_named(&self, name: &TaskName) -> Option<&Task> {
        self.tasks.values().find(|task| task.spec.name() == name)
    }

    /// One shard.
    #[must_use]
    pub fn shard(&self, id: &ShardId) -> Option<&Shard> {
        self.tasks.get(&id.task).and_then(|task| task.shards.get(&id.index))
    }

    /// Every shard of every task.
    pub fn shards(&self) -> impl Iterator<Item = (ShardId, &Task, &Shard)> {
        self.tasks.values().flat_map(|task| task.shards().map(move |(id, shard)| (id, task, shard)))
    }

    /// Number of shards assigned to a node.
    #[must_use]
    pub fn load_of(&self, node: &NodeName) -> u32 {
        let owned = self.shards().filter(|(_, _, shard)| shard.is_on(node)).count();
        u32::try_from(owned).unwrap_or(u32::MAX)
    }

    /// Whether exactly this process owns exactly this epoch of the shard.
    #[must_use]
    pub fn owns(&self, node: &NodeName, instance: u64, shard: &ShardId, epoch: Epoch) -> bool {
        self.shard(shard).is_some_and(|shard| {
            shard.epoch == epoch
                && shard
                    .assignment
                    .as_ref()
                    .is_some_and(|owner| owner.node == *node && owner.instance == instance)
        })
    }

    /// A removed task, as long as it is remembered.
    #[must_use]
    pub fn removed(&self, id: &TaskId) -> Option<&RemovedTask> {
        self.removed.iter().find(|removed| removed.id == *id)
    }

    /// What removed tasks left behind and the cluster still tries to drop, by task.
    pub fn leftovers(&self) -> impl Iterator<Item = (&TaskId, &Leftovers)> {
        self.leftovers.iter()
    }

    /// What one removed task left behind.
    #[must_use]
    pub fn leftovers_of(&self, id: &TaskId) -> Option<&Leftovers> {
        self.leftovers.get(id)
    }

    /// The outcome of a wish that was applied, as long as it is remembered.
    #[must_use]
    pub fn outcome_of(&self, request: &RequestId) -> Option<&Result<Outcome, Rejection>> {
        self.requests.outcomes.get(request)
    }

    /// Who changed what when, oldest first.
    pub fn audit(&self) -> impl Iterator<Item = &AuditEntry> {
        self.audit.iter()
    }
}

/// A node that registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub(crate) name: NodeName,
    pub(crate) instance: u64,
    pub(crate) capacity: u32,
    pub(crate) version: String,
    pub(crate) host: String,
    pub(crate) pid: u32,
    pub(crate) asked_to_drain: bool,
    pub(crate) leaving: bool,
    pub(crate) registered_at_ms: i64,
}

impl Node {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &NodeName {
        &self.name
    }

    /// The process that registered last.
    #[must_use]
    pub fn instance(&self) -> u64 {
        self.instance
    }

    /// Shards it carries at most.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Its release.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Where it runs, for people.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its process id, for people.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Who wants it empty; none: it takes shards.
    #[must_use]
    pub fn drain(&self) -> Option<DrainCause> {
        match (self.leaving, self.asked_to_drain) {
            (true, _) => Some(DrainCause::Leaving),
            (false, true) => Some(DrainCause::Asked),
            (false, false) => None,
        }
    }

    /// Whether it shall become empty.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.leaving || self.asked_to_drain
    }

    /// When this process registered, milliseconds since 1970.
    #[must_use]
    pub fn registered_at_ms(&self) -> i64 {
        self.registered_at_ms
    }
}

/// One incarnation of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    pub(crate) id: TaskId,
    #[serde(with = "crate::spec_text")]
    pub(crate) spec: Arc<TaskSpec>,
    pub(crate) revision: u64,
    pub(crate) desired: Desired,
    pub(crate) created_at_ms: i64,
    pub(crate) updated_at_ms: i64,
    pub(crate) clearance: Clearance,
    pub(crate) precheck: Option<PrecheckReport>,
    pub(crate) waivers: Waivers,
    pub(crate) failure: Option<Failure>,
    /// Numbers given to documents so far.
    pub(crate) newest_revision: u64,
    pub(crate) draft: Option<Draft>,
    pub(crate) revisions: Ring<Revision>,
    pub(crate) deeds: Ring<Deed>,
    pub(crate) indicators: Ring<Indicators>,
    /// Numbers given to shards so far.
    pub(crate) shard_numbers: u32,
    /// The present generation.
    pub(crate) shards: BTreeMap<u32, Shard>,
    /// Generations from which its shards may still have to take over, the newest first.
    pub(crate) predecessors: Vec<Generation>,
    /// Ordinals of shards that ran and are no more, by number.
    pub(crate) retired: BTreeMap<u32, u64>,
}

impl Task {
    /// Its identity.
    #[must_use]
    pub fn id(&self) -> &TaskId {
        &self.id
    }

    /// The name people use.
    #[must_use]
    pub fn name(&self) -> &TaskName {
        self.spec.name()
    }

    /// Its document.
    #[must_use]
    pub fn spec(&self) -> &Arc<TaskSpec> {
        &self.spec
    }

    /// Counts documents, from 1.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What its user last asked.
    #[must_use]
    pub fn desired(&self) -> Desired {
        self.desired
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn created_at_ms(&self) -> i64 {
        self.created_at_ms
    }

    /// When a person or a failure last changed it, milliseconds since 1970.
    #[must_use]
    pub fn updated_at_ms(&self) -> i64 {
        self.updated_at_ms
    }

    /// Whether a precheck lets it run.
    #[must_use]
    pub fn clearance(&self) -> Clearance {
        self.clearance
    }

    /// The newest precheck.
    #[must_use]
    pub fn precheck(&self) -> Option<&PrecheckReport> {
        self.precheck.as_ref()
    }

    /// What users decided about items of its precheck.
    #[must_use]
    pub fn waivers(&self) -> &Waivers {
        &self.waivers
    }

    /// A document that is to replace the present one, or was refused by its precheck.
    #[must_use]
    pub fn draft(&self) -> Option<&Draft> {
        self.draft.as_ref()
    }

    /// A document that waits for its precheck.
    #[must_use]
    pub fn unchecked_draft(&self) -> Option<&Draft> {
        self.draft.as_ref().filter(|draft| draft.refused.is_none())
    }

    /// Its documents, oldest first, with what changed.
    pub fn revisions(&self) -> impl DoubleEndedIterator<Item = &Revision> {
        self.revisions.iter()
    }

    /// What was asked of it, oldest first.
    pub fn deeds(&self) -> impl DoubleEndedIterator<Item = &Deed> {
        self.deeds.iter()
    }

    /// How it did in the last minutes, oldest first.
    pub fn indicators(&self) -> impl DoubleEndedIterator<Item = &Indicators> {
        self.indicators.iter()
    }

    /// Why it is Failed.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// The recorded fault of a Failed task.
    #[must_use]
    pub fn fault(&self) -> Option<&Fault> {
        self.failure.as_ref().map(|failure| &failure.fault)
    }

    /// Whether a position of it was ever durable: its slot and publication must be there.
    #[must_use]
    pub fn started_before(&self) -> bool {
        self.shards.values().any(|shard| shard.checkpoint.is_some())
            || self
                .predecessors
                .iter()
                .flat_map(Generation::shards)
                .any(|it| it.checkpoint.is_some())
    }

    /// Whether it may hold WAL at its source also while nothing streams: it did run, and is not about to
    /// be deleted.
    #[must_use]
    pub fn may_hold_wal(&self) -> bool {
        self.spec.as_postgres().is_some()
            && self.started_before()
            && self.desired != Desired::Deleted
    }

    /// Whether its shards shall have owners.
    #[must_use]
    pub fn may_run(&self) -> bool {
        self.desired == Desired::Running
            && self.clearance == Clearance::Granted
            && self.failure.is_none()
            && !self.is_to_be_resharded()
    }

    /// Its shards by number.
    pub fn shards(&self) -> impl Iterator<Item = (ShardId, &Shard)> {
        self.shards
            .iter()
            .map(|(index, shard)| (ShardId { task: self.id.clone(), index: *index }, shard))
    }
}

/// Whether a precheck lets a task run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Clearance {
    /// Nobody looked yet.
    None,
    /// Asked to run: a precheck must be made first.
    Wanted,
    /// The precheck found what must be repaired first.
    Refused,
    /// The precheck passed.
    Granted,
}

/// Why a task is Failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong.
    pub fault: Fault,
    /// Where.
    pub shard: ShardId,
    /// On which node last.
    pub node: NodeName,
    /// It crashed on several nodes and is kept from the others.
    pub quarantined: bool,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
}

/// What gets assigned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    pub(crate) assignment: Option<Assignment>,
    pub(crate) epoch: Epoch,
    pub(crate) ordinal: u64,
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) crashed_on: BTreeSet<NodeName>,
    pub(crate) wanted_on: Option<NodeName>,
}

impl Shard {
    /// Its owner.
    #[must_use]
    pub fn assignment(&self) -> Option<&Assignment> {
        self.assignment.as_ref()
    }

    /// The newest epoch given out; 0: never assigned.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Its number in the positions topic, unique in the cluster.
    #[must_use]
    pub fn ordinal(&self) -> u64 {
        self.ordinal
    }

    /// How far it has come, as the log has it.
    #[must_use]
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref()
    }

    /// Nodes where it crashed since it last made progress.
    #[must_use]
    pub fn crashed_on(&self) -> &BTreeSet<NodeName> {
        &self.crashed_on
    }

    /// The node that somebody wants it on; none: wherever it is.
    #[must_use]
    pub fn wanted_on(&self) -> Option<&NodeName> {
        self.wanted_on.as_ref()
    }

    /// Whether a node of this name owns it.
    #[must_use]
    pub fn is_on(&self, node: &NodeName) -> bool {
        self.assignment.as_ref().is_some_and(|owner| owner.node == *node)
    }
}

/// The owner of a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The node.
    pub node: NodeName,
    /// Its process.
    pub instance: u64,
    /// Since when, milliseconds since 1970.
    pub since_ms: i64,
    /// What the document it was given is made of.
    pub given: SpecRevisions,
}

/// A task that was deleted and cleaned up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedTask {
    /// Its identity.
    pub id: TaskId,
    /// The name it had.
    pub name: TaskName,
    /// What could not be dropped, each with how to drop it by hand.
    pub left: Vec<String>,
    /// When, milliseconds since 1970.
    pub at_ms: i64,
}

/// What a removed task left behind, tried again until it is gone or somebody looks after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftovers {
    /// Its last document: it says where things are.
    pub document: Document,
    /// The numbers of all shards that it ever had, each with the one in the positions topic.
    pub shards: Vec<(u32, u64)>,
    /// What could not be dropped, each with how to drop it by hand.
    pub left: Vec<String>,
    /// When the task was removed, milliseconds since 1970.
    pub since_ms: i64,
}

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When, milliseconds since 1970.
    pub at_ms: i64,
    /// The wish it carried out; none where the cluster acted by itself.
    pub request_id: Option<RequestId>,
    /// Who wished it, by their own claim; empty where the cluster acted by itself.
    pub by: String,
    /// What it was about: `task orders`, `node node-1`.
    pub object: String,
    /// What was done.
    pub action: String,
    /// Why it was refused; none: it was done.
    pub refused: Option<String>,
}

/// Outcomes of wishes, the oldest forgotten first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Requests {
    order: VecDeque<RequestId>,
    outcomes: BTreeMap<RequestId, Result<Outcome, Rejection>>,
}

impl Requests {
    pub(crate) fn outcome(&self, id: &RequestId) -> Option<&Result<Outcome, Rejection>> {
        self.outcomes.get(id)
    }

    pub(crate) fn record(&mut self, id: RequestId, outcome: Result<Outcome, Rejection>) {
        if self.outcomes.insert(id.clone(), outcome).is_some() {
            return;
        }
        self.order.push_back(id);
        while self.order.len() > REQUESTS_KEPT {
            if let Some(oldest) = self.order.pop_front() {
                self.outcomes.remove(&oldest);
            }
        }
    }

    pub(crate) fn is_consistent(&self) -> bool {
        self.order.len() <= REQUESTS_KEPT
            && self.order.len() == self.outcomes.len()
            && self.order.iter().all(|id| self.outcomes.contains_key(id))
    }
}
