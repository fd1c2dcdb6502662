//! The two clocks of a coordinator.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use tidewire_coordinator_core::Now;

/// Linux counts the time a machine was suspended in this clock only.
#[cfg(target_os = "linux")]
const MONOTONIC: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const MONOTONIC: ClockId = ClockId::Monotonic;

/// Milliseconds of a clock that never goes back and counts suspended time.
pub(crate) fn mono_ms() -> u64 {
    let time = clock_gettime(MONOTONIC);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds * 1_000 + nanos / 1_000_000
}

/// Milliseconds since 1970; only written down, never compared.
pub(crate) fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Both clocks at one moment.
pub(crate) fn now() -> Now {
    Now { mono_ms: mono_ms(), wall_ms: wall_ms() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_move_forward() {
        let before = now();
        std::thread::sleep(std::time::Duration::from_millis(5));
        let after = now();
        assert!(after.mono_ms >= before.mono_ms + 5);
        assert!(after.wall_ms > 1_700_000_000_000);
    }
}
