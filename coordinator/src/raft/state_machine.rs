//! openraft's state machine: hands each committed command to the core and publishes what comes out.
//!
//! It decides nothing. The state is held in memory; after a start it is the newest snapshot plus the
//! log from there on.

use std::io::Cursor;
use std::sync::Arc;

use openraft::storage::RaftStateMachine;
use openraft::{AnyError, EntryPayload, OptionalSend, RaftSnapshotBuilder};
use tidewire_coordinator_core::{ClusterState, apply};
use tokio::sync::watch;

use super::codec;
use super::disk::DiskError;
use super::snapshot::{Kept, SnapshotStore};
use super::types::{
    Applied, Entry, LogId, Proposal, Snapshot, SnapshotMeta, StorageError, StorageIOError,
    StoredMembership, TypeConfig,
};

/// The replicated state of this coordinator and where it stands in the log.
#[derive(Debug)]
pub(crate) struct StateMachine {
    state: Arc<ClusterState>,
    applied: Option<LogId>,
    membership: StoredMembership,
    published: watch::Sender<Arc<ClusterState>>,
    store: SnapshotStore,
}

impl StateMachine {
    /// Starts from the newest snapshot.
    pub(crate) fn new(
        store: SnapshotStore,
        newest: Option<(Kept, ClusterState)>,
    ) -> (Self, watch::Receiver<Arc<ClusterState>>) {
        let (meta, state) = match newest {
            Some((kept, state)) => (kept.meta, Arc::new(state)),
            None => (SnapshotMeta::default(), Arc::new(ClusterState::default())),
        };
        let (published, watcher) = watch::channel(Arc::clone(&state));
        let (applied, membership) = (meta.last_log_id, meta.last_membership);
        (Self { state, applied, membership, published, store }, watcher)
    }

    fn apply_entry(&mut self, entry: Entry) -> Applied {
        self.applied = Some(entry.log_id);
        match entry.payload {
            EntryPayload::Blank | EntryPayload::Normal(Proposal::TakeMemberId) => Applied::Nothing,
            EntryPayload::Membership(members) => {
                self.membership = StoredMembership::new(Some(entry.log_id), members);
                Applied::Nothing
            }
            EntryPayload::Normal(Proposal::Command(command)) => {
                let applied = apply(Arc::make_mut(&mut self.state), &command);
                Applied::Command(applied.outcome)
            }
        }
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Applied>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let applied = entries.into_iter().map(|entry| self.apply_entry(entry)).collect();
        self.published.send_replace(Arc::clone(&self.state));
        Ok(applied)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            state: Arc::clone(&self.state),
            applied: self.applied,
            membership: self.membership.clone(),
            store: self.store.clone(),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let bytes = snapshot.into_inner();
        let state = codec::decode(&bytes)
            .map_err(|error| StorageIOError::read_snapshot(Some(meta.signature()), &error))?;
        let kept = Kept { meta: meta.clone(), bytes };
        self.store.keep(kept).await.map_err(|error| writing(meta, error))?;
        self.state = Arc::new(state);
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.published.send_replace(Arc::clone(&self.state));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        let newest = self
            .store
            .newest()
            .map_err(|error| StorageIOError::read_snapshot(None, AnyError::error(error)))?;
        Ok(newest
            .map(|kept| Snapshot { meta: kept.meta, snapshot: Box::new(Cursor::new(kept.bytes)) }))
    }
}

/// A view of the state from which a snapshot is made while the state moves on.
#[derive(Debug)]
pub(crate) struct Builder {
    state: Arc<ClusterState>,
    applied: Option<LogId>,
    membership: StoredMembership,
    store: SnapshotStore,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        let snapshot_id = self.applied.map_or_else(String::new, |id| id.to_string());
        let meta = SnapshotMeta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
            snapshot_id,
        };
        let bytes =
            codec::encode(self.state.as_ref()).map_err(|error| writing(&meta, error.into()))?;
        let kept = Kept { meta: meta.clone(), bytes: bytes.clone() };
        self.store.keep(kept).await.map_err(|error| writing(&meta, error))?;
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) })
    }
}

fn writing(meta: &SnapshotMeta, error: DiskError) -> StorageError {
    StorageIOError::write_snapshot(Some(meta.signature()), AnyError::error(error)).into()
}
