//! What the leader must do now: the log's wishes compared with what the nodes show.
//!
//! Nothing here remembers a plan. A new leader, or one that lost every event, finds the same actions by
//! comparing again; each action is safe to repeat.

mod balance;
mod fold;
mod node;
mod plan;
mod shard;
mod work;

use std::fmt;
use std::sync::Arc;

use tidewire_shared::{Epoch, NodeName, ShardId, TaskId, TaskSpec};

use self::plan::Plan;
use crate::command::{Command, CommandKind, PositionHint};
use crate::generation::Generation;
use crate::observed::{Now, Observed};
use crate::state::ClusterState;

/// One thing the leader does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Propose a command to the log.
    Propose(Command),
    /// Tell a node something over its session.
    Send(NodeName, Directive),
    /// Have a node look whether a task could run; then propose `RecordPrecheck`.
    OrderPrecheck {
        /// The task.
        task: TaskId,
        /// The node.
        node: NodeName,
        /// Its process.
        instance: u64,
    },
    /// Have a node look whether a task could run with its draft; then propose `RecordRevision`.
    OrderRevision {
        /// The task.
        task: TaskId,
        /// The revision of the draft.
        revision: u64,
        /// The node.
        node: NodeName,
        /// Its process.
        instance: u64,
    },
    /// Have a node drop what a removed task left; then propose `RecordLeftovers`.
    OrderSweep {
        /// The task.
        task: TaskId,
        /// The node.
        node: NodeName,
        /// Its process.
        instance: u64,
    },
    /// Have a node drop what a deleted task made; then propose `RemoveTask`.
    OrderCleanUp {
        /// The task.
        task: TaskId,
        /// The node.
        node: NodeName,
        /// Its process.
        instance: u64,
    },
}

/// What a node is told over its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Directive {
    /// Run this shard under this epoch; replaces a lower epoch that still runs there.
    Assign {
        /// The shard.
        shard: ShardId,
        /// Its epoch.
        epoch: Epoch,
        /// Its task's document.
        spec: Arc<TaskSpec>,
        /// Which document that is.
        revision: u64,
        /// Its number in the positions topic.
        ordinal: u64,
        /// The number of the first shard of its generation.
        first: u32,
        /// How many shards its generation has.
        count: u32,
        /// Until it has a place of its own: the generations from which it takes over, the newest first.
        before: Vec<Generation>,
        /// Where its newest position record is known to stand.
        hint: Option<PositionHint>,
        /// Of an at_least_once task its newest position record; empty before there is one.
        record: Vec<u8>,
        /// Errors of the task that its user has resumed it over, the newest first.
        resumed_over: Vec<String>,
    },
    /// Stop this shard cleanly under this epoch or a lower one, and answer that it is released, also
    /// if it does not run.
    Revoke {
        /// The shard.
        shard: ShardId,
        /// The epoch to stop.
        epoch: Epoch,
    },
    /// Get ready to run this shard soon.
    Prepare {
        /// The shard.
        shard: ShardId,
        /// Its task's document.
        spec: Arc<TaskSpec>,
    },
    /// Nothing is assigned any more and nothing will be: the process may end.
    Dismissed,
}

/// Every action that is due, in the order in which to carry them out.
///
/// The leader calls it about every 100 ms and after every event, after [`Observed::ticked`], and hands
/// each action it carried out to [`Observed::carried_out`].
#[must_use]
pub fn reconcile(state: &ClusterState, observed: &Observed, now: Now) -> Vec<Action> {
    let mut plan = Plan::new(state, observed, now);
    fold::reconcile(&mut plan);
    shard::reconcile(&mut plan);
    work::reconcile(&mut plan);
    node::reconcile(&mut plan);
    balance::reconcile(&mut plan);
    plan.into_actions()
}

/// What the action is about, without times and documents: for the log, and to hold back repeats.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Propose(command) => write!(f, "propose {}", Subject(&command.kind)),
            Self::Send(node, directive) => write!(f, "tell {node}: {directive}"),
            Self::OrderPrecheck { task, node, .. } => write!(f, "have {node} precheck {task}"),
            Self::OrderCleanUp { task, node, .. } => write!(f, "have {node} clean up {task}"),
            Self::OrderRevision { task, revision, node, .. } => {
                write!(f, "have {node} precheck {task} with revision {revision}")
            }
            Self::OrderSweep { task, node, .. } => write!(f, "have {node} sweep {task}"),
        }
    }
}

impl fmt::Display for Directive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Assign { shard, epoch, .. } => write!(f, "run {shard} under {epoch}"),
            Self::Revoke { shard, epoch } => write!(f, "stop {shard} under {epoch}"),
            Self::Prepare { shard, .. } => write!(f, "prepare {shard}"),
            Self::Dismissed => f.write_str("dismissed"),
        }
    }
}

/// The commands that reconciling proposes, in short.
struct Subject<'c>(&'c CommandKind);

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            CommandKind::Bootstrap { cluster } => write!(f, "cluster {cluster}"),
            CommandKind::RaiseClusterVersion { version } => write!(f, "version {version}"),
            CommandKind::RegisterNode { node } => write!(f, "node {}", node.name),
            CommandKind::ForgetNode { node } => write!(f, "forget {node}"),
            CommandKind::DrainNode { node, .. } => write!(f, "drain {node}"),
            CommandKind::ResumeNode { node } => write!(f, "resume {node}"),
            CommandKind::CreateTask { task, .. } => write!(f, "create {task}"),
            CommandKind::SetDesired { task, wish } => write!(f, "{wish} {task}"),
            CommandKind::RecordPrecheck { task, .. } => write!(f, "precheck of {task}"),
            CommandKind::Assign { shard, node, instance, expect_epoch } => {
                write!(f, "{shard} to {node} ({instance:x}) after {expect_epoch}")
            }
            CommandKind::RaiseEpoch { shard, above } => write!(f, "{shard} above {above}"),
            CommandKind::Release { shard, epoch } => write!(f, "release {shard} {epoch}"),
            CommandKind::Checkpoints { .. } => f.write_str("checkpoints"),
            CommandKind::TaskFailed { shard, epoch, .. } => write!(f, "{shard} {epoch} failed"),
            CommandKind::ApplyConnection { connection } => {
                write!(f, "apply connection {}", connection.name)
            }
            CommandKind::DeleteConnection { name } => write!(f, "delete connection {name}"),
            CommandKind::ApplyChannel { channel } => write!(f, "apply channel {}", channel.name),
            CommandKind::DeleteChannel { name } => write!(f, "delete channel {name}"),
            CommandKind::MoveAlerts { moves } => write!(f, "{} alerts", moves.len()),
            CommandKind::RecordPush { message, channel, .. } => {
                write!(f, "message {message} at {channel}")
            }
            CommandKind::ClearFault { task } => write!(f, "clear fault of {task}"),
            CommandKind::RemoveTask { task, .. } => write!(f, "remove {task}"),
            CommandKind::Waive { task, .. } => write!(f, "waive items of {task}"),
            CommandKind::ModifyTask { task, .. } => write!(f, "modify {task}"),
            CommandKind::RecordRevision { task, revision, .. } => {
                write!(f, "precheck of {task} with revision {revision}")
            }
            CommandKind::RecordLeftovers { task, .. } => write!(f, "leftovers of {task}"),
            CommandKind::ForgetLeftovers { task } => write!(f, "forget leftovers of {task}"),
            CommandKind::MoveShard { shard, node } => write!(f, "move {shard} to {node}"),
            CommandKind::SlotDropped { shard, .. } => write!(f, "slot of {shard} dropped"),
            CommandKind::RecordRewind { shard, to } => write!(f, "rewind {shard} to {to}"),
            CommandKind::RecordIndicators { minutes } => {
                write!(f, "indicators of {} tasks", minutes.len())
            }
            CommandKind::RecordMove { task, .. } => write!(f, "partitions of {task} moved"),
            CommandKind::Reshard { task } => write!(f, "reshard {task}"),
        }
    }
}
