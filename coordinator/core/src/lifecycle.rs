//! The life of a task: which moves a user may make in which phase, and which phase is shown.
//!
//! | phase | start | pause | resume | terminate | delete |
//! |---|---|---|---|---|---|
//! | NotStarted, PrecheckFailed, Ready | yes | | | yes | yes |
//! | Prechecking, Initializing, Synchronizing, Retrying | | yes | | yes | yes |
//! | Paused | | | yes | yes | yes |
//! | Modifying | | | | yes | yes |
//! | Failed | yes | | yes | yes | yes |
//! | Terminated | | | | | yes |
//!
//! `start` prechecks again; `resume` goes on where the task was.

use std::fmt;

use serde::{Deserialize, Serialize};
use tidewire_shared::{Desired, Fault, FaultKind, Phase};

use crate::observed::{Observed, ShardObservation, ShardPhase};
use crate::state::{Clearance, Shard, Task};

/// What a user may ask of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Move {
    /// Precheck, then run.
    Start,
    /// Stop, and keep the place.
    Pause,
    /// Go on.
    Resume,
    /// End for good; slot and positions stay.
    Terminate,
    /// Vanish with everything it made.
    Delete,
}

impl Move {
    /// Every move.
    pub const ALL: [Self; 5] =
        [Self::Start, Self::Pause, Self::Resume, Self::Terminate, Self::Delete];

    /// The word of the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Terminate => "terminate",
            Self::Delete => "delete",
        }
    }

    /// What the task shall be after it.
    #[must_use]
    pub fn desired(self) -> Desired {
        match self {
            Self::Start | Self::Resume => Desired::Running,
            Self::Pause => Desired::Paused,
            Self::Terminate => Desired::Terminated,
            Self::Delete => Desired::Deleted,
        }
    }
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The moves that are legal in a phase, in the order of [`Move::ALL`].
#[must_use]
pub fn legal_moves(phase: Phase) -> &'static [Move] {
    match phase {
        Phase::NotStarted | Phase::PrecheckFailed | Phase::Ready => {
            &[Move::Start, Move::Terminate, Move::Delete]
        }
        Phase::Prechecking | Phase::Initializing | Phase::Synchronizing | Phase::Retrying => {
            &[Move::Pause, Move::Terminate, Move::Delete]
        }
        Phase::Paused => &[Move::Resume, Move::Terminate, Move::Delete],
        Phase::Modifying => &[Move::Terminate, Move::Delete],
        Phase::Failed => &[Move::Start, Move::Resume, Move::Terminate, Move::Delete],
        Phase::Terminated => &[Move::Delete],
    }
}

/// The phase that the log alone gives: where the task is, or is on its way to.
///
/// Moves are judged by it, so that a pause can be taken back while the nodes still carry it out.
#[must_use]
pub fn settled_phase(task: &Task) -> Phase {
    match task.desired() {
        Desired::Terminated | Desired::Deleted => Phase::Terminated,
        _ if task.unchecked_draft().is_some() => Phase::Modifying,
        _ if task.failure().is_some() => Phase::Failed,
        Desired::Paused => Phase::Paused,
        Desired::Stopped => match task.clearance() {
            Clearance::None => Phase::NotStarted,
            Clearance::Wanted => Phase::Prechecking,
            Clearance::Refused => Phase::PrecheckFailed,
            Clearance::Granted => Phase::Ready,
        },
        Desired::Running => match task.clearance() {
            Clearance::None | Clearance::Wanted => Phase::Prechecking,
            Clearance::Refused => Phase::PrecheckFailed,
            Clearance::Granted => Phase::Initializing,
        },
    }
}

/// The phase as shown to people: what the log wants, seen through the newest reports.
///
/// A task that is asked to stop shows how it runs until its last shard is released.
#[must_use]
pub fn phase_of(task: &Task, observed: &Observed) -> Phase {
    let settled = settled_phase(task);
    let assigned = task.shards().any(|(_, shard)| shard.assignment().is_some());
    match settled {
        Phase::Initializing if changes_over(task) => match running_phase(task, observed) {
            Phase::Initializing | Phase::Synchronizing => Phase::Modifying,
            trouble => trouble,
        },
        Phase::Initializing => running_phase(task, observed),
        Phase::Paused | Phase::Terminated if assigned => running_phase(task, observed),
        Phase::NotStarted
        | Phase::Prechecking
        | Phase::PrecheckFailed
        | Phase::Ready
        | Phase::Synchronizing
        | Phase::Retrying
        | Phase::Paused
        | Phase::Modifying
        | Phase::Failed
        | Phase::Terminated => settled,
    }
}

/// Whether an owner has yet to be given the present document, or its shards are yet to be made.
fn changes_over(task: &Task) -> bool {
    let given = |shard: &Shard| shard.assignment().map(|owner| owner.given.task);
    task.is_to_be_resharded()
        || task.shards().any(|(_, shard)| given(shard).is_some_and(|it| it != task.revision()))
}

/// The worst phase among the shards.
fn running_phase(task: &Task, observed: &Observed) -> Phase {
    let badness = |phase: &Phase| match phase {
        Phase::Failed => 3,
        Phase::Retrying => 2,
        Phase::Initializing => 1,
        _ => 0,
    };
    task.shards()
        .map(|(id, shard)| match observed.of_owner(&id, shard) {
            None => Phase::Initializing,
            Some(report) => shown(report),
        })
        .max_by_key(badness)
        .unwrap_or(Phase::Initializing)
}

/// Whether a failure may be the node's: it is tried on other nodes before the task fails.
///
/// Every other failure is one of source, target or document, and would be the same anywhere.
#[must_use]
pub fn is_crash(fault: &Fault) -> bool {
    matches!(fault.kind, FaultKind::Internal | FaultKind::Fenced)
}

/// A crash goes on elsewhere, so it shows as a retry.
fn shown(report: &ShardObservation) -> Phase {
    match report.phase {
        ShardPhase::Initializing => Phase::Initializing,
        ShardPhase::Synchronizing => Phase::Synchronizing,
        ShardPhase::Retrying => Phase::Retrying,
        ShardPhase::Failed if report.fault.as_ref().is_some_and(is_crash) => Phase::Retrying,
        ShardPhase::Failed => Phase::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_the_one_in_the_head_of_this_file() {
        let source = include_str!("lifecycle.rs");
        let rows = source.lines().filter_map(|line| line.strip_prefix("//! | ")).skip(1);
        let mut seen = 0;
        for row in rows {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let (phases, marks) = cells.split_first().expect("a row");
            let legal: Vec<Move> = Move::ALL
                .into_iter()
                .zip(marks)
                .filter(|(_, mark)| **mark == "yes")
                .map(|(wish, _)| wish)
                .collect();
            for name in phases.split(", ") {
                let phase = Phase::ALL.into_iter().find(|phase| phase.as_str() == name);
                assert_eq!(legal_moves(phase.expect(name)), legal, "{name}");
                seen += 1;
            }
        }
        assert_eq!(seen, Phase::ALL.len());
    }
}
