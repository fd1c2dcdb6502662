//! Where a task is in its life, and where its user wants it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The phase of a task as shown to people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Created, never started.
    NotStarted,
    /// A node is looking whether the task could run.
    Prechecking,
    /// The last precheck found what must be repaired first.
    PrecheckFailed,
    /// Prechecked and free to start.
    Ready,
    /// Assigned; a node is on its way to the first record.
    Initializing,
    /// Changes flow.
    Synchronizing,
    /// A transient error is being retried.
    Retrying,
    /// Stopped by its user; resumes where it was.
    Paused,
    /// A new revision is taking the place of the old one.
    Modifying,
    /// Stopped by an error that needs a person.
    Failed,
    /// Ended by its user; cannot be restarted.
    Terminated,
}

impl Phase {
    /// Every phase, in the order of a task's life.
    pub const ALL: [Self; 11] = [
        Self::NotStarted,
        Self::Prechecking,
        Self::PrecheckFailed,
        Self::Ready,
        Self::Initializing,
        Self::Synchronizing,
        Self::Retrying,
        Self::Paused,
        Self::Modifying,
        Self::Failed,
        Self::Terminated,
    ];

    /// The name used in JSON, tables and commands.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "NotStarted",
            Self::Prechecking => "Prechecking",
            Self::PrecheckFailed => "PrecheckFailed",
            Self::Ready => "Ready",
            Self::Initializing => "Initializing",
            Self::Synchronizing => "Synchronizing",
            Self::Retrying => "Retrying",
            Self::Paused => "Paused",
            Self::Modifying => "Modifying",
            Self::Failed => "Failed",
            Self::Terminated => "Terminated",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no phase.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a phase of a task")]
pub struct UnknownPhase(String);

impl FromStr for Phase {
    type Err = UnknownPhase;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|phase| phase.as_str() == text);
        found.ok_or_else(|| UnknownPhase(text.to_owned()))
    }
}

/// What the user last asked of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Desired {
    /// Not asked to run yet.
    Stopped,
    /// Asked to run.
    Running,
    /// Asked to pause.
    Paused,
    /// Asked to end for good.
    Terminated,
    /// Asked to vanish with everything it made.
    Deleted,
}

impl Desired {
    /// The name used in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Terminated => "terminated",
            Self::Deleted => "deleted",
        }
    }
}
