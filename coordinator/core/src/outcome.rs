//! What applying a command yields: an outcome or a rejection, and events.

use std::fmt;

use serde::{Deserialize, Serialize};
use tidewire_shared::{ConnectionName, Epoch, NodeName, ShardId, TaskId};

use crate::lifecycle::Move;

/// Everything one command brought about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// What the proposer is told.
    pub outcome: Result<Outcome, Rejection>,
    /// What the leader may act on at once; hints only, [`crate::reconcile()`] finds the same by comparing.
    pub events: Vec<Event>,
}

/// A command that was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Done.
    Done,
    /// It was so already.
    Unchanged,
    /// A task was made.
    Created(TaskId),
    /// The very same task exists.
    Exists(TaskId),
    /// The epoch that a shard has now.
    Epoch(Epoch),
    /// How many positions were taken, and how many were stale.
    Checkpointed {
        /// Taken.
        accepted: u32,
        /// Not newer than what the log has, or from an owner that is one no more.
        stale: u32,
    },
    /// A task has, or may get, another document.
    Modified {
        /// The task.
        task: TaskId,
        /// Number of the document.
        revision: u64,
    },
}

/// A command that was refused; the state is as before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{object}: {message}")]
pub struct Rejection {
    /// The kind of refusal.
    pub code: RejectionCode,
    /// The thing it is about: `task orders`, `node node-1`.
    pub object: String,
    /// Why, as a fragment.
    pub message: String,
    /// The moves that are legal instead, where a user's move was refused.
    pub legal: Vec<Move>,
    /// What to do instead, where neither the code nor the legal moves say it.
    pub advice: String,
}

impl Rejection {
    pub(crate) fn new(
        code: RejectionCode,
        object: impl fmt::Display,
        message: impl fmt::Display,
    ) -> Self {
        Self {
            code,
            object: object.to_string(),
            message: message.to_string(),
            legal: Vec::new(),
            advice: String::new(),
        }
    }

    pub(crate) fn advise(mut self, advice: impl fmt::Display) -> Self {
        self.advice = advice.to_string();
        self
    }

    pub(crate) fn no_task(task: &TaskId) -> Self {
        Self::new(RejectionCode::NotFound, format_args!("task {task}"), "there is no such task")
    }

    pub(crate) fn no_connection(name: &ConnectionName) -> Self {
        let object = format_args!("connection {name}").to_string();
        Self::new(RejectionCode::NoConnection, object, "there is no such connection")
    }

    pub(crate) fn no_shard(shard: &ShardId) -> Self {
        Self::new(RejectionCode::NotFound, format_args!("shard {shard}"), "there is no such shard")
    }

    pub(crate) fn no_node(node: &NodeName) -> Self {
        Self::new(RejectionCode::NotFound, format_args!("node {node}"), "there is no such node")
    }

    /// What to do instead; empty when there is nothing.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self.code {
            _ if !self.advice.is_empty() => self.advice.clone(),
            RejectionCode::Refused if !self.legal.is_empty() => {
                let moves: Vec<&str> = self.legal.iter().map(|legal| legal.as_str()).collect();
                format!("legal now: {}", moves.join(", "))
            }
            RejectionCode::NotBootstrapped => "bootstrap the cluster first".to_owned(),
            RejectionCode::AlreadyExists => {
                "choose another name, or delete the old one first".to_owned()
            }
            RejectionCode::NoConnection => {
                "register it with `tidewire connection apply`, or see `tidewire connection list`"
                    .to_owned()
            }
            RejectionCode::InUse => {
                "give these tasks another connection, or delete them first".to_owned()
            }
            RejectionCode::NotFound => {
                "see what `tidewire task list` and `tidewire nodes list` show".to_owned()
            }
            RejectionCode::Refused | RejectionCode::Invalid | RejectionCode::Stale => String::new(),
        }
    }
}

/// The kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RejectionCode {
    /// The object does not exist.
    NotFound,
    /// Another object has that name or identity.
    AlreadyExists,
    /// Not in this state.
    Refused,
    /// The command makes no sense.
    Invalid,
    /// The state has moved on since the proposer looked.
    Stale,
    /// The cluster has no identity yet.
    NotBootstrapped,
    /// A connection of that name is not registered.
    NoConnection,
    /// Tasks still need it.
    InUse,
}

impl RejectionCode {
    /// The stable word that clients see.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound | Self::NoConnection => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::Refused | Self::InUse => "refused",
            Self::Invalid => "invalid",
            Self::Stale => "stale",
            Self::NotBootstrapped => "not_bootstrapped",
        }
    }
}

/// What changed, for whoever waits for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Identity or version of the cluster.
    ClusterChanged,
    /// A node came, changed or went.
    NodeChanged {
        /// Its name.
        node: NodeName,
    },
    /// Anything about a task but its positions.
    TaskChanged {
        /// The task.
        task: TaskId,
    },
    /// A shard has an owner under a new epoch.
    ShardAssigned {
        /// The shard.
        shard: ShardId,
        /// The owner.
        node: NodeName,
        /// The epoch.
        epoch: Epoch,
    },
    /// A shard has no owner any more.
    ShardReleased {
        /// The shard.
        shard: ShardId,
    },
    /// A task is gone.
    TaskRemoved {
        /// The task.
        task: TaskId,
    },
}
