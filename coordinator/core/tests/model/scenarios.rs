//! What happens to one task when one thing goes wrong, and how soon.

use tidewire_coordinator_core::{Command, Outcome};
use tidewire_coordinator_core::{
    CommandKind, DrainCause, Move, NodeState, RejectionCode, admit, apply, node_state, phase_of,
};
use tidewire_shared::{Epoch, FaultKind, NodeName, Phase, ShardId};

use crate::sample;
use crate::simulation::Cluster;

/// Nodes `0..nodes` and one running task.
fn running(nodes: u8) -> Cluster {
    let mut cluster = Cluster::new();
    for node in 0..nodes {
        cluster.join(sample::node(node));
    }
    cluster.steps(5);
    cluster.create(0);
    cluster.wish(Move::Start);
    cluster.until("running", |it| it.phase() == Phase::Synchronizing);
    cluster
}

impl Cluster {
    fn wish(&mut self, wish: Move) {
        self.propose(CommandKind::SetDesired { task: self.task(0), wish });
    }

    fn refusal(&mut self, wish: Move) -> Option<(RejectionCode, String)> {
        let kind = CommandKind::SetDesired { task: self.task(0), wish };
        let outcome = apply(&mut self.state, &Command::internal(0, kind)).outcome;
        outcome.err().map(|rejection| (rejection.code, rejection.remedy()))
    }

    fn phase(&self) -> Phase {
        phase_of(self.state.task(&self.task(0)).expect("the task"), &self.observed)
    }

    fn shard_id(&self) -> ShardId {
        ShardId { task: self.task(0), index: 0 }
    }

    fn epoch(&self) -> Epoch {
        self.state.shard(&self.shard_id()).expect("the shard").epoch()
    }

    fn owner(&self) -> Option<NodeName> {
        let shard = self.state.shard(&self.shard_id())?;
        shard.assignment().map(|owner| owner.node.clone())
    }

    fn owner_number(&self) -> u8 {
        let owner = self.owner().expect("an owner");
        (0..9).find(|number| sample::node(*number) == owner).expect("a known node")
    }

    fn runs_elsewhere(&self, than: &NodeName) -> bool {
        self.owner().is_some_and(|owner| owner != *than && self.runs_at(&owner))
    }

    fn runs_at(&self, node: &NodeName) -> bool {
        self.processes
            .get(node)
            .and_then(|process| process.shards.get(&self.shard_id()))
            .is_some_and(|(epoch, _)| *epoch == self.epoch())
    }

    fn crash_from_now_on(&mut self) {
        self.crashing = true;
        self.fail(0, FaultKind::Internal);
    }

    fn acted(&self, what: &str) -> bool {
        self.acts.iter().any(|(_, act)| act.contains(what))
    }
}

#[test]
fn a_killed_owner_is_replaced_after_a_second() {
    let mut cluster = running(3);
    let owner = cluster.owner().expect("an owner");
    cluster.kill(&owner);
    let took_ms = cluster.until("a new owner", |it| it.runs_elsewhere(&owner));
    assert!((1_000..=1_300).contains(&took_ms), "{took_ms} ms");
    assert_eq!(cluster.epoch(), Epoch(2));
}

#[test]
fn a_frozen_owner_is_replaced_after_three_seconds_and_stopped_when_it_wakes() {
    let mut cluster = running(3);
    let (owner, number) = (cluster.owner().expect("an owner"), cluster.owner_number());
    cluster.with(number, |process| process.frozen = true);
    let took_ms = cluster.until("a new owner", |it| it.runs_elsewhere(&owner));
    assert!((2_500..=3_300).contains(&took_ms), "{took_ms} ms");
    cluster.with(number, |process| process.frozen = false);
    let shard = cluster.shard_id();
    cluster.until("the old one stops", |it| it.processes[&owner].shards.is_empty());
    assert!(cluster.acted(&format!("tell {owner}: stop {shard} under e1")));
    assert_eq!(cluster.epoch(), Epoch(2));
}

#[test]
fn a_restarted_process_is_another_owner_at_once() {
    let mut cluster = running(1);
    let owner = cluster.owner().expect("an owner");
    cluster.kill(&owner);
    cluster.join(owner.clone());
    let took_ms = cluster.until("it runs again", |it| it.runs_at(&owner));
    assert!(took_ms <= 300, "{took_ms} ms");
    assert_eq!(cluster.epoch(), Epoch(2));
}

#[test]
fn a_second_process_under_a_living_name_is_refused() {
    let cluster = running(1);
    let name = cluster.owner().expect("an owner");
    let now_ms = cluster.now.mono_ms;
    let refusal = admit(&cluster.observed, &name, 99, now_ms).expect_err("refused");
    assert_eq!(refusal.code, RejectionCode::AlreadyExists);
    let present = cluster.processes[&name].instance;
    assert_eq!(admit(&cluster.observed, &name, present, now_ms), Ok(()));
}

#[test]
fn a_leaving_node_hands_over_at_once_prepares_the_next_and_is_dismissed() {
    let mut cluster = running(2);
    let (owner, number) = (cluster.owner().expect("an owner"), cluster.owner_number());
    cluster.with(number, |process| process.leaving = true);
    let took_ms = cluster.until("a new owner", |it| it.runs_elsewhere(&owner));
    assert!(took_ms <= 800, "{took_ms} ms");
    let next = cluster.owner().expect("an owner");
    let when = |what: String| cluster.acts.iter().find(|(_, act)| *act == what).map(|(ms, _)| *ms);
    let shard = cluster.shard_id();
    let prepared = when(format!("tell {next}: prepare {shard}")).expect("prepared");
    let stopped = when(format!("tell {owner}: stop {shard} under e1")).expect("stopped");
    assert!(prepared + 300 <= stopped, "{prepared} then {stopped}");
    cluster.until("dismissed", |it| !it.processes.contains_key(&owner));
}

#[test]
fn the_only_node_keeps_its_shards_when_asked_to_drain_but_not_when_it_leaves() {
    let mut cluster = running(1);
    let owner = cluster.owner().expect("an owner");
    let cause = DrainCause::Asked;
    cluster.propose(CommandKind::DrainNode { node: owner.clone(), cause });
    cluster.steps(20);
    assert!(cluster.runs_at(&owner));
    let shown = |it: &Cluster| {
        let node = it.state.node(&owner).expect("the node");
        node_state(&it.state, &it.observed, node, it.now.mono_ms)
    };
    assert_eq!(shown(&cluster), NodeState::Draining);
    cluster.with(0, |process| process.leaving = true);
    cluster.until("dismissed", |it| it.processes.is_empty());
    cluster.join(owner.clone());
    cluster.steps(20);
    assert_eq!(shown(&cluster), NodeState::Drained, "what a user asked outlives the process");
    cluster.propose(CommandKind::ResumeNode { node: owner.clone() });
    cluster.until("it runs again", |it| it.runs_at(&owner));
}

#[test]
fn a_new_leader_and_a_frozen_one_move_nothing() {
    let mut cluster = running(3);
    cluster.change_leader();
    cluster.steps(50);
    let number = cluster.owner_number();
    cluster.advance(10_000);
    // The heartbeats that waited come one after the other.
    cluster.with(number, |process| process.frozen = true);
    cluster.steps(10);
    cluster.with(number, |process| process.frozen = false);
    cluster.steps(50);
    assert_eq!(cluster.epoch(), Epoch(1));
    assert_eq!(cluster.phase(), Phase::Synchronizing);
}

#[test]
fn a_node_that_died_with_the_leader_is_given_three_seconds() {
    let mut cluster = running(2);
    let owner = cluster.owner().expect("an owner");
    cluster.kill(&owner);
    cluster.change_leader();
    let took_ms = cluster.until("a new owner", |it| it.runs_elsewhere(&owner));
    assert!((3_000..=3_400).contains(&took_ms), "{took_ms} ms");
}

#[test]
fn with_nowhere_to_go_an_assignment_waits_for_its_node() {
    let mut cluster = running(1);
    let number = cluster.owner_number();
    cluster.with(number, |process| process.frozen = true);
    cluster.steps(60);
    cluster.with(number, |process| process.frozen = false);
    cluster.until("it goes on", |it| it.phase() == Phase::Synchronizing);
    assert_eq!(cluster.epoch(), Epoch(1));
}

#[test]
fn a_definite_fault_fails_the_task_at_once_and_a_start_tries_again() {
    let mut cluster = running(2);
    cluster.fail(0, FaultKind::SourceState);
    cluster.until("failed", |it| it.phase() == Phase::Failed && it.owner().is_none());
    let task = cluster.state.task(&cluster.task(0)).expect("the task");
    assert_eq!(task.fault().map(|fault| fault.kind), Some(FaultKind::SourceState));
    assert_eq!(task.failure().map(|failure| failure.quarantined), Some(false));
    let legal = "legal now: start, resume, terminate, delete".to_owned();
    assert_eq!(cluster.refusal(Move::Pause), Some((RejectionCode::Refused, legal)));
    cluster.wish(Move::Start);
    cluster.until("running", |it| it.phase() == Phase::Synchronizing);
    assert_eq!(cluster.state.task(&cluster.task(0)).and_then(|task| task.fault()), None);
}

#[test]
fn a_task_that_is_resumed_before_its_owner_let_go_does_not_fail_by_the_same_fault_again() {
    let mut cluster = running(2);
    cluster.fail(0, FaultKind::SourceState);
    cluster.until("failed", |it| it.phase() == Phase::Failed);
    assert!(cluster.owner().is_some(), "the owner has not let go");
    cluster.wish(Move::Resume);
    let fault = |it: &Cluster| it.state.task(&it.task(0)).and_then(|task| task.fault()).is_some();
    assert!(!fault(&cluster), "the log has taken the wish");
    cluster.until("running", |it| {
        assert!(!fault(it), "it failed again");
        it.phase() == Phase::Synchronizing
    });
    assert_eq!(cluster.epoch(), Epoch(2));
}

/// Keeps crashing without progress; returns the nodes it walked through.
fn crash_until_failed(cluster: &mut Cluster) -> Vec<NodeName> {
    let mut walked = Vec::new();
    cluster.serial_stands = true;
    cluster.until("quarantined", |it| {
        let owner = it.owner();
        walked.extend(owner.filter(|owner| walked.last() != Some(owner)));
        it.phase() == Phase::Failed && it.owner().is_none()
    });
    walked
}

#[test]
fn a_task_that_crashes_on_three_nodes_is_quarantined() {
    let mut cluster = running(5);
    cluster.crash_from_now_on();
    let walked = crash_until_failed(&mut cluster);
    assert_eq!(walked.len(), 3, "{walked:?}");
    let task = cluster.state.task(&cluster.task(0)).expect("the task");
    assert_eq!(task.failure().map(|failure| failure.quarantined), Some(true));
}

#[test]
fn a_crash_has_nowhere_to_walk_in_a_small_cluster() {
    let mut cluster = running(2);
    cluster.crash_from_now_on();
    let walked = crash_until_failed(&mut cluster);
    assert_eq!(walked.len(), 2, "{walked:?}");
}

#[test]
fn a_pause_shows_when_the_shard_is_released_and_can_be_taken_back_before() {
    let mut cluster = running(2);
    cluster.wish(Move::Pause);
    assert_eq!(cluster.phase(), Phase::Synchronizing);
    assert_eq!(cluster.refusal(Move::Resume), None);
    cluster.steps(20);
    assert_eq!((cluster.phase(), cluster.epoch()), (Phase::Synchronizing, Epoch(1)));
    cluster.wish(Move::Pause);
    let took_ms = cluster.until("paused", |it| it.phase() == Phase::Paused);
    assert!(took_ms <= 500, "{took_ms} ms");
    cluster.wish(Move::Resume);
    cluster.until("running", |it| it.phase() == Phase::Synchronizing);
    assert_eq!(cluster.epoch(), Epoch(2));
}

#[test]
fn a_deleted_task_is_cleaned_up_and_its_name_and_ordinal_are_free_again() {
    let mut cluster = running(2);
    let id = cluster.task(0);
    cluster.wish(Move::Delete);
    cluster.until("removed", |it| it.state.task(&id).is_none());
    assert!(cluster.acted(&format!("clean up {id}")));
    assert_eq!(cluster.state.removed(&id).map(|removed| removed.left.len()), Some(0));
    cluster.create(0);
    let shard = cluster.state.shard(&cluster.shard_id()).expect("the shard");
    assert_eq!((shard.ordinal(), shard.epoch()), (0, Epoch(0)));
    let reused = CommandKind::CreateTask { task: id, spec: sample::spec("another") };
    let outcome = apply(&mut cluster.state, &Command::internal(0, reused)).outcome;
    assert_eq!(outcome.map_err(|refused| refused.code), Err(RejectionCode::AlreadyExists));
}

#[test]
fn what_was_never_assigned_needs_no_clean_up() {
    let mut cluster = Cluster::new();
    cluster.create(0);
    let id = cluster.task(0);
    cluster.wish(Move::Delete);
    cluster.until("removed", |it| it.state.task(&id).is_none());
    assert!(!cluster.acted("clean up"));
}

#[test]
fn work_that_no_node_can_do_ends_with_its_fault_as_the_result() {
    let mut cluster = running(2);
    for node in 0..2 {
        cluster.with(node, |process| process.clumsy = true);
    }
    let id = cluster.task(0);
    cluster.wish(Move::Delete);
    cluster.until("removed", |it| it.state.task(&id).is_none());
    let left = cluster.state.removed(&id).map(|removed| removed.left.clone());
    assert_eq!(left, Some(vec!["source: has no connection left".to_owned()]));
    cluster.create(0);
    cluster.wish(Move::Start);
    cluster.until("refused", |it| it.phase() == Phase::PrecheckFailed);
}

#[test]
fn a_claim_seen_in_the_target_lifts_the_epoch_above_it() {
    let mut cluster = running(1);
    let shard = cluster.shard_id();
    cluster.propose(CommandKind::RaiseEpoch { shard: shard.clone(), above: Epoch(7) });
    cluster.until("running", |it| it.phase() == Phase::Synchronizing);
    assert_eq!(cluster.epoch(), Epoch(8));
    cluster.propose(CommandKind::RaiseEpoch { shard: shard.clone(), above: Epoch(8) });
    assert_eq!(cluster.epoch(), Epoch(8), "our own claim raises nothing");
    let absurd = CommandKind::RaiseEpoch { shard, above: Epoch(u64::MAX) };
    let outcome = apply(&mut cluster.state, &Command::internal(0, absurd)).outcome;
    assert_eq!(outcome.map_err(|refused| refused.code), Err(RejectionCode::Invalid));
}

#[test]
fn the_same_document_again_answers_that_the_task_exists() {
    let mut cluster = running(1);
    let mut create = |name: &str, spec| {
        let task = name.parse().expect("an id");
        let kind = CommandKind::CreateTask { task, spec };
        apply(&mut cluster.state, &Command::internal(0, kind)).outcome
    };
    let same = create("fresh", sample::spec("task-0"));
    assert!(matches!(same, Ok(Outcome::Exists(_))), "{same:?}");
    let mut other = sample::postgres(&sample::spec("task-0"));
    other.display_name = "Another".to_owned();
    let refused = create("fresh", std::sync::Arc::new(other.into())).expect_err("refused");
    assert_eq!(refused.code, RejectionCode::AlreadyExists);
}

#[test]
fn a_node_that_stays_away_is_forgotten() {
    let mut cluster = running(2);
    let idle = (0..2).map(sample::node).find(|node| Some(node) != cluster.owner().as_ref());
    let idle = idle.expect("an idle node");
    cluster.kill(&idle);
    cluster.steps(5_900);
    assert!(cluster.state.node(&idle).is_some());
    cluster.steps(200);
    assert!(cluster.state.node(&idle).is_none());
}
