//! The WAL that slots hold whose tasks do not stream: one that is paused or failed holds it as well, and
//! one that waits for its target.
//!
//! Whoever streams from a slot looks itself; for the others a node is asked to look, every few seconds and
//! for one task after the other. At the limit the node does what the task asks for; a dropped slot fails
//! the task.

use std::time::Duration;

use tidewire_coordinator_core::{Command, CommandKind, ShardPhase, Task};
use tidewire_proto::node::v1::WeighWal;
use tidewire_proto::node::v1::work_done::Outcome;
use tidewire_proto::node::v1::work_order::Work;
use tidewire_shared::{Desired, Fault, TaskId};
use tokio::time::timeout;

use super::Leader;
use super::neighbours::{in_use, ours};
use crate::clock;

/// Between two rounds of looks: how fresh the figure is.
const PERIOD: Duration = Duration::from_secs(5);
/// Longest single look; a source that does not answer is asked again in the next round.
const LOOK: Duration = Duration::from_secs(20);

impl Leader {
    /// Looks for as long as this coordinator runs; does nothing while it does not lead.
    pub(crate) async fn weigh_idle_wal(self) {
        loop {
            tokio::time::sleep(PERIOD).await;
            if !self.leads() {
                continue;
            }
            let state = self.handle.state();
            // A slot that a terminated task left to another one is weighed by that one.
            let is_left = |task: &Task| {
                task.desired() == Desired::Terminated
                    && in_use(&state, task.id()).contains_key(&ours(task.id()))
            };
            let holds = |task: &&Task| task.may_hold_wal() && !is_left(task) && !self.streams(task);
            let idle: Vec<&Task> = state.tasks().filter(holds).collect();
            self.forget_others(&idle);
            for task in idle {
                let Ok(spec) = state.resolve(task.spec()) else { continue };
                let durable = task.shards().filter_map(|(_, shard)| shard.checkpoint());
                let weigh = WeighWal {
                    spec: Some(spec.as_ref().clone().into()),
                    task_id: task.id().to_string(),
                    durable_lsn: durable.map(|checkpoint| checkpoint.lsn.0).min().unwrap_or(0),
                };
                match timeout(LOOK, self.ask(Work::WeighWal(weigh))).await {
                    Ok(Ok(Outcome::WalWeighed(seen))) => {
                        self.note(task.id(), seen.retained_bytes);
                        if let Some(fault) = seen.dropped.and_then(|fault| fault.try_into().ok()) {
                            self.dropped(task, &seen.node, fault).await;
                        }
                    }
                    Ok(Ok(_)) => tracing::warn!(task = %task.id(), "an answer to another question"),
                    Ok(Err(error)) => tracing::debug!(task = %task.id(), %error, "not weighed"),
                    Err(_) => tracing::debug!(task = %task.id(), "not weighed in time"),
                }
            }
        }
    }

    /// Whether its owner streams, as far as it said.
    fn streams(&self, task: &Task) -> bool {
        let term = self.lock();
        let Some(term) = term.as_ref() else { return false };
        task.shards().all(|(id, shard)| {
            let seen = term.observed.of_owner(&id, shard);
            seen.is_some_and(|seen| seen.phase == ShardPhase::Synchronizing)
        })
    }

    fn note(&self, task: &TaskId, bytes: u64) {
        if let Some(term) = self.lock().as_mut() {
            term.idle_wal.insert(task.clone(), bytes);
        }
    }

    fn forget_others(&self, idle: &[&Task]) {
        if let Some(term) = self.lock().as_mut() {
            term.idle_wal.retain(|id, _| idle.iter().any(|task| task.id() == id));
        }
    }

    async fn dropped(&self, task: &Task, node: &str, fault: Fault) {
        let (Some((shard, _)), Ok(node)) = (task.shards().next(), node.parse()) else { return };
        tracing::error!(task = %task.name(), %fault, "the slot was dropped at walBudget.limit");
        let kind = CommandKind::SlotDropped { shard, node, fault };
        if let Err(error) = self.handle.propose(Command::internal(clock::wall_ms(), kind)).await {
            // The next start finds the slot gone and says so.
            tracing::warn!(%error, "the log does not know of the dropped slot");
        }
    }
}
