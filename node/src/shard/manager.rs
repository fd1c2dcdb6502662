//! Wanted against running: one supervisor per assigned shard, never two of one.

use std::collections::BTreeMap;

use tidewire_proto::node::v1 as pb;
use tidewire_shared::{Epoch, ShardId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::supervisor::{Supervisor, Surroundings};
use super::{Assignment, Command};

/// Commands of the leader that wait: a few per shard.
pub(crate) const COMMANDS: usize = 256;

/// Holds the supervisors of this node.
pub(crate) struct Manager {
    surroundings: Surroundings,
    running: BTreeMap<ShardId, Running>,
    outbox: mpsc::Sender<pb::from_node::Message>,
}

/// A shard that was assigned; it stays here until it was revoked and has ended.
struct Running {
    epoch: Epoch,
    stop: CancellationToken,
    /// Cancelled when nothing of it is in flight any more.
    ended: CancellationToken,
    revoked: bool,
}

impl Running {
    fn stop(&self) -> CancellationToken {
        self.stop.cancel();
        self.ended.clone()
    }
}

impl Manager {
    pub(crate) fn new(
        surroundings: Surroundings,
        outbox: mpsc::Sender<pb::from_node::Message>,
    ) -> Self {
        Self { surroundings, running: BTreeMap::new(), outbox }
    }

    /// Serves commands until the node ends, then stops every shard.
    pub(crate) async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        ended: CancellationToken,
    ) {
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.obey(command),
                    None => break,
                },
                () = ended.cancelled() => break,
            }
        }
        let stopping: Vec<_> = self.running.values().map(Running::stop).collect();
        for ended in stopping {
            ended.cancelled().await;
        }
    }

    fn obey(&mut self, command: Command) {
        self.running.retain(|_, running| !(running.revoked && running.ended.is_cancelled()));
        match command {
            Command::Run(assignment) => self.assign(*assignment),
            Command::Stop(shard, epoch) => self.revoke(shard, epoch),
            Command::Prepare(spec) => self.surroundings.prepare(*spec),
        }
    }

    /// Starts the shard, after its predecessor here has ended; an epoch that is not news is ignored.
    fn assign(&mut self, assignment: Assignment) {
        let (shard, epoch) = (assignment.shard.clone(), assignment.epoch);
        if self.running.get(&shard).is_some_and(|running| running.epoch >= epoch) {
            return;
        }
        let before = self.running.remove(&shard).map(|running| running.stop());
        tracing::info!(%shard, %epoch, task = %assignment.spec.name(), "assigned");
        let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
        let supervisor = Supervisor::new(assignment, self.surroundings.clone(), stop.clone());
        let done = ended.clone().drop_guard();
        actix_rt::spawn(async move {
            if let Some(before) = before {
                before.cancelled().await;
            }
            supervisor.run().await;
            drop(done);
        });
        self.running.insert(shard, Running { epoch, stop, ended, revoked: false });
    }

    /// Stops the shard and says so when nothing of it is in flight any more.
    fn revoke(&mut self, shard: ShardId, epoch: Epoch) {
        // What runs under a later epoch is wanted.
        let stopping = match self.running.get_mut(&shard) {
            Some(running) if running.epoch <= epoch => {
                running.revoked = true;
                Some(running.stop())
            }
            _ => None,
        };
        let (outbox, board) = (self.outbox.clone(), self.surroundings.board.clone());
        let released =
            pb::Released { task_id: shard.task.to_string(), shard: shard.index, epoch: epoch.0 };
        actix_rt::spawn(async move {
            if let Some(ended) = stopping {
                ended.cancelled().await;
                board.remove(&shard, epoch);
            }
            tracing::info!(%shard, %epoch, "released");
            drop(outbox.send(pb::from_node::Message::Released(released)).await);
        });
    }
}
