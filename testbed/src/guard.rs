//! Cleans up for a process that ends without doing so: killed, interrupted, or with servers in
//! statics, which are never dropped.
//!
//! A guard is a shell that waits for the end of its input. The other end of that pipe closes with
//! our process, however it ends.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use tempfile::TempDir;

/// A script that runs when our process has ended; dropping the guard calls it off.
#[derive(Debug)]
pub(crate) struct Guard(Child);

impl Guard {
    /// `script` sees its arguments as `$@`.
    pub(crate) fn new(script: &str, arguments: &[String]) -> Result<Self> {
        Command::new("sh")
            .args(["-c", &format!("read -r line; {script}"), "guard"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // An interrupt at the terminal reaches our group: the guard must outlive it.
            .process_group(0)
            .spawn()
            .map(Self)
            .context("start a guard")
    }

    /// Kills a process.
    pub(crate) fn kill(pid: u32) -> Result<Self> {
        Self::new("kill -KILL \"$1\"", &[pid.to_string()])
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A temporary folder that goes with its owner, or with our process.
#[derive(Debug)]
pub(crate) struct Scratch {
    folder: TempDir,
    guard: Guard,
}

impl Scratch {
    pub(crate) fn new(prefix: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix(prefix).tempdir()?;
        // The processes that write there are killed by guards of their own at the same moment.
        let remove = "sleep 2; rm -rf \"$1\"";
        let guard = Guard::new(remove, &[folder.path().display().to_string()])?;
        Ok(Self { folder, guard })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves the folder where it is.
    pub(crate) fn keep(self) -> PathBuf {
        drop(self.guard);
        self.folder.keep()
    }
}
