//! Alerts: conditions on tasks, told once when they begin and once when they end.
//!
//! ```text
//!   reports, phases ─► facts ─► rule ─► watch (the leader's memory: how long does it hold?)
//!                                         │ AlertMove: begins, goes on, is over
//!                                         ▼ through the log
//!                      standing (replicated: what was told, what may be told now)
//!                                         │ Message
//!                                         ▼
//!                      outbox ─ sent by the leader's shell ─ RecordPush ─► history
//! ```
//!
//! | | where | lost with a leader |
//! |---|---|---|
//! | quiet, pending: how long a condition holds, or has been away | [`Watch`] | yes: counted anew |
//! | firing: since when, told when and to whom, how often lately | [`Standing`] | no |
//! | messages, and what came of them | [`Alerts`] | no |
//!
//! What is told is decided where commands are applied, by the log alone: whoever leads, an alert that
//! was told is not told again, and its end is.

mod facts;
mod message;
mod standing;
mod state;
mod watch;

pub use facts::{Delays, Facts, facts, holds, wal_bytes};
pub use message::{Ending, Message, MessageKind, Push};
pub use standing::{MESSAGES_PER_HOUR, Standing};
pub use state::{Alerts, HISTORY_KEPT, OUTBOX_KEPT};
pub use watch::{AlertMove, Progress, Seen, Step, Watch};

pub(crate) use standing::Notice;
pub(crate) use watch::rule;
