//! What is told of an alert, and what came of telling it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidewire_shared::{AlertName, ChannelName, TaskId, TaskName};

use super::watch::Seen;

/// One message, for every channel of its alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Counts the messages of the cluster, from 1. A message that is sent twice has one number.
    pub id: u64,
    /// What it tells.
    pub kind: MessageKind,
    /// When it was made, milliseconds since 1970.
    pub at_ms: i64,
    /// Since when the alert fires, milliseconds since 1970.
    pub since_ms: i64,
    /// The task.
    pub task: TaskName,
    /// Its incarnation.
    pub task_id: TaskId,
    /// The alert.
    pub alert: AlertName,
    /// Its condition, as people say it.
    pub condition: String,
    /// What was seen of the task; none: nothing any more.
    pub seen: Option<Seen>,
    /// Times that the alert began and ended since the message before, and nobody was told.
    pub held_back: u32,
    /// What became of it, channel by channel.
    pub pushes: BTreeMap<ChannelName, Push>,
}

impl Message {
    /// Whether a channel still waits for it.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.pushes.values().any(|push| *push == Push::Waiting)
    }
}

/// What a message tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MessageKind {
    /// The alert began to fire.
    Fired,
    /// It still does.
    Repeated,
    /// It does no more.
    Resolved(Ending),
}

impl MessageKind {
    /// The word that clients see.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fired => "fired",
            Self::Repeated => "repeated",
            Self::Resolved(_) => "resolved",
        }
    }
}

/// Why an alert fires no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// Its condition is over.
    Over,
    /// The task has no such alert any more.
    RuleGone,
    /// The task was deleted.
    TaskGone,
}

/// What became of a message at one channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Push {
    /// It is on its way.
    Waiting,
    /// The receiver took it.
    Delivered {
        /// When, milliseconds since 1970.
        at_ms: i64,
        /// How often it was tried.
        attempts: u32,
    },
    /// It was given up.
    Failed {
        /// When, milliseconds since 1970.
        at_ms: i64,
        /// How often it was tried.
        attempts: u32,
        /// Why; holds no secret.
        why: String,
    },
}
