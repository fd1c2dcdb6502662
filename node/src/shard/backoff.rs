//! How long a failing shard waits, and when it gives up.
//!
//! The wait doubles up to a cap and is drawn at random below that ("full jitter"), so that many
//! shards of one broken server do not come back in step. The budget of a kind of trouble runs from
//! its first failure in a row: what follows hours without a connection has its own time. Trouble of
//! changing kinds gets no longer, since data last flowed, than the larger budget.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use rand::Rng;
use tidewire_shared::report::RetryWindow;
use tidewire_shared::spec::Retry;
use tidewire_shared::{Fault, Period, Persistence};

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(15);

/// The failures of one shard since data last flowed.
#[derive(Debug)]
pub(crate) struct Backoff {
    budget: Retry,
    /// The waits to come, before chance has cut them.
    ceilings: ExponentialBackoff,
    /// The first failure of all.
    since_ms: Option<i64>,
    /// The kind of the newest failure, and the first of its kind in a row.
    run: Option<(Persistence, i64)>,
}

impl Backoff {
    pub(crate) fn new(budget: Retry) -> Self {
        Self { budget, ceilings: ceilings(), since_ms: None, run: None }
    }

    /// Data flowed: the next failure is a first one.
    pub(crate) fn recovered(&mut self) {
        self.ceilings = ceilings();
        self.since_ms = None;
        self.run = None;
    }

    /// How long to wait after this failure, or `None` when it is final. `now_ms` and the window are on
    /// a clock that nobody sets: a wall clock that jumps must not use the budget up.
    pub(crate) fn after(&mut self, fault: &Fault, now_ms: i64) -> Option<(Duration, RetryWindow)> {
        let kind = fault.persistence();
        let budget = match kind {
            Persistence::Connection => self.budget.connection,
            Persistence::Other => self.budget.other,
            Persistence::Definite => return None,
        };
        let since_ms = *self.since_ms.get_or_insert(now_ms);
        let run_ms = match self.run {
            Some((same, run_ms)) if same == kind => run_ms,
            _ => now_ms,
        };
        self.run = Some((kind, run_ms));
        let longest = self.budget.connection.max(self.budget.other);
        let until_ms = later(run_ms, budget).min(later(since_ms, longest));
        if now_ms >= until_ms {
            return None;
        }
        let ceiling = self.ceilings.next().unwrap_or(LONGEST);
        let wait = ceiling.mul_f64(rand::rng().random_range(0.0..=1.0));
        let next_attempt_ms =
            now_ms.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX));
        Some((wait, RetryWindow { since_ms, until_ms, next_attempt_ms }))
    }
}

fn later(from_ms: i64, period: Period) -> i64 {
    from_ms.saturating_add(i64::try_from(period.0).unwrap_or(i64::MAX))
}

fn ceilings() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(FIRST)
        .with_max_delay(LONGEST)
        .with_factor(2.0)
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use tidewire_shared::{FaultKind, Period};

    use super::*;

    fn budget() -> Retry {
        Retry { connection: Period::from_mins(720), other: Period::from_mins(10) }
    }

    #[test]
    fn a_definite_failure_is_final_at_once() {
        let fault = Fault::new(FaultKind::SourceHistory, "slot", "gone");
        assert_eq!(Backoff::new(budget()).after(&fault, 0), None);
    }

    #[test]
    fn the_budget_runs_from_the_first_failure_and_starts_anew_when_data_flowed() {
        let fault = Fault::new(FaultKind::TargetBusy, "broker", "busy");
        let mut backoff = Backoff::new(budget());
        let (_, window) = backoff.after(&fault, 1_000).expect("retried");
        assert_eq!((window.since_ms, window.until_ms), (1_000, 601_000));
        assert!(backoff.after(&fault, 600_999).is_some());
        assert_eq!(backoff.after(&fault, 601_000), None);
        backoff.recovered();
        assert!(backoff.after(&fault, 700_000).is_some());
    }

    /// Fails again after each wait, on a clock that only the waits move; gives the time of the last
    /// failure and how often it was tried.
    fn fails_until_given_up(backoff: &mut Backoff, kind: FaultKind, from_ms: i64) -> (i64, u32) {
        let fault = Fault::new(kind, "server", "away");
        let (mut now_ms, mut attempts) = (from_ms, 0);
        while let Some((wait, window)) = backoff.after(&fault, now_ms) {
            let wait_ms = i64::try_from(wait.as_millis()).expect("a short wait");
            assert_eq!(window.next_attempt_ms, now_ms + wait_ms);
            assert!(window.since_ms <= now_ms && now_ms < window.until_ms);
            // An attempt takes a little itself.
            now_ms += wait_ms + 10;
            attempts += 1;
        }
        (now_ms, attempts)
    }

    #[test]
    fn each_kind_of_trouble_is_given_its_own_time() {
        let minute = 60_000;
        let slack = 15_010;
        for (kind, minutes) in [
            (FaultKind::SourceUnreachable, 720),
            (FaultKind::TargetUnreachable, 720),
            (FaultKind::Coordination, 720),
            (FaultKind::SourceBusy, 10),
            (FaultKind::TargetBusy, 10),
            (FaultKind::Internal, 10),
        ] {
            let (ended, attempts) = fails_until_given_up(&mut Backoff::new(budget()), kind, 0);
            let budget = minutes * minute;
            assert!((budget..budget + slack).contains(&ended), "{kind:?}: {ended}");
            // About one attempt in half the longest wait.
            assert!(i64::from(attempts) > budget / 15_000, "{kind:?}: {attempts}");
        }
    }

    #[test]
    fn the_figures_of_the_task_are_the_ones_that_count() {
        let own = Retry { connection: Period::from_mins(30), other: Period::from_mins(2) };
        for (kind, minutes) in [(FaultKind::SourceUnreachable, 30), (FaultKind::TargetBusy, 2)] {
            let (ended, _) = fails_until_given_up(&mut Backoff::new(own), kind, 0);
            assert!((minutes * 60_000..minutes * 60_000 + 15_010).contains(&ended), "{ended}");
        }
    }

    #[test]
    fn what_follows_a_long_outage_has_its_own_time_and_all_of_it_an_end() {
        let hour = 3_600_000;
        let away = Fault::new(FaultKind::SourceUnreachable, "db", "refused");
        let mut backoff = Backoff::new(budget());
        assert!(backoff.after(&away, 0).is_some());
        assert!(backoff.after(&away, 2 * hour).is_some());
        let busy = Fault::new(FaultKind::SourceBusy, "db", "starting up");
        let (_, window) = backoff.after(&busy, 2 * hour).expect("its own ten minutes");
        assert_eq!((window.since_ms, window.until_ms), (0, 2 * hour + 600_000));
        // Trouble that changes its face goes on no longer than the larger budget.
        assert!(backoff.after(&away, 11 * hour).is_some());
        let (_, window) = backoff.after(&busy, 12 * hour - 1_000).expect("a second is left");
        assert_eq!(window.until_ms, 12 * hour);
        assert_eq!(backoff.after(&away, 12 * hour), None);
    }

    #[test]
    fn waits_are_capped() {
        let fault = Fault::new(FaultKind::SourceUnreachable, "db", "refused");
        let mut backoff = Backoff::new(budget());
        for _ in 0..100 {
            let (wait, _) = backoff.after(&fault, 0).expect("retried");
            assert!(wait <= LONGEST);
        }
    }
}
