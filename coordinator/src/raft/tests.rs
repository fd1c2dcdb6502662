//! What the disk must keep, and what it must refuse.

use std::os::unix::fs::FileExt;
use std::path::Path;

use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::testing::{StoreBuilder, Suite};
use openraft::{CommittedLeaderId, EntryPayload, RaftLogReader};
use tempfile::TempDir;
use tidewire_coordinator_core::{Command, CommandKind};

use super::Identity;
use super::log_store::LogStore;
use super::snapshot::SnapshotStore;
use super::start::Stores;
use super::state_machine::StateMachine;
use super::types::{Entry, LogId, Proposal, StorageError, TypeConfig, Vote};

struct OnDisk;

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for OnDisk {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError> {
        let directory = TempDir::new().expect("directory");
        let log = LogStore::open(&directory.path().join("log.redb")).expect("log");
        let (store, newest) =
            SnapshotStore::open(&directory.path().join("state.redb")).expect("state");
        let (machine, _) = StateMachine::new(store, newest);
        Ok((directory, log, machine))
    }
}

#[test]
fn openrafts_own_suite_passes() {
    Suite::test_all(OnDisk).expect("suite");
}

fn entry(index: u64) -> Entry {
    let cluster = "c1".parse().expect("cluster id");
    let command = Command::internal(7, CommandKind::Bootstrap { cluster });
    Entry {
        log_id: LogId::new(CommittedLeaderId::new(1, 1), index),
        payload: EntryPayload::Normal(Proposal::Command(Box::new(command))),
    }
}

async fn append(log: &mut LogStore, indexes: std::ops::Range<u64>) {
    for index in indexes {
        log.blocking_append([entry(index)]).await.expect("append");
    }
}

async fn indexes(path: &Path) -> Result<(Vec<u64>, Option<Vote>), tidewire_shared::Fault> {
    let mut log = LogStore::open(path)?;
    let entries = log.try_get_log_entries(..).await.expect("entries");
    let vote = log.read_vote().await.expect("vote");
    Ok((entries.iter().map(|entry| entry.log_id.index).collect(), vote))
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_kill() {
    let directory = TempDir::new().expect("directory");
    let (path, copy) = (directory.path().join("log.redb"), directory.path().join("copy.redb"));
    let mut log = LogStore::open(&path).expect("open");
    log.save_vote(&Vote::new(3, 1)).await.expect("vote");
    append(&mut log, 0..20).await;
    log.save_committed(Some(entry(15).log_id)).await.expect("committed");
    // The file as a killed process leaves it: nothing was closed.
    std::fs::copy(&path, &copy).expect("copy");
    let (found, vote) = indexes(&copy).await.expect("opens");
    assert_eq!(found, (0..20).collect::<Vec<_>>());
    assert_eq!(vote, Some(Vote::new(3, 1)));
}

/// Damages `path` in every page, and asks that nothing acknowledged is ever silently missing.
async fn damage_everywhere(path: &Path, whole: &[u64], vote: Option<Vote>) -> (usize, usize) {
    let bytes = std::fs::read(path).expect("read");
    let damaged = path.with_extension("damaged");
    let (mut refused, mut harmless) = (0, 0);
    for start in (0..bytes.len()).step_by(4096) {
        // The first page is redb's header: its first bytes and its commit slots.
        let places: Vec<usize> = if start == 0 {
            (0..320).step_by(4).collect()
        } else {
            (start..start + 4096).step_by(1021).collect()
        };
        for place in places.into_iter().filter(|place| *place < bytes.len()) {
            std::fs::write(&damaged, &bytes).expect("write");
            let file = std::fs::File::options().write(true).open(&damaged).expect("open");
            file.write_at(&[bytes[place] ^ 0xFF], place as u64).expect("flip");
            drop(file);
            match indexes(&damaged).await {
                Err(fault) => {
                    assert!(fault.remedy.contains("--join"), "{fault:?}");
                    refused += 1;
                }
                Ok((found, read_vote)) => {
                    assert_eq!(found, whole, "byte {place} lost entries");
                    assert_eq!(read_vote, vote, "byte {place} lost the vote");
                    harmless += 1;
                }
            }
        }
    }
    (refused, harmless)
}

#[tokio::test]
async fn a_flipped_byte_is_refused_or_without_effect() {
    let directory = TempDir::new().expect("directory");
    let path = directory.path().join("log.redb");
    let killed = directory.path().join("killed.redb");
    let mut log = LogStore::open(&path).expect("open");
    log.save_vote(&Vote::new(3, 1)).await.expect("vote");
    append(&mut log, 0..20).await;
    std::fs::copy(&path, &killed).expect("copy");
    drop(log);
    let whole: Vec<u64> = (0..20).collect();
    // Wait until the file is closed, so that the cleanly closed form is looked at too.
    indexes(&path).await.expect("opens");
    for file in [&path, &killed] {
        let (refused, harmless) = damage_everywhere(file, &whole, Some(Vote::new(3, 1))).await;
        assert!(refused > 0 && harmless > 0, "{refused} refused, {harmless} harmless");
    }
}

#[tokio::test]
async fn a_truncated_file_is_refused() {
    let directory = TempDir::new().expect("directory");
    let mut stores = Stores::open(directory.path()).expect("open");
    let cluster = "c1".parse().expect("cluster id");
    let identity = Identity { id: 1, name: "c1".to_owned(), cluster };
    stores.become_member(identity.clone()).await.expect("identity");
    drop(stores);
    let path = directory.path().join("log.redb");
    assert_eq!(Stores::open(directory.path()).expect("opens").identity(), Some(&identity));
    let length = std::fs::metadata(&path).expect("metadata").len();
    for keep in [length - 1, length - 4096, length / 2, 4096, 100, 0] {
        let bytes = std::fs::read(&path).expect("read");
        std::fs::File::options().write(true).open(&path).expect("open").set_len(keep).expect("cut");
        let fault = Stores::open(directory.path()).expect_err("refused");
        assert!(fault.object.contains("log.redb"), "{keep}: {fault:?}");
        assert!(fault.remedy.contains("--join"), "{keep}: {fault:?}");
        std::fs::write(&path, bytes).expect("restore");
    }
    std::fs::remove_file(&path).expect("remove");
    assert!(Stores::open(directory.path()).is_err(), "a lost log is refused");
}

#[tokio::test]
async fn a_hole_in_the_log_is_refused() {
    let directory = TempDir::new().expect("directory");
    let path = directory.path().join("log.redb");
    let mut log = LogStore::open(&path).expect("open");
    append(&mut log, 0..3).await;
    append(&mut log, 4..6).await;
    drop(log);
    let fault = LogStore::open(&path).expect_err("refused");
    assert!(fault.message.contains("missing"), "{fault:?}");
}
