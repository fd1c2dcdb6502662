//! How fast a task may write: `limits.bytesPerSecond` and `limits.rowsPerSecond` as token buckets.
//!
//! Buckets hold what one second allows. A batch is let through whole while no bucket is in debt, and
//! may bring it into debt: the next one waits until the debt is paid, so that the mean is kept
//! whatever the size of batches.
//!
//! Shards of one task know nothing of each other. Each pays for all of them, as if every one wrote as
//! much as it does: together they never write more than the task may. What one leaves is not lent.

use std::time::Duration;

use tidewire_shared::spec::Limits;

const NANOS: u128 = 1_000_000_000;

/// The rates of one task, as one of its shards has to keep them.
#[derive(Clone, Debug)]
pub struct Throttle {
    bytes: Option<Bucket>,
    rows: Option<Bucket>,
    /// Shards among which the rates are divided.
    shards: u64,
}

/// Tokens of one kind, counted in billionths so that short times are not rounded away.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    per_second: u64,
    /// Negative while in debt.
    tokens: i128,
    /// When `tokens` was right, on the caller's clock.
    at: Duration,
}

impl Throttle {
    /// The rates of `limits`, where 0 is none, for one of so many shards that write; buckets are full at
    /// the beginning, time 0.
    #[must_use]
    pub fn new(limits: &Limits, shards: u32) -> Self {
        let bucket = |per_second: u64| (per_second > 0).then(|| Bucket::full(per_second));
        let (bytes, rows) = (bucket(limits.bytes_per_second.0), bucket(limits.rows_per_second));
        Self { bytes, rows, shards: u64::from(shards.max(1)) }
    }

    /// How long to wait before the next batch; zero when it may go now. `now` is a clock that does
    /// not go back.
    #[must_use]
    pub fn wait(&self, now: Duration) -> Duration {
        let wait = |bucket: &Option<Bucket>| bucket.map_or(Duration::ZERO, |b| b.wait(now));
        wait(&self.bytes).max(wait(&self.rows))
    }

    /// Counts a batch that went.
    pub fn spend(&mut self, now: Duration, bytes: u64, rows: u64) {
        for (bucket, spent) in [(&mut self.bytes, bytes), (&mut self.rows, rows)] {
            if let Some(bucket) = bucket {
                bucket.spend(now, spent.saturating_mul(self.shards));
            }
        }
    }

    /// How many rows and bytes a batch should hold at most so that what is written flows evenly: a
    /// tenth of a second's.
    #[must_use]
    pub fn batch(&self) -> (Option<u64>, Option<u64>) {
        let share = 10 * self.shards;
        let tenth = |bucket: &Option<Bucket>| bucket.map(|b| (b.per_second / share).max(1));
        (tenth(&self.rows), tenth(&self.bytes))
    }
}

impl Bucket {
    fn full(per_second: u64) -> Self {
        Self { per_second, tokens: nanos(per_second), at: Duration::ZERO }
    }

    fn tokens(&self, now: Duration) -> i128 {
        let passed = now.saturating_sub(self.at).as_nanos();
        let earned = i128::try_from(passed.saturating_mul(self.per_second.into()));
        self.tokens.saturating_add(earned.unwrap_or(i128::MAX)).min(nanos(self.per_second))
    }

    fn wait(&self, now: Duration) -> Duration {
        let debt = u128::try_from(-self.tokens(now)).unwrap_or(0);
        let nanos = debt.div_ceil(u128::from(self.per_second.max(1)));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn spend(&mut self, now: Duration, spent: u64) {
        self.tokens = self.tokens(now).saturating_sub(nanos(spent));
        self.at = self.at.max(now);
    }
}

fn nanos(tokens: u64) -> i128 {
    i128::try_from(u128::from(tokens) * NANOS).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidewire_shared::ByteSize;

    use super::*;

    fn limits(bytes: u64, rows: u64) -> Limits {
        Limits { bytes_per_second: ByteSize(bytes), rows_per_second: rows, ..Limits::default() }
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn without_limits_nothing_waits() {
        let mut throttle = Throttle::new(&Limits::default(), 1);
        throttle.spend(ms(0), u64::MAX, u64::MAX);
        assert_eq!(throttle.wait(ms(0)), Duration::ZERO);
        assert_eq!(throttle.batch(), (None, None));
    }

    #[test]
    fn a_debt_is_waited_for_and_a_second_is_saved_at_most() {
        let mut throttle = Throttle::new(&limits(0, 100), 1);
        throttle.spend(ms(0), 5_000, 100);
        assert_eq!(throttle.wait(ms(0)), Duration::ZERO, "the bucket was full");
        throttle.spend(ms(0), 5_000, 50);
        assert_eq!(throttle.wait(ms(0)), ms(500));
        assert_eq!(throttle.wait(ms(400)), ms(100));
        assert_eq!(throttle.wait(ms(500)), Duration::ZERO);
        throttle.spend(ms(60_000), 0, 200);
        assert_eq!(throttle.wait(ms(60_000)), ms(1_000), "an hour saves no more than a second");
    }

    #[test]
    fn the_slower_limit_decides() {
        let mut throttle = Throttle::new(&limits(1_000, 100), 1);
        throttle.spend(ms(0), 4_000, 200);
        assert_eq!(throttle.wait(ms(0)), ms(3_000));
        assert_eq!(throttle.batch(), (Some(10), Some(100)));
    }

    #[test]
    fn shards_keep_the_limit_of_their_task_together() {
        let mut shards = vec![Throttle::new(&limits(0, 100), 3); 3];
        let mut written = 0;
        for turn in 0..1_000_u64 {
            for shard in &mut shards {
                let now = ms(turn * 10);
                if shard.wait(now).is_zero() {
                    shard.spend(now, 0, 7);
                    written += 7;
                }
            }
        }
        // Ten seconds, and the one that was saved.
        assert!((1_000..=1_150).contains(&written), "{written} rows");
        assert_eq!(Throttle::new(&limits(600, 600), 6).batch(), (Some(10), Some(10)));
    }

    proptest! {
        #[test]
        fn the_mean_is_kept(rate in 1..100_000_u64, batches in prop::collection::vec(0..5_000_u64, 1..50)) {
            let mut throttle = Throttle::new(&limits(0, rate), 1);
            let (mut now, mut sent) = (Duration::ZERO, 0);
            for rows in &batches {
                now += throttle.wait(now);
                throttle.spend(now, 0, *rows);
                sent += rows;
            }
            now += throttle.wait(now);
            // All but the second that was saved has been waited for, and hardly more.
            let earned = now.as_secs_f64() * rate as f64;
            let due = sent.saturating_sub(rate) as f64;
            prop_assert!(earned >= due - 1e-3 * (1.0 + due));
            prop_assert!(earned <= due + rate as f64 * 1e-6 + 1.0);
        }

        #[test]
        fn no_input_overflows(bytes: u64, rows: u64, spent: u64, at: u64) {
            let mut throttle = Throttle::new(&limits(bytes, rows), 1);
            throttle.spend(Duration::from_nanos(at), spent, spent);
            throttle.spend(Duration::MAX, spent, spent);
            let _wait = throttle.wait(Duration::ZERO);
        }
    }
}
