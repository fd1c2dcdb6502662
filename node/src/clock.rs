//! The only place of the node that reads the clocks of the system.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Linux counts the time a machine was suspended in this clock only.
#[cfg(target_os = "linux")]
const MONOTONIC: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const MONOTONIC: ClockId = ClockId::Monotonic;

/// Milliseconds of a clock that never goes back and counts suspended time; for leases.
pub(crate) fn mono_ms() -> u64 {
    let time = clock_gettime(MONOTONIC);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds * 1_000 + nanos / 1_000_000
}

/// Both clocks at one moment: what is to be measured is kept by the one that nobody sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Milliseconds since 1970, by a clock that is set now and then.
    pub(crate) day_ms: i64,
    /// See [`mono_ms`].
    pub(crate) steady_ms: i64,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self { day_ms: now_ms(), steady_ms: i64::try_from(mono_ms()).unwrap_or(i64::MAX) }
    }

    /// A time of day by the steady clock. One that is to come, as a clock that is ahead of ours has it, is
    /// now: it makes nothing younger than it is.
    pub(crate) fn steady_of(self, day_ms: i64) -> i64 {
        self.steady_ms - (self.day_ms - day_ms).max(0)
    }

    /// The time of day of a time of the steady clock.
    pub(crate) fn of_day(self, steady_ms: i64) -> i64 {
        self.day_ms - (self.steady_ms - steady_ms)
    }
}

/// Milliseconds since 1970; for people and reports, never for leases.
pub(crate) fn now_ms() -> i64 {
    now_us() / 1_000
}

/// Microseconds since 1970.
pub(crate) fn now_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
