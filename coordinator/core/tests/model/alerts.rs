//! Alerts over the life of a cluster: told once, over once, whoever leads; channels that are in use.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, Strategy, prop_assert, prop_oneof, proptest};
use tidewire_coordinator_core::alert::{Ending, MESSAGES_PER_HOUR, Progress, Watch};
use tidewire_coordinator_core::{
    Command, CommandKind, Message, MessageKind, Move, Outcome, Push, Rejection, RejectionCode,
    apply,
};
use tidewire_shared::alert::When;
use tidewire_shared::channel::Way;
use tidewire_shared::connection::HIDDEN;
use tidewire_shared::precheck::{CheckItem, CheckResult, PrecheckReport};
use tidewire_shared::spec::PostgresTask;
use tidewire_shared::{
    AlertName, AlertRule, Channel, FaultKind, NodeName, Period, Phase, SecretRef, TaskSpec,
};

use crate::sample;
use crate::simulation::Cluster;

/// A firing alert is over after this.
const CLEAR_MS: u64 = 20_000;

/// A cluster, and the leader's look at its alerts.
struct Desk {
    cluster: Cluster,
    watch: Watch,
}

fn rule(delay_above: Option<u64>, phases: &[Phase], lasting: u64, repeat: u64) -> AlertRule {
    AlertRule {
        name: "late".parse().expect("a name"),
        when: When {
            delay_above: delay_above.map(Period::from_secs),
            phases: phases.to_vec(),
            wal_above: None,
            lasting: Period::from_secs(lasting),
        },
        to: vec!["ops".parse().expect("a name")],
        repeat: Period::from_secs(repeat),
    }
}

fn with(rules: Vec<AlertRule>) -> Arc<TaskSpec> {
    let task = sample::postgres(&sample::spec("task-0"));
    Arc::new(PostgresTask { alerts: rules, ..task }.into())
}

impl Desk {
    /// One running task on two nodes.
    fn running(rule: AlertRule) -> Self {
        let mut cluster = Cluster::new();
        cluster.join(sample::node(0));
        cluster.join(sample::node(1));
        cluster.steps(5);
        let channel = Arc::new(sample::channel("ops", "secret"));
        cluster.propose(CommandKind::ApplyChannel { channel });
        let mut desk = Self { cluster, watch: Watch::default() };
        let create = CommandKind::CreateTask { task: sample::task(0), spec: with(vec![rule]) };
        desk.ask(create).expect("created");
        desk.ask(CommandKind::SetDesired { task: sample::task(0), wish: Move::Start })
            .expect("started");
        desk.seconds(5);
        desk
    }

    fn ask(&mut self, kind: CommandKind) -> Result<Outcome, Rejection> {
        let command = Command::internal(self.cluster.now.wall_ms, kind);
        apply(&mut self.cluster.state, &command).outcome
    }

    /// So many looks of the leader, one a second.
    fn seconds(&mut self, count: u32) {
        for _ in 0..count {
            self.cluster.steps(10);
            let Cluster { state, observed, now, .. } = &self.cluster;
            let moves = self.watch.look(state, (observed, &BTreeMap::new()), *now, CLEAR_MS);
            if !moves.is_empty() {
                self.cluster.propose(CommandKind::MoveAlerts { moves });
            }
        }
    }

    /// A leader that knows nothing but the log.
    fn new_leader(&mut self) {
        self.cluster.change_leader();
        self.watch = Watch::default();
    }

    fn owner(&self) -> NodeName {
        let shard = self.cluster.state.shard(&sample::shard(0)).expect("the shard");
        shard.assignment().expect("an owner").node.clone()
    }

    /// The running shard fails for good.
    fn fail(&mut self) {
        let owner = self.owner();
        let process = self.cluster.processes.get_mut(&owner).expect("the process");
        for (_, fault) in process.shards.values_mut() {
            *fault = Some(FaultKind::SourceState);
        }
    }

    fn resume(&mut self) {
        let kind = CommandKind::SetDesired { task: sample::task(0), wish: Move::Resume };
        self.ask(kind).expect("resumed");
    }

    fn told(&self) -> Vec<Arc<Message>> {
        let alerts = self.cluster.state.alerts();
        alerts.history().chain(alerts.outbox()).cloned().collect()
    }

    fn kinds(&self) -> Vec<&'static str> {
        self.told().iter().map(|message| message.kind.as_str()).collect()
    }

    fn progress(&self) -> Progress {
        let name: AlertName = "late".parse().expect("a name");
        self.watch.progress(&self.cluster.state, &sample::task(0), &name)
    }
}

#[test]
fn a_task_that_stays_late_is_told_once_and_its_recovery_once() {
    let mut desk = Desk::running(rule(Some(30), &[], 60, 0));
    desk.cluster.delay_ms = 31_000;
    desk.seconds(55);
    assert_eq!((desk.kinds(), desk.progress()), (vec![], Progress::Pending));
    desk.seconds(300);
    assert_eq!((desk.kinds(), desk.progress()), (vec!["fired"], Progress::Firing));
    let fired = desk.told().remove(0);
    assert_eq!(fired.seen.as_ref().and_then(|seen| seen.delay_ms), Some(31_000));
    assert_eq!(fired.condition, "delay above 30s for 1m");
    desk.cluster.delay_ms = 0;
    desk.seconds(55);
    assert_eq!(desk.kinds(), ["fired"], "it must be away for as long as it had to hold");
    desk.seconds(300);
    assert_eq!((desk.kinds(), desk.progress()), (vec!["fired", "resolved"], Progress::Quiet));
}

#[test]
fn a_delay_that_comes_and_goes_is_not_told() {
    let mut desk = Desk::running(rule(Some(30), &[], 60, 0));
    for _ in 0..20 {
        desk.cluster.delay_ms = 45_000;
        desk.seconds(40);
        desk.cluster.delay_ms = 1_000;
        desk.seconds(3);
    }
    assert_eq!(desk.kinds(), [] as [&str; 0]);
}

#[test]
fn a_new_leader_tells_nothing_again_and_still_tells_the_end() {
    let mut desk = Desk::running(rule(None, &[Phase::Failed], 0, 0));
    desk.fail();
    desk.seconds(5);
    assert_eq!(desk.kinds(), ["fired"]);
    let seen = desk.told()[0].seen.clone().expect("seen");
    assert_eq!(seen.fault.map(|fault| fault.message).as_deref(), Some("was told to fail"));
    for _ in 0..3 {
        desk.new_leader();
        desk.seconds(30);
    }
    assert_eq!(desk.kinds(), ["fired"]);
    desk.resume();
    desk.new_leader();
    desk.seconds(60);
    assert_eq!(desk.kinds(), ["fired", "resolved"]);
    desk.new_leader();
    desk.seconds(60);
    assert_eq!(desk.kinds(), ["fired", "resolved"]);
}

#[test]
fn a_new_leader_that_heard_nobody_yet_judges_nothing() {
    let mut desk = Desk::running(rule(Some(30), &[Phase::Synchronizing], 0, 0));
    desk.cluster.delay_ms = 60_000;
    desk.seconds(5);
    assert_eq!(desk.kinds(), ["fired"]);
    // Its nodes are cut off from every leader, and taken for dead after a while.
    for node in [0, 1] {
        desk.cluster.kill(&sample::node(node));
    }
    desk.new_leader();
    desk.seconds(2);
    assert_eq!((desk.kinds(), desk.progress()), (vec!["fired"], Progress::Firing));
}

#[test]
fn a_task_without_a_node_gets_late() {
    let mut desk = Desk::running(rule(Some(30), &[], 0, 0));
    for node in [0, 1] {
        desk.cluster.kill(&sample::node(node));
    }
    desk.seconds(25);
    assert_eq!(desk.kinds(), [] as [&str; 0]);
    desk.seconds(15);
    assert_eq!(desk.kinds(), ["fired"]);
}

#[test]
fn a_paused_task_need_not_be_in_time() {
    let mut desk = Desk::running(rule(Some(30), &[], 0, 0));
    desk.ask(CommandKind::SetDesired { task: sample::task(0), wish: Move::Pause }).expect("paused");
    desk.seconds(120);
    assert_eq!(desk.kinds(), [] as [&str; 0]);
}

#[test]
fn a_precheck_that_failed_is_told_with_what_it_found() {
    let mut desk = Desk::running(rule(None, &[Phase::PrecheckFailed], 0, 0));
    desk.fail();
    desk.seconds(5);
    desk.cluster.with(0, |node| node.clumsy = true);
    desk.cluster.with(1, |node| node.clumsy = true);
    desk.ask(CommandKind::SetDesired { task: sample::task(0), wish: Move::Start })
        .expect("started");
    let item = |name: &str| CheckItem {
        name: name.to_owned(),
        result: CheckResult::Fail,
        found: String::new(),
        message: String::new(),
        remedy: format!("repair {name}"),
        overridable: false,
        waiver: None,
    };
    let report =
        PrecheckReport { at_ms: 0, items: vec![item("wal_level"), item("source_account")] };
    let record = CommandKind::RecordPrecheck { task: sample::task(0), revision: 1, report };
    desk.ask(record).expect("recorded");
    desk.seconds(5);
    let seen = desk.told().remove(0).seen.clone().expect("seen");
    let fault = seen.fault.expect("why");
    assert_eq!(fault.to_string(), "precheck: failed at wal_level, source_account");
    assert_eq!(fault.remedy, "repair wal_level");
}

#[test]
fn both_conditions_must_hold() {
    let mut desk = Desk::running(rule(Some(30), &[Phase::Synchronizing], 0, 0));
    desk.fail();
    desk.seconds(90);
    assert_eq!(desk.kinds(), [] as [&str; 0], "late, but not in that phase");
    desk.cluster.delay_ms = 40_000;
    desk.resume();
    desk.seconds(10);
    assert_eq!(desk.kinds(), ["fired"]);
}

#[test]
fn a_long_trouble_is_told_again_now_and_then() {
    let mut desk = Desk::running(rule(None, &[Phase::Failed], 0, 600));
    desk.fail();
    desk.seconds(1_300);
    assert_eq!(desk.kinds(), ["fired", "repeated", "repeated"]);
}

#[test]
fn an_alert_that_is_not_wanted_any_more_ends() {
    let mut desk = Desk::running(rule(None, &[Phase::Failed], 0, 0));
    desk.fail();
    desk.seconds(5);
    desk.ask(CommandKind::ModifyTask { task: sample::task(0), spec: with(Vec::new()) })
        .expect("modified");
    desk.seconds(10);
    let kinds: Vec<MessageKind> = desk.told().iter().map(|message| message.kind).collect();
    assert_eq!(kinds, [MessageKind::Fired, MessageKind::Resolved(Ending::RuleGone)]);
    assert_eq!(desk.cluster.state.alerts().firing().count(), 0);
}

#[test]
fn a_change_of_alerts_alone_interrupts_nothing() {
    let mut desk = Desk::running(rule(Some(30), &[], 0, 0));
    let other = with(vec![rule(Some(5), &[], 0, 0)]);
    let modify = CommandKind::ModifyTask { task: sample::task(0), spec: other };
    desk.ask(modify).expect("modified");
    desk.cluster.delay_ms = 6_000;
    desk.seconds(10);
    assert_eq!(desk.kinds(), ["fired"]);
    let shard = desk.cluster.state.shard(&sample::shard(0)).expect("the shard");
    assert_eq!(shard.epoch(), tidewire_shared::Epoch(1));
    let task = desk.cluster.state.task(&sample::task(0)).expect("the task");
    assert_eq!((task.revision(), task.draft().is_none()), (2, true));
}

#[test]
fn an_alert_of_a_deleted_task_ends() {
    let mut desk = Desk::running(rule(None, &[Phase::Failed, Phase::Terminated], 0, 0));
    desk.fail();
    desk.seconds(5);
    desk.ask(CommandKind::SetDesired { task: sample::task(0), wish: Move::Delete })
        .expect("deleted");
    desk.seconds(10);
    assert!(desk.cluster.state.task(&sample::task(0)).is_none());
    let kinds: Vec<MessageKind> = desk.told().iter().map(|message| message.kind).collect();
    assert_eq!(kinds, [MessageKind::Fired, MessageKind::Resolved(Ending::TaskGone)]);
}

#[test]
fn what_came_of_a_message_is_kept_in_its_history() {
    let mut desk = Desk::running(rule(None, &[Phase::Failed], 0, 0));
    desk.fail();
    desk.seconds(5);
    let (id, channel) = (desk.told()[0].id, "ops".parse().expect("a name"));
    assert_eq!(desk.cluster.state.alerts().outbox().count(), 1);
    let push = Push::Failed { at_ms: 7, attempts: 5, why: "answered 500".to_owned() };
    let record = CommandKind::RecordPush { message: id, channel, push };
    assert_eq!(desk.ask(record.clone()), Ok(Outcome::Done));
    assert_eq!(desk.ask(record), Ok(Outcome::Unchanged), "a leader may note it twice");
    let alerts = desk.cluster.state.alerts();
    assert_eq!((alerts.outbox().count(), alerts.history().count()), (0, 1));
}

#[test]
fn a_channel_in_use_is_not_deleted_and_one_that_is_not_there_is_not_named() {
    let mut desk = Desk::running(rule(None, &[Phase::Failed], 0, 0));
    let delete = || CommandKind::DeleteChannel { name: "ops".parse().expect("a name") };
    let refused = desk.ask(delete()).expect_err("refused");
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (RejectionCode::InUse, "alerts of tasks task-0 name it")
    );
    let mut other = rule(None, &[Phase::Failed], 0, 0);
    other.to = vec!["nobody".parse().expect("a name")];
    let modify = |rules| CommandKind::ModifyTask { task: sample::task(0), spec: with(rules) };
    let refused = desk.ask(modify(vec![other])).expect_err("refused");
    assert_eq!((refused.code.as_str(), refused.object.as_str()), ("not_found", "channel nobody"));
    desk.ask(modify(Vec::new())).expect("modified");
    desk.seconds(5);
    assert_eq!(desk.ask(delete()), Ok(Outcome::Done));
    assert_eq!(desk.ask(delete()).map_err(|it| it.code), Err(RejectionCode::NotFound));
}

#[test]
fn a_hidden_secret_of_a_channel_stays_with_its_receiver() {
    let mut desk = Desk::running(rule(None, &[Phase::Failed], 0, 0));
    let apply = |desk: &mut Desk, channel: Channel| {
        desk.ask(CommandKind::ApplyChannel { channel: Arc::new(channel) })
    };
    let signed = |url: &str, sign: &str| {
        let mut channel = sample::channel("ops", "secret");
        if let Way::Webhook(hook) = &mut channel.way {
            hook.url = SecretRef::Value(url.to_owned());
            hook.sign = Some(SecretRef::Value(sign.to_owned()));
        }
        channel
    };
    let present = signed("https://hooks.example.com/secret", "key");
    assert_eq!(apply(&mut desk, present.clone()), Ok(Outcome::Done));
    assert_eq!(apply(&mut desk, present.hidden()), Ok(Outcome::Unchanged));
    let same_host = signed("https://hooks.example.com/other", HIDDEN);
    assert_eq!(apply(&mut desk, same_host), Ok(Outcome::Done));
    let refused = apply(&mut desk, signed("https://elsewhere.example.com/x", HIDDEN));
    let refused = refused.expect_err("refused");
    assert!(refused.message.contains("https://elsewhere.example.com, which is new"), "{refused}");
    let kept = desk.cluster.state.alerts().channels().next().expect("registered").document();
    assert_eq!(**kept, signed("https://hooks.example.com/other", "key"));
    let unknown = Channel { name: "new".parse().expect("a name"), ..signed(HIDDEN, HIDDEN) };
    assert_eq!(apply(&mut desk, unknown).map_err(|it| it.code), Err(RejectionCode::Invalid));
}

/// What happens to a task, and to its leader.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Delay(u64),
    Fail,
    Resume,
    NewLeader,
    Kill,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// Whatever happens: beginnings and ends take turns, and there is no storm.
    #[test]
    fn alerts_begin_and_end_in_turns(
        turns in vec((prop_oneof![
            3 => (0..60_u64).prop_map(|s| Turn::Delay(s * 1_000)),
            2 => Just(Turn::Fail),
            3 => Just(Turn::Resume),
            1 => Just(Turn::NewLeader),
            1 => Just(Turn::Kill),
        ], 1..90_u32), 1..25),
        lasting in 0..30_u64,
    ) {
        let mut desk = Desk::running(rule(Some(30), &[], lasting, 0));
        for (turn, seconds) in turns {
            match turn {
                Turn::Delay(ms) => desk.cluster.delay_ms = ms,
                Turn::Fail if desk.cluster.state.shard(&sample::shard(0))
                    .is_some_and(|shard| shard.assignment().is_some()) => desk.fail(),
                Turn::Fail => {}
                Turn::Resume => drop(desk.ask(CommandKind::SetDesired {
                    task: sample::task(0),
                    wish: Move::Resume,
                })),
                Turn::NewLeader => desk.new_leader(),
                Turn::Kill => {
                    desk.cluster.kill(&sample::node(0));
                    desk.seconds(5);
                    desk.cluster.join(sample::node(0));
                }
            }
            desk.seconds(seconds);
        }
        let told = desk.told();
        for (at, message) in told.iter().enumerate() {
            let begins = message.kind == MessageKind::Fired;
            prop_assert!(begins == (at % 2 == 0), "{:?}", desk.kinds());
            let hour = |other: &&Arc<Message>| other.at_ms.abs_diff(message.at_ms) < 3_600_000
                && other.at_ms >= message.at_ms;
            prop_assert!(told.iter().filter(hour).count() <= MESSAGES_PER_HOUR);
        }
    }
}
