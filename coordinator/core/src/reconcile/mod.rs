//! What the leader must do now: the log's wishes compared with what the nodes show.
//!
//! Nothing here remembers a plan. A new leader, or one that lost every event, finds the same actions by
//! comparing again; each action is safe to repeat.

use std::sync::Arc;

use tidewire_shared::{Epoch, NodeName, ShardId, TaskId, TaskSpec};

use crate::command::{Command, PositionHint};
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
        /// Where its newest position record is known to stand.
        hint: Option<PositionHint>,
    },
    /// Stop this shard cleanly and answer that it is released.
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
/// The leader calls it about every 100 ms and after every event, and hands each action it carried out
/// to [`Observed::carried_out`].
#[must_use]
pub fn reconcile(state: &ClusterState, observed: &Observed, now: Now) -> Vec<Action> {
    let (_, _, _) = (state, observed, now);
    Vec::new()
}

pub(crate) fn remember(observed: &mut Observed, action: &Action, now_ms: u64) {
    let (_, _, _) = (observed, action, now_ms);
}
