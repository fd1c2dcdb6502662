//! The life lines of nodes: opening, heartbeats, leases, closing.

use std::collections::BTreeMap;

use tidewire_coordinator_core::{
    ClusterState, Command, CommandKind, DrainCause, NodeRegistration, Rejection, ShardObservation,
    admit, may_renew,
};
use tidewire_proto::convert::ConvertError;
use tidewire_proto::node::v1::to_node::Message;
use tidewire_proto::node::v1::{Heartbeat, Kept, Lease, Registered, Released, ToNode};
use tidewire_shared::{Epoch, NodeName, ShardId, ShardReport};
use tokio::sync::mpsc;

use super::Leader;
use super::observation::observation;
use super::term::Outbox;
use crate::clock;
use crate::raft::ProposeError;

/// Messages a node may leave unread: every shard of a large node assigned at once.
const OUTBOX_MAX: usize = 256;

/// Why a session is not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// Another coordinator leads.
    #[error("not the leader")]
    NotLeader,
    /// The name is in use, or the log refused the node.
    #[error(transparent)]
    Refused(Box<Rejection>),
    /// The log did not decide in time.
    #[error("the coordinators could not decide")]
    Undecided,
}

/// One open session.
#[derive(Clone, Debug)]
pub(crate) struct SessionKey {
    node: NodeName,
    instance: u64,
    serial: u64,
}

impl SessionKey {
    pub(super) fn new(node: NodeName, instance: u64, serial: u64) -> Self {
        Self { node, instance, serial }
    }

    /// The node at the other end.
    pub(crate) fn node(&self) -> &NodeName {
        &self.node
    }

    pub(super) fn serial(&self) -> u64 {
        self.serial
    }
}

/// What a session yields to its node.
pub(crate) type Inbox<T> = mpsc::Receiver<Result<T, tonic::Status>>;

impl Leader {
    /// Registers a node and opens its session; the first message is in the inbox already.
    pub(crate) async fn open_session(
        &self,
        node: NodeRegistration,
    ) -> Result<(SessionKey, Inbox<ToNode>), OpenError> {
        let (name, instance) = (node.name.clone(), node.instance);
        self.admits(&name, instance)?;
        let command = Command::internal(clock::wall_ms(), CommandKind::RegisterNode { node });
        match self.handle.propose(command).await {
            Ok(_) => {}
            Err(ProposeError::NotLeader(_)) => return Err(OpenError::NotLeader),
            Err(ProposeError::Rejected(rejection)) => return Err(OpenError::Refused(rejection)),
            Err(ProposeError::Unknown) => return Err(OpenError::Undecided),
        }
        let cluster = self.handle.identity().cluster.to_string();
        let registered = Registered {
            cluster_id: cluster,
            heartbeat_interval_ms: self.timing.heartbeat_ms,
            lease_ms: self.timing.lease_ms,
        };
        let (sender, inbox) = mpsc::channel(OUTBOX_MAX);
        let first = ToNode { message: Some(Message::Registered(registered)) };
        sender.try_send(Ok(first)).map_err(|_| OpenError::Undecided)?;
        // Another process may have come in under the name while the log decided.
        self.admits(&name, instance)?;
        let mut term = self.lock();
        let term = term.as_mut().ok_or(OpenError::NotLeader)?;
        let serial = term.next_serial();
        term.observed.session_opened(name.clone(), instance, clock::mono_ms());
        term.sessions.insert(name.clone(), Outbox { serial, instance, sender });
        tracing::info!(node = %name, "session opened");
        self.ring();
        Ok((SessionKey::new(name, instance, serial), inbox))
    }

    fn admits(&self, name: &NodeName, instance: u64) -> Result<(), OpenError> {
        let term = self.lock();
        let term = term.as_ref().ok_or(OpenError::NotLeader)?;
        admit(&term.observed, name, instance, clock::mono_ms())
            .map_err(|rejection| OpenError::Refused(Box::new(rejection)))
    }

    /// Notes that a session ended; a newer one of the same node is not touched.
    pub(crate) fn close_session(&self, key: &SessionKey) {
        let mut term = self.lock();
        let Some(term) = term.as_mut() else { return };
        if term.sessions.get(&key.node).is_some_and(|outbox| outbox.serial == key.serial) {
            term.sessions.remove(&key.node);
            term.observed.session_closed(&key.node, key.instance, clock::mono_ms());
            tracing::info!(node = %key.node, "session closed");
            self.ring();
        }
    }

    /// Takes a heartbeat in and renews the lease, as long as a quorum backs this leader.
    ///
    /// `false`: the session is not the newest of its node any more.
    ///
    /// # Errors
    /// When a report does not hold what it must.
    pub(crate) fn heartbeat(
        &self,
        key: &SessionKey,
        heartbeat: Heartbeat,
    ) -> Result<bool, ConvertError> {
        let mut reports = BTreeMap::new();
        let mut observations = BTreeMap::new();
        for (index, wire) in heartbeat.shards.into_iter().enumerate() {
            let report = ShardReport::try_from(wire.clone())
                .map_err(|error| error.within(&format!("shards[{index}]")))?;
            reports.insert(report.shard.clone(), wire);
            observations.insert(report.shard.clone(), observation(report));
        }
        let acked_ms = self.handle.quorum_acked_ms();
        let now_ms = clock::mono_ms();
        let mut term = self.lock();
        let Some(term) = term.as_mut() else { return Ok(false) };
        let Some(outbox) = term.sessions.get(&key.node).filter(|it| it.serial == key.serial) else {
            return Ok(false);
        };
        if may_renew(acked_ms, &self.timing, now_ms) {
            let kept = kept(&self.handle.state(), key, &observations);
            let lease = Message::Lease(Lease { sequence: heartbeat.sequence, kept });
            // A node that does not read its messages gets no lease either.
            drop(outbox.sender.try_send(Ok(ToNode { message: Some(lease) })));
        }
        let changed = term.observed.session(&key.node).is_none_or(|session| {
            session.shards.as_ref().is_none_or(|known| news(known, &observations))
        });
        term.observed.heartbeat(&key.node, key.instance, observations, now_ms);
        term.reports.insert(key.node.clone(), reports);
        if changed {
            self.ring();
        }
        Ok(true)
    }

    /// Takes in that a node stopped a shard. Only its owner can release it, over its newest session.
    ///
    /// # Errors
    /// When the task's identity is none.
    pub(crate) fn released(
        &self,
        key: &SessionKey,
        released: &Released,
    ) -> Result<(), ConvertError> {
        let task = tidewire_proto::convert::parsed("released.task_id", &released.task_id)?;
        let shard = ShardId { task, index: released.shard };
        let epoch = Epoch(released.epoch);
        let owns = self.handle.state().owns(&key.node, key.instance, &shard, epoch);
        if let Some(term) = self.lock().as_mut()
            && owns
            && term.sessions.get(&key.node).is_some_and(|outbox| outbox.serial == key.serial)
        {
            term.observed.shard_released(shard, epoch);
        }
        self.ring();
        Ok(())
    }

    /// Takes in that a node wants to leave.
    pub(crate) async fn leaving(&self, key: &SessionKey) {
        let kind = CommandKind::DrainNode { node: key.node.clone(), cause: DrainCause::Leaving };
        let drained = self.handle.propose(Command::internal(clock::wall_ms(), kind)).await;
        if let Err(error) = drained {
            tracing::warn!(node = %key.node, %error, "a node that wants to leave must ask again");
        }
        self.ring();
    }
}

/// What the log has of the positions that this node's at_least_once shards report.
fn kept(
    state: &ClusterState,
    key: &SessionKey,
    reports: &BTreeMap<ShardId, ShardObservation>,
) -> Vec<Kept> {
    let kept = |(id, report): (&ShardId, &ShardObservation)| {
        if report.record.is_empty() || !state.owns(&key.node, key.instance, id, report.epoch) {
            return None;
        }
        let serial = state.shard(id)?.checkpoint()?.hint.serial;
        let (task_id, epoch) = (id.task.to_string(), report.epoch.0);
        Some(Kept { task_id, shard: id.index, epoch, serial })
    };
    reports.iter().filter_map(kept).collect()
}

/// Whether a heartbeat tells anything but progress.
fn news(
    known: &BTreeMap<ShardId, ShardObservation>,
    seen: &BTreeMap<ShardId, ShardObservation>,
) -> bool {
    known.len() != seen.len()
        || known
            .iter()
            .zip(seen)
            .any(|((a, old), (b, new))| a != b || old.epoch != new.epoch || old.phase != new.phase)
}
