//! The node's side of the control plane: one life line to the leader, one stream of work beside it.
//!
//! It runs on a thread of its own with its own small runtime, so that no amount of data can silence
//! the heartbeat. It decides nothing: what the leader assigns goes to the shard room, what the
//! shards report goes to the leader.

mod leader;
mod lifeline;
mod work;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tidewire_proto::node::v1 as pb;
use tidewire_shared::{ClusterId, Fault, FaultKind};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

pub(crate) use leader::Leader;

use crate::config::NodeConfig;
use crate::lease::Lease;
use crate::shard::{Command, ReportBoard};
use crate::task_log::TaskLog;

/// Words of the shards to the leader that wait for a session: one per shard and move is plenty.
pub(crate) const OUTBOX: usize = 1_024;

/// What the agent works with.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) config: NodeConfig,
    /// Random per process.
    pub(crate) instance: u64,
    pub(crate) lease: Lease,
    pub(crate) board: ReportBoard,
    /// What the shards tell; goes over the work stream.
    pub(crate) log: TaskLog,
    /// To the shard room.
    pub(crate) commands: mpsc::Sender<Command>,
    /// From the shard room.
    pub(crate) outbox: mpsc::Receiver<pb::from_node::Message>,
    /// Set once the first session told it.
    pub(crate) cluster: Arc<watch::Sender<Option<ClusterId>>>,
    pub(crate) leader: Leader,
    /// Cancelled when the node is asked to leave.
    pub(crate) leaving: CancellationToken,
    /// Cancelled by the agent when the leader has let the node go, or by the node when it must end.
    pub(crate) ended: CancellationToken,
}

impl Agent {
    /// Starts the agent's thread.
    pub(crate) fn start(self) -> Result<JoinHandle<()>, Fault> {
        let internal = |error| Fault::new(FaultKind::Internal, "node agent", error);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(internal)?;
        std::thread::Builder::new()
            .name("agent".to_owned())
            .spawn(move || runtime.block_on(self.run()))
            .map_err(internal)
    }

    async fn run(mut self) {
        let ended = self.ended.clone();
        tokio::spawn(work::serve(
            self.config.name.clone(),
            self.instance,
            self.leader.clone(),
            Arc::clone(&self.cluster),
            self.log.clone(),
            ended.clone(),
        ));
        let mut next = 0;
        let mut problems = Problems::default();
        while !ended.is_cancelled() {
            let endpoint = self.endpoint(&mut next);
            let session = tokio::select! {
                outcome = lifeline::session(&mut self, &endpoint) => outcome,
                () = ended.cancelled() => return,
            };
            match session {
                Ok(lifeline::End::Dismissed) => ended.cancel(),
                Ok(lifeline::End::Elsewhere(leader)) => self.leader.point_to(leader),
                Err(problem) => {
                    self.leader.lost();
                    if problems.worth_telling(&endpoint, &problem) {
                        tracing::warn!(endpoint, problem, "no session with this coordinator");
                    }
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// The coordinator to try: the one that was named leader, else each in turn.
    fn endpoint(&self, next: &mut usize) -> String {
        if let Some(leader) = self.leader.named() {
            return leader;
        }
        let all = &self.config.coordinators;
        *next = (*next + 1) % all.len().max(1);
        all.get(*next).cloned().unwrap_or_default()
    }
}

/// Between two attempts to find the leader: a fraction of the time after which shards would move.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// A problem that stays is told this often.
const TELL_AGAIN: Duration = Duration::from_secs(30);

/// What was last told of each coordinator: attempts are many, and a log that repeats them hides the
/// rest.
#[derive(Debug, Default)]
struct Problems(BTreeMap<String, (String, Instant)>);

impl Problems {
    /// Whether a problem is new, or was told long ago; if so it counts as told now.
    fn worth_telling(&mut self, endpoint: &str, problem: &str) -> bool {
        let told = self.0.get(endpoint);
        if told.is_some_and(|(last, at)| last == problem && at.elapsed() < TELL_AGAIN) {
            return false;
        }
        self.0.insert(endpoint.to_owned(), (problem.to_owned(), Instant::now()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_that_stays_is_told_once() {
        let mut problems = Problems::default();
        assert!(problems.worth_telling("c1", "name in use"));
        assert!(!problems.worth_telling("c1", "name in use"));
        assert!(problems.worth_telling("c2", "name in use"));
        assert!(problems.worth_telling("c1", "cannot connect"));
    }
}
