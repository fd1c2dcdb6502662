//! What must hold in every state, and between a state and its successor, by name.
//!
//! | name | statement |
//! |---|---|
//! | INV-01 | no two tasks have one name |
//! | INV-02 | no two shards have one ordinal, those that are taken over from included |
//! | INV-03 | a shard with an owner has an epoch above 0 |
//! | INV-04 | an owner is a node that is known |
//! | INV-05 | remembered requests, audit log, removed tasks, histories and messages keep their bounds |
//! | INV-06 | a task that was removed is not there |
//! | INV-07 | a cluster without identity holds nothing |
//! | INV-08 | a draft is newer than the document that it shall replace |
//! | INV-09 | a document that a node may still be given finds its connections |
//! | INV-10 | the alerts of a task find their channels |
//! | INV-11 | an epoch never decreases |
//! | INV-12 | another owner means a higher epoch |
//! | INV-13 | the serial of a checkpoint never goes back |
//! | INV-14 | an ordinal never changes |
//! | INV-15 | the identity of the cluster never changes, its version never decreases |
//! | INV-16 | a task that ended never runs again |
//! | INV-17 | a new owner is the process that registered last, on a node that does not drain |
//! | INV-18 | the numbers of shards follow each other, above those of every generation before |
//! | INV-19 | a shard that ran is there, or is known to be no more |
//! | INV-20 | what shards may have to take over is known until each has a place of its own |

use std::collections::{BTreeMap, BTreeSet};

use tidewire_shared::{Desired, Epoch};

use crate::generation::Generation;
use crate::indicators::MINUTES_KEPT;
use crate::revision::{DEEDS_KEPT, REVISIONS_KEPT};
use crate::state::{AUDIT_KEPT, ClusterState, LEFTOVERS_KEPT, REMOVED_KEPT, Shard, Task};

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its name, like `INV-01`.
    pub name: &'static str,
    /// What was found.
    pub found: String,
}

/// Broken invariants while they are collected.
#[derive(Default)]
struct Found(Vec<Violation>);

impl Found {
    fn unless(&mut self, holds: bool, name: &'static str, found: impl FnOnce() -> String) {
        if !holds {
            self.0.push(Violation { name, found: found() });
        }
    }
}

/// Every invariant of a single state that is broken.
#[must_use]
pub fn check(state: &ClusterState) -> Vec<Violation> {
    let mut found = Found::default();
    let mut names = BTreeSet::new();
    for task in state.tasks() {
        let newer = task.draft().is_none_or(|draft| draft.revision > task.revision());
        found.unless(newer && task.revision() <= task.newest_revision, "INV-08", || {
            format!("task {}", task.name())
        });
        found.unless(names.insert(task.name()), "INV-01", || format!("two tasks {}", task.name()));
        found
            .unless(state.removed(task.id()).is_none(), "INV-06", || format!("task {}", task.id()));
        check_numbers(&mut found, task);
    }
    for spec in state.documents() {
        let resolved = state.resolve(spec);
        found.unless(resolved.is_ok(), "INV-09", || format!("{}: {resolved:?}", spec.name()));
    }
    for spec in state.task_documents() {
        let known = state.knows_channels_of(spec);
        found.unless(known.is_ok(), "INV-10", || format!("{}: {known:?}", spec.name()));
    }
    let mut ordinals = BTreeMap::new();
    for (id, _, shard) in state.shards() {
        let other = ordinals.insert(shard.ordinal(), id.clone());
        found.unless(other.is_none(), "INV-02", || format!("{} of {id}", shard.ordinal()));
        let Some(owner) = shard.assignment() else { continue };
        found.unless(shard.epoch() > Epoch::default(), "INV-03", || format!("shard {id}"));
        let known = state.node(&owner.node).is_some();
        found.unless(known, "INV-04", || format!("shard {id} on {}", owner.node));
    }
    for task in state.tasks() {
        for retired in task.predecessors.iter().flat_map(Generation::shards) {
            let free = !ordinals.contains_key(&retired.ordinal);
            found.unless(free, "INV-02", || {
                format!("{} of a shard of {} that is no more", retired.ordinal, task.name())
            });
        }
    }
    let bounded = state.requests.is_consistent()
        && state.audit.len() <= AUDIT_KEPT
        && state.removed.len() <= REMOVED_KEPT
        && state.leftovers.len() <= LEFTOVERS_KEPT
        && state.alerts.keeps_its_bounds()
        && state.tasks().all(|task| {
            task.revisions.len() <= REVISIONS_KEPT
                && task.deeds.len() <= DEEDS_KEPT
                && task.indicators.len() <= MINUTES_KEPT
        });
    found.unless(bounded, "INV-05", || "a list has outgrown its bound".to_owned());
    let empty = state.nodes.is_empty()
        && state.tasks.is_empty()
        && state.connections.is_empty()
        && state.alerts.is_empty();
    found.unless(state.cluster_id().is_some() || empty, "INV-07", || "not empty".to_owned());
    found.0
}

/// Every invariant between a state and its successor that is broken.
#[must_use]
pub fn check_step(before: &ClusterState, after: &ClusterState) -> Vec<Violation> {
    let mut found = Found::default();
    let same_identity = before.cluster_id().is_none() || before.cluster_id() == after.cluster_id();
    let versions = (before.cluster_version(), after.cluster_version());
    found.unless(same_identity && versions.0 <= versions.1, "INV-15", || format!("{versions:?}"));
    for (id, _, old) in before.shards() {
        if let Some(new) = after.shard(&id) {
            check_shard(&mut found, &id.to_string(), old, new);
            check_owner(&mut found, &id.to_string(), (old, new), after);
        }
    }
    for old in before.tasks() {
        if let Some(new) = after.task(old.id()) {
            let legal = ended(old) <= ended(new);
            found.unless(legal, "INV-16", || format!("task {}", old.name()));
            check_generations(&mut found, old, new);
        }
    }
    found.0
}

/// Numbers are given out once: the present ones follow each other above all that are no more.
fn check_numbers(found: &mut Found, task: &Task) {
    let numbers: Vec<u32> = task.shards.keys().copied().collect();
    let follow = numbers.iter().zip(numbers.iter().skip(1)).all(|(a, b)| a + 1 == *b);
    let highest = task.retired.keys().next_back();
    let above = highest.is_none_or(|highest| *highest < task.first_shard());
    let given = numbers.last().is_some_and(|last| *last < task.shard_numbers);
    found.unless(follow && above && given, "INV-18", || {
        format!("task {}: {numbers:?} after {highest:?}", task.name())
    });
    let known = |before: &Generation| before.shards.keys().all(|it| task.retired.contains_key(it));
    found.unless(task.predecessors.iter().all(known), "INV-19", || {
        format!("task {} takes over from shards that it never had", task.name())
    });
}

fn check_generations(found: &mut Found, old: &Task, new: &Task) {
    let ran = old.shards.iter().filter(|(_, shard)| shard.epoch() > Epoch::default());
    let known = |number: &u32| new.shards.contains_key(number) || new.retired.contains_key(number);
    let kept = old.retired.keys().all(|number| new.retired.contains_key(number));
    found.unless(kept && ran.map(|(number, _)| number).all(known), "INV-19", || {
        format!("task {} forgot a shard", new.name())
    });
    let settled = new.shards.values().all(|shard| shard.checkpoint().is_some());
    let kept = settled || old.predecessors.iter().all(|it| new.predecessors.contains(it));
    let same = old.first_shard() == new.first_shard() || !old.generation_has_run();
    let replaced = || Generation::retire(old.shards.clone());
    let taken_over = same || new.predecessors.first() == Some(&replaced());
    let in_time = !settled || new.predecessors.is_empty();
    found.unless(kept && taken_over && in_time, "INV-20", || {
        format!("task {}: its shards take over from {:?}", new.name(), new.predecessors)
    });
}

/// 0: may run again, 1: ended, 2: on its way out.
fn ended(task: &Task) -> u8 {
    match task.desired() {
        Desired::Stopped | Desired::Running | Desired::Paused => 0,
        Desired::Terminated => 1,
        Desired::Deleted => 2,
    }
}

fn check_shard(found: &mut Found, id: &str, old: &Shard, new: &Shard) {
    let epochs = (old.epoch(), new.epoch());
    found.unless(epochs.0 <= epochs.1, "INV-11", || format!("shard {id}: {epochs:?}"));
    let owner = |shard: &Shard| shard.assignment().map(|it| (it.node.clone(), it.instance));
    let same_owner = owner(new).is_none() || owner(new) == owner(old);
    found.unless(same_owner || epochs.0 < epochs.1, "INV-12", || format!("shard {id}"));
    let serial = |shard: &Shard| shard.checkpoint().map_or(0, |it| it.hint.serial);
    let serials = (serial(old), serial(new));
    found.unless(serials.0 <= serials.1, "INV-13", || format!("shard {id}: {serials:?}"));
    found.unless(old.ordinal() == new.ordinal(), "INV-14", || format!("shard {id}"));
}

fn check_owner(found: &mut Found, id: &str, (old, new): (&Shard, &Shard), after: &ClusterState) {
    let Some(owner) = new.assignment() else { return };
    let stays = old
        .assignment()
        .is_some_and(|before| (&before.node, before.instance) == (&owner.node, owner.instance));
    let fit = after
        .node(&owner.node)
        .is_some_and(|node| node.instance() == owner.instance && !node.is_draining());
    found.unless(stays || fit, "INV-17", || format!("shard {id} on {}", owner.node));
}
