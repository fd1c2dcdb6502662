//! One shard: has it the owner it should have, and does that owner run it?
//!
//! ```text
//!  no owner ──place──► owned ──heartbeat shows it──► nothing to do
//!                        │ owner lost ───────────────► place under the next epoch
//!                        │ failed ───────────────────► record; a crash also moves
//!                        │ owner drains ─────────────► prepare the next, then revoke
//!                        │ document changed ─────────► give it to the owner under the next epoch
//!                        │ task shall not run ───────► revoke
//!                        │ other number of shards ───► revoke; once nobody owns any, make the new ones
//!                        └ revoked and stopped ──────► place, or release
//! ```

use std::sync::Arc;

use tidewire_shared::{Fault, FaultKind, ShardId, TaskSpec};

use super::Directive;
use super::plan::Plan;
use crate::command::{CommandKind, DrainCause};
use crate::connection::SpecRevisions;
use crate::lifecycle::is_crash;
use crate::observed::{ShardObservation, ShardPhase};
use crate::state::{Assignment, Shard, Task};

/// An assignment younger than this may still be on its way to its node, milliseconds.
const ON_ITS_WAY_MS: i64 = 3_000;

pub(super) fn reconcile(plan: &mut Plan<'_>) {
    for task in plan.tasks() {
        reshard(plan, task);
        for (id, shard) in task.shards() {
            match shard.assignment() {
                Some(owner) => Owned { id, task, shard, owner }.reconcile(plan),
                None if task.may_run() => {
                    plan.place(&id, shard);
                }
                None => {}
            }
        }
    }
}

/// Replaces the shards of a task that shall have another number of them, once nobody owns one.
fn reshard(plan: &mut Plan<'_>, task: &Task) {
    let owned = task.shards().any(|(_, shard)| shard.assignment().is_some());
    if task.is_to_be_resharded() && !owned {
        plan.propose(CommandKind::Reshard { task: task.id().clone() });
    }
}

/// A shard with its owner.
struct Owned<'s> {
    id: ShardId,
    task: &'s Task,
    shard: &'s Shard,
    owner: &'s Assignment,
}

impl Owned<'_> {
    fn reconcile(&self, plan: &mut Plan<'_>) {
        let wanted = self.task.may_run();
        if plan.is_lost(self.task, self.owner) {
            // With no place for it the assignment stays: its node may come back and simply go on.
            if wanted {
                plan.place(&self.id, self.shard);
            } else {
                self.release(plan);
            }
            return;
        }
        let released = plan.observed.released.get(&self.id);
        if released.is_some_and(|epoch| *epoch >= self.shard.epoch()) {
            return self.relocate(plan);
        }
        let report = plan.observed.of_owner(&self.id, self.shard);
        match report {
            _ if !wanted => self.withdraw(plan),
            _ if self.owner.given == SpecRevisions::default() => self.renew(plan),
            Some(report) if report.phase == ShardPhase::Failed => self.failed(plan, report),
            _ if self.hand_over(plan) => {}
            _ if self.owner.given != plan.state.revisions_of(self.task) => self.renew(plan),
            Some(_) => {}
            None => self.assign(plan),
        }
    }

    /// The owner stopped it: it goes elsewhere at once, or belongs to nobody.
    fn relocate(&self, plan: &mut Plan<'_>) {
        if !(self.task.may_run() && plan.place(&self.id, self.shard)) {
            self.release(plan);
        }
    }

    fn release(&self, plan: &mut Plan<'_>) {
        let (shard, epoch) = (self.id.clone(), self.shard.epoch());
        plan.propose(CommandKind::Release { shard, epoch });
    }

    /// Has the owner stop it. A heartbeat without it says that it did, unless it has yet to begin.
    fn withdraw(&self, plan: &mut Plan<'_>) {
        let age_ms = plan.now.wall_ms.saturating_sub(self.owner.since_ms);
        let session = plan.observed.session(&self.owner.node);
        let absent = session
            .and_then(|session| session.shards.as_ref())
            .is_some_and(|shards| !shards.contains_key(&self.id));
        if absent && age_ms >= ON_ITS_WAY_MS {
            return self.relocate(plan);
        }
        let directive = Directive::Revoke { shard: self.id.clone(), epoch: self.shard.epoch() };
        plan.send(&self.owner.node, self.owner.instance, directive);
    }

    /// The task, or a connection that it names, has changed since the owner got its document: the same
    /// process gets the new one under the next epoch, and starts over with it where it was.
    fn renew(&self, plan: &mut Plan<'_>) {
        plan.propose(CommandKind::Assign {
            shard: self.id.clone(),
            node: self.owner.node.clone(),
            instance: self.owner.instance,
            expect_epoch: self.shard.epoch(),
        });
    }

    /// The task's document as nodes get it. The log lets none in that does not resolve.
    fn document(&self, plan: &Plan<'_>) -> Option<Arc<TaskSpec>> {
        plan.state.resolve(self.task.spec()).ok()
    }

    fn assign(&self, plan: &mut Plan<'_>) {
        let Some(spec) = self.document(plan) else { return };
        let checkpoint = self.shard.checkpoint();
        let before = match checkpoint {
            None => self.task.predecessors().to_vec(),
            Some(_) => Vec::new(),
        };
        let directive = Directive::Assign {
            shard: self.id.clone(),
            epoch: self.shard.epoch(),
            spec,
            revision: self.task.revision(),
            ordinal: self.shard.ordinal(),
            first: self.task.first_shard(),
            count: self.task.shard_count(),
            before,
            hint: checkpoint.map(|checkpoint| checkpoint.hint),
            record: checkpoint.map_or_else(Vec::new, |it| it.record.clone()),
            resumed_over: self.task.resumed_over(),
        };
        plan.send(&self.owner.node, self.owner.instance, directive);
    }

    /// A crash is recorded, then moves to a node where it has not crashed; the log decides when that
    /// ends. Everything else fails the task.
    fn failed(&self, plan: &mut Plan<'_>, report: &ShardObservation) {
        let fault = report.fault.clone().unwrap_or_else(|| {
            Fault::new(
                FaultKind::Internal,
                format!("shard {}", self.id),
                "failed without saying why",
            )
        });
        let mut tried = self.shard.crashed_on().clone();
        let recorded = !tried.insert(self.owner.node.clone());
        let last_node = !plan.another_node_is_left(&tried);
        if is_crash(&fault) && recorded && !last_node {
            if plan.place_for(&self.id, self.shard).is_some() {
                self.withdraw(plan);
            }
            return;
        }
        plan.propose(CommandKind::TaskFailed {
            shard: self.id.clone(),
            epoch: self.shard.epoch(),
            node: self.owner.node.clone(),
            fault,
            last_node,
        });
    }

    /// Moves it off a draining node, or to the node where it is wanted; false if it may stay.
    ///
    /// The next owner gets a moment to prepare before this one stops. With nowhere to go, a node whose
    /// process ends lets go all the same, and one that somebody asked to drain keeps it running.
    fn hand_over(&self, plan: &mut Plan<'_>) -> bool {
        let drain = plan.state.node(&self.owner.node).and_then(|node| node.drain());
        // Where it crashed it is not placed before it made progress elsewhere.
        let wanted = self
            .shard
            .wanted_on()
            .is_some_and(|node| plan.takes_shards(node) && !self.shard.crashed_on().contains(node));
        let Some(cause) = drain.or(if wanted { Some(DrainCause::Asked) } else { None }) else {
            return false;
        };
        let Some(next) = plan.place_for(&self.id, self.shard) else {
            return match cause {
                DrainCause::Asked => false,
                DrainCause::Leaving => {
                    self.withdraw(plan);
                    true
                }
            };
        };
        match plan.observed.prepared.get(&self.id) {
            Some((node, since_ms)) if *node == next.node => {
                let prepared_for = plan.now.mono_ms.saturating_sub(*since_ms);
                if prepared_for >= plan.observed.timing().prepare_ms {
                    self.withdraw(plan);
                }
            }
            _ => {
                let Some(spec) = self.document(plan) else { return true };
                let directive = Directive::Prepare { shard: self.id.clone(), spec };
                plan.prepare(&next, directive);
            }
        }
        true
    }
}
