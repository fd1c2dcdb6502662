//! Any list of commands: every invariant holds after each, and the log alone gives the state.

use std::sync::Arc;

use crate::sample;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tidewire_coordinator_core::alert::{Ending, Step};
use tidewire_coordinator_core::{
    AlertMove, Applied, Checkpoint, CheckpointReport, ClusterState, Command, CommandKind,
    DrainCause, Move, NodeRegistration, PositionHint, Push, Shard, Task, apply, check, check_step,
};
use tidewire_shared::precheck::{CheckItem, CheckResult, PrecheckReport};
use tidewire_shared::{Epoch, Fault, FaultKind, Lsn, ShardId, TaskSpec};

const TASKS: u64 = 2;
const NODES: u8 = 3;

fn node_kinds() -> impl Strategy<Value = CommandKind> {
    let registration = (0..NODES, 0..2_u64, 0..4_u32).prop_map(|(node, instance, capacity)| {
        let node = NodeRegistration {
            name: sample::node(node),
            instance,
            capacity,
            version: "0.1.0".to_owned(),
            host: "host".to_owned(),
            pid: 1,
        };
        CommandKind::RegisterNode { node }
    });
    let cause = prop_oneof![Just(DrainCause::Asked), Just(DrainCause::Leaving)];
    prop_oneof![
        4 => registration,
        1 => (0..NODES).prop_map(|node| CommandKind::ForgetNode { node: sample::node(node) }),
        1 => (0..NODES, cause)
            .prop_map(|(node, cause)| CommandKind::DrainNode { node: sample::node(node), cause }),
        1 => (0..NODES).prop_map(|node| CommandKind::ResumeNode { node: sample::node(node) }),
        1 => (0..3_u32).prop_map(|version| CommandKind::RaiseClusterVersion { version }),
    ]
}

fn task_kinds() -> impl Strategy<Value = CommandKind> {
    let create = (0..TASKS, 0..TASKS).prop_map(|(task, name)| CommandKind::CreateTask {
        task: sample::task(task),
        spec: sample::spec(&format!("name-{name}")),
    });
    let wish = prop_oneof![
        12 => Just(Move::Start), 2 => Just(Move::Pause), 8 => Just(Move::Resume),
        1 => Just(Move::Terminate), 1 => Just(Move::Delete),
    ];
    let looked = (0..TASKS, 1..6_u64, proptest::bool::weighted(0.8));
    let precheck = looked.prop_map(|(task, revision, passes)| {
        let item = CheckItem {
            name: "wal_level".to_owned(),
            result: if passes { CheckResult::Pass } else { CheckResult::Fail },
            found: String::new(),
            message: String::new(),
            remedy: String::new(),
            overridable: false,
            waiver: None,
        };
        let report = PrecheckReport { at_ms: 0, items: vec![item] };
        CommandKind::RecordPrecheck { task: sample::task(task), revision, report }
    });
    let left = Vec::new();
    let waive = (0..TASKS, any::<bool>()).prop_map(|(task, overrides)| {
        let item = vec!["wal_level".to_owned()];
        let (ignore, overrides) = if overrides { (Vec::new(), item) } else { (item, Vec::new()) };
        CommandKind::Waive { task: sample::task(task), ignore, overrides }
    });
    let modify = (0..TASKS, 0..3_u8).prop_map(|(task, tables)| CommandKind::ModifyTask {
        task: sample::task(task),
        spec: sample::spec_of(&format!("name-{task}"), tables),
    });
    let revision = (0..TASKS, 1..6_u64, any::<bool>()).prop_map(|(task, revision, passes)| {
        let item = CheckItem {
            name: "tables_exist".to_owned(),
            result: if passes { CheckResult::Pass } else { CheckResult::Fail },
            found: String::new(),
            message: String::new(),
            remedy: String::new(),
            overridable: false,
            waiver: None,
        };
        let report = PrecheckReport { at_ms: 0, items: vec![item] };
        CommandKind::RecordRevision { task: sample::task(task), revision, report }
    });
    let leftovers = (0..TASKS, any::<bool>()).prop_map(|(task, some)| {
        let left = if some { vec!["the slot".to_owned()] } else { Vec::new() };
        CommandKind::RecordLeftovers { task: sample::task(task), left }
    });
    prop_oneof![
        1 => waive,
        3 => modify,
        16 => copy_kinds(),
        3 => revision,
        1 => leftovers,
        1 => (0..TASKS).prop_map(|task| CommandKind::ForgetLeftovers { task: sample::task(task) }),
        2 => create,
        6 => (0..TASKS, wish)
            .prop_map(|(task, wish)| CommandKind::SetDesired { task: sample::task(task), wish }),
        4 => precheck,
        1 => (0..TASKS).prop_map(|task| CommandKind::ClearFault { task: sample::task(task) }),
        1 => (0..TASKS).prop_map(move |task| CommandKind::RemoveTask {
            task: sample::task(task),
            left: left.clone(),
        }),
    ]
}

fn copy_kinds() -> impl Strategy<Value = CommandKind> {
    let copy = |task: u64, shards| sample::copy(&format!("name-{task}"), shards);
    let create = (0..TASKS, 0..TASKS, 1..4_u32).prop_map(move |(task, name, shards)| {
        CommandKind::CreateTask { task: sample::task(task), spec: copy(name, shards) }
    });
    let shards = prop_oneof![2 => Just(1_u32), 1 => 2..4_u32];
    let divide = (0..TASKS, shards).prop_map(move |(task, shards)| CommandKind::ModifyTask {
        task: sample::task(task),
        spec: copy(task, shards),
    });
    let reshard = (0..TASKS).prop_map(|task| CommandKind::Reshard { task: sample::task(task) });
    prop_oneof![4 => create, 6 => divide, 6 => reshard]
}

fn epoch() -> impl Strategy<Value = Epoch> {
    prop_oneof![40 => (0..4_u64).prop_map(Epoch), 1 => Just(Epoch(u64::MAX))]
}

/// A shard by its place among those of its task; an aimed command finds its number.
fn shard() -> impl Strategy<Value = ShardId> {
    let index = prop_oneof![2 => Just(0), 1 => 0..3_u32];
    (0..TASKS, index).prop_map(|(task, index)| ShardId { task: sample::task(task), index })
}

fn report() -> impl Strategy<Value = CheckpointReport> {
    (shard(), epoch(), 0..40_u64, 0..40_u64).prop_map(|(shard, epoch, lsn, serial)| {
        let hint = PositionHint { serial, ..PositionHint::default() };
        let checkpoint = Checkpoint { lsn: Lsn(lsn), hint, at_ms: 0, record: Vec::new() };
        CheckpointReport { shard, epoch, checkpoint }
    })
}

fn shard_kinds() -> impl Strategy<Value = CommandKind> {
    let assign =
        (shard(), 0..NODES, 0..2_u64, epoch()).prop_map(|(shard, node, instance, expect_epoch)| {
            let node = sample::node(node);
            CommandKind::Assign { shard, node, instance, expect_epoch }
        });
    let kind = prop_oneof![Just(FaultKind::Internal), Just(FaultKind::SourceState)];
    let failed = (shard(), epoch(), 0..NODES, kind, any::<bool>()).prop_map(
        |(shard, epoch, node, kind, last_node)| CommandKind::TaskFailed {
            shard,
            epoch,
            node: sample::node(node),
            fault: Fault::new(kind, "slot", "is gone"),
            last_node,
        },
    );
    let moved = (shard(), 0..NODES)
        .prop_map(|(shard, node)| CommandKind::MoveShard { shard, node: sample::node(node) });
    prop_oneof![
        1 => moved,
        8 => assign,
        1 => (shard(), epoch())
            .prop_map(|(shard, above)| CommandKind::RaiseEpoch { shard, above }),
        4 => (shard(), epoch()).prop_map(|(shard, epoch)| CommandKind::Release { shard, epoch }),
        6 => vec(report(), 0..4).prop_map(|reports| CommandKind::Checkpoints { reports }),
        3 => failed,
    ]
}

fn alert_kinds() -> impl Strategy<Value = CommandKind> {
    let channel = (0..2_u8, 0..3_u8).prop_map(|(number, secret)| CommandKind::ApplyChannel {
        channel: Arc::new(sample::channel(&format!("ops-{number}"), &format!("s{secret}"))),
    });
    let delete = (0..2_u8).prop_map(|number| CommandKind::DeleteChannel {
        name: format!("ops-{number}").parse().expect("a channel name"),
    });
    let modify = (0..TASKS, vec(0..2_u8, 0..3)).prop_map(|(task, channels)| {
        let channels: Vec<String> = channels.iter().map(|it| format!("ops-{it}")).collect();
        let spec = sample::alerting(&format!("name-{task}"), &channels);
        CommandKind::ModifyTask { task: sample::task(task), spec }
    });
    let step = prop_oneof![
        4 => Just(Step::Begins), 2 => Just(Step::GoesOn), 3 => Just(Step::Ends(Ending::Over)),
        1 => Just(Step::Ends(Ending::RuleGone)),
    ];
    let found = (0..TASKS, 0..3_u8, step).prop_map(|(task, alert, step)| AlertMove {
        task: sample::task(task),
        alert: format!("alert-{alert}").parse().expect("an alert name"),
        step,
        seen: None,
    });
    let push = prop_oneof![
        Just(Push::Waiting),
        Just(Push::Delivered { at_ms: 1, attempts: 1 }),
        Just(Push::Failed { at_ms: 1, attempts: 5, why: "answered 500".to_owned() }),
    ];
    let record = (1..30_u64, 0..2_u8, push).prop_map(|(message, channel, push)| {
        let channel = format!("ops-{channel}").parse().expect("a channel name");
        CommandKind::RecordPush { message, channel, push }
    });
    prop_oneof![
        3 => channel,
        1 => delete,
        2 => modify,
        4 => vec(found, 0..3).prop_map(|moves| CommandKind::MoveAlerts { moves }),
        3 => record,
    ]
}

/// A command, and whether it is aimed at what the state holds when its turn comes.
fn command() -> impl Strategy<Value = (Command, bool)> {
    let kind = prop_oneof![
        2 => node_kinds(), 4 => task_kinds(), 6 => shard_kinds(), 2 => alert_kinds(),
    ];
    let command =
        (any::<i64>(), option::of(0..1_000_u32), kind).prop_map(|(at_ms, request, kind)| {
            let request_id = request.map(|id| format!("r-{id}").parse().expect("a request id"));
            Command { at_ms, request_id, by: String::new(), kind }
        });
    (command, proptest::bool::weighted(0.8))
}

/// The shard at its place among those that the task has now.
fn aim_at_shards(state: &ClusterState, kind: &mut CommandKind) {
    let present = |id: &mut ShardId| {
        let Some(task) = state.task(&id.task) else { return };
        id.index = task.first_shard() + id.index % task.shard_count();
    };
    match kind {
        CommandKind::Assign { shard, .. }
        | CommandKind::Release { shard, .. }
        | CommandKind::MoveShard { shard, .. }
        | CommandKind::RaiseEpoch { shard, .. }
        | CommandKind::TaskFailed { shard, .. } => present(shard),
        CommandKind::Checkpoints { reports } => {
            reports.iter_mut().for_each(|report| present(&mut report.shard));
        }
        _ => {}
    }
}

/// The document as one of this task: its name, its kind.
fn of_its_kind(task: &Task, spec: &TaskSpec) -> Arc<TaskSpec> {
    let name = task.name().as_str();
    match (task.spec().as_ref(), spec) {
        (TaskSpec::KafkaToKafka(_), spec) => {
            let mut copy = sample::copy(name, spec.shards()).as_ref().clone();
            *copy.alerts_mut() = spec.alerts().to_vec();
            Arc::new(copy)
        }
        (TaskSpec::PostgresToKafka(_), TaskSpec::KafkaToKafka(_)) => sample::spec_of(name, 1),
        (TaskSpec::PostgresToKafka(_), TaskSpec::PostgresToKafka(named)) => {
            let mut named = named.clone();
            named.name.clone_from(task.name());
            Arc::new(named.into())
        }
    }
}

/// Blind commands rarely meet the right epoch; an aimed one takes it, and the owner, from the state.
fn aim(state: &ClusterState, command: &Command) -> Command {
    let mut command = command.clone();
    let shard_of = |id| state.shard(id).map(|shard| (shard.epoch(), shard.assignment()));
    aim_at_shards(state, &mut command.kind);
    match &mut command.kind {
        CommandKind::Assign { shard, node, instance, expect_epoch } => {
            if let Some((epoch, _)) = shard_of(shard) {
                *expect_epoch = epoch;
            }
            if let Some(node) = state.node(node) {
                *instance = node.instance();
            }
        }
        CommandKind::Release { shard, epoch } => {
            if let Some((current, _)) = shard_of(shard) {
                *epoch = current;
            }
        }
        CommandKind::TaskFailed { shard, epoch, node, .. } => {
            if let Some((current, Some(owner))) = shard_of(shard) {
                *epoch = current;
                *node = owner.node.clone();
            }
        }
        CommandKind::RecordPrecheck { task, revision, .. } => {
            if let Some(task) = state.task(task) {
                *revision = task.revision();
            }
        }
        CommandKind::RecordRevision { task, revision, .. } => {
            if let Some(draft) = state.task(task).and_then(|task| task.draft()) {
                *revision = draft.revision;
            }
        }
        CommandKind::ModifyTask { task, spec } => {
            if let Some(task) = state.task(task) {
                *spec = of_its_kind(task, spec);
            }
        }
        CommandKind::RecordPush { message, channel, .. } => {
            if let Some(waiting) = state.alerts().outbox().next() {
                *message = waiting.id;
                channel.clone_from(waiting.pushes.keys().next().expect("a channel"));
            }
        }
        CommandKind::MoveAlerts { moves } => {
            let alerting = state.tasks().find(|task| !task.spec().alerts().is_empty());
            for (found, task) in moves.iter_mut().zip(alerting) {
                found.task.clone_from(task.id());
                found.alert.clone_from(&task.spec().alerts()[0].name);
            }
        }
        CommandKind::Checkpoints { reports } => {
            for report in reports {
                let Some(shard) = state.shard(&report.shard) else { continue };
                report.epoch = shard.epoch();
                // Not far from what is known: nothing would be news after the first high ones.
                if let Some(known) = shard.checkpoint() {
                    let hint = &mut report.checkpoint.hint;
                    hint.serial = known.hint.serial + hint.serial % 3;
                    report.checkpoint.lsn = Lsn(known.lsn.0 + report.checkpoint.lsn.0 % 3);
                }
            }
        }
        _ => {}
    }
    command
}

/// Applies commands to a fresh cluster and shows each step: state before, command, what it brought, state after.
fn play(
    commands: &[(Command, bool)],
    mut look: impl FnMut(&ClusterState, &Command, &Applied, &ClusterState),
) -> ClusterState {
    let mut state = ClusterState::default();
    apply(&mut state, &bootstrap());
    for (command, aimed) in commands {
        let command = if *aimed { aim(&state, command) } else { command.clone() };
        let before = state.clone();
        let applied = apply(&mut state, &command);
        look(&before, &command, &applied, &state);
    }
    state
}

fn bootstrap() -> Command {
    let cluster = "c1".parse().expect("a cluster id");
    Command::internal(0, CommandKind::Bootstrap { cluster })
}

fn through_bincode<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    let config = bincode::config::standard();
    let bytes = bincode::serde::encode_to_vec(value, config).expect("encodes");
    let (back, read) = bincode::serde::decode_from_slice(&bytes, config).expect("decodes");
    assert_eq!(read, bytes.len());
    back
}

fn same_but_for_records(a: &ClusterState, b: &ClusterState) -> bool {
    a.cluster_id() == b.cluster_id()
        && a.cluster_version() == b.cluster_version()
        && a.nodes().eq(b.nodes())
        && a.tasks().eq(b.tasks())
}

proptest! {
    #[test]
    fn every_invariant_holds_after_every_command(commands in vec(command(), 1..250)) {
        play(&commands, |before, command, applied, after| {
            assert_eq!(check(after), Vec::new(), "after {command:?}");
            assert_eq!(check_step(before, after), Vec::new(), "by {command:?}");
            if applied.outcome.is_err() {
                assert!(applied.events.is_empty());
                assert!(same_but_for_records(before, after), "refused {command:?}");
            }
        });
    }

    #[test]
    fn the_log_read_back_gives_the_same_state(
        commands in vec(command(), 1..200),
        snapshot_at in 0..200_usize,
    ) {
        let mut log = vec![bootstrap()];
        let mut outcomes = Vec::new();
        let live = play(&commands, |_, command, applied, _| {
            log.push(through_bincode(command));
            outcomes.push(applied.clone());
        });
        let mut replayed = ClusterState::default();
        let mut again = Vec::new();
        for (index, command) in log.iter().enumerate() {
            if index == snapshot_at {
                replayed = through_bincode(&replayed);
            }
            again.push(apply(&mut replayed, command));
        }
        prop_assert_eq!(&again[1..], &outcomes[..]);
        prop_assert_eq!(&live, &replayed);
        prop_assert_eq!(through_bincode(&live), replayed);
    }

    #[test]
    fn a_request_that_comes_again_changes_nothing(commands in vec(command(), 1..100)) {
        play(&commands, |_, command, applied, after| {
            if command.request_id.is_some() {
                let mut state = after.clone();
                let again = apply(&mut state, command);
                assert_eq!(again.outcome, applied.outcome);
                assert!(again.events.is_empty());
                assert_eq!(state, *after);
            }
        });
    }
}

#[test]
fn the_trials_reach_what_they_are_about() {
    let mut runner = TestRunner::deterministic();
    let crashed =
        |state: &ClusterState| state.shards().any(|(_, _, shard)| !shard.crashed_on().is_empty());
    let (mut moved, mut failed, mut forgiven, mut removed, mut revised) = (0, 0, 0, 0, 0);
    let (mut told, mut resharded, mut inherited) = (0, 0, 0);
    for _ in 0..100 {
        let commands = vec(command(), 250).new_tree(&mut runner).expect("commands").current();
        play(&commands, |before, command, applied, after| {
            let done = u32::from(applied.outcome.is_ok() && !applied.events.is_empty());
            match &command.kind {
                CommandKind::Assign { shard, .. } => {
                    moved += before.shard(shard).and_then(Shard::assignment).map_or(0, |_| done);
                }
                CommandKind::TaskFailed { .. } => failed += done,
                CommandKind::RemoveTask { .. } => removed += done,
                CommandKind::Reshard { task } => {
                    let after = after.task(task).map_or(0, |task| task.predecessors().len());
                    resharded += done;
                    inherited += u32::from(after > 0) * done;
                }
                CommandKind::RecordRevision { .. } => revised += done,
                CommandKind::RecordPush { .. } => {
                    told += u32::from(before.alerts() != after.alerts());
                }
                CommandKind::Checkpoints { .. } => {
                    forgiven += u32::from(crashed(before) && !crashed(after));
                }
                _ => {}
            }
        });
    }
    let reached = [moved, failed, forgiven, removed, revised, told, resharded, inherited];
    assert!(reached.iter().all(|count| *count >= 3), "{reached:?}");
}
