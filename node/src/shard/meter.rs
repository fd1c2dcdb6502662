//! What a running shard tells about itself: written by its stages, read by the heartbeat.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tidewire_shared::Fault;
use tidewire_shared::report::{Counters, PositionHint, ShardPhase, ShardReport};

use crate::clock::now_ms;
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
    /// Commit time of the last durable record, milliseconds since 1970.
    last_commit_ms: Option<i64>,
    /// Everything that was committed before it is durable, milliseconds since 1970.
    complete_until_ms: i64,
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
        let state =
            State { report, last_commit_ms: None, complete_until_ms: i64::MIN, kept: 0, rate };
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
        report.delay_ms = match state.last_commit_ms {
            Some(at) if !report.caught_up => {
                u64::try_from(now_ms() - at.max(state.complete_until_ms)).unwrap_or(0)
            }
            _ => 0,
        };
        report
    }

    /// A change that no other method names.
    pub(crate) fn update(&self, change: impl FnOnce(&mut ShardReport)) {
        change(&mut self.state().report);
    }

    /// Everything that was committed before this time, milliseconds since 1970, is durable: what is
    /// delayed was committed later, however old the last record is.
    pub(crate) fn complete_until(&self, ms: i64) {
        let mut state = self.state();
        state.complete_until_ms = state.complete_until_ms.max(ms);
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
        self.update(|report| {
            report.phase = ShardPhase::Synchronizing;
            report.fault = None;
            report.retry = None;
        });
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
        state.last_commit_ms = durable.last_commit_ms.or(state.last_commit_ms);
        state.advance_rate();
    }
}

impl State {
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
}
