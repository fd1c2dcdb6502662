//! Nodes die, freeze, drain and come back while users move tasks. Once the faults stop, every task that
//! shall run has exactly one living owner, nothing else runs, and the cluster is quiet.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, proptest};
use proptest::prop_oneof;
use tidewire_coordinator_core::{CommandKind, DrainCause, Move, Standing, phase_of};
use tidewire_shared::{Desired, Epoch, FaultKind, NodeName, Phase, ShardId};

use crate::sample;
use crate::simulation::Cluster;

const NODES: u8 = 4;
const TASKS: u64 = 5;

/// One thing that happens to the cluster from outside.
#[derive(Clone, Debug)]
enum Happening {
    Join(u8),
    Kill(u8),
    Freeze(u8),
    Thaw(u8),
    CutSession(u8),
    Leave(u8),
    Drain(u8),
    Resume(u8),
    Create(u64),
    Wish(u64, Move),
    Modify(u64, u8),
    Divide(u64, u32),
    Move(u64, u8),
    ShardCrashes(u64),
    ShardFails(u64),
    ClaimSeen(u64),
    LeaderChanges,
    LeaderFrozen,
}

fn happening() -> impl Strategy<Value = Happening> {
    let node = 0..NODES;
    let task = 0..TASKS;
    prop_oneof![
        6 => node.clone().prop_map(Happening::Join),
        3 => node.clone().prop_map(Happening::Kill),
        2 => node.clone().prop_map(Happening::Freeze),
        2 => node.clone().prop_map(Happening::Thaw),
        2 => node.clone().prop_map(Happening::CutSession),
        1 => node.clone().prop_map(Happening::Leave),
        1 => node.clone().prop_map(Happening::Drain),
        1 => node.prop_map(Happening::Resume),
        4 => task.clone().prop_map(Happening::Create),
        8 => (task.clone(), wish()).prop_map(|(task, wish)| Happening::Wish(task, wish)),
        2 => (task.clone(), 0..3_u8).prop_map(|(task, more)| Happening::Modify(task, more)),
        3 => (task.clone(), 1..5_u32).prop_map(|(task, shards)| Happening::Divide(task, shards)),
        1 => (task.clone(), 0..NODES).prop_map(|(task, node)| Happening::Move(task, node)),
        1 => task.clone().prop_map(Happening::ShardCrashes),
        1 => task.clone().prop_map(Happening::ShardFails),
        1 => task.prop_map(Happening::ClaimSeen),
        1 => Just(Happening::LeaderChanges),
        1 => Just(Happening::LeaderFrozen),
    ]
}

/// Every other task copies topics.
fn is_copy(task: u64) -> bool {
    task % 2 == 1
}

fn wish() -> impl Strategy<Value = Move> {
    prop_oneof![
        6 => Just(Move::Start), 2 => Just(Move::Pause), 3 => Just(Move::Resume),
        1 => Just(Move::Terminate), 1 => Just(Move::Delete),
    ]
}

impl Cluster {
    fn happen(&mut self, happening: &Happening) {
        match happening {
            Happening::Join(node) => self.join(sample::node(*node)),
            Happening::Kill(node) => self.kill(&sample::node(*node)),
            Happening::Freeze(node) => self.with(*node, |process| process.frozen = true),
            Happening::Thaw(node) => self.with(*node, |process| process.frozen = false),
            Happening::CutSession(node) => self.cut(&sample::node(*node)),
            Happening::Leave(node) => self.with(*node, |process| process.leaving = true),
            Happening::Drain(node) => {
                let node = sample::node(*node);
                self.propose(CommandKind::DrainNode { node, cause: DrainCause::Asked });
            }
            Happening::Resume(node) => {
                self.propose(CommandKind::ResumeNode { node: sample::node(*node) });
            }
            Happening::Create(task) if is_copy(*task) => {
                if self.state.task(&self.task(*task)).is_none() {
                    self.create_with(*task, sample::copy(&format!("task-{task}"), 2));
                }
            }
            Happening::Create(task) => self.create(*task),
            Happening::Wish(task, wish) => {
                self.propose(CommandKind::SetDesired { task: self.task(*task), wish: *wish });
            }
            Happening::Modify(task, more) => {
                let spec = sample::spec_of(&format!("task-{task}"), *more);
                self.propose(CommandKind::ModifyTask { task: self.task(*task), spec });
            }
            Happening::Divide(task, shards) => {
                let spec = sample::copy(&format!("task-{task}"), *shards);
                self.propose(CommandKind::ModifyTask { task: self.task(*task), spec });
            }
            Happening::Move(task, node) => {
                let shard = self.some_shard(*task);
                self.propose(CommandKind::MoveShard { shard, node: sample::node(*node) });
            }
            Happening::ShardCrashes(task) => self.fail(*task, FaultKind::Internal),
            Happening::ShardFails(task) => self.fail(*task, FaultKind::SourceState),
            Happening::ClaimSeen(task) => {
                let shard = self.some_shard(*task);
                let Some(epoch) = self.state.shard(&shard).map(|shard| shard.epoch()) else {
                    return;
                };
                self.propose(CommandKind::RaiseEpoch { shard, above: Epoch(epoch.0 + 3) });
            }
            Happening::LeaderChanges => self.change_leader(),
            Happening::LeaderFrozen => self.advance(5_000),
        }
    }

    fn some_shard(&self, task: u64) -> ShardId {
        let id = self.task(task);
        let index = self.state.task(&id).map_or(0, |task| task.first_shard());
        ShardId { task: id, index }
    }

    /// The faults end: everybody wakes, nobody drains, and there is at least one node.
    fn heal(&mut self) {
        for process in self.processes.values_mut() {
            process.frozen = false;
        }
        self.join(sample::node(0));
        self.join(sample::node(1));
        for node in 0..NODES {
            self.propose(CommandKind::ResumeNode { node: sample::node(node) });
        }
    }

    fn assert_converged(&self) {
        let mut running: BTreeMap<ShardId, (NodeName, Epoch)> = BTreeMap::new();
        for (name, process) in &self.processes {
            for (id, (epoch, _)) in &process.shards {
                let other = running.insert(id.clone(), (name.clone(), *epoch));
                assert_eq!(other, None, "{id} runs twice");
            }
        }
        for task in self.state.tasks() {
            assert!(!task.is_to_be_resharded(), "{} has too many or too few shards", task.name());
        }
        let mut wanted = BTreeSet::new();
        for (id, task, shard) in self.state.shards() {
            assert_ne!(task.desired(), Desired::Deleted, "{id} was never removed");
            if !task.may_run() {
                assert_eq!(shard.assignment(), None, "{id} has an owner though it shall not run");
                continue;
            }
            let owner = shard.assignment().expect("an owner");
            let standing = self.observed.standing(&owner.node, self.now.mono_ms);
            assert_eq!(standing, Standing::Live, "{id} is on {}", owner.node);
            assert_eq!(running.get(&id), Some(&(owner.node.clone(), shard.epoch())), "{id}");
            assert_eq!(phase_of(task, &self.observed), Phase::Synchronizing, "{id}");
            assert_eq!(owner.given.task, task.revision(), "{id} runs with an old document");
            assert!(shard.checkpoint().is_some(), "{id} runs without a position in the log");
            wanted.insert(id);
        }
        assert_eq!(running.keys().cloned().collect::<BTreeSet<_>>(), wanted);
        let leaving = self.processes.values().filter(|process| process.leaving).count();
        assert_eq!(leaving, 0, "a node that wanted to leave was not dismissed");
        let prechecking =
            self.state.tasks().find(|task| phase_of(task, &self.observed) == Phase::Prechecking);
        assert_eq!(prechecking.map(|task| task.name().clone()), None);
    }
}

impl Cluster {
    fn assert_quiet(&self) {
        let loud = self.acts.iter().find(|(_, act)| act != "propose checkpoints");
        assert_eq!(loud, None, "nothing is left to do");
    }
}

proptest! {
    #![proptest_config(proptest::test_runner::Config { cases: 300, ..Default::default() })]

    #[test]
    fn after_the_faults_every_task_has_one_living_owner(
        happenings in vec((happening(), 0..25_u8), 1..60),
        start_again in any::<bool>(),
    ) {
        let mut cluster = Cluster::new();
        for (happening, steps) in &happenings {
            cluster.happen(happening);
            cluster.steps(u32::from(*steps));
        }
        cluster.heal();
        for number in (0..TASKS).filter(|_| start_again) {
            for wish in [Move::Start, Move::Resume] {
                cluster.happen(&Happening::Wish(number, wish));
            }
        }
        // Long enough for the balance of a calm cluster, too.
        cluster.steps(600);
        cluster.assert_converged();
        cluster.acts.clear();
        cluster.steps(30);
        cluster.assert_quiet();
    }
}
