//! Holds a process at a named place of its own code, so that a fault strikes there and nowhere else.
//!
//! The binary must be built with the feature `fault-points`; its side is `node/src/fault_point.rs`.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::guard::Scratch;

/// The points that processes given [`FaultPoints::variable`] look at.
#[derive(Debug)]
pub struct FaultPoints {
    folder: Scratch,
}

impl FaultPoints {
    /// No point is armed.
    ///
    /// # Errors
    /// When no folder can be made.
    pub fn new() -> Result<Self> {
        Ok(Self { folder: Scratch::new("tidewire-points-")? })
    }

    /// The variable that tells processes of these points.
    #[must_use]
    pub fn variable(&self) -> (String, String) {
        ("TIDEWIRE_FAULT_DIR".to_owned(), self.folder.path().display().to_string())
    }

    /// The variable that tells processes what a test wishes to happen often, see `node/src/fault_point.rs`.
    #[must_use]
    pub fn wishes(names: &str) -> (String, String) {
        ("TIDEWIRE_FAULT_WISHES".to_owned(), names.to_owned())
    }

    /// Lets the next process that comes to `point` wait there.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn arm(&self, point: &str) -> Result<()> {
        let go = self.file(&format!("{point}.go"));
        if go.exists() {
            fs::remove_file(go)?;
        }
        fs::write(self.file(&format!("{point}.arm")), []).context("arm a fault point")
    }

    /// Waits until a process is held at `point`; returns its pid.
    ///
    /// # Errors
    /// When none comes in `limit`.
    pub fn wait_hit(&self, point: &str, limit: Duration) -> Result<u32> {
        let end = Instant::now() + limit;
        let prefix = format!("{point}.hit.");
        loop {
            for entry in fs::read_dir(self.folder.path())? {
                let name = entry?.file_name();
                let pid = name.to_str().and_then(|name| name.strip_prefix(&prefix));
                if let Some(pid) = pid {
                    fs::remove_file(self.file(&format!("{prefix}{pid}")))?;
                    return pid.parse().with_context(|| format!("pid {pid}"));
                }
            }
            ensure!(
                Instant::now() < end,
                "nothing came to {point} in {limit:?}: has the binary the feature fault-points?"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Lets whoever waits at `point` go on.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn release(&self, point: &str) -> Result<()> {
        fs::write(self.file(&format!("{point}.go")), []).context("release a fault point")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
