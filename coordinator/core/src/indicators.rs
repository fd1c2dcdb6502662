//! How a task did in each of the last sixty minutes: in the log, so that it outlives nodes and leaders.

use serde::{Deserialize, Serialize};
use tidewire_shared::Phase;

/// Minutes kept of each task.
pub const MINUTES_KEPT: usize = 60;

/// One minute of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Indicators {
    /// When it ended, milliseconds since 1970.
    pub at_ms: i64,
    /// The phase at its end.
    pub phase: Phase,
    /// The longest delay of any shard in it, milliseconds.
    pub delay_ms: u64,
    /// Records written to the target, on average.
    pub records_per_second: u64,
    /// Their keys and values, bytes before compression.
    pub bytes_per_second: u64,
    /// Of a copy, offsets at its end that the source had and the target had not.
    pub lag: u64,
    /// Log that the slot held back at the source at its end, bytes.
    pub wal_retained_bytes: u64,
}
