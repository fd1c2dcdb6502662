//! The replicated log: openraft over redb and gRPC.
//!
//! Nothing outside this room names an openraft type; the others hold a [`Handle`]. What a command
//! *means* is decided in `tidewire-coordinator-core`; this room only keeps it, copies it, and applies it
//! in the same order everywhere.
//!
//! ```text
//!   propose ─► Handle ─► openraft ─► log_store   (log.redb, fsync before every answer)
//!                          │   └───► network     (gRPC to the other coordinators)
//!                          └───────► state_machine ─► watch<Arc<ClusterState>>
//!                                        └ snapshot (state.redb)
//! ```

pub(crate) mod codec;
mod disk;
pub(crate) mod handle;
mod identity;
mod log_store;
mod membership;
pub(crate) mod network;
mod snapshot;
pub(crate) mod start;
mod state_machine;
mod types;

pub(crate) use handle::{Handle, ProposeError, ReadError};
pub(crate) use identity::Identity;
pub(crate) use membership::JoinError;
pub(crate) use network::Addressed;
pub(crate) use types::Member;

#[cfg(test)]
mod tests;
