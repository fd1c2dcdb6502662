//! The actions of one round while they are being found.

use std::collections::BTreeSet;

use tidewire_shared::spec::Delivery;
use tidewire_shared::{NodeName, ShardId};

use super::{Action, Directive};
use crate::command::{Command, CommandKind};
use crate::liveness::Standing;
use crate::observed::{Now, Observed};
use crate::schedule::{Candidate, candidates, choose};
use crate::state::{Assignment, ClusterState, Node, Shard, Task};

pub(super) struct Plan<'r> {
    pub(super) state: &'r ClusterState,
    pub(super) observed: &'r Observed,
    pub(super) now: Now,
    /// Nodes that take shards, with what this round already gives them.
    candidates: Vec<Candidate>,
    actions: Vec<Action>,
}

impl<'r> Plan<'r> {
    pub(super) fn new(state: &'r ClusterState, observed: &'r Observed, now: Now) -> Self {
        let mut plan = Self {
            state,
            observed,
            now,
            candidates: candidates(state, observed, now.mono_ms),
            actions: Vec::new(),
        };
        for (id, (node, _)) in &observed.prepared {
            if state.shard(id).is_some_and(|shard| !shard.is_on(node)) {
                plan.add_load(node);
            }
        }
        plan
    }

    pub(super) fn into_actions(self) -> Vec<Action> {
        self.actions
    }

    /// Adds an action unless the very same one was carried out a moment ago.
    pub(super) fn push(&mut self, action: Action) {
        if !self.observed.did_lately(&action, self.now.mono_ms) {
            self.actions.push(action);
        }
    }

    pub(super) fn propose(&mut self, kind: CommandKind) {
        self.push(Action::Propose(Command::internal(self.now.wall_ms, kind)));
    }

    /// Sends to a node if its process has an open session.
    pub(super) fn send(&mut self, node: &NodeName, instance: u64, directive: Directive) {
        if self.is_reachable(node, instance) {
            self.push(Action::Send(node.clone(), directive));
        }
    }

    pub(super) fn is_reachable(&self, node: &NodeName, instance: u64) -> bool {
        self.standing(node) != Standing::Gone
            && self
                .observed
                .session(node)
                .is_some_and(|it| it.instance == instance && it.closed_ms.is_none())
    }

    pub(super) fn standing(&self, node: &NodeName) -> Standing {
        self.observed.standing(node, self.now.mono_ms)
    }

    /// Gives a shard to the best node under the next epoch; false if there is none.
    pub(super) fn place(&mut self, id: &ShardId, shard: &Shard) -> bool {
        let Some(place) = self.place_for(id, shard) else { return false };
        self.add_load(&place.node);
        self.propose(CommandKind::Assign {
            shard: id.clone(),
            node: place.node,
            instance: place.instance,
            expect_epoch: shard.epoch(),
        });
        true
    }

    /// Whether a node may be given a shard now.
    pub(super) fn takes_shards(&self, node: &NodeName) -> bool {
        self.candidates.iter().any(|candidate| candidate.node == *node)
    }

    /// The nodes that take shards, with what they will carry.
    pub(super) fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }

    /// The node where the shard is wanted or that prepared for it, if it still takes shards; else the
    /// best one.
    ///
    /// A node where the shard crashed is taken only when the cluster has no other.
    pub(super) fn place_for(&self, id: &ShardId, shard: &Shard) -> Option<Candidate> {
        let crashed = shard.crashed_on();
        let prepared = self.observed.prepared.get(id).map(|(node, _)| node);
        let first = [shard.wanted_on(), prepared].into_iter().flatten().find_map(|node| {
            let candidate = self.candidates.iter().find(|candidate| candidate.node == *node)?;
            (!crashed.contains(node)).then_some(candidate)
        });
        if let Some(ready) = first {
            return Some(ready.clone());
        }
        let fallback = || {
            let anywhere = BTreeSet::new();
            let only_crashed = !self.another_node_is_left(crashed);
            only_crashed.then(|| choose(&self.candidates, id, &anywhere)).flatten()
        };
        choose(&self.candidates, id, crashed).or_else(fallback).cloned()
    }

    /// Whether a node outside of `tried` takes shards, or may again soon.
    pub(super) fn another_node_is_left(&self, tried: &BTreeSet<NodeName>) -> bool {
        self.state.nodes().any(|node| {
            !tried.contains(node.name())
                && !node.is_draining()
                && self.standing(node.name()) != Standing::Gone
        })
    }

    /// A live node for work beside the shards: the emptiest, one that stays and has not failed at it.
    ///
    /// `passed_over` moves on to the next best: so often the order could not even be handed over.
    pub(super) fn worker(
        &self,
        failed: &BTreeSet<NodeName>,
        passed_over: usize,
    ) -> Option<(NodeName, u64)> {
        let mut live: Vec<&Node> = self
            .state
            .nodes()
            .filter(|node| {
                self.standing(node.name()) == Standing::Live
                    && self.is_reachable(node.name(), node.instance())
            })
            .collect();
        live.sort_by_cached_key(|node| {
            let name = node.name();
            (failed.contains(name), node.is_draining(), self.state.load_of(name))
        });
        let choice = passed_over.checked_rem(live.len())?;
        live.get(choice).map(|node| (node.name().clone(), node.instance()))
    }

    /// Whether the process that owns a shard is away for good. Where Kafka does not fence it, its
    /// lease must be over, too.
    pub(super) fn is_lost(&self, task: &Task, owner: &Assignment) -> bool {
        let fenced = task.spec().delivery() == Delivery::ExactlyOnce;
        self.is_away(owner)
            && (fenced
                || self.observed.lease_is_over(&owner.node, owner.instance, self.now.mono_ms))
    }

    fn is_away(&self, owner: &Assignment) -> bool {
        let registered = self.state.node(&owner.node).map(|node| node.instance());
        let connected = self.observed.session(&owner.node).map(|session| session.instance);
        registered != Some(owner.instance)
            || connected.is_some_and(|instance| instance != owner.instance)
            || self.standing(&owner.node) == Standing::Gone
    }

    /// Tells the next owner of a shard to get ready, and counts the shard as its load.
    pub(super) fn prepare(&mut self, next: &Candidate, directive: Directive) {
        self.add_load(&next.node);
        self.send(&next.node, next.instance, directive);
    }

    pub(super) fn tasks(&self) -> impl Iterator<Item = &'r Task> + use<'r> {
        self.state.tasks()
    }

    fn add_load(&mut self, node: &NodeName) {
        if let Some(found) = self.candidates.iter_mut().find(|candidate| candidate.node == *node) {
            found.load = found.load.saturating_add(1);
        }
    }
}
