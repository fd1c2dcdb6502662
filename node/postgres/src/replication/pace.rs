//! When to read at once and when to let bytes collect.
//!
//! A walsender under load sends hundreds of small packets per millisecond. Reading each as it comes
//! costs a wake-up per packet on both sides; reading once per millisecond costs next to nothing and
//! delays nobody: rows that come this fast queue anyway. A lone transaction is three or four packets
//! and is read at once.

use std::time::{Duration, Instant};

/// How long bytes collect under load.
const NAP: Duration = Duration::from_millis(1);
/// This many reads…
const BURST: u32 = 16;
/// …within this time are load.
const WINDOW: Duration = Duration::from_millis(8);

/// Decides by the reads that there were.
#[derive(Debug)]
pub(super) struct Pace {
    window_began: Instant,
    reads: u32,
    last_read: Instant,
    loaded: bool,
}

impl Pace {
    pub(super) fn new(now: Instant) -> Self {
        Self { window_began: now, reads: 0, last_read: now, loaded: false }
    }

    /// Until when to leave the socket alone; `None` to wait for bytes as they come.
    pub(super) fn nap(&self) -> Option<Instant> {
        self.loaded.then(|| self.last_read + NAP)
    }

    /// Some bytes were read.
    pub(super) fn read(&mut self, now: Instant) {
        if now.saturating_duration_since(self.window_began) > WINDOW {
            self.window_began = now;
            self.reads = 0;
        }
        self.reads += 1;
        self.loaded |= self.reads >= BURST;
        self.last_read = now;
    }

    /// Nothing was there.
    pub(super) fn dry(&mut self) {
        self.loaded = false;
        self.reads = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lone_transaction_is_read_at_once() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for burst in 0..100u32 {
            for packet in 0..4 {
                let at = Duration::from_millis(3) * burst + Duration::from_micros(20) * packet;
                pace.read(start + at);
                assert_eq!(pace.nap(), None);
            }
        }
    }

    #[test]
    fn a_flood_is_read_once_per_millisecond_until_it_runs_dry() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for packet in 0..BURST {
            pace.read(start + Duration::from_micros(10) * packet);
        }
        let last = start + Duration::from_micros(10) * (BURST - 1);
        assert_eq!(pace.nap(), Some(last + NAP));
        pace.dry();
        assert_eq!(pace.nap(), None);
    }
}
