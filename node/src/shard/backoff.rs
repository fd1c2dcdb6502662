//! How long a failing shard waits, and when it gives up.
//!
//! The wait doubles up to a cap and is drawn at random below that ("full jitter"), so that many
//! shards of one broken server do not come back in step. The budget runs from the first failure
//! since data last flowed.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use rand::Rng;
use tidewire_shared::report::RetryWindow;
use tidewire_shared::spec::Retry;
use tidewire_shared::{Fault, Persistence};

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(15);

/// The failures of one shard since data last flowed.
#[derive(Debug)]
pub(crate) struct Backoff {
    budget: Retry,
    /// The waits to come, before chance has cut them.
    ceilings: ExponentialBackoff,
    since_ms: Option<i64>,
}

impl Backoff {
    pub(crate) fn new(budget: Retry) -> Self {
        Self { budget, ceilings: ceilings(), since_ms: None }
    }

    /// Data flowed: the next failure is a first one.
    pub(crate) fn recovered(&mut self) {
        self.ceilings = ceilings();
        self.since_ms = None;
    }

    /// How long to wait after this failure, or `None` when it is final.
    pub(crate) fn after(&mut self, fault: &Fault, now_ms: i64) -> Option<(Duration, RetryWindow)> {
        let budget = match fault.persistence() {
            Persistence::Connection => self.budget.connection,
            Persistence::Other => self.budget.other,
            Persistence::Definite => return None,
        };
        let since_ms = *self.since_ms.get_or_insert(now_ms);
        let until_ms = since_ms.saturating_add(i64::try_from(budget.0).unwrap_or(i64::MAX));
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
