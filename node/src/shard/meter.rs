//! What a running shard tells about itself: written by its stages, read by the heartbeat.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidewire_shared::Fault;
use tidewire_shared::report::{Counters, PositionHint, ShardPhase, ShardReport};

use crate::clock::Moment;
use crate::task_log::ShardLog;

/// The newest report of one shard under one epoch.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    state: Arc<Mutex<State>>,
    log: ShardLog,
}

#[derive(Debug)]
struct State {
    report: ShardReport,
    // Times are those of the clock that nobody sets ([`Moment`]): a node whose time of day is corrected by
    // an hour would be an hour late otherwise, or not late at all for so long.
    /// Commit time of the last durable record.
    last_commit: Option<i64>,
    /// Everything that was committed before it is durable.
    complete_until: Option<i64>,
    /// As of when the position was that this owner went on from.
    went_on_as_of: Option<i64>,
    /// When it first streamed.
    streams_since: Option<i64>,
    /// Serial of the newest position that the coordinators are known to have.
    kept: u64,
    rate: Rate,
}

/// Records per second over the last whole window.
#[derive(Debug)]
struct Rate {
    since: Instant,
    records: u64,
}

/// Long enough to be steady, short enough to follow.
const RATE_WINDOW: Duration = Duration::from_secs(2);
/// A new owner that has nothing left to do sees that within this time: until then it is not said to be as
/// late as the position is old that it went on from.
const SETTLING_MS: i64 = 5_000;

/// What one durable transaction of the target has brought.
#[derive(Clone, Debug)]
pub(crate) struct Durable {
    /// Where to look for its record, once that is known.
    pub(crate) position: Option<PositionHint>,
    /// Source commit time of the last record, milliseconds since 1970.
    pub(crate) last_commit_ms: Option<i64>,
    /// What was written by this transaction alone.
    pub(crate) counters: Counters,
}

impl Meter {
    pub(crate) fn new(report: ShardReport, log: ShardLog) -> Self {
        let rate = Rate { since: Instant::now(), records: report.counters.records };
        let state = State {
            report,
            last_commit: None,
            complete_until: None,
            went_on_as_of: None,
            streams_since: None,
            kept: 0,
            rate,
        };
        Self { state: Arc::new(Mutex::new(state)), log }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the shard writes what people shall read.
    pub(crate) fn log(&self) -> &ShardLog {
        &self.log
    }

    /// The report as it stands, with delay and rate as of now.
    pub(crate) fn report(&self) -> ShardReport {
        let mut state = self.state();
        state.advance_rate();
        let mut report = state.report.clone();
        report.delay_ms =
            if report.caught_up { 0 } else { state.delay_ms(Moment::now().steady_ms) };
        report
    }

    /// A change that no other method names.
    pub(crate) fn update(&self, change: impl FnOnce(&mut ShardReport)) {
        change(&mut self.state().report);
    }

    /// Everything that was committed before this time, milliseconds since 1970, is durable: what is
    /// delayed was committed later, however old the last record is.
    pub(crate) fn complete_until(&self, ms: i64) {
        let until = Moment::now().steady_of(ms);
        let mut state = self.state();
        state.complete_until = state.complete_until.max(Some(until));
    }

    /// As of when the position was that the shard goes on from, where that is known.
    pub(crate) fn goes_on_as_of(&self, ms: Option<i64>) {
        self.state().went_on_as_of = ms.map(|ms| Moment::now().steady_of(ms));
    }

    /// As of when the shard is: up to then it was complete, or its newest durable record is so old.
    /// Milliseconds since 1970; none: not known.
    pub(crate) fn as_of(&self) -> Option<i64> {
        let state = self.state();
        let as_of = state.own_as_of().max(state.went_on_as_of);
        as_of.map(|as_of| Moment::now().of_day(as_of))
    }

    /// The coordinators have the position with this serial.
    pub(crate) fn keep(&self, serial: u64) {
        let mut state = self.state();
        state.kept = state.kept.max(serial);
    }

    /// Serial of the newest position that the coordinators are known to have.
    pub(crate) fn kept(&self) -> u64 {
        self.state().kept
    }

    /// The pipeline streams.
    pub(crate) fn synchronizing(&self) {
        let mut state = self.state();
        state.streams_since.get_or_insert_with(|| Moment::now().steady_ms);
        let report = &mut state.report;
        report.phase = ShardPhase::Synchronizing;
        report.fault = None;
        report.retry = None;
    }

    /// The shard has given up.
    pub(crate) fn failed(&self, fault: Fault) {
        self.update(|report| {
            report.phase = ShardPhase::Failed;
            report.fault = Some(fault);
            report.retry = None;
            report.caught_up = false;
        });
    }

    /// A transaction of the target is durable; `place` writes how far the source is with it.
    pub(crate) fn durable(&self, durable: &Durable, place: impl FnOnce(&mut ShardReport)) {
        let mut state = self.state();
        place(&mut state.report);
        state.report.position = durable.position.or(state.report.position);
        state.report.counters += durable.counters;
        let last_commit = durable.last_commit_ms.map(|ms| Moment::now().steady_of(ms));
        state.last_commit = last_commit.or(state.last_commit);
        state.advance_rate();
    }
}

impl State {
    /// How late a shard is that has not caught up: since when what it lacks may wait. One of which nothing
    /// is known is late since it began to stream.
    fn delay_ms(&self, now: i64) -> u64 {
        let settled = self.streams_since.is_some_and(|since| now - since > SETTLING_MS);
        let own = self.own_as_of();
        let before = self.went_on_as_of.filter(|_| settled || own.is_some());
        let since = own.max(before).or(self.streams_since);
        since.map_or(0, |since| u64::try_from(now - since).unwrap_or(0))
    }

    /// As of when it is, by what its owner has done itself.
    fn own_as_of(&self) -> Option<i64> {
        self.last_commit.max(self.complete_until)
    }

    fn advance_rate(&mut self) {
        let elapsed = self.rate.since.elapsed();
        if elapsed >= RATE_WINDOW {
            let records = self.report.counters.records;
            #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
            let written = (records - self.rate.records) as f64;
            self.report.records_per_second = written / elapsed.as_secs_f64();
            self.rate = Rate { since: Instant::now(), records };
        }
    }
}

#[cfg(test)]
mod tests {
    use tidewire_shared::report::ShardPhase;
    use tidewire_shared::{Epoch, Lsn, ShardId};

    use super::*;
    use crate::clock::now_ms;
    use crate::task_log::TaskLog;

    fn meter() -> Meter {
        let task = "k3v9".parse().expect("a task's id");
        let shard = ShardId { task, index: 0 };
        let log = TaskLog::new().of(&shard, Epoch(1));
        let report = ShardReport {
            shard,
            epoch: Epoch(1),
            phase: ShardPhase::Synchronizing,
            fault: None,
            retry: None,
            source_lsn: Lsn::ZERO,
            durable_lsn: Lsn::ZERO,
            confirmed_lsn: Lsn::ZERO,
            position: None,
            record: Vec::new(),
            caught_up: false,
            delay_ms: 0,
            counters: Counters::default(),
            records_per_second: 0.0,
            wal_retained_bytes: 0,
            predicted_failover_ms: 0,
            restarts: 0,
            partitions: Vec::new(),
        };
        Meter::new(report, log)
    }

    fn record(meter: &Meter, age_ms: i64) {
        let last_commit_ms = Some(now_ms() - age_ms);
        let durable = Durable { position: None, last_commit_ms, counters: Counters::default() };
        meter.durable(&durable, |report| report.durable_lsn = Lsn(1));
    }

    #[test]
    fn the_delay_is_the_age_of_the_last_record_until_the_task_has_caught_up() {
        let meter = meter();
        record(&meter, 60_000);
        assert!((60_000..70_000).contains(&meter.report().delay_ms));
        meter.update(|report| report.caught_up = true);
        assert_eq!(meter.report().delay_ms, 0);
    }

    #[test]
    fn an_old_record_is_no_delay_where_nothing_was_committed_since() {
        let meter = meter();
        record(&meter, 3_600_000);
        meter.complete_until(now_ms() - 2_000);
        assert!((2_000..10_000).contains(&meter.report().delay_ms), "what is late came after that");
    }

    fn without_a_time(meter: &Meter) {
        let counters = Counters::default();
        meter.durable(&Durable { position: None, last_commit_ms: None, counters }, |_| ());
    }

    #[test]
    fn records_without_a_time_are_as_late_as_the_shard_was_last_complete() {
        let meter = meter();
        meter.complete_until(now_ms() - 60_000);
        without_a_time(&meter);
        assert!((60_000..70_000).contains(&meter.report().delay_ms));
        record(&meter, -3_600_000);
        assert!(meter.report().delay_ms < 10_000, "nothing is younger than now");
    }

    #[test]
    fn an_owner_that_goes_on_is_as_late_as_the_position_before_its_first_record_is_durable() {
        let meter = meter();
        assert_eq!((meter.report().delay_ms, meter.as_of()), (0, None), "it does not stream yet");
        let an_hour_ago = now_ms() - 3_600_000;
        meter.goes_on_as_of(Some(an_hour_ago));
        meter.synchronizing();
        let as_of = meter.as_of().expect("known");
        assert!(as_of.abs_diff(an_hour_ago) < 1_000, "for the next owner");
        assert!(meter.report().delay_ms < 1_000, "it may have nothing to do");
        meter.state().streams_since = Some(Moment::now().steady_ms - SETTLING_MS - 1);
        assert!((3_600_000..3_610_000).contains(&meter.report().delay_ms));
        record(&meter, 60_000);
        assert!((60_000..70_000).contains(&meter.report().delay_ms));
    }

    #[test]
    fn an_owner_that_knows_nothing_is_late_since_it_streams() {
        let meter = meter();
        meter.state().streams_since = Some(Moment::now().steady_ms - 60_000);
        without_a_time(&meter);
        assert!((60_000..70_000).contains(&meter.report().delay_ms));
    }

    #[test]
    fn a_time_of_day_that_is_set_changes_no_delay() {
        let before = Moment { day_ms: 1_000_000_000, steady_ms: 50_000 };
        let meter = meter();
        for hours in [-2, 0, 2_i64] {
            let day_ms = before.day_ms + hours * 3_600_000 + 10_000;
            let after = Moment { day_ms, steady_ms: before.steady_ms + 10_000 };
            // Complete two seconds before, and a record of five.
            meter.state().complete_until = Some(before.steady_of(before.day_ms - 2_000));
            meter.state().last_commit = Some(before.steady_of(before.day_ms - 5_000));
            assert_eq!(meter.state().delay_ms(after.steady_ms), 12_000, "set by {hours} h");
            let as_of = meter.state().own_as_of().expect("known");
            assert_eq!(after.of_day(as_of), after.day_ms - 12_000, "as the clock shows now");
        }
    }
}
