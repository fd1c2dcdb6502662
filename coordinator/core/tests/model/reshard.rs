//! Another number of shards: a new generation, made once nobody owns a shard of the old one.

use std::collections::BTreeSet;

use tidewire_coordinator_core::{
    Command, CommandKind, Directive, Move, Outcome, RejectionCode, Task, apply, phase_of,
};
use tidewire_shared::spec::Delivery;
use tidewire_shared::{NodeName, Phase, ShardId, TaskSpec};

use crate::sample;
use crate::simulation::Cluster;

const NAME: &str = "task-0";

/// Nodes `0..nodes` and a copy that runs in so many shards.
fn running(nodes: u8, shards: u32, delivery: Delivery) -> Cluster {
    let mut cluster = Cluster::new();
    for node in 0..nodes {
        cluster.join(sample::node(node));
    }
    cluster.steps(5);
    cluster.create_with(0, document(shards, delivery));
    cluster.wish_for(Move::Start);
    cluster.until("running", Cluster::all_run);
    cluster
}

fn document(shards: u32, delivery: Delivery) -> std::sync::Arc<TaskSpec> {
    let mut spec = sample::copy(NAME, shards).as_ref().clone();
    if let TaskSpec::KafkaToKafka(task) = &mut spec {
        task.delivery = delivery;
    }
    spec.into()
}

impl Cluster {
    fn copy(&self) -> &Task {
        self.state.task(&self.task(0)).expect("the task")
    }

    fn try_to(&mut self, kind: CommandKind) -> Result<Outcome, (RejectionCode, String)> {
        let outcome = apply(&mut self.state, &Command::internal(0, kind)).outcome;
        outcome.map_err(|it| (it.code, it.remedy()))
    }

    fn wish_for(&mut self, wish: Move) {
        let task = self.task(0);
        self.try_to(CommandKind::SetDesired { task, wish }).expect("legal");
    }

    fn divide(&mut self, shards: u32) -> Result<Outcome, (RejectionCode, String)> {
        let delivery = self.copy().spec().delivery();
        let (task, spec) = (self.task(0), document(shards, delivery));
        self.try_to(CommandKind::ModifyTask { task, spec })
    }

    fn numbers(&self) -> Vec<u32> {
        self.copy().shards().map(|(id, _)| id.index).collect()
    }

    fn is_shown(&self, phase: Phase) -> bool {
        phase_of(self.copy(), &self.observed) == phase
    }

    /// Every shard has an owner that runs it, and a position in the log.
    fn all_run(&self) -> bool {
        self.is_shown(Phase::Synchronizing)
            && self.copy().shards().all(|(_, shard)| shard.checkpoint().is_some())
    }

    /// What processes run of the task, whoever owns it.
    fn running_numbers(&self) -> BTreeSet<(NodeName, u32)> {
        let running = self.processes.iter().flat_map(|(name, process)| {
            process.shards.keys().map(move |id: &ShardId| (name.clone(), id.index))
        });
        running.collect()
    }
}

#[test]
fn a_running_task_gets_shards_under_numbers_never_used_before() {
    let mut cluster = running(2, 2, Delivery::ExactlyOnce);
    cluster.divide(5).expect("a draft");
    let mut modifying = false;
    cluster.until("five run", |it| {
        modifying |= it.is_shown(Phase::Modifying) && it.copy().revision() == 2;
        it.numbers().len() == 5 && it.all_run()
    });
    assert!(modifying, "the phase while the old ones stop");
    assert_eq!(cluster.numbers(), [2, 3, 4, 5, 6]);
    cluster.divide(3).expect("a draft");
    cluster.until("three run", |it| it.numbers().len() == 3 && it.all_run());
    assert_eq!(cluster.numbers(), [7, 8, 9]);
    assert!(cluster.copy().predecessors().is_empty(), "all have places of their own");
    let ever: Vec<u32> = cluster.copy().shards_ever().iter().map(|(number, _)| *number).collect();
    assert_eq!(ever, (0..10).collect::<Vec<_>>(), "all are cleaned up at last");
    let told: Vec<&str> = cluster.copy().deeds().map(|deed| deed.what.as_str()).collect();
    assert!(told.ends_with(&["reshard from 2 to 5", "reshard from 5 to 3"]), "{told:?}");
}

#[test]
fn shards_that_have_no_place_yet_are_told_whom_they_replace() {
    let mut cluster = running(1, 2, Delivery::ExactlyOnce);
    cluster.divide(3).expect("a draft");
    cluster.until("resharded", |it| it.numbers().len() == 3);
    let ordinals: Vec<u64> =
        cluster.copy().predecessors()[0].shards().map(|retired| retired.ordinal).collect();
    assert_eq!(ordinals, [0, 1]);
    cluster.serial_stands = true;
    let sent = |it: &Cluster| -> Vec<Directive> {
        it.processes.values().flat_map(|process| process.inbox.clone()).collect()
    };
    cluster.until("told", |it| !sent(it).is_empty());
    for directive in sent(&cluster) {
        let Directive::Assign { shard, first, count, before, ordinal, .. } = directive else {
            panic!("only assignments: {directive}")
        };
        assert_eq!((first, count, before.len()), (2, 3, 1), "{shard}");
        assert!(!ordinals.contains(&ordinal), "{shard} has one of its own");
        assert!(before[0].shards().all(|retired| retired.checkpoint.is_some()));
    }
}

#[test]
fn a_paused_task_is_divided_anew_at_once_also_twice() {
    let mut cluster = running(2, 2, Delivery::ExactlyOnce);
    cluster.wish_for(Move::Pause);
    cluster.until("paused", |it| it.is_shown(Phase::Paused));
    cluster.divide(4).expect("a draft");
    cluster.until("four shards", |it| it.numbers() == [2, 3, 4, 5]);
    cluster.divide(1).expect("a draft");
    cluster.until("one shard", |it| it.numbers() == [6]);
    assert!(cluster.is_shown(Phase::Paused));
    let first: Vec<u32> = cluster.copy().predecessors().iter().map(|it| it.first()).collect();
    assert_eq!(first, [0], "those that nobody ever owned leave nothing");
    cluster.wish_for(Move::Resume);
    cluster.until("running", Cluster::all_run);
}

#[test]
fn an_owner_that_is_frozen_is_waited_for_as_long_as_nothing_else_stops_it() {
    for (delivery, least_ms, most_ms) in
        [(Delivery::ExactlyOnce, 2_500, 5_000), (Delivery::AtLeastOnce, 6_500, 9_000)]
    {
        let mut cluster = running(2, 2, delivery);
        let owner =
            cluster.copy().shards().next().and_then(|(_, shard)| shard.assignment().cloned());
        let owner = owner.expect("an owner").node;
        let frozen = |cluster: &mut Cluster, is| {
            cluster.processes.get_mut(&owner).expect("the node").frozen = is;
        };
        frozen(&mut cluster, true);
        cluster.divide(3).expect("a draft");
        let took_ms = cluster.until("resharded", |it| it.numbers().len() == 3);
        assert!((least_ms..=most_ms).contains(&took_ms), "{delivery:?}: {took_ms} ms");
        cluster.until("three run", Cluster::all_run);
        frozen(&mut cluster, false);
        cluster.until("the old one stops", |it| {
            it.running_numbers().iter().all(|(_, number)| *number >= 2)
        });
    }
}

#[test]
fn generations_that_never_began_are_taken_over_from_until_there_are_too_many() {
    let mut cluster = running(1, 2, Delivery::ExactlyOnce);
    // Shards run and die, and no position of them ever comes to the log.
    cluster.serial_stands = true;
    cluster.serial = 0;
    for round in 0..4 {
        cluster.divide(3 - round % 2).expect("there is room");
        let expected = usize::try_from(3 - round % 2).expect("few");
        cluster.until("resharded and owned", |it| {
            it.numbers().len() == expected
                && it.copy().shards().all(|(_, shard)| shard.assignment().is_some())
        });
    }
    let generations = cluster.copy().predecessors().len();
    assert_eq!(generations, 4);
    let (code, remedy) = cluster.divide(7).expect_err("too many");
    assert_eq!(code, RejectionCode::Refused);
    assert!(remedy.contains("tidewire task get task-0"), "{remedy}");
    cluster.serial_stands = false;
    cluster.serial = 1_000;
    cluster.until("all begin", Cluster::all_run);
    assert!(cluster.copy().predecessors().is_empty());
    cluster.divide(7).expect("there is room again");
}

#[test]
fn a_task_that_never_ran_has_the_shards_of_its_document_at_once() {
    let mut cluster = Cluster::new();
    cluster.create_with(0, sample::copy(NAME, 3));
    for shards in [5, 2, 4] {
        cluster.divide(shards).expect("taken");
        assert_eq!(cluster.numbers(), (0..shards).collect::<Vec<_>>());
    }
    let (task, spec) = (cluster.task(0), sample::spec(NAME));
    cluster.try_to(CommandKind::ModifyTask { task, spec }).expect("another kind");
    assert_eq!(cluster.numbers(), [0]);
    assert!(cluster.copy().predecessors().is_empty());
}

#[test]
fn shards_with_an_owner_are_not_replaced() {
    let mut cluster = running(1, 2, Delivery::ExactlyOnce);
    let task = cluster.task(0);
    let reshard = CommandKind::Reshard { task };
    let refused = |cluster: &mut Cluster| {
        cluster.try_to(reshard.clone()).map_err(|(code, _)| code) == Err(RejectionCode::Stale)
    };
    assert!(refused(&mut cluster), "it has as many as it shall");
    cluster.divide(3).expect("a draft");
    cluster.until("taken", |it| it.copy().is_to_be_resharded());
    assert!(refused(&mut cluster), "its owners have not let go");
    cluster.wish_for(Move::Terminate);
    cluster.until("ended", |it| it.running_numbers().is_empty());
    assert!(refused(&mut cluster), "it has ended");
}

#[test]
fn a_task_that_fails_on_the_way_is_divided_all_the_same() {
    let mut cluster = running(2, 2, Delivery::ExactlyOnce);
    cluster.divide(3).expect("a draft");
    cluster.until("taken", |it| it.copy().is_to_be_resharded());
    cluster.fail(0, tidewire_shared::FaultKind::SourceState);
    cluster.until("three run", |it| it.numbers().len() == 3 && it.all_run());
    cluster.fail(0, tidewire_shared::FaultKind::SourceState);
    cluster.until("failed", |it| it.is_shown(Phase::Failed));
    cluster.divide(2).expect("a draft");
    cluster.until("two shards", |it| it.numbers().len() == 2);
    cluster.wish_for(Move::Start);
    cluster.until("running", Cluster::all_run);
}
