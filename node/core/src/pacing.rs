//! When to end a Kafka transaction: often enough that readers wait little, seldom enough that the
//! cost of a commit stays a small part of the work.

use std::time::Duration;

use tidewire_shared::Lsn;

/// A transaction is ended when it holds this many bytes, whatever the time.
pub const TRANSACTION_BYTES: u64 = 64 << 20;
/// Least distance between two commits while the source is nearly caught up.
const NEAR_WAIT: Duration = Duration::from_millis(20);
/// Least distance between two commits while a backlog is worked off.
const CATCH_UP_WAIT: Duration = Duration::from_millis(250);
/// Most that a slow broker stretches the distance: a third of `transaction.timeout.ms`.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Less WAL than this between us and the end of the source's log counts as nearly caught up.
const NEAR_BYTES: u64 = 4 << 20;

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

/// Whether to end the open transaction, which holds `bytes` bytes.
///
/// `since_commit` is the time since the last commit returned, `last_commit` what that one took. After
/// an idle time the wait is over before the first change arrives, so a lone change never waits.
#[must_use]
pub fn pace(bytes: u64, since_commit: Duration, last_commit: Duration, backlog: Backlog) -> Pace {
    let least = match backlog {
        Backlog::Near => NEAR_WAIT,
        Backlog::CatchUp => CATCH_UP_WAIT,
    };
    let wait = last_commit.max(least).min(LONGEST_WAIT);
    if bytes >= TRANSACTION_BYTES || since_commit >= wait {
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
        assert_eq!(pace(1, ms(5_000), ms(8), Backlog::Near), Pace::End);
    }

    #[test]
    fn the_wait_is_at_least_as_long_as_the_commit_took() {
        assert_eq!(pace(1, ms(0), ms(8), Backlog::Near), Pace::Wait(ms(20)));
        assert_eq!(pace(1, ms(30), ms(70), Backlog::Near), Pace::Wait(ms(40)));
        assert_eq!(pace(1, ms(70), ms(70), Backlog::Near), Pace::End);
        assert_eq!(pace(1, ms(100), ms(8), Backlog::CatchUp), Pace::Wait(ms(150)));
        assert_eq!(pace(1, ms(0), ms(60_000), Backlog::CatchUp), Pace::Wait(ms(10_000)));
    }

    #[test]
    fn a_full_transaction_ends_at_once() {
        assert_eq!(pace(TRANSACTION_BYTES, ms(0), ms(8), Backlog::CatchUp), Pace::End);
    }

    #[test]
    fn nearness_is_measured_in_log_bytes() {
        assert_eq!(Backlog::between(Lsn(10), Lsn(5)), Backlog::Near);
        assert_eq!(Backlog::between(Lsn(0), Lsn(NEAR_BYTES)), Backlog::CatchUp);
    }
}
