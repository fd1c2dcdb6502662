//! What went wrong with a shard, split where it is born into definite and transient.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An error that a user may have to act on: what happened, to which object, and what to do.
///
/// The texts never hold row values or secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{object}: {message}")]
pub struct Fault {
    /// What kind of trouble it is; decides how it is retried.
    pub kind: FaultKind,
    /// The thing that is in trouble: `slot tidewire_k3v9`, `topic orders`, `127.0.0.1:5432`.
    pub object: String,
    /// What happened, as a fragment without a full stop.
    pub message: String,
    /// The statement, command or step that repairs it; empty when waiting is all there is to do.
    pub remedy: String,
}

impl Fault {
    /// A fault without a remedy; add one with [`Fault::remedy`].
    pub fn new(kind: FaultKind, object: impl Into<String>, message: impl fmt::Display) -> Self {
        Self { kind, object: object.into(), message: message.to_string(), remedy: String::new() }
    }

    /// The same fault with what to do about it.
    #[must_use]
    pub fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// Whether trying again can help.
    #[must_use]
    pub fn persistence(&self) -> Persistence {
        self.kind.persistence()
    }
}

/// Whether, and within which budget, an operation is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// Tried again for `retry.connection`.
    Connection,
    /// Tried again for `retry.other`.
    Other,
    /// Not tried again: the task fails at once.
    Definite,
}

/// The kinds of trouble. Each has one [`Persistence`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FaultKind {
    /// The source cannot be reached, or the connection broke.
    SourceUnreachable,
    /// The source refuses at present: slots or connections used up, starting up, shutting down.
    SourceBusy,
    /// The source refuses us what we ask: the account lacks a right.
    SourceDenied,
    /// Slot, publication or table are not as the task needs them.
    SourceState,
    /// The history of the source is not the one we followed: going on would lose data.
    SourceHistory,
    /// What the source sent does not decode.
    Decode,
    /// A record cannot be written as asked (too large, a value the format cannot hold).
    Encode,
    /// The target cannot be reached, or the connection broke.
    TargetUnreachable,
    /// The target refuses at present: not enough replicas, throttled, a transaction that must be redone.
    TargetBusy,
    /// The target refuses us what we ask: the account lacks a right.
    TargetDenied,
    /// Topics are missing, were recreated, or have other partitions than before.
    TargetState,
    /// The target holds positions that contradict ours: going on would lose or double data.
    TargetHistory,
    /// Another owner has a higher epoch; this one must stop.
    Fenced,
    /// The coordinators cannot be asked right now.
    Coordination,
    /// The task document asks for something impossible.
    Configuration,
    /// A defect of ours.
    Internal,
    /// The source does not let us in: password, certificate, pg_hba.conf. A precheck comes before every
    /// start, so that this means a change: a password that is being rotated, and reaches us in a moment.
    SourceLogin,
    /// The target does not let us in: password, mechanism, certificate; see `SourceLogin`.
    TargetLogin,
}

impl FaultKind {
    /// Whether trying again can help.
    #[must_use]
    pub fn persistence(self) -> Persistence {
        match self {
            Self::SourceUnreachable
            | Self::TargetUnreachable
            | Self::SourceLogin
            | Self::TargetLogin
            | Self::Coordination => Persistence::Connection,
            Self::SourceBusy | Self::TargetBusy | Self::Fenced | Self::Internal => {
                Persistence::Other
            }
            Self::SourceDenied
            | Self::SourceState
            | Self::SourceHistory
            | Self::Decode
            | Self::Encode
            | Self::TargetDenied
            | Self::TargetState
            | Self::TargetHistory
            | Self::Configuration => Persistence::Definite,
        }
    }
}
