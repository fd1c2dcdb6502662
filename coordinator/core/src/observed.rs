//! What the leader sees of the nodes, in memory only: sessions, newest reports, what it already sent.
//!
//! A new leader starts with an empty one and forgets nothing of value: heartbeats fill it again. All
//! times are milliseconds of one monotonic clock that counts suspended time.

use std::collections::{BTreeMap, BTreeSet};

use tidewire_shared::{Epoch, Fault, Lsn, NodeName, ShardId, TaskId};

use crate::command::{CommandKind, PositionHint};
use crate::liveness::{Standing, Timing, lease_is_over, standing};
use crate::reconcile::{Action, Directive};
use crate::state::{Assignment, Clearance, ClusterState, Node, Shard, Task};

/// The two clocks of the leader, read at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic milliseconds that count suspended time; for every decision.
    pub mono_ms: u64,
    /// Milliseconds since 1970; only written into commands.
    pub wall_ms: i64,
}

/// Where a shard is on its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardPhase {
    /// On its way to the first record.
    Initializing,
    /// Changes flow.
    Synchronizing,
    /// A transient error is being retried.
    Retrying,
    /// Given up; see the fault.
    Failed,
}

/// What a shard's node last said about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardObservation {
    /// The epoch it runs under.
    pub epoch: Epoch,
    /// Where it is.
    pub phase: ShardPhase,
    /// Why it is retrying or failed.
    pub fault: Option<Fault>,
    /// How late its last durable record is, milliseconds; 0 when caught up.
    pub delay_ms: u64,
    /// WAL that its slot holds back, bytes, as last seen by its stream.
    pub wal_bytes: u64,
    /// Everything before it is durable at the target.
    pub durable_lsn: Lsn,
    /// Where the newest durable position record stands; its serial is 0 before there is one.
    pub hint: PositionHint,
    /// Of an at_least_once task its newest durable position record; else empty.
    pub record: Vec<u8>,
}

/// A node's open, or lately closed, stream to the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The process.
    pub instance: u64,
    /// When it opened.
    pub opened_ms: u64,
    /// When it closed.
    pub closed_ms: Option<u64>,
    /// When anything last came from it.
    pub heard_ms: u64,
    /// The newest heartbeat; none came yet: `None`.
    pub shards: Option<BTreeMap<ShardId, ShardObservation>>,
}

/// Work that a node was asked to do beside its shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WorkKind {
    /// Look whether a task could run.
    Precheck,
    /// Drop what a deleted task made.
    CleanUp,
    /// Look whether a task could run with its draft.
    Revision,
    /// Drop what a removed task left.
    Sweep,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WorkLog {
    /// The node at work, its process, and since when.
    pub(crate) at: Option<(NodeName, u64, u64)>,
    /// Attempts that ended in a fault: when the last did, on which nodes, and why.
    pub(crate) failures: u32,
    pub(crate) failed_ms: u64,
    pub(crate) failed_on: BTreeSet<NodeName>,
    pub(crate) fault: Option<Fault>,
}

/// Everything the leader sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    pub(crate) timing: Timing,
    pub(crate) grace_from_ms: u64,
    pub(crate) ticked_ms: u64,
    pub(crate) folded_ms: u64,
    pub(crate) sessions: BTreeMap<NodeName, Session>,
    pub(crate) released: BTreeMap<ShardId, Epoch>,
    pub(crate) prepared: BTreeMap<ShardId, (NodeName, u64)>,
    pub(crate) work: BTreeMap<(TaskId, WorkKind), WorkLog>,
    /// What was carried out lately: to which node if any, what, and when.
    pub(crate) done: BTreeMap<(Option<NodeName>, String), u64>,
}

impl Observed {
    /// What a leader sees at the moment it is elected.
    #[must_use]
    pub fn new(timing: Timing, now_ms: u64) -> Self {
        Self {
            timing,
            grace_from_ms: now_ms,
            ticked_ms: now_ms,
            folded_ms: now_ms,
            sessions: BTreeMap::new(),
            released: BTreeMap::new(),
            prepared: BTreeMap::new(),
            work: BTreeMap::new(),
            done: BTreeMap::new(),
        }
    }

    /// The spans in use.
    #[must_use]
    pub fn timing(&self) -> &Timing {
        &self.timing
    }

    /// To be called before each round. A leader that was frozen itself judges nobody by that time; what
    /// the log has no more is forgotten.
    pub fn ticked(&mut self, state: &ClusterState, now_ms: u64) {
        if now_ms.saturating_sub(self.ticked_ms) > self.timing.frozen_tick_ms {
            self.grace_from_ms = now_ms;
        }
        self.ticked_ms = now_ms;
        let longest_ms = self.timing.revoke_repeat_ms.max(self.timing.repeat_ms);
        self.done.retain(|_, at_ms| now_ms.saturating_sub(*at_ms) < longest_ms);
        self.released.retain(|id, _| state.shard(id).is_some());
        self.prepared.retain(|id, (node, _)| {
            let waits = |owner: &Assignment| state.node(&owner.node).is_some_and(Node::is_draining);
            state.task(&id.task).is_some_and(Task::may_run)
                && state.shard(id).is_some_and(|shard| {
                    let moves = shard.wanted_on() == Some(node);
                    !shard.is_on(node) && (moves || shard.assignment().is_none_or(waits))
                })
        });
        self.work.retain(|(id, kind), _| {
            let task = state.task(id);
            match kind {
                WorkKind::Precheck => task.is_some_and(|it| it.clearance() == Clearance::Wanted),
                WorkKind::CleanUp => task.is_some(),
                WorkKind::Revision => task.is_some_and(|it| it.unchecked_draft().is_some()),
                WorkKind::Sweep => state.leftovers_of(id).is_some(),
            }
        });
        self.sessions
            .retain(|node, session| session.closed_ms.is_none() || state.node(node).is_some());
    }

    /// A node opened a session; call it after `RegisterNode` was applied.
    pub fn session_opened(&mut self, node: NodeName, instance: u64, now_ms: u64) {
        let session = Session {
            instance,
            opened_ms: now_ms,
            closed_ms: None,
            heard_ms: now_ms,
            shards: None,
        };
        // What was sent over the last stream may be lost with it.
        self.done.retain(|(to, _), _| to.as_ref() != Some(&node));
        self.sessions.insert(node, session);
    }

    /// The session of this process ended, for whatever reason.
    pub fn session_closed(&mut self, node: &NodeName, instance: u64, now_ms: u64) {
        if let Some(session) = self.session_of(node, instance) {
            session.closed_ms.get_or_insert(now_ms);
        }
    }

    /// A heartbeat came: these shards run there, and no others.
    pub fn heartbeat(
        &mut self,
        node: &NodeName,
        instance: u64,
        shards: BTreeMap<ShardId, ShardObservation>,
        now_ms: u64,
    ) {
        if let Some(session) = self.session_of(node, instance) {
            session.heard_ms = now_ms;
            session.shards = Some(shards);
        }
    }

    /// The node says that nothing of this shard and epoch is in flight any more.
    pub fn shard_released(&mut self, shard: ShardId, epoch: Epoch) {
        let newest = self.released.entry(shard).or_default();
        *newest = epoch.max(*newest);
    }

    /// A work order was answered; the shell proposes what came of it.
    pub fn work_done(&mut self, task: &TaskId, kind: WorkKind) {
        self.work.remove(&(task.clone(), kind));
    }

    /// A work order ended in a fault; it is given out again, elsewhere if possible.
    pub fn work_failed(&mut self, task: &TaskId, kind: WorkKind, fault: Fault, now_ms: u64) {
        let log = self.work.entry((task.clone(), kind)).or_default();
        if let Some((node, _, _)) = log.at.take() {
            log.failed_on.insert(node);
        }
        log.failures = log.failures.saturating_add(1);
        log.failed_ms = now_ms;
        log.fault = Some(fault);
    }

    /// To be called with every action that was carried out, so that the next round does not repeat it.
    pub fn carried_out(&mut self, action: &Action, now_ms: u64) {
        let to = match action {
            Action::Propose(command) => {
                if let CommandKind::Checkpoints { .. } = command.kind {
                    self.folded_ms = now_ms;
                }
                None
            }
            Action::Send(node, directive) => {
                if let Directive::Prepare { shard, .. } = directive {
                    self.prepared.insert(shard.clone(), (node.clone(), now_ms));
                }
                Some(node.clone())
            }
            Action::OrderPrecheck { task, node, instance } => {
                self.ordered(task, WorkKind::Precheck, node, *instance, now_ms);
                Some(node.clone())
            }
            Action::OrderCleanUp { task, node, instance } => {
                self.ordered(task, WorkKind::CleanUp, node, *instance, now_ms);
                Some(node.clone())
            }
            Action::OrderRevision { task, node, instance, .. } => {
                self.ordered(task, WorkKind::Revision, node, *instance, now_ms);
                Some(node.clone())
            }
            Action::OrderSweep { task, node, instance } => {
                self.ordered(task, WorkKind::Sweep, node, *instance, now_ms);
                Some(node.clone())
            }
        };
        self.done.insert((to, action.to_string()), now_ms);
    }

    /// Whether the same was carried out so lately that its effect may not show yet.
    pub(crate) fn did_lately(&self, action: &Action, now_ms: u64) -> bool {
        let to = match action {
            Action::Propose(_) => None,
            Action::Send(node, _)
            | Action::OrderPrecheck { node, .. }
            | Action::OrderRevision { node, .. }
            | Action::OrderSweep { node, .. }
            | Action::OrderCleanUp { node, .. } => Some(node.clone()),
        };
        let hold_ms = match action {
            Action::Send(_, Directive::Revoke { .. }) => self.timing.revoke_repeat_ms,
            Action::Propose(_)
            | Action::Send(..)
            | Action::OrderPrecheck { .. }
            | Action::OrderRevision { .. }
            | Action::OrderSweep { .. }
            | Action::OrderCleanUp { .. } => self.timing.repeat_ms,
        };
        self.done
            .get(&(to, action.to_string()))
            .is_some_and(|at_ms| now_ms.saturating_sub(*at_ms) < hold_ms)
    }

    fn ordered(
        &mut self,
        task: &TaskId,
        kind: WorkKind,
        node: &NodeName,
        instance: u64,
        now_ms: u64,
    ) {
        let log = self.work.entry((task.clone(), kind)).or_default();
        log.at = Some((node.clone(), instance, now_ms));
    }

    /// The session of a node.
    #[must_use]
    pub fn session(&self, node: &NodeName) -> Option<&Session> {
        self.sessions.get(node)
    }

    /// How a node stands.
    #[must_use]
    pub fn standing(&self, node: &NodeName, now_ms: u64) -> Standing {
        standing(self.sessions.get(node), self.grace_from_ms, &self.timing, now_ms)
    }

    /// Whether the lease of a process has surely ended.
    #[must_use]
    pub fn lease_is_over(&self, node: &NodeName, instance: u64, now_ms: u64) -> bool {
        let session = self.sessions.get(node);
        lease_is_over(session, instance, self.grace_from_ms, &self.timing, now_ms)
    }

    /// The newest report of a shard by its owner under its present epoch.
    #[must_use]
    pub fn of_owner(&self, id: &ShardId, shard: &Shard) -> Option<&ShardObservation> {
        let owner = shard.assignment()?;
        let session = self.sessions.get(&owner.node)?;
        let report = session.shards.as_ref()?.get(id)?;
        (session.instance == owner.instance && report.epoch == shard.epoch()).then_some(report)
    }

    fn session_of(&mut self, node: &NodeName, instance: u64) -> Option<&mut Session> {
        self.sessions.get_mut(node).filter(|session| session.instance == instance)
    }
}
