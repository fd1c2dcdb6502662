//! The control plane without I/O: the replicated state, and every decision about it.
//!
//! The functions to read first:
//!
//! 1. [`apply()`] — `(state, command) → outcome and events`: what the log means.
//! 2. [`reconcile()`] — `(state, observed, now) → actions`: what the leader does about it.
//! 3. [`phase_of`] and [`legal_moves`] — what people see and may ask.
//! 4. [`liveness::standing`] — when a node is gone.
//! 5. [`alert::Watch::look`] — which alerts begin and end.
//!
//! ```text
//!   command ─► state           what is replicated            (wishes, owners, epochs, positions)
//!      │         │  apply/     one file per noun
//!      │         ▼
//!   outcome   reconcile/ ◄─ observed, liveness, schedule     (sessions, heartbeats, leases, places)
//!                │
//!                ▼
//!             actions          propose a command, tell a node something, order work
//! ```
//!
//! No clock, no randomness, no hash order: a command carries its own time, and ordered maps give the
//! same bytes everywhere. Snapshots are the state itself, encoded by the shell; nothing in it needs a
//! format that describes itself. [`invariant`] names what must always hold.

mod ring;
mod spec_text;

pub mod alert;
pub mod apply;
pub mod command;
pub mod connection;
pub mod generation;
pub mod indicators;
pub mod invariant;
pub mod lifecycle;
pub mod liveness;
pub mod observed;
pub mod outcome;
pub mod reconcile;
pub mod revision;
pub mod schedule;
pub mod state;

pub use alert::{AlertMove, Alerts, Message, MessageKind, Push};
pub use apply::apply;
pub use command::{
    Checkpoint, CheckpointReport, Command, CommandKind, DrainCause, NodeRegistration, PositionHint,
    RequestId,
};
pub use connection::{Registered, SpecRevisions};
pub use generation::{Generation, Retired};
pub use indicators::{Indicators, MINUTES_KEPT};
pub use invariant::{Violation, check, check_step};
pub use lifecycle::{Move, is_crash, legal_moves, phase_of, settled_phase};
pub use liveness::{NodeState, Standing, Timing, admit, may_renew, node_state};
pub use observed::{Now, Observed, Session, ShardObservation, ShardPhase, WorkKind};
pub use outcome::{Applied, Event, Outcome, Rejection, RejectionCode};
pub use reconcile::{Action, Directive, reconcile};
pub use revision::{Change, Deed, Draft, Revision, RevisionVerdict, difference, fixed_key};
pub use state::{
    Assignment, AuditEntry, Clearance, ClusterState, Failure, Leftovers, Node, RemovedTask, Shard,
    Task,
};
