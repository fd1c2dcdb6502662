//! Another document, another node, what is left: how a task gets there, and what it refuses.

use std::sync::Arc;

use tidewire_coordinator_core::{
    Command, CommandKind, DrainCause, Move, Outcome, RejectionCode, RevisionVerdict, apply,
    phase_of,
};
use tidewire_shared::precheck::{CheckItem, CheckResult, PrecheckReport};
use tidewire_shared::spec::{PartitionPolicy, PostgresTask, Sasl, SaslMechanism, SecurityProtocol};
use tidewire_shared::{Desired, Epoch, Fault, FaultKind, Phase, SecretRef, ShardId, TaskSpec};

use crate::sample;
use crate::simulation::Cluster;

const NAME: &str = "task-0";

/// One node or more, and one task that runs.
fn running(nodes: u8) -> Cluster {
    let mut cluster = Cluster::new();
    for node in 0..nodes {
        cluster.join(sample::node(node));
    }
    cluster.steps(5);
    cluster.create(0);
    cluster.ask(Move::Start).expect("started");
    cluster.until("running", |it| it.shown() == Phase::Synchronizing);
    cluster
}

type Answer = Result<Outcome, (RejectionCode, String, String)>;

impl Cluster {
    fn command(&mut self, kind: CommandKind) -> Answer {
        let command = Command::internal(self.now.wall_ms, kind).wished_by("ann@laptop");
        let outcome = apply(&mut self.state, &command).outcome;
        outcome.map_err(|it| (it.code, it.message.clone(), it.remedy()))
    }

    fn ask(&mut self, wish: Move) -> Answer {
        let task = self.task(0);
        self.command(CommandKind::SetDesired { task, wish })
    }

    fn modify(&mut self, spec: Arc<TaskSpec>) -> Answer {
        let task = self.task(0);
        self.command(CommandKind::ModifyTask { task, spec })
    }

    fn judge_revision(&mut self, revision: u64, result: CheckResult) -> Answer {
        let item = CheckItem {
            name: "tables_exist".to_owned(),
            result,
            found: String::new(),
            message: String::new(),
            remedy: String::new(),
            overridable: false,
            waiver: None,
        };
        let report = PrecheckReport { at_ms: 0, items: vec![item] };
        let task = self.task(0);
        self.command(CommandKind::RecordRevision { task, revision, report })
    }

    fn shown(&self) -> Phase {
        phase_of(self.state.task(&self.task(0)).expect("the task"), &self.observed)
    }

    fn revision(&self) -> u64 {
        self.state.task(&self.task(0)).expect("the task").revision()
    }

    fn document(&self) -> Arc<TaskSpec> {
        Arc::clone(self.state.task(&self.task(0)).expect("the task").spec())
    }

    fn shard_epoch(&self) -> Epoch {
        let id = ShardId { task: self.task(0), index: 0 };
        self.state.shard(&id).expect("the shard").epoch()
    }

    fn verdicts(&self) -> Vec<(u64, &'static str)> {
        let task = self.state.task(&self.task(0)).expect("the task");
        task.revisions().map(|it| (it.number, it.verdict.as_str())).collect()
    }
}

#[test]
fn a_running_task_goes_on_under_the_next_epoch_once_its_new_document_was_prechecked() {
    let mut cluster = running(1);
    let answer = cluster.modify(sample::spec_of(NAME, 2)).expect("a draft");
    assert_eq!(answer, Outcome::Modified { task: cluster.task(0), revision: 2 });
    assert_eq!((cluster.revision(), cluster.shown()), (1, Phase::Modifying));
    assert_eq!(cluster.shard_epoch(), Epoch(1), "the old document runs on meanwhile");
    cluster.until("it runs with it", |it| it.revision() == 2 && it.shown() == Phase::Synchronizing);
    assert_eq!(cluster.shard_epoch(), Epoch(2));
    assert_eq!(cluster.verdicts(), [(1, "taken"), (2, "taken")]);
    let task = cluster.state.task(&cluster.task(0)).expect("the task");
    let newest = task.revisions().next_back().expect("a revision");
    assert_eq!(newest.by, "ann@laptop");
    let came: Vec<_> = newest.changes.iter().filter_map(|change| change.new.clone()).collect();
    assert_eq!(came, ["public.more_0", "public.more_1"]);
}

#[test]
fn an_owner_is_told_over_which_errors_its_task_was_resumed() {
    let mut cluster = running(1);
    let told =
        |cluster: &Cluster| cluster.state.task(&cluster.task(0)).expect("the task").resumed_over();
    let fail = |cluster: &mut Cluster, message: &str| {
        let shard = ShardId { task: cluster.task(0), index: 0 };
        let epoch = cluster.shard_epoch();
        let fault = Fault::new(FaultKind::SourceState, "publication p", message);
        let node = sample::node(0);
        let last_node = false;
        let kind = CommandKind::TaskFailed { shard, epoch, node, fault, last_node };
        cluster.command(kind).expect("failed");
    };
    assert_eq!(told(&cluster), Vec::<String>::new(), "it never failed");
    fail(&mut cluster, "lost: a table");
    assert_eq!(told(&cluster), Vec::<String>::new(), "nobody resumed it yet");
    cluster.ask(Move::Resume).expect("resumed");
    assert_eq!(told(&cluster), ["publication p: lost: a table"]);
    cluster.until("it runs", |it| it.shown() == Phase::Synchronizing);
    fail(&mut cluster, "lost another one");
    assert_eq!(told(&cluster).len(), 1, "that of before");
    cluster.ask(Move::Start).expect("started");
    let both = ["publication p: lost another one", "publication p: lost: a table"];
    assert_eq!(told(&cluster), both);
}

#[test]
fn a_start_that_nobody_carried_out_yet_stands_when_the_document_changes() {
    let mut cluster = Cluster::new();
    cluster.steps(5);
    cluster.create(0);
    cluster.ask(Move::Start).expect("started");
    let (task, report) = (cluster.task(0), PrecheckReport { at_ms: 0, items: Vec::new() });
    cluster.command(CommandKind::RecordPrecheck { task, revision: 1, report }).expect("granted");
    assert_eq!(cluster.shown(), Phase::Initializing, "there is no node");
    let answer = cluster.modify(sample::spec_of(NAME, 2)).expect("taken at once");
    assert_eq!(answer, Outcome::Modified { task: cluster.task(0), revision: 2 });
    let wanted = cluster.state.task(&cluster.task(0)).expect("the task").desired();
    assert_eq!((cluster.shown(), wanted), (Phase::Prechecking, Desired::Running));
    cluster.join(sample::node(0));
    cluster.until("it runs", |it| it.revision() == 2 && it.shown() == Phase::Synchronizing);
}

/// A document with a password on each side.
fn with_passwords(source: &str, target: &str) -> PostgresTask {
    let mut spec = sample::postgres(&sample::spec(NAME));
    spec.source.password = Some(SecretRef::Value(source.to_owned()));
    spec.target.security.protocol = SecurityProtocol::SaslPlaintext;
    spec.target.security.sasl = Some(Sasl {
        mechanism: SaslMechanism::Plain,
        user: "tidewire".to_owned(),
        password: SecretRef::Value(target.to_owned()),
    });
    spec
}

fn document(task: PostgresTask) -> Arc<TaskSpec> {
    Arc::new(task.into())
}

#[test]
fn hidden_secrets_of_a_task_given_back_stay_as_they_are() {
    let mut cluster = running(1);
    let hides_nothing = cluster.modify(document(with_passwords("***", "***")));
    assert_eq!(hides_nothing.expect_err("none is kept").0, RejectionCode::Invalid);
    cluster.modify(document(with_passwords("one", "two"))).expect("a draft");
    cluster.until("taken", |it| it.revision() == 2 && it.shown() == Phase::Synchronizing);
    let shown = sample::postgres(&TaskSpec::from(with_passwords("one", "two")).hidden());
    let same = cluster.modify(document(shown.clone())).expect("nothing new");
    assert_eq!(same, Outcome::Exists(cluster.task(0)));

    let mut other = shown;
    other.objects[0].topic = "other".to_owned();
    cluster.modify(document(other.clone())).expect("a draft");
    cluster.until("taken", |it| it.revision() == 3 && it.shown() == Phase::Synchronizing);
    let kept = cluster.document();
    assert_eq!(
        sample::postgres(&kept),
        PostgresTask { objects: other.objects.clone(), ..with_passwords("one", "two") }
    );
    let precheck = cluster.state.with_kept_secrets(&document(other.clone())).expect("kept");
    assert_eq!(precheck, kept, "a look at the shown document uses them too");

    type Change = fn(&mut PostgresTask);
    let changes: [Change; 4] = [
        |it| it.source.hosts.push("elsewhere:5432".to_owned()),
        |it| it.source.user = "mallory".to_owned(),
        |it| it.target.brokers = vec!["elsewhere:9092".to_owned()],
        |it| it.target.security.protocol = SecurityProtocol::SaslSsl,
    ];
    for change in changes {
        let mut moved = other.clone();
        change(&mut moved);
        let (code, message, remedy) = cluster.modify(document(moved)).expect_err("refused");
        assert_eq!((code, remedy.as_str()), (RejectionCode::Invalid, "write the secret itself"));
        assert!(message.contains("***") && message.contains("changed"), "{message}");
    }
    // Written anew, a secret may go wherever its writer wants.
    let mut moved = with_passwords("three", "***");
    moved.source.hosts = vec!["elsewhere:5432".to_owned()];
    cluster.modify(document(moved)).expect("a draft");
    cluster.until("taken", |it| it.revision() == 4 && it.shown() == Phase::Synchronizing);
    let kept = sample::postgres(&cluster.document());
    assert_eq!(kept.source.password, Some(SecretRef::Value("three".to_owned())));
    assert_eq!(kept.target, with_passwords("three", "two").target);
}

#[test]
fn a_document_that_fails_its_precheck_leaves_the_old_one_running() {
    let mut cluster = running(1);
    cluster.processes.values_mut().for_each(|process| process.clumsy = true);
    cluster.modify(sample::spec_of(NAME, 1)).expect("a draft");
    cluster.judge_revision(2, CheckResult::Fail).expect("recorded");
    assert_eq!((cluster.revision(), cluster.shown()), (1, Phase::Synchronizing));
    assert_eq!(cluster.verdicts(), [(1, "taken"), (2, "refused")]);
    let draft = cluster.state.task(&cluster.task(0)).and_then(|task| task.draft().cloned());
    assert!(draft.expect("kept to be shown").refused.is_some());
    assert_eq!(cluster.shard_epoch(), Epoch(1));
    let stale = cluster.judge_revision(2, CheckResult::Pass).expect_err("decided already");
    assert_eq!(stale.0, RejectionCode::Stale);
    // The next attempt has a number of its own, and the present document takes the draft back.
    cluster.modify(sample::spec_of(NAME, 2)).expect("a draft");
    cluster.judge_revision(3, CheckResult::Fail).expect("recorded");
    assert_eq!(cluster.verdicts(), [(1, "taken"), (2, "refused"), (3, "refused")]);
    cluster.modify(sample::spec(NAME)).expect("nothing new");
    assert_eq!(cluster.state.task(&cluster.task(0)).expect("the task").draft(), None);
}

#[test]
fn a_node_that_cannot_look_refuses_a_revision_in_the_end() {
    let mut cluster = running(1);
    cluster.processes.values_mut().for_each(|process| process.clumsy = true);
    cluster.modify(sample::spec_of(NAME, 1)).expect("a draft");
    cluster.until("it is refused", |it| it.shown() == Phase::Synchronizing);
    assert_eq!((cluster.revision(), cluster.verdicts()[1]), (1, (2, "refused")));
}

#[test]
fn while_a_revision_is_looked_at_only_the_same_one_may_come_again() {
    let mut cluster = running(1);
    let same = cluster.modify(sample::spec_of(NAME, 1)).expect("a draft");
    assert_eq!(cluster.modify(sample::spec_of(NAME, 1)), Ok(same));
    let (code, message, remedy) = cluster.modify(sample::spec_of(NAME, 2)).expect_err("another");
    assert_eq!(code, RejectionCode::Refused);
    assert!(message.contains("still looks at its revision 2"), "{message}");
    assert_eq!(remedy, "legal now: terminate, delete");
    assert!(cluster.ask(Move::Pause).is_err());
    cluster.ask(Move::Terminate).expect("ended");
    assert_eq!(cluster.verdicts(), [(1, "taken"), (2, "refused")]);
}

#[test]
fn what_must_not_change_is_refused_by_its_key_once_the_task_ran() {
    let mut fresh = Cluster::new();
    fresh.create(0);
    let mut other = sample::postgres(&sample::spec(NAME));
    other.partition = PartitionPolicy::ByTable;
    let other = Arc::new(other.into());
    fresh.modify(Arc::clone(&other)).expect("nothing depends on it yet");
    assert_eq!((fresh.revision(), fresh.shown()), (2, Phase::NotStarted));
    let mut cluster = running(1);
    let (code, message, remedy) = cluster.modify(other).expect_err("keys would move");
    assert_eq!(code, RejectionCode::Refused);
    assert!(message.starts_with("`partition` of a task that ran cannot change: "), "{message}");
    assert_eq!(remedy, "leave `partition` as it is, or create another task with it");
}

#[test]
fn a_paused_task_is_prechecked_with_its_new_document_and_stays_paused() {
    let mut cluster = running(1);
    cluster.ask(Move::Pause).expect("paused");
    cluster.until("it stands", |it| it.shown() == Phase::Paused);
    cluster.modify(sample::spec_of(NAME, 1)).expect("a draft");
    assert_eq!(cluster.shown(), Phase::Modifying);
    cluster.until("it is taken", |it| it.revision() == 2);
    assert_eq!(cluster.shown(), Phase::Paused);
    cluster.ask(Move::Resume).expect("resumed");
    cluster.until("it runs", |it| it.shown() == Phase::Synchronizing);
}

#[test]
fn an_owner_that_dies_in_the_change_over_is_replaced_by_one_with_the_new_document() {
    let mut cluster = running(2);
    cluster.modify(sample::spec_of(NAME, 1)).expect("a draft");
    cluster.until("it is taken", |it| it.revision() == 2);
    let id = ShardId { task: cluster.task(0), index: 0 };
    let owner = cluster.state.shard(&id).and_then(|it| it.assignment().cloned()).expect("owner");
    cluster.kill(&owner.node);
    cluster.until("it runs elsewhere", |it| it.shown() == Phase::Synchronizing);
    let next = cluster.state.shard(&id).and_then(|it| it.assignment().cloned()).expect("owner");
    assert_ne!(next.node, owner.node);
    assert_eq!(next.given.task, 2);
}

#[test]
fn who_asked_what_stands_in_the_history() {
    let mut cluster = running(1);
    cluster.ask(Move::Pause).expect("paused");
    let task = cluster.state.task(&cluster.task(0)).expect("the task");
    let deeds: Vec<_> = task.deeds().map(|it| (it.what.as_str(), it.by.as_str())).collect();
    assert_eq!(deeds, [("start", "ann@laptop"), ("pause", "ann@laptop")]);
    assert_eq!(task.revisions().next().map(|it| &it.verdict), Some(&RevisionVerdict::Taken));
}

#[test]
fn a_shard_moves_to_the_node_it_is_wanted_on_after_that_prepared() {
    let mut cluster = running(2);
    let shard = ShardId { task: cluster.task(0), index: 0 };
    let owner = cluster.state.shard(&shard).and_then(|it| it.assignment().cloned()).expect("one");
    let other = (0..2).map(sample::node).find(|node| *node != owner.node).expect("another");
    let to_owner = CommandKind::MoveShard { shard: shard.clone(), node: owner.node };
    assert_eq!(cluster.command(to_owner), Ok(Outcome::Unchanged));
    cluster
        .command(CommandKind::MoveShard { shard: shard.clone(), node: other.clone() })
        .expect("wanted there");
    cluster.until("it moved", |it| {
        it.state.shard(&shard).is_some_and(|shard| shard.is_on(&other))
            && it.shown() == Phase::Synchronizing
    });
    let prepared = format!("tell {other}: prepare {shard}");
    assert!(cluster.acts.iter().any(|(_, act)| *act == prepared));
    assert_eq!(cluster.state.shard(&shard).and_then(|it| it.wanted_on().cloned()), None);
    let away = CommandKind::MoveShard { shard, node: sample::node(7) };
    assert_eq!(cluster.command(away).expect_err("no such node").0, RejectionCode::NotFound);
}

#[test]
fn a_wish_to_move_outlives_a_new_document_and_ends_with_its_node() {
    let mut cluster = running(2);
    let shard = ShardId { task: cluster.task(0), index: 0 };
    let owner = cluster.state.shard(&shard).and_then(|it| it.assignment().cloned()).expect("one");
    let other = (0..2).map(sample::node).find(|node| *node != owner.node).expect("another");
    let wanted = |it: &Cluster| it.state.shard(&shard).and_then(|it| it.wanted_on().cloned());
    cluster
        .command(CommandKind::MoveShard { shard: shard.clone(), node: other.clone() })
        .expect("wanted there");
    let expect_epoch = cluster.shard_epoch();
    let (node, instance) = (owner.node, owner.instance);
    let renew = CommandKind::Assign { shard: shard.clone(), node, instance, expect_epoch };
    cluster.command(renew).expect("given anew");
    assert_eq!(wanted(&cluster).as_ref(), Some(&other));
    let cause = DrainCause::Asked;
    cluster.command(CommandKind::DrainNode { node: other, cause }).expect("drained");
    assert_eq!(wanted(&cluster), None);
}

#[test]
fn a_late_precheck_of_an_earlier_document_lets_nothing_start() {
    let mut cluster = Cluster::new();
    cluster.create(0);
    cluster.modify(sample::spec_of(NAME, 1)).expect("taken at once");
    cluster.ask(Move::Start).expect("started");
    let report = PrecheckReport { at_ms: 0, items: Vec::new() };
    let task = cluster.task(0);
    let record = |revision| CommandKind::RecordPrecheck {
        task: task.clone(),
        revision,
        report: report.clone(),
    };
    assert_eq!(cluster.command(record(1)).expect_err("late").0, RejectionCode::Stale);
    assert_eq!(cluster.shown(), Phase::Prechecking);
    cluster.command(record(2)).expect("recorded");
    assert_eq!(cluster.shown(), Phase::Initializing);
}

#[test]
fn a_node_that_joins_takes_its_share_once_everything_is_calm() {
    let mut cluster = Cluster::new();
    cluster.join(sample::node(0));
    cluster.steps(5);
    for number in 0..4 {
        cluster.create(number);
        let task = cluster.task(number);
        cluster.command(CommandKind::SetDesired { task, wish: Move::Start }).expect("started");
    }
    cluster.steps(20);
    cluster.join(sample::node(1));
    cluster.steps(250);
    assert_eq!(cluster.state.load_of(&sample::node(1)), 0, "not before it has been here a while");
    let took_ms = cluster.until("even", |it| it.state.load_of(&sample::node(1)) == 2);
    assert!(took_ms < 20_000, "{took_ms} ms");
    cluster.acts.clear();
    cluster.steps(600);
    let moved = cluster.acts.iter().any(|(_, act)| act.contains("move"));
    assert!(!moved, "a difference of one moves nothing");
}

#[test]
fn what_a_deleted_task_left_is_swept_until_it_is_gone() {
    let mut cluster = running(1);
    cluster.processes.values_mut().for_each(|process| process.clumsy = true);
    cluster.ask(Move::Delete).expect("deleted");
    let task = cluster.task(0);
    cluster.until("it is removed", |it| it.state.task(&task).is_none());
    let left = cluster.state.leftovers_of(&task).expect("something is left").clone();
    assert!(left.left[0].contains("has no connection left"), "{left:?}");
    cluster.steps(300);
    assert!(cluster.state.leftovers_of(&task).is_some());
    let sweeps = cluster.acts.iter().filter(|(_, act)| act.contains("sweep")).count();
    assert!((1..=4).contains(&sweeps), "pauses grow: {sweeps}");
    cluster.processes.values_mut().for_each(|process| process.clumsy = false);
    let swept = |it: &Cluster| it.state.leftovers_of(&task).is_none();
    cluster.until("nothing is left", swept);
    let forget = CommandKind::ForgetLeftovers { task };
    assert_eq!(cluster.command(forget).expect_err("gone").0, RejectionCode::NotFound);
}

#[test]
fn leftovers_are_forgotten_on_demand() {
    let mut cluster = running(1);
    cluster.processes.values_mut().for_each(|process| process.clumsy = true);
    cluster.ask(Move::Delete).expect("deleted");
    let task = cluster.task(0);
    cluster.until("it is removed", |it| it.state.task(&task).is_none());
    cluster.command(CommandKind::ForgetLeftovers { task: task.clone() }).expect("forgotten");
    assert_eq!(cluster.state.leftovers().count(), 0);
    assert_eq!(cluster.state.removed(&task).map(|it| it.left.len()), Some(1));
    // The name is free again.
    cluster.create(0);
    let again = cluster.state.task(&cluster.task(0)).expect("another one");
    assert_eq!(again.desired(), Desired::Stopped);
}
