//! The types openraft is told to work with.

use std::io::Cursor;

use serde::{Deserialize, Serialize};
use tidewire_coordinator_core::{Command, Outcome, Rejection};

/// Number of a coordinator; never used again after its disk is lost.
pub(crate) type MemberId = u64;

/// A coordinator as the others know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    /// The name people gave it.
    pub(crate) name: String,
    /// `host:port` where the others reach it.
    pub(crate) address: String,
}

/// What may enter the log. Only append variants: old entries are read again after an update.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Proposal {
    /// A change of the replicated state.
    Command(Box<Command>),
    /// Changes nothing; the index of its entry becomes the id of a new coordinator.
    TakeMemberId,
}

/// What applying an entry gave.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Applied {
    /// Nothing to say: an entry of Raft's own, or [`Proposal::TakeMemberId`].
    Nothing,
    /// The verdict of the core on a command.
    Command(Result<Outcome, Rejection>),
}

openraft::declare_raft_types!(
    /// Binds openraft to our entries.
    pub(crate) TypeConfig:
        D = Proposal,
        R = Applied,
        NodeId = MemberId,
        Node = Member,
        SnapshotData = Cursor<Vec<u8>>,
);

pub(crate) type Raft = openraft::Raft<TypeConfig>;
pub(crate) type Entry = openraft::Entry<TypeConfig>;
pub(crate) type LogId = openraft::LogId<MemberId>;
pub(crate) type Vote = openraft::Vote<MemberId>;
pub(crate) type StorageError = openraft::StorageError<MemberId>;
pub(crate) type StorageIOError = openraft::StorageIOError<MemberId>;
pub(crate) type StoredMembership = openraft::StoredMembership<MemberId, Member>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<MemberId, Member>;
pub(crate) type Snapshot = openraft::Snapshot<TypeConfig>;
pub(crate) type Metrics = openraft::RaftMetrics<MemberId, Member>;
