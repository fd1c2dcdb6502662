//! How long conditions hold: the leader's memory, and what it proposes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tidewire_shared::{AlertName, AlertRule, Fault, Phase, TaskId};

use super::facts::{Delays, Facts, facts, holds};
use super::message::Ending;
use crate::observed::{Now, Observed};
use crate::state::ClusterState;

/// Looks further apart than this are not counted as time that was seen: the leader was frozen.
const LOOK_MAX_MS: u64 = 5_000;

/// Characters of each text of a fault that are kept.
const TEXT_MAX: usize = 1_000;

/// What becomes of one alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertMove {
    /// The task.
    pub task: TaskId,
    /// The alert.
    pub alert: AlertName,
    /// What becomes of it.
    pub step: Step,
    /// What its message says of the task; none: the task is gone.
    pub seen: Option<Seen>,
}

/// What becomes of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Its condition has held for long enough.
    Begins,
    /// It still does, and it is time to say so.
    GoesOn,
    /// It does no more.
    Ends(Ending),
}

/// What a message says of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Its phase.
    pub phase: Phase,
    /// How late it is, milliseconds; none: it need not be in time.
    pub delay_ms: Option<u64>,
    /// WAL that it holds back at its source, bytes; none: not a PostgreSQL task, or not known.
    pub wal_bytes: Option<u64>,
    /// Why it is retrying or failed.
    pub fault: Option<Fault>,
}

impl From<Facts> for Seen {
    fn from(facts: Facts) -> Self {
        let Facts { phase, delay_ms, wal_bytes, fault, .. } = facts;
        Self { phase, delay_ms, wal_bytes, fault: fault.map(clipped) }
    }
}

/// What a message quotes of a fault: it is kept for long, and the whole of it stands in the task.
fn clipped(fault: Fault) -> Fault {
    let clip = |text: String| text.chars().take(TEXT_MAX).collect();
    let Fault { kind, object, message, remedy } = fault;
    Fault { kind, object: clip(object), message: clip(message), remedy: clip(remedy) }
}

/// Where an alert is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Its condition does not hold.
    Quiet,
    /// It holds, and not yet for long enough.
    Pending,
    /// It was found to hold for long enough.
    Firing,
}

impl Progress {
    /// The word that clients see.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quiet => "quiet",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

/// The leader's memory of conditions; empty when a term begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    looked_ms: Option<u64>,
    delays: Delays,
    /// For how long the opposite of how an alert stands was seen without a break.
    against: BTreeMap<(TaskId, AlertName), Against>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Against {
    /// How the alert stood when the count began.
    fires: bool,
    ms: u64,
}

impl Watch {
    /// Looks at every alert of every task; to be called about once a second.
    ///
    /// A firing alert is over once its condition was away for as long as it had to hold, and for
    /// `clear_ms` at least: a condition that comes and goes is one alert. `seen`: the nodes, and the
    /// bytes of WAL that tasks hold which do not stream.
    pub fn look(
        &mut self,
        state: &ClusterState,
        seen: (&Observed, &BTreeMap<TaskId, u64>),
        now: Now,
        clear_ms: u64,
    ) -> Vec<AlertMove> {
        let passed_ms = self.looked_ms.map_or(0, |then| now.mono_ms.saturating_sub(then));
        self.looked_ms = Some(now.mono_ms);
        let passed_ms = if passed_ms > LOOK_MAX_MS { 0 } else { passed_ms };
        self.delays.keep(state);
        self.against.retain(|(task, alert), _| rule(state, task, alert).is_some());
        let mut moves = self.orphans(state);
        for task in state.tasks().filter(|task| !task.spec().alerts().is_empty()) {
            let facts = facts(task, seen, &mut self.delays, now.mono_ms);
            for rule in task.spec().alerts() {
                let standing = state.alerts().standing(task.id(), &rule.name);
                let fires = standing.is_some_and(|standing| standing.since_ms().is_some());
                let against_ms =
                    self.count(task.id(), rule, fires, holds(&rule.when, &facts), passed_ms);
                let step = match against_ms {
                    Some(ms) if !fires && ms >= rule.when.lasting.0 => Step::Begins,
                    Some(ms) if fires && ms >= rule.when.lasting.0.max(clear_ms) => {
                        Step::Ends(Ending::Over)
                    }
                    _ if standing.is_some_and(|it| it.is_due(rule.repeat, now.wall_ms)) => {
                        Step::GoesOn
                    }
                    _ => continue,
                };
                let (task, alert) = (task.id().clone(), rule.name.clone());
                moves.push(AlertMove { task, alert, step, seen: Some(facts.clone().into()) });
            }
        }
        moves
    }

    /// Where an alert is on its way.
    #[must_use]
    pub fn progress(&self, state: &ClusterState, task: &TaskId, alert: &AlertName) -> Progress {
        let standing = state.alerts().standing(task, alert);
        if standing.is_some_and(|standing| standing.since_ms().is_some()) {
            Progress::Firing
        } else if self.against.get(&(task.clone(), alert.clone())).is_some_and(|it| !it.fires) {
            Progress::Pending
        } else {
            Progress::Quiet
        }
    }

    /// For how long the condition has been against how the alert stands; none: it is not.
    fn count(
        &mut self,
        task: &TaskId,
        rule: &AlertRule,
        fires: bool,
        holds: Option<bool>,
        passed_ms: u64,
    ) -> Option<u64> {
        let key = (task.clone(), rule.name.clone());
        match holds {
            // Nobody knows: what was counted stays.
            None => None,
            Some(holds) if holds == fires => {
                self.against.remove(&key);
                None
            }
            Some(_) => {
                let known = self.against.get(&key).filter(|against| against.fires == fires);
                let ms = known.map_or(0, |against| against.ms.saturating_add(passed_ms));
                self.against.insert(key, Against { fires, ms });
                Some(ms)
            }
        }
    }

    /// Alerts that fire although nobody wants to hear of them any more.
    fn orphans(&mut self, state: &ClusterState) -> Vec<AlertMove> {
        let orphan = |(task, alert): (&TaskId, &AlertName)| {
            if rule(state, task, alert).is_some() {
                return None;
            }
            let ending =
                if state.task(task).is_some() { Ending::RuleGone } else { Ending::TaskGone };
            let (task, alert) = (task.clone(), alert.clone());
            Some(AlertMove { task, alert, step: Step::Ends(ending), seen: None })
        };
        state.alerts().firing().filter_map(orphan).collect()
    }
}

/// The alert of this name in the document of a task.
pub(crate) fn rule<'s>(
    state: &'s ClusterState,
    task: &TaskId,
    alert: &AlertName,
) -> Option<&'s AlertRule> {
    state.task(task)?.spec().alerts().iter().find(|rule| rule.name == *alert)
}
