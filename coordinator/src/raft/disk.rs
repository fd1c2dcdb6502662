//! One redb file and the thread that writes it.
//!
//! Every write is a closure that runs on the file's own thread and returns only after its commit, so
//! that an fsync never holds up the threads that send heartbeats. Commits are two-phase: redb then
//! never falls back to an older commit behind our back, and a damaged page is an error instead.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use redb::{
    Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase, WriteTransaction,
};
use tidewire_shared::{Fault, FaultKind};
use tokio::sync::{mpsc, oneshot};

/// Writes in line before callers wait: openraft has at most one append and one snapshot under way.
const JOBS_MAX: usize = 16;
/// How long a predecessor that is shutting down may keep the file.
const LOCK_WAIT: Duration = Duration::from_secs(3);

type Job = Box<dyn FnOnce(&Database) + Send>;

/// What a closure on the file may fail with.
pub(crate) type DiskError = Box<dyn std::error::Error + Send + Sync>;

/// An open file. Clones share it; it closes with the last one.
#[derive(Clone)]
pub(crate) struct Disk {
    database: Arc<Database>,
    jobs: mpsc::Sender<Job>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Disk")
    }
}

impl Disk {
    /// Opens the file, or makes an empty one, and verifies every page of it.
    ///
    /// # Errors
    /// When the file is damaged (the fault says how to rejoin), in use, or cannot be written.
    pub(crate) fn open(path: &Path) -> Result<Self, Fault> {
        let database = Arc::new(verified(path)?);
        let (jobs, mut line) = mpsc::channel::<Job>(JOBS_MAX);
        let name = path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
        let owned = Arc::clone(&database);
        std::thread::Builder::new()
            .name(format!("disk-{name}"))
            .spawn(move || {
                while let Some(job) = line.blocking_recv() {
                    job(&owned);
                }
            })
            .map_err(|error| Fault::new(FaultKind::Internal, object(path), error))?;
        Ok(Self { database, jobs })
    }

    /// Runs `change` in one transaction on the file's thread; when this returns, it is on disk.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<T, DiskError> + Send + 'static,
    ) -> Result<T, DiskError> {
        self.commit(Durability::Immediate, change).await
    }

    /// As [`Disk::write`], but on disk only together with the next durable write.
    pub(crate) async fn write_lazily<T: Send + 'static>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<T, DiskError> + Send + 'static,
    ) -> Result<T, DiskError> {
        self.commit(Durability::None, change).await
    }

    async fn commit<T: Send + 'static>(
        &self,
        durability: Durability,
        change: impl FnOnce(&WriteTransaction) -> Result<T, DiskError> + Send + 'static,
    ) -> Result<T, DiskError> {
        let (done, answer) = oneshot::channel();
        let job: Job = Box::new(move |database| {
            // Nobody waits for the answer any more when the caller is gone; the write stands.
            drop(done.send(transact(database, durability, change)));
        });
        self.jobs.send(job).await.map_err(|_| "the thread of the file has stopped")?;
        answer.await.map_err(|_| "the thread of the file has stopped")?
    }

    /// Tells when the last clone is gone and the file with it.
    pub(crate) fn tail(&self) -> Weak<Database> {
        Arc::downgrade(&self.database)
    }

    /// A consistent view of the last commit.
    pub(crate) fn read(&self) -> Result<ReadTransaction, DiskError> {
        Ok(self.database.begin_read()?)
    }
}

fn transact<T>(
    database: &Database,
    durability: Durability,
    change: impl FnOnce(&WriteTransaction) -> Result<T, DiskError>,
) -> Result<T, DiskError> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(durability)?;
    transaction.set_two_phase_commit(true);
    let value = change(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

/// redb answers most damage with an error and some with a panic; both mean the same here.
fn verified(path: &Path) -> Result<Database, Fault> {
    let attempt = catch_unwind(AssertUnwindSafe(|| -> Result<(Database, bool), DatabaseError> {
        let mut database = open_when_free(path)?;
        let sound = database.check_integrity()?;
        Ok((database, sound))
    }));
    match attempt {
        Ok(Ok((database, true))) => Ok(database),
        Ok(Ok((_, false))) => Err(damaged(path, "its pages contradict each other")),
        Ok(Err(DatabaseError::DatabaseAlreadyOpen)) => {
            Err(Fault::new(FaultKind::Configuration, object(path), "in use by another process")
                .remedy("stop the other coordinator, or give this one a data directory of its own"))
        }
        Ok(Err(DatabaseError::Storage(redb::StorageError::Io(error))))
            if error.kind() != std::io::ErrorKind::InvalidData
                && error.kind() != std::io::ErrorKind::UnexpectedEof =>
        {
            Err(Fault::new(FaultKind::Configuration, object(path), error)
                .remedy("check that the directory exists, is writable and has free space"))
        }
        Ok(Err(error)) => Err(damaged(path, error)),
        Err(_) => Err(damaged(path, "its structure does not hold")),
    }
}

fn open_when_free(path: &Path) -> Result<Database, DatabaseError> {
    let start = Instant::now();
    loop {
        match Database::create(path) {
            Err(DatabaseError::DatabaseAlreadyOpen) if start.elapsed() < LOCK_WAIT => {
                std::thread::sleep(Duration::from_millis(20));
            }
            result => return result,
        }
    }
}

/// The fault for a file whose content cannot be trusted.
pub(crate) fn damaged(path: &Path, why: impl std::fmt::Display) -> Fault {
    let directory = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    Fault::new(FaultKind::Internal, object(path), format!("damaged: {why}")).remedy(format!(
        "move {} away and start this coordinator again with --join ADDRESS of another one: it rejoins \
         under a new id and copies everything; never put an old copy of the directory back",
        directory.display()
    ))
}

fn object(path: &Path) -> String {
    format!("file {}", path.display())
}
