//! The control plane without I/O: the replicated state and every decision about it.

mod ring;
mod spec_text;

pub mod apply;
pub mod command;
pub mod invariant;
pub mod lifecycle;
pub mod liveness;
pub mod observed;
pub mod outcome;
pub mod reconcile;
pub mod state;

pub use apply::apply;
pub use command::{
    Checkpoint, CheckpointReport, Command, CommandKind, DrainCause, NodeRegistration, PositionHint,
    RequestId,
};
pub use invariant::{Violation, check};
pub use lifecycle::{Move, legal_moves, phase_of, settled_phase};
pub use liveness::{NodeState, Standing, Timing, admit, may_renew, node_state};
pub use observed::{Now, Observed, Session, ShardObservation, ShardPhase, WorkKind};
pub use outcome::{Applied, Event, Outcome, Rejection, RejectionCode};
pub use reconcile::{Action, Directive, reconcile};
pub use state::{Assignment, Clearance, ClusterState, Failure, Node, Shard, Task};
