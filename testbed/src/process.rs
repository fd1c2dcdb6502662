//! Child processes: started with their output in a file, signalled and stopped by their own pid.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::guard::Guard;
use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, kill_process, test_kill_process};

pub use rustix::process::Signal;

/// A child process that ends with its owner.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Option<Child>,
    pid: u32,
    log: PathBuf,
    farewell: Signal,
    guard: Option<Guard>,
}

impl Process {
    /// Starts `command` with standard output and error appended to `log`.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started.
    pub fn spawn(name: &str, command: &mut Command, log: &Path) -> Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("open the log {}", log.display()))?;
        let child = command
            // Stays open as long as we live: some processes end with their parent's pipe.
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        let pid = child.id();
        let guard = Some(Guard::kill(pid)?);
        Ok(Self {
            name: name.to_owned(),
            child: Some(child),
            pid,
            log: log.to_path_buf(),
            farewell: Signal::KILL,
            guard,
        })
    }

    /// The same process, ended by `signal` with a grace of five seconds when its owner goes.
    #[must_use]
    pub fn ended_by(mut self, signal: Signal) -> Self {
        self.farewell = signal;
        self
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether the process has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Sends `first`, waits up to `grace`, then sends SIGKILL; returns once the process is gone.
    pub fn stop(&mut self, first: Signal, grace: Duration) {
        let Some(mut child) = self.child.take() else { return };
        if matches!(child.try_wait(), Ok(None)) && signal(self.pid, first).is_ok() {
            let end = Instant::now() + grace;
            while Instant::now() < end && matches!(child.try_wait(), Ok(None)) {
                thread::sleep(Duration::from_millis(10));
            }
        }
        // Errors mean that it has ended already.
        drop(child.kill());
        drop(child.wait());
        // The pid may be given to another process now.
        self.guard = None;
    }

    /// Leaves the process running without an owner and returns its pid.
    #[must_use]
    pub fn detach(mut self) -> u32 {
        self.child = None;
        self.guard = None;
        self.pid
    }

    /// Waits until `ready` answers true.
    ///
    /// # Errors
    /// When the process ends first or `limit` passes; the error shows the end of its log.
    pub fn wait_ready(&mut self, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        let end = Instant::now() + limit;
        while !ready() {
            if !self.is_running() {
                bail!("{} ended while starting\n{}", self.name, tail(&self.log, 3_000));
            }
            if Instant::now() > end {
                bail!("{} not ready in {limit:?}\n{}", self.name, tail(&self.log, 3_000));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop(self.farewell, Duration::from_secs(5));
    }
}

fn pid_of(pid: u32) -> Result<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| anyhow!("{pid} is no process id"))
}

/// Sends a signal to a process.
///
/// # Errors
/// When there is no such process or it is not ours.
pub fn signal(pid: u32, signal: Signal) -> Result<()> {
    kill_process(pid_of(pid)?, signal).with_context(|| format!("signal process {pid}"))
}

/// Whether a process with this pid exists and has not ended: an unwaited child counts as gone.
#[must_use]
pub fn alive(pid: u32) -> bool {
    if pid_of(pid).and_then(|pid| Ok(test_kill_process(pid)?)).is_err() {
        return false;
    }
    state_of(pid).is_none_or(|state| state != 'Z')
}

/// The state letter that Linux shows for a process (`R`, `S`, `T` stopped, `Z` ended …).
#[must_use]
pub fn state_of(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it stands in brackets and may hold anything, brackets included.
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Sends SIGTERM, waits up to `grace`, then SIGKILL, to a process that is not our child.
pub fn stop_pid(pid: u32, grace: Duration) {
    if signal(pid, Signal::TERM).is_err() {
        return;
    }
    let end = Instant::now() + grace;
    while alive(pid) && Instant::now() < end {
        thread::sleep(Duration::from_millis(20));
    }
    if alive(pid) {
        drop(signal(pid, Signal::KILL));
    }
}

/// The last `bytes` of a file as text, for error messages.
#[must_use]
pub fn tail(path: &Path, bytes: u64) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
        let mut end = Vec::new();
        file.read_to_end(&mut end)?;
        Ok(String::from_utf8_lossy(&end).into_owned())
    };
    read().unwrap_or_default()
}

/// Runs a command to its end and returns its standard output.
///
/// # Errors
/// When it cannot be started or fails; the error holds the end of what it printed.
pub fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("start {program}"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        let from = said.len().saturating_sub(2_000);
        let end = String::from_utf8_lossy(said.get(from..).unwrap_or_default()).into_owned();
        bail!("{program} failed ({}): {end}", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
