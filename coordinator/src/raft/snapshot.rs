//! The newest Raft snapshot, kept in `state.redb`.
//!
//! The replicated state lives in memory; what is on disk is the state as of some entry, and the log
//! from there on. A snapshot is on disk before openraft may drop the entries it stands for.

use std::path::Path;

use redb::{TableDefinition, TableError};
use tidewire_coordinator_core::ClusterState;
use tidewire_shared::Fault;

use super::codec;
use super::disk::{Disk, DiskError, damaged};
use super::identity::Identity;
use super::types::SnapshotMeta;

const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("snapshot");

const META: &str = "meta";
const STATE: &str = "state";
const IDENTITY: &str = "identity";

/// A snapshot as it is kept and sent.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// Up to which entry it goes, and the members as of then.
    pub(crate) meta: SnapshotMeta,
    /// The state in an envelope.
    pub(crate) bytes: Vec<u8>,
}

/// The file of the newest snapshot.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotStore {
    disk: Disk,
}

impl SnapshotStore {
    /// Opens the file and verifies what is in it.
    ///
    /// # Errors
    /// When a record is damaged; the fault says how to rejoin.
    pub(crate) fn open(path: &Path) -> Result<(Self, Option<(Kept, ClusterState)>), Fault> {
        let store = Self { disk: Disk::open(path)? };
        let verified = store.identity().and_then(|_| store.newest_with_state());
        let newest = verified.map_err(|error| damaged(path, error))?;
        Ok((store, newest))
    }

    /// The file itself.
    pub(super) fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The newest snapshot, if there is one.
    pub(crate) fn newest(&self) -> Result<Option<Kept>, DiskError> {
        let Some(meta) = self.record(META)? else { return Ok(None) };
        let bytes = self.record(STATE)?.ok_or("state is missing")?;
        Ok(Some(Kept { meta: codec::decode(&meta)?, bytes }))
    }

    fn newest_with_state(&self) -> Result<Option<(Kept, ClusterState)>, DiskError> {
        let Some(kept) = self.newest()? else { return Ok(None) };
        let state = codec::decode(&kept.bytes)?;
        Ok(Some((kept, state)))
    }

    /// Replaces the newest snapshot; when this returns, it is on disk.
    pub(crate) async fn keep(&self, kept: Kept) -> Result<(), DiskError> {
        let meta = codec::encode(&kept.meta)?;
        self.disk
            .write(move |transaction| {
                let mut table = transaction.open_table(RECORDS)?;
                table.insert(META, meta.as_slice())?;
                table.insert(STATE, kept.bytes.as_slice())?;
                Ok(())
            })
            .await
    }

    /// Who this coordinator is; kept beside the log's copy so that a lost file is noticed.
    pub(crate) fn identity(&self) -> Result<Option<Identity>, DiskError> {
        let Some(bytes) = self.record(IDENTITY)? else { return Ok(None) };
        Ok(Some(codec::decode(&bytes)?))
    }

    /// Remembers who this coordinator is.
    pub(crate) async fn set_identity(&self, identity: &Identity) -> Result<(), DiskError> {
        let bytes = codec::encode(identity)?;
        self.disk
            .write(move |transaction| {
                transaction.open_table(RECORDS)?.insert(IDENTITY, bytes.as_slice())?;
                Ok(())
            })
            .await
    }

    fn record(&self, name: &str) -> Result<Option<Vec<u8>>, DiskError> {
        let transaction = self.disk.read()?;
        let table = match transaction.open_table(RECORDS) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(table.get(name)?.map(|bytes| bytes.value().to_vec()))
    }
}
