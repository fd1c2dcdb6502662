//! One child process: started on a leash, stopped by its pid.

use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;

use super::plan::Member;
use crate::failure::{Exit, Failure};

/// A running (or ended) process of the cluster.
#[derive(Serialize)]
pub(super) struct Child {
    pub(super) name: String,
    pub(super) pid: u32,
    #[serde(skip)]
    pub(super) log: PathBuf,
    #[serde(skip)]
    pub(super) is_node: bool,
    #[serde(skip)]
    process: tokio::process::Child,
    #[serde(skip)]
    ended: bool,
}

impl Child {
    /// Starts `member`. Its stdin is the leash: it exits when ours closes, which dying does too.
    pub(super) fn start(member: &Member) -> Result<Self, Failure> {
        let broken = |error: std::io::Error| {
            Failure::new(Exit::Failed, "failed", member.name.clone(), error)
                .remedy(format!("check {}", member.log.display()))
        };
        let log = OpenOptions::new().create(true).append(true).open(&member.log).map_err(broken)?;
        let (program, arguments) = member.command.split_first().ok_or_else(|| {
            Failure::new(Exit::Failed, "failed", member.name.clone(), "has no command")
        })?;
        let process = tokio::process::Command::new(program)
            .args(arguments)
            .arg("--exit-with-parent")
            .stdin(Stdio::piped())
            .stdout(log.try_clone().map_err(broken)?)
            .stderr(log)
            // A group of its own: Ctrl-C reaches this process alone, which stops children in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(broken)?;
        Ok(Self {
            name: member.name.clone(),
            pid: process.id().unwrap_or_default(),
            log: member.log.clone(),
            is_node: member.is_node,
            process,
            ended: false,
        })
    }

    /// How it ended, told once.
    pub(super) fn newly_ended(&mut self) -> Option<String> {
        if self.ended {
            return None;
        }
        let status = self.process.try_wait().ok().flatten()?;
        self.ended = true;
        Some(status.to_string())
    }

    /// The failure of a child that ended before the cluster was up.
    pub(super) fn dead_on_arrival(&mut self) -> Option<Failure> {
        let how = self.newly_ended()?;
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let last = lines.get(lines.len().saturating_sub(3)..).unwrap_or_default().join("\n       ");
        let why = format!("ended before the cluster was up: {how}\n       {last}");
        Some(
            Failure::new(Exit::Failed, "failed", self.name.clone(), why)
                .remedy(format!("see {}", self.log.display())),
        )
    }

    /// Asks it to stop.
    pub(super) fn terminate(&self) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        // `try_wait` has reaped an ended child: its pid may belong to someone else by now.
        if let Some(pid) = pid
            && !self.ended
            && self.process.id().is_some()
            && let Err(error) = kill_process(pid, Signal::TERM)
        {
            tracing::warn!(name = self.name, %error, "cannot be asked to stop");
        }
    }

    /// Waits for its end, and kills it when that does not come in time.
    pub(super) async fn end_by(&mut self, deadline: tokio::time::Instant) {
        if tokio::time::timeout_at(deadline, self.process.wait()).await.is_err() {
            tracing::warn!(name = self.name, "did not stop in time and is killed");
            if let Err(error) = self.process.kill().await {
                tracing::warn!(name = self.name, %error, "cannot be killed");
            }
        }
    }
}
