//! Control plane, the shell: Raft on disk, gRPC services, and the leader's loop.
//!
//! Every decision is made in `tidewire-coordinator-core`; here are the disk, the network and the clock.
//!
//! ```text
//!   api ──► raft::Handle ──► openraft ──► apply (core)
//!             ▲                              │ watch
//!   nodes ◄─► leader: sessions, reconcile (core), proposals
//! ```

mod alert;
mod api;
mod clock;
pub mod config;
mod formation;
mod identity_text;
mod leader;
mod raft;
mod server;

pub use config::{Config, Spans};
pub use server::run;
