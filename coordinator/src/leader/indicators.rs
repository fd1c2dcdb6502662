//! What the shards of each task did in a minute, summed up by the leader and written to the log.
//!
//! Counters begin anew with each owner, so what was carried is added up report by report. A new leader
//! begins a minute of its own.

use std::collections::BTreeMap;
use std::time::Duration;

use tidewire_coordinator_core::alert::wal_bytes;
use tidewire_coordinator_core::{
    ClusterState, Command, CommandKind, Indicators, Task, may_renew, phase_of,
};
use tidewire_proto::task::v1::ShardReport;
use tidewire_shared::{ShardId, TaskId};

use super::{Leader, Term};
use crate::clock;

/// Between two looks: shorter than a shard needs to change its owner twice.
const PERIOD: Duration = Duration::from_secs(5);
/// Between two entries in the log.
const MINUTE_MS: u64 = 60_000;

/// A minute that is being summed up.
#[derive(Debug, Default)]
struct Minute {
    since_ms: u64,
    tasks: BTreeMap<TaskId, Sums>,
    /// What each shard showed last.
    counters: BTreeMap<ShardId, Seen>,
}

/// The counters of a shard under one owner.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    epoch: u64,
    records: u64,
    bytes: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    records: u64,
    bytes: u64,
    delay_ms: u64,
}

impl Leader {
    /// Sums up for as long as this coordinator runs; does nothing while it does not lead.
    pub(crate) async fn note_indicators(self) {
        let mut minute = None;
        loop {
            tokio::time::sleep(PERIOD).await;
            let Some(minutes) = self.look_at_indicators(&mut minute) else { continue };
            let kind = CommandKind::RecordIndicators { minutes };
            if let Err(error) =
                self.handle().propose(Command::internal(clock::wall_ms(), kind)).await
            {
                tracing::debug!(%error, "a minute of indicators is lost");
            }
        }
    }

    /// Adds up what came since the last look; the tasks' minutes when one is over.
    fn look_at_indicators(&self, minute: &mut Option<Minute>) -> Option<Vec<(TaskId, Indicators)>> {
        let now = clock::now();
        let leads =
            self.leads() && may_renew(self.handle().quorum_acked_ms(), self.timing(), now.mono_ms);
        if !leads {
            *minute = None;
            return None;
        }
        let state = self.handle().state();
        let term = self.lock();
        let term = term.as_ref()?;
        let Some(running) = minute else {
            let mut begun = Minute { since_ms: now.mono_ms, ..Minute::default() };
            begun.look(&state, term);
            // What was carried before is no part of this minute.
            begun.tasks.clear();
            *minute = Some(begun);
            return None;
        };
        running.look(&state, term);
        let spent_ms = now.mono_ms.saturating_sub(running.since_ms);
        if spent_ms < MINUTE_MS {
            return None;
        }
        let ran = state.tasks().filter(|task| task.started_before());
        let minutes = ran.map(|task| {
            let sums = running.tasks.get(task.id()).copied().unwrap_or_default();
            (task.id().clone(), sums.minute(task, term, (now.wall_ms, spent_ms)))
        });
        let minutes: Vec<_> = minutes.collect();
        running.since_ms = now.mono_ms;
        running.tasks.clear();
        running.counters.retain(|shard, _| state.shard(shard).is_some());
        (!minutes.is_empty()).then_some(minutes)
    }
}

/// The newest reports of the owners of a task's shards.
fn reports<'t>(task: &'t Task, term: &'t Term) -> impl Iterator<Item = (ShardId, &'t ShardReport)> {
    task.shards().filter_map(|(id, shard)| {
        let report = term.report(&shard.assignment()?.node, &id)?;
        (report.epoch == shard.epoch().0).then_some((id, report))
    })
}

impl Minute {
    fn look(&mut self, state: &ClusterState, term: &Term) {
        for task in state.tasks() {
            for (id, report) in reports(task, term) {
                let counters = report.counters.unwrap_or_default();
                let seen =
                    Seen { epoch: report.epoch, records: counters.records, bytes: counters.bytes };
                self.add(id, seen, report.delay_ms);
            }
        }
    }

    /// Adds what a shard carried since it was last seen.
    fn add(&mut self, id: ShardId, seen: Seen, delay_ms: u64) {
        let sums = self.tasks.entry(id.task.clone()).or_default();
        sums.delay_ms = sums.delay_ms.max(delay_ms);
        let before = self.counters.insert(id, seen).filter(|before| before.epoch == seen.epoch);
        let before = before.unwrap_or_default();
        sums.records += seen.records.saturating_sub(before.records);
        sums.bytes += seen.bytes.saturating_sub(before.bytes);
    }
}

impl Sums {
    fn minute(self, task: &Task, term: &Term, (at_ms, spent_ms): (i64, u64)) -> Indicators {
        let per_second = |sum: u64| sum.saturating_mul(1_000) / spent_ms.max(1);
        let lag = |report: &ShardReport| -> u64 {
            let behind = report.partitions.iter().map(|it| it.source.saturating_sub(it.durable));
            behind.filter_map(|lag| u64::try_from(lag).ok()).sum()
        };
        let retained = wal_bytes(task, &term.observed, &term.idle_wal);
        Indicators {
            at_ms,
            phase: phase_of(task, &term.observed),
            delay_ms: self.delay_ms,
            records_per_second: per_second(self.records),
            bytes_per_second: per_second(self.bytes),
            lag: reports(task, term).map(|(_, report)| lag(report)).sum(),
            wal_retained_bytes: retained.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(index: u32) -> ShardId {
        ShardId { task: "k3v9".parse().expect("an id"), index }
    }

    #[test]
    fn a_minute_holds_what_was_carried_in_it_whoever_carried_it() {
        let mut minute = Minute::default();
        let seen = |epoch, records| Seen { epoch, records, bytes: 10 * records };
        minute.add(shard(0), seen(1, 500), 0);
        // As when a minute begins.
        minute.tasks.clear();
        minute.add(shard(0), seen(1, 700), 40);
        // Another owner counts from 0.
        minute.add(shard(0), seen(2, 30), 10);
        minute.add(shard(1), seen(1, 5), 0);
        let sums = minute.tasks[&shard(0).task];
        assert_eq!((sums.records, sums.bytes, sums.delay_ms), (235, 2_350, 40));
    }
}
