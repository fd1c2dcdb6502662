//! What is known of a task at one moment, and whether a condition holds then.
//!
//! A leader that was elected just now knows little. What it does not know is neither so nor not so: an
//! alert stays as it is until its condition can be judged.

use std::collections::BTreeMap;

use tidewire_shared::alert::When;
use tidewire_shared::precheck::{CheckItem, CheckResult};
use tidewire_shared::{Desired, Fault, FaultKind, Phase, ShardId, TaskId};

use crate::lifecycle::{phase_of, settled_phase};
use crate::liveness::Standing;
use crate::observed::{Observed, ShardPhase};
use crate::state::{Assignment, Clearance, ClusterState, Task};

/// What conditions are judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The phase as shown to people.
    pub phase: Phase,
    /// Whether every report came on which that phase rests.
    pub phase_is_sure: bool,
    /// How late the task is, at the least, milliseconds; none: nobody wants it to be in time.
    pub delay_ms: Option<u64>,
    /// Whether it is not later than that.
    pub delay_is_exact: bool,
    /// WAL that it holds back at its source, bytes; none: nobody has looked yet.
    pub wal_bytes: Option<u64>,
    /// Why it is retrying or failed, or did not start.
    pub fault: Option<Fault>,
}

/// When each shard was last known to be in time, or how late it was then.
///
/// A shard that does not run carries nothing: it gets later as time goes by, whatever it said last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delays(BTreeMap<ShardId, (u64, u64)>);

impl Delays {
    /// Forgets the shards that are no more.
    pub fn keep(&mut self, state: &ClusterState) {
        self.0.retain(|id, _| state.shard(id).is_some());
    }

    /// How late a shard is at the least, and whether that is all; `said`: by a report of a stream.
    fn of(&mut self, id: &ShardId, said: Option<u64>, now_ms: u64) -> (u64, bool) {
        if let Some(delay_ms) = said {
            self.0.insert(id.clone(), (delay_ms, now_ms));
            return (delay_ms, true);
        }
        let (delay_ms, at_ms) = *self.0.entry(id.clone()).or_insert((0, now_ms));
        (delay_ms.saturating_add(now_ms.saturating_sub(at_ms)), false)
    }

    fn forget(&mut self, id: &ShardId) {
        self.0.remove(id);
    }
}

/// WAL that a task holds back at its source, bytes. `idle_wal` is of those that do not stream: what
/// their stream saw last is old.
#[must_use]
pub fn wal_bytes(
    task: &Task,
    observed: &Observed,
    idle_wal: &BTreeMap<TaskId, u64>,
) -> Option<u64> {
    let streamed =
        || task.shards().filter_map(|(id, it)| Some(observed.of_owner(&id, it)?.wal_bytes));
    idle_wal.get(task.id()).copied().or_else(|| streamed().max())
}

/// What is known of a task now.
pub fn facts(
    task: &Task,
    (observed, idle_wal): (&Observed, &BTreeMap<TaskId, u64>),
    delays: &mut Delays,
    now_ms: u64,
) -> Facts {
    let (delay_ms, delay_is_exact) = delay(task, observed, delays, now_ms);
    let told =
        || task.shards().find_map(|(id, shard)| observed.of_owner(&id, shard)?.fault.clone());
    Facts {
        phase: phase_of(task, observed),
        phase_is_sure: phase_is_sure(task, observed, now_ms),
        delay_ms,
        delay_is_exact,
        wal_bytes: wal_bytes(task, observed, idle_wal),
        fault: task.fault().cloned().or_else(told).or_else(|| refusal(task)),
    }
}

/// What a failed precheck found, in short.
fn refusal(task: &Task) -> Option<Fault> {
    let failed = |item: &&CheckItem| item.result == CheckResult::Fail;
    let items = || task.precheck().into_iter().flat_map(|report| &report.items).filter(failed);
    let first = items().next().filter(|_| settled_phase(task) == Phase::PrecheckFailed)?;
    let names: Vec<&str> = items().map(|item| item.name.as_str()).collect();
    let message = format!("failed at {}", names.join(", "));
    Some(Fault::new(FaultKind::Configuration, "precheck", message).remedy(first.remedy.clone()))
}

/// Whether the task shall be in time: somebody started it, and it may run or has failed.
fn shall_flow(task: &Task) -> bool {
    task.desired() == Desired::Running && task.clearance() == Clearance::Granted
}

fn delay(
    task: &Task,
    observed: &Observed,
    delays: &mut Delays,
    now_ms: u64,
) -> (Option<u64>, bool) {
    let (mut latest, mut exact) = (None, true);
    for (id, shard) in task.shards() {
        if !shall_flow(task) {
            delays.forget(&id);
            continue;
        }
        // The last word of a node that is gone stays where there is no other node.
        let gone = |owner: &Assignment| observed.standing(&owner.node, now_ms) == Standing::Gone;
        let lost = shard.assignment().is_some_and(gone);
        let report = observed.of_owner(&id, shard).filter(|_| !lost);
        let streams = report.filter(|report| report.phase == ShardPhase::Synchronizing);
        let (delay_ms, known) = delays.of(&id, streams.map(|report| report.delay_ms), now_ms);
        latest = latest.max(Some(delay_ms));
        exact &= known;
    }
    (latest, exact)
}

/// The phase of a running task is read from reports; one that may still come could change it.
fn phase_is_sure(task: &Task, observed: &Observed, now_ms: u64) -> bool {
    if settled_phase(task) == Phase::Failed {
        return true;
    }
    task.shards().all(|(id, shard)| {
        shard.assignment().is_none_or(|owner| {
            observed.of_owner(&id, shard).is_some()
                || observed.standing(&owner.node, now_ms) == Standing::Gone
        })
    })
}

/// Whether a condition holds; none: that cannot be judged now.
#[must_use]
pub fn holds(when: &When, facts: &Facts) -> Option<bool> {
    let phase = match when.phases.as_slice() {
        [] => Some(true),
        phases => facts.phase_is_sure.then(|| phases.contains(&facts.phase)),
    };
    let late = when.delay_above.map_or(Some(true), |above| match facts.delay_ms {
        None => Some(false),
        Some(delay_ms) if delay_ms > above.0 => Some(true),
        Some(_) => facts.delay_is_exact.then_some(false),
    });
    let heavy = match (when.wal_above, facts.wal_bytes) {
        (None, _) => Some(true),
        (Some(above), bytes) => bytes.map(|bytes| bytes > above.0),
    };
    let parts = [phase, late, heavy];
    if parts.contains(&Some(false)) {
        return Some(false);
    }
    parts.iter().all(Option::is_some).then_some(true)
}

#[cfg(test)]
mod tests {
    use tidewire_shared::{ByteSize, Period};

    use super::*;

    fn when(delay_above: Option<u64>, phases: &[Phase]) -> When {
        When {
            delay_above: delay_above.map(Period),
            phases: phases.to_vec(),
            wal_above: None,
            lasting: Period::default(),
        }
    }

    fn seen(phase: Phase, sure: bool, delay_ms: Option<u64>, exact: bool) -> Facts {
        let (phase_is_sure, delay_is_exact) = (sure, exact);
        Facts { phase, phase_is_sure, delay_ms, delay_is_exact, wal_bytes: None, fault: None }
    }

    #[test]
    fn held_wal_is_judged_once_somebody_has_looked() {
        let mut heavy = when(None, &[]);
        heavy.wal_above = Some(ByteSize(100));
        let holding = |wal_bytes| Facts { wal_bytes, ..seen(Phase::Paused, true, None, true) };
        assert_eq!(holds(&heavy, &holding(None)), None);
        assert_eq!(holds(&heavy, &holding(Some(100))), Some(false));
        assert_eq!(holds(&heavy, &holding(Some(101))), Some(true));
        heavy.phases = vec![Phase::Failed];
        assert_eq!(holds(&heavy, &holding(Some(101))), Some(false), "another phase");
        assert_eq!(holds(&heavy, &holding(None)), Some(false), "whatever it holds");
    }

    #[test]
    fn what_is_not_known_is_neither_so_nor_not_so() {
        let late = when(Some(30), &[]);
        let in_phase = when(None, &[Phase::Retrying, Phase::Failed]);
        let both = when(Some(30), &[Phase::Synchronizing]);
        let flows = Phase::Synchronizing;
        for (condition, facts, expected) in [
            (&late, seen(flows, true, Some(31), true), Some(true)),
            (&late, seen(flows, true, Some(30), true), Some(false)),
            (&late, seen(flows, true, Some(30), false), None),
            (&late, seen(flows, true, Some(31), false), Some(true)),
            (&late, seen(Phase::Paused, true, None, true), Some(false)),
            (&in_phase, seen(Phase::Failed, true, None, true), Some(true)),
            (&in_phase, seen(flows, true, None, true), Some(false)),
            (&in_phase, seen(Phase::Initializing, false, None, true), None),
            (&both, seen(flows, true, Some(31), true), Some(true)),
            (&both, seen(flows, true, Some(3), true), Some(false)),
            (&both, seen(Phase::Initializing, false, Some(31), true), None),
            (&both, seen(Phase::Initializing, false, Some(3), true), Some(false)),
            (&both, seen(Phase::Retrying, true, Some(3), false), Some(false)),
            (&both, seen(flows, true, Some(3), false), None),
        ] {
            assert_eq!(holds(condition, &facts), expected, "{condition} in {facts:?}");
        }
    }

    #[test]
    fn a_shard_that_does_not_run_gets_later() {
        let mut delays = Delays::default();
        let id = ShardId { task: "t1".parse().expect("id"), index: 0 };
        assert_eq!(delays.of(&id, None, 1_000), (0, false));
        assert_eq!(delays.of(&id, None, 6_000), (5_000, false));
        assert_eq!(delays.of(&id, Some(200), 7_000), (200, true));
        assert_eq!(delays.of(&id, None, 9_000), (2_200, false));
        assert_eq!(delays.of(&id, Some(0), 9_500), (0, true));
    }
}
