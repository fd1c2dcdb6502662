//! openraft's log and vote in `log.redb`.
//!
//! Every acknowledged write is on disk. Each record is an envelope with a checksum of its own, and on
//! start every one of them is read: a coordinator that forgot an entry it once acknowledged could help
//! to elect a leader without it, so any damage, at the end of the log too, refuses to start.

use std::fmt::Debug;
use std::ops::RangeBounds;
use std::path::Path;

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{AnyError, LogState, OptionalSend, RaftLogReader};
use redb::{ReadableTable, TableDefinition, TableError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tidewire_shared::Fault;

use super::codec;
use super::disk::{Disk, DiskError, damaged};
use super::identity::Identity;
use super::types::{Entry, LogId, StorageError, StorageIOError, TypeConfig, Vote};

const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
const MARKS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("marks");

const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";
const IDENTITY: &str = "identity";

/// Entries are handed to replication in portions of about this many bytes.
const PORTION_BYTES: usize = 1 << 20;

/// The log of one coordinator; clones share the file.
#[derive(Clone, Debug)]
pub(crate) struct LogStore {
    disk: Disk,
}

impl LogStore {
    /// Opens the log and verifies every record.
    ///
    /// # Errors
    /// When a record is damaged or missing; the fault says how to rejoin.
    pub(crate) fn open(path: &Path) -> Result<Self, Fault> {
        let store = Self { disk: Disk::open(path)? };
        store.verify().map_err(|error| damaged(path, error))?;
        Ok(store)
    }

    /// The file itself.
    pub(super) fn disk(&self) -> &Disk {
        &self.disk
    }

    fn verify(&self) -> Result<(), DiskError> {
        self.mark::<Vote>(VOTE)?;
        self.mark::<LogId>(COMMITTED)?;
        self.identity()?;
        let purged = self.mark::<LogId>(PURGED)?;
        let mut expected = purged.map(|id| id.index + 1);
        let transaction = self.disk.read()?;
        let Some(table) = existing(transaction.open_table(ENTRIES))? else { return Ok(()) };
        for record in table.iter()? {
            let (index, bytes) = record?;
            let index = index.value();
            if expected.is_some_and(|next| next != index) {
                return Err(format!("log entries before {index} are missing").into());
            }
            let entry: Entry =
                codec::decode(bytes.value()).map_err(|e| format!("log entry {index}: {e}"))?;
            if entry.log_id.index != index {
                return Err(format!("log entry {index} holds another one").into());
            }
            expected = Some(index + 1);
        }
        Ok(())
    }

    /// Who this coordinator is, once it has been told.
    pub(crate) fn identity(&self) -> Result<Option<Identity>, DiskError> {
        self.mark(IDENTITY)
    }

    /// Remembers who this coordinator is.
    pub(crate) async fn set_identity(&self, identity: &Identity) -> Result<(), DiskError> {
        self.set_mark(IDENTITY, identity).await
    }

    fn mark<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, DiskError> {
        let transaction = self.disk.read()?;
        let Some(table) = existing(transaction.open_table(MARKS))? else { return Ok(None) };
        let Some(bytes) = table.get(name)? else { return Ok(None) };
        Ok(Some(codec::decode(bytes.value()).map_err(|error| format!("{name}: {error}"))?))
    }

    async fn set_mark<T: Serialize>(&self, name: &'static str, value: &T) -> Result<(), DiskError> {
        let bytes = codec::encode(value)?;
        self.disk
            .write(move |transaction| {
                transaction.open_table(MARKS)?.insert(name, bytes.as_slice())?;
                Ok(())
            })
            .await
    }

    fn entries<R: RangeBounds<u64>>(
        &self,
        range: R,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, DiskError> {
        let transaction = self.disk.read()?;
        let Some(table) = existing(transaction.open_table(ENTRIES))? else { return Ok(Vec::new()) };
        let mut entries = Vec::new();
        let mut size = 0;
        for record in table.range(range)? {
            let (index, bytes) = record?;
            size += bytes.value().len();
            if size > bytes_max && !entries.is_empty() {
                break;
            }
            let entry = codec::decode(bytes.value());
            entries.push(entry.map_err(|e| format!("log entry {}: {e}", index.value()))?);
        }
        Ok(entries)
    }

    fn last(&self) -> Result<Option<LogId>, DiskError> {
        let transaction = self.disk.read()?;
        let Some(table) = existing(transaction.open_table(ENTRIES))? else { return Ok(None) };
        let Some((_, bytes)) = table.last()? else { return Ok(None) };
        let entry: Entry = codec::decode(bytes.value())?;
        Ok(Some(entry.log_id))
    }
}

/// A table that nobody has written yet does not exist: that is an empty one.
fn existing<T>(table: Result<T, TableError>) -> Result<Option<T>, DiskError> {
    match table {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn reading(error: DiskError) -> StorageError {
    StorageIOError::read_logs(AnyError::error(error)).into()
}

fn writing(error: DiskError) -> StorageError {
    StorageIOError::write_logs(AnyError::error(error)).into()
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        self.entries(range, usize::MAX).map_err(reading)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, StorageError> {
        self.entries(start..end, PORTION_BYTES).map_err(reading)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let purged = self.mark(PURGED).map_err(reading)?;
        let last = self.last().map_err(reading)?;
        Ok(LogState { last_purged_log_id: purged, last_log_id: last.or(purged) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        self.set_mark(VOTE, vote)
            .await
            .map_err(|error| StorageIOError::write_vote(AnyError::error(error)).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        self.mark(VOTE).map_err(|error| StorageIOError::read_vote(AnyError::error(error)).into())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        let Some(committed) = committed else { return Ok(()) };
        let bytes = codec::encode(&committed).map_err(|error| writing(error.into()))?;
        // Only a hint for a quick start: what it misses is learnt from the leader again.
        self.disk
            .write_lazily(move |transaction| {
                transaction.open_table(MARKS)?.insert(COMMITTED, bytes.as_slice())?;
                Ok(())
            })
            .await
            .map_err(writing)
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        self.mark(COMMITTED).map_err(reading)
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<TypeConfig>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut records = Vec::new();
        for entry in entries {
            let bytes = codec::encode(&entry).map_err(|error| writing(error.into()))?;
            records.push((entry.log_id.index, bytes));
        }
        // openraft 0.9 waits for the callback before it goes on, so nothing is gained by returning
        // earlier than the disk.
        let written = self
            .disk
            .write(move |transaction| {
                let mut table = transaction.open_table(ENTRIES)?;
                for (index, bytes) in &records {
                    table.insert(index, bytes.as_slice())?;
                }
                Ok(())
            })
            .await;
        callback.log_io_completed(written.map_err(std::io::Error::other));
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.disk
            .write(move |transaction| {
                transaction.open_table(ENTRIES)?.retain_in(log_id.index.., |_, _| false)?;
                Ok(())
            })
            .await
            .map_err(writing)
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let bytes = codec::encode(&log_id).map_err(|error| writing(error.into()))?;
        self.disk
            .write(move |transaction| {
                transaction.open_table(MARKS)?.insert(PURGED, bytes.as_slice())?;
                transaction.open_table(ENTRIES)?.retain_in(..=log_id.index, |_, _| false)?;
                Ok(())
            })
            .await
            .map_err(writing)
    }
}
