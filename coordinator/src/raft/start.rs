//! Opens the two files and starts openraft on them.

use std::path::Path;
use std::sync::Arc;

use openraft::SnapshotPolicy;
use openraft::storage::RaftLogStorage;
use tidewire_coordinator_core::ClusterState;
use tidewire_shared::{Fault, FaultKind};

use super::disk::damaged;
use super::handle::Handle;
use super::identity::Identity;
use super::log_store::LogStore;
use super::network::{Answers, Network};
use super::snapshot::{Kept, SnapshotStore};
use super::state_machine::StateMachine;
use super::types::{Member, MemberId, Raft};
use crate::config::Spans;

/// The id of the coordinator that makes a cluster. Ids that are given later are indexes of log
/// entries behind the two that the start itself writes.
pub(crate) const FIRST_ID: MemberId = 1;
/// A snapshot is made after this many entries: a few seconds of replay on start.
const ENTRIES_PER_SNAPSHOT: u64 = 2_000;
/// Entries kept behind a snapshot for followers that are a little late.
const ENTRIES_KEPT: u64 = 1_000;
/// Bytes of a snapshot in one message.
const CHUNK_BYTES: u64 = 1 << 20;
/// Time for one such message.
const CHUNK_TIMEOUT_MS: u64 = 10_000;

/// What a coordinator has on disk.
#[derive(Debug)]
pub(crate) struct Stores {
    log: LogStore,
    snapshots: SnapshotStore,
    newest: Option<(Kept, ClusterState)>,
    identity: Option<Identity>,
}

impl Stores {
    /// Opens both files and verifies every record in them.
    ///
    /// # Errors
    /// When anything is damaged or missing; the fault says how to rejoin.
    pub(crate) fn open(directory: &Path) -> Result<Self, Fault> {
        std::fs::create_dir_all(directory).map_err(|error| {
            Fault::new(FaultKind::Configuration, directory.display().to_string(), error)
                .remedy("give a data directory that this user may create and write")
        })?;
        let (log_path, state_path) = (directory.join("log.redb"), directory.join("state.redb"));
        let log = LogStore::open(&log_path)?;
        let (snapshots, newest) = SnapshotStore::open(&state_path)?;
        let in_log = log.identity().map_err(|error| damaged(&log_path, error))?;
        let in_state = snapshots.identity().map_err(|error| damaged(&state_path, error))?;
        let identity = match (in_log, in_state) {
            (None, None) => None,
            (Some(log), Some(state)) if log == state => Some(log),
            (None, Some(_)) => return Err(damaged(&log_path, "it is empty, but was not")),
            (Some(_), None) => return Err(damaged(&state_path, "it is empty, but was not")),
            (Some(_), Some(_)) => {
                return Err(damaged(&log_path, "it belongs to another coordinator"));
            }
        };
        Ok(Self { log, snapshots, newest, identity })
    }

    /// Who this coordinator is, once it belongs to a cluster.
    pub(crate) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Makes this coordinator somebody, for good.
    pub(crate) async fn become_member(&mut self, identity: Identity) -> Result<(), Fault> {
        let failed = |error| Fault::new(FaultKind::Internal, "data directory", error);
        self.snapshots.set_identity(&identity).await.map_err(failed)?;
        self.log.set_identity(&identity).await.map_err(failed)?;
        self.identity = Some(identity);
        Ok(())
    }

    /// Starts Raft as the given member.
    ///
    /// # Errors
    /// When a file cannot be written, or the group knows this coordinator at another address.
    pub(crate) async fn start(
        self,
        identity: Identity,
        address: &str,
        spans: &Spans,
    ) -> Result<Handle, Fault> {
        let id = identity.id;
        let me = Member { name: identity.name.clone(), address: address.to_owned() };
        let answers = Answers::default();
        let network = Network { cluster: identity.cluster.clone(), answers: answers.clone() };
        let files = vec![self.log.disk().tail(), self.snapshots.disk().tail()];
        let (machine, state) = StateMachine::new(self.snapshots, self.newest);
        let mut log = self.log;
        let pristine = log.get_log_state().await.map_err(stopped)?.last_log_id.is_none();
        let raft = Raft::new(id, Arc::new(settings(spans)?), network, log, machine)
            .await
            .map_err(stopped)?;
        if pristine && id == FIRST_ID {
            let members = std::collections::BTreeMap::from([(id, me.clone())]);
            raft.initialize(members).await.map_err(stopped)?;
        }
        let known = raft.metrics().borrow().membership_config.membership().get_node(&id).cloned();
        if let Some(known) = known.filter(|known| known.address != me.address) {
            return Err(Fault::new(
                FaultKind::Configuration,
                format!("coordinator {}", me.name),
                format!("the group knows it at {}, not at {}", known.address, me.address),
            )
            .remedy("start it at the known address, or with an empty data directory and --join"));
        }
        Ok(Handle {
            raft,
            identity: Arc::new(identity),
            state,
            answers,
            files,
            propose_timeout: spans.propose_timeout.duration(),
            answer_age_max: spans.election_max.duration(),
        })
    }
}

fn settings(spans: &Spans) -> Result<openraft::Config, Fault> {
    let settings = openraft::Config {
        cluster_name: "tidewire".to_owned(),
        heartbeat_interval: spans.raft_heartbeat.0,
        election_timeout_min: spans.election_min.0,
        election_timeout_max: spans.election_max.0,
        install_snapshot_timeout: CHUNK_TIMEOUT_MS,
        snapshot_max_chunk_size: CHUNK_BYTES,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(ENTRIES_PER_SNAPSHOT),
        max_in_snapshot_log_to_keep: ENTRIES_KEPT,
        ..openraft::Config::default()
    };
    settings.validate().map_err(|error| Fault::new(FaultKind::Configuration, "timing", error))
}

fn stopped(error: impl std::fmt::Display) -> Fault {
    Fault::new(FaultKind::Internal, "raft", error)
        .remedy("check the disk of the data directory, then start the coordinator again")
}
