//! When to end a Kafka transaction: often enough that readers wait little, seldom enough that the
//! cost of a commit stays a small part of the work.

use std::time::Duration;

use tidewire_shared::Lsn;

/// What the first transaction of a producer may hold: at 40 kB/s it is committed in time.
const FIRST_BYTES: u64 = 1 << 20;
/// What a transaction may hold at most, and at least however slow the brokers are.
const MOST_BYTES: u64 = 64 << 20;
const LEAST_BYTES: u64 = 64 << 10;
/// A full transaction whose commit takes less is followed by a larger one.
const QUICK_COMMIT: Duration = Duration::from_secs(1);
/// A commit that takes more is followed by a smaller transaction: a fifth of what ends it for good.
const SLOW_COMMIT: Duration = Duration::from_secs(5);
/// Least distance between two commits while the source is nearly caught up.
const NEAR_WAIT: Duration = Duration::from_millis(20);
/// Least distance between two commits while a backlog is worked off.
const CATCH_UP_WAIT: Duration = Duration::from_millis(250);
/// Most that a slow broker stretches the distance: a third of `transaction.timeout.ms`.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Less WAL than this between us and the end of the source's log counts as nearly caught up.
const NEAR_BYTES: u64 = 4 << 20;

/// How many bytes a transaction may hold before it is ended, whatever the time: learnt from what the
/// commits before it took, so that brokers that take little (a quota, a slow link) still get
/// transactions that they can commit before those are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance(u64);

impl Default for Allowance {
    fn default() -> Self {
        Self(FIRST_BYTES)
    }
}

impl Allowance {
    /// Whether a transaction that holds `bytes` is to be ended at once.
    #[must_use]
    pub fn is_full(self, bytes: u64) -> bool {
        bytes >= self.0
    }

    /// A transaction of `bytes` was committed, which took `took`.
    pub fn learn(&mut self, bytes: u64, took: Duration) {
        if took > SLOW_COMMIT {
            self.0 = (bytes.min(self.0) / 2).max(LEAST_BYTES);
        } else if self.is_full(bytes) && took < QUICK_COMMIT {
            self.0 = (self.0 * 2).min(MOST_BYTES);
        }
    }
}

/// How far behind the source we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backlog {
    /// Little or nothing is waiting: latency counts.
    Near,
    /// Much is waiting: throughput counts.
    CatchUp,
}

impl Backlog {
    /// From the place that was received last and the end of the source's log as it last told us.
    #[must_use]
    pub fn between(received: Lsn, source_end: Lsn) -> Self {
        if source_end.0.saturating_sub(received.0) < NEAR_BYTES {
            Self::Near
        } else {
            Self::CatchUp
        }
    }
}

/// What to do with an open transaction that holds something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// End it now.
    End,
    /// Look again after this long at the latest, or when more arrives.
    Wait(Duration),
}

/// Whether to end the open transaction, which may be `full`.
///
/// `since_commit` is the time since the last commit returned, `last_commit` what that one took. After
/// an idle time the wait is over before the first change arrives, so a lone change never waits.
#[must_use]
pub fn pace(full: bool, since_commit: Duration, last_commit: Duration, backlog: Backlog) -> Pace {
    let least = match backlog {
        Backlog::Near => NEAR_WAIT,
        Backlog::CatchUp => CATCH_UP_WAIT,
    };
    let wait = last_commit.max(least).min(LONGEST_WAIT);
    if full || since_commit >= wait {
        Pace::End
    } else {
        Pace::Wait(wait.saturating_sub(since_commit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_lone_change_after_an_idle_time_does_not_wait() {
        assert_eq!(pace(false, ms(5_000), ms(8), Backlog::Near), Pace::End);
    }

    #[test]
    fn the_wait_is_at_least_as_long_as_the_commit_took() {
        assert_eq!(pace(false, ms(0), ms(8), Backlog::Near), Pace::Wait(ms(20)));
        assert_eq!(pace(false, ms(30), ms(70), Backlog::Near), Pace::Wait(ms(40)));
        assert_eq!(pace(false, ms(70), ms(70), Backlog::Near), Pace::End);
        assert_eq!(pace(false, ms(100), ms(8), Backlog::CatchUp), Pace::Wait(ms(150)));
        assert_eq!(pace(false, ms(0), ms(60_000), Backlog::CatchUp), Pace::Wait(ms(10_000)));
    }

    #[test]
    fn a_full_transaction_ends_at_once() {
        assert_eq!(pace(true, ms(0), ms(8), Backlog::CatchUp), Pace::End);
    }

    #[test]
    fn quick_commits_let_transactions_grow_to_their_bound() {
        let mut allowance = Allowance::default();
        let mut sizes = vec![allowance.0];
        for _ in 0..7 {
            allowance.learn(allowance.0, ms(40));
            sizes.push(allowance.0 >> 20);
        }
        assert_eq!(sizes, [1 << 20, 2, 4, 8, 16, 32, 64, 64]);
        let before = allowance;
        allowance.learn(1, ms(4_000));
        assert_eq!(allowance, before, "neither quick nor slow");
    }

    #[test]
    fn a_small_transaction_proves_nothing_of_larger_ones() {
        let mut allowance = Allowance::default();
        allowance.learn(FIRST_BYTES - 1, ms(1));
        assert_eq!(allowance, Allowance::default());
    }

    /// Brokers that take 120 kB/s, as under a quota: no commit comes near the 25 s after which it is
    /// given up, however much is waiting.
    #[test]
    fn slow_brokers_get_transactions_that_they_can_commit() {
        let mut allowance = Allowance::default();
        for _ in 0..50 {
            // A batch more than the bound, as batches are not cut.
            let bytes = allowance.0 + (1 << 20);
            let took = Duration::from_secs_f64(bytes as f64 / 120_000.0);
            assert!(took < Duration::from_secs(18), "{took:?}");
            allowance.learn(bytes, took);
        }
        allowance = Allowance(LEAST_BYTES);
        allowance.learn(LEAST_BYTES, ms(60_000));
        assert_eq!(allowance, Allowance(LEAST_BYTES), "never less");
    }

    #[test]
    fn nearness_is_measured_in_log_bytes() {
        assert_eq!(Backlog::between(Lsn(10), Lsn(5)), Backlog::Near);
        assert_eq!(Backlog::between(Lsn(0), Lsn(NEAR_BYTES)), Backlog::CatchUp);
    }
}
