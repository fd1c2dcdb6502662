//! A cluster in one thread: nodes as the leader meets them, and the leader's loop over the pure core.
//!
//! It asserts on the way that every invariant holds and that no epoch is given out twice.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewire_coordinator_core::{
    Action, ClusterState, Command, CommandKind, Directive, DrainCause, Event, NodeRegistration,
    Now, Observed, PositionHint, ShardObservation, ShardPhase, Timing, WorkKind, admit, apply,
    check, check_step, reconcile,
};
use tidewire_shared::precheck::PrecheckReport;
use tidewire_shared::{Epoch, Fault, FaultKind, Lsn, NodeName, ShardId, TaskId, TaskSpec};

use crate::sample;

const STEP_MS: u64 = 100;

/// A node's process, as far as the leader can tell.
pub(crate) struct Process {
    pub(crate) instance: u64,
    pub(crate) frozen: bool,
    pub(crate) connected: bool,
    pub(crate) leaving: bool,
    /// What it runs: epoch, and how it is.
    pub(crate) shards: BTreeMap<ShardId, (Epoch, Option<FaultKind>)>,
    /// Messages on their way to it.
    pub(crate) inbox: Vec<Directive>,
    pub(crate) work: Vec<(TaskId, WorkKind)>,
    /// It cannot carry out work beside its shards.
    pub(crate) clumsy: bool,
}

pub(crate) struct Cluster {
    pub(crate) state: ClusterState,
    pub(crate) observed: Observed,
    pub(crate) now: Now,
    pub(crate) processes: BTreeMap<NodeName, Process>,
    pub(crate) instances: u64,
    pub(crate) incarnations: BTreeMap<u64, u64>,
    pub(crate) serial: u64,
    /// Every shard that starts to run crashes.
    pub(crate) crashing: bool,
    /// No shard makes progress.
    pub(crate) serial_stands: bool,
    /// How late every shard says that it is.
    pub(crate) delay_ms: u64,
    /// Every action the leader carried out, in short, with its time.
    pub(crate) acts: Vec<(u64, String)>,
    /// Every epoch ever given out, with its owner.
    pub(crate) owners: BTreeMap<(ShardId, Epoch), (NodeName, u64)>,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        let mut cluster = Self {
            state: ClusterState::default(),
            observed: Observed::new(Timing::default(), 0),
            now: Now { mono_ms: 0, wall_ms: 1_000_000 },
            processes: BTreeMap::new(),
            instances: 0,
            incarnations: BTreeMap::new(),
            serial: 0,
            crashing: false,
            serial_stands: false,
            delay_ms: 0,
            acts: Vec::new(),
            owners: BTreeMap::new(),
        };
        cluster.propose(CommandKind::Bootstrap { cluster: "c1".parse().expect("id") });
        cluster
    }

    pub(crate) fn propose(&mut self, kind: CommandKind) {
        self.apply(&Command::internal(self.now.wall_ms, kind));
    }

    fn apply(&mut self, command: &Command) {
        let before = self.state.clone();
        let applied = apply(&mut self.state, command);
        assert_eq!(check(&self.state), Vec::new(), "after {command:?}");
        assert_eq!(check_step(&before, &self.state), Vec::new(), "by {command:?}");
        for event in applied.events {
            if let Event::ShardAssigned { shard, node, epoch } = event {
                let owner = self.state.shard(&shard).and_then(|it| it.assignment()).expect("owner");
                let owner = (node, owner.instance);
                let other = self.owners.insert((shard.clone(), epoch), owner);
                assert_eq!(other, None, "{shard} was given out under {epoch} before");
            }
        }
    }

    /// The identity of the newest task made from this number.
    pub(crate) fn task(&self, number: u64) -> TaskId {
        let incarnation = self.incarnations.get(&number).copied().unwrap_or_default();
        sample::task(number * 1_000 + incarnation)
    }

    /// Rounds until this holds; how long that took, milliseconds.
    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) -> u64 {
        let start_ms = self.now.mono_ms;
        while !holds(self) {
            assert!(self.now.mono_ms - start_ms < 60_000, "still waiting: {what}");
            self.step();
        }
        self.now.mono_ms - start_ms
    }

    pub(crate) fn steps(&mut self, count: u32) {
        for _ in 0..count {
            self.step();
        }
    }

    pub(crate) fn with(&mut self, node: u8, change: impl FnOnce(&mut Process)) {
        if let Some(process) = self.processes.get_mut(&sample::node(node)) {
            change(process);
        }
    }

    pub(crate) fn join(&mut self, name: NodeName) {
        if self.processes.contains_key(&name) {
            return;
        }
        self.instances += 1;
        let process = Process {
            instance: self.instances,
            frozen: false,
            connected: false,
            leaving: false,
            shards: BTreeMap::new(),
            inbox: Vec::new(),
            work: Vec::new(),
            clumsy: false,
        };
        self.processes.insert(name, process);
    }

    pub(crate) fn kill(&mut self, name: &NodeName) {
        self.cut(name);
        self.processes.remove(name);
    }

    pub(crate) fn cut(&mut self, name: &NodeName) {
        if let Some(process) = self.processes.get_mut(name) {
            process.connected = false;
            process.inbox.clear();
            self.observed.session_closed(name, process.instance, self.now.mono_ms);
        }
    }

    pub(crate) fn create(&mut self, number: u64) {
        if self.state.task(&self.task(number)).is_some() {
            return;
        }
        self.create_with(number, sample::spec(&format!("task-{number}")));
    }

    pub(crate) fn create_with(&mut self, number: u64, spec: Arc<TaskSpec>) {
        *self.incarnations.entry(number).or_default() += 1;
        self.propose(CommandKind::CreateTask { task: self.task(number), spec });
    }

    pub(crate) fn fail(&mut self, task: u64, kind: FaultKind) {
        let task = self.task(task);
        for process in self.processes.values_mut() {
            for (id, (_, fault)) in &mut process.shards {
                if id.task == task {
                    *fault = Some(kind);
                }
            }
        }
    }

    pub(crate) fn change_leader(&mut self) {
        for process in self.processes.values_mut() {
            process.connected = false;
            process.inbox.clear();
            process.work.clear();
        }
        self.observed = Observed::new(Timing::default(), self.now.mono_ms);
    }

    pub(crate) fn advance(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.wall_ms += i64::try_from(ms).expect("a short time");
    }

    /// One round of everybody: nodes speak, the leader acts.
    pub(crate) fn step(&mut self) {
        self.advance(STEP_MS);
        let names: Vec<NodeName> = self.processes.keys().cloned().collect();
        let round = self.now.mono_ms / STEP_MS;
        for name in names {
            self.node_acts(&name, round);
        }
        self.observed.ticked(&self.state, self.now.mono_ms);
        for action in reconcile(&self.state, &self.observed, self.now) {
            self.observed.carried_out(&action, self.now.mono_ms);
            self.acts.push((self.now.mono_ms, action.to_string()));
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Propose(command) => self.apply(&command),
            Action::Send(node, directive) => {
                let process = self.processes.get_mut(&node).expect("only to who is there");
                assert!(process.connected, "{node} has no session for {directive}");
                process.inbox.push(directive);
            }
            Action::OrderPrecheck { task, node, instance } => {
                self.order(&node, instance, task, WorkKind::Precheck);
            }
            Action::OrderCleanUp { task, node, instance } => {
                self.order(&node, instance, task, WorkKind::CleanUp);
            }
            Action::OrderRevision { task, node, instance, .. } => {
                self.order(&node, instance, task, WorkKind::Revision);
            }
            Action::OrderSweep { task, node, instance } => {
                self.order(&node, instance, task, WorkKind::Sweep);
            }
        }
    }

    fn order(&mut self, node: &NodeName, instance: u64, task: TaskId, kind: WorkKind) {
        let process = self.processes.get_mut(node).expect("only to who is there");
        assert_eq!(process.instance, instance);
        process.work.push((task, kind));
    }

    fn node_acts(&mut self, name: &NodeName, round: u64) {
        let now_ms = self.now.mono_ms;
        let Some(process) = self.processes.get(name) else { return };
        if process.frozen {
            return;
        }
        let instance = process.instance;
        if !process.connected {
            return self.connect(name, instance);
        }
        if process.leaving {
            let (node, cause) = (name.clone(), DrainCause::Leaving);
            self.propose(CommandKind::DrainNode { node, cause });
        }
        self.node_obeys(name);
        if !self.serial_stands {
            self.serial += 1;
        }
        if round.is_multiple_of(5)
            && let Some(process) = self.processes.get(name)
        {
            let shards = process
                .shards
                .iter()
                .map(|(id, (epoch, fault))| {
                    (id.clone(), report(*epoch, *fault, self.serial, self.delay_ms))
                })
                .collect();
            self.observed.heartbeat(name, instance, shards, now_ms);
        }
    }

    fn connect(&mut self, name: &NodeName, instance: u64) {
        if admit(&self.observed, name, instance, self.now.mono_ms).is_err() {
            return;
        }
        self.propose(CommandKind::RegisterNode {
            node: NodeRegistration {
                name: name.clone(),
                instance,
                capacity: 10,
                version: "0.1.0".to_owned(),
                host: "host".to_owned(),
                pid: 1,
            },
        });
        self.observed.session_opened(name.clone(), instance, self.now.mono_ms);
        self.processes.get_mut(name).expect("it connects").connected = true;
    }

    fn node_obeys(&mut self, name: &NodeName) {
        let Some(process) = self.processes.get_mut(name) else { return };
        let work = std::mem::take(&mut process.work);
        let fault = self.crashing.then_some(FaultKind::Internal);
        for directive in std::mem::take(&mut process.inbox) {
            match directive {
                Directive::Assign { shard, epoch, .. } => {
                    let running = process.shards.entry(shard).or_insert((epoch, fault));
                    if running.0 < epoch {
                        *running = (epoch, fault);
                    }
                }
                Directive::Revoke { shard, epoch } => {
                    if process.shards.get(&shard).is_none_or(|(running, _)| *running <= epoch) {
                        process.shards.remove(&shard);
                        self.observed.shard_released(shard, epoch);
                    }
                }
                Directive::Prepare { .. } => {}
                Directive::Dismissed => {
                    assert!(process.leaving && process.shards.is_empty());
                    return self.kill(name);
                }
            }
        }
        let clumsy = process.clumsy;
        for (task, kind) in work {
            if clumsy {
                let fault = Fault::new(FaultKind::SourceBusy, "source", "has no connection left");
                self.observed.work_failed(&task, kind, fault, self.now.mono_ms);
                continue;
            }
            self.observed.work_done(&task, kind);
            let known = self.state.task(&task);
            let present = known.map_or(0, |task| task.revision());
            let revision = known.and_then(|task| task.draft()).map_or(0, |draft| draft.revision);
            self.propose(match kind {
                WorkKind::Revision => CommandKind::RecordRevision {
                    task,
                    revision,
                    report: PrecheckReport { at_ms: self.now.wall_ms, items: Vec::new() },
                },
                WorkKind::Sweep => CommandKind::RecordLeftovers { task, left: Vec::new() },
                WorkKind::Precheck => CommandKind::RecordPrecheck {
                    task,
                    revision: present,
                    report: PrecheckReport { at_ms: self.now.wall_ms, items: Vec::new() },
                },
                WorkKind::CleanUp => CommandKind::RemoveTask { task, left: Vec::new() },
            });
        }
    }
}

fn report(epoch: Epoch, fault: Option<FaultKind>, serial: u64, delay_ms: u64) -> ShardObservation {
    let phase = if fault.is_some() { ShardPhase::Failed } else { ShardPhase::Synchronizing };
    ShardObservation {
        epoch,
        phase,
        fault: fault.map(|kind| Fault::new(kind, "shard", "was told to fail")),
        delay_ms,
        wal_bytes: 0,
        durable_lsn: Lsn(serial),
        hint: PositionHint { serial, ..PositionHint::default() },
        record: Vec::new(),
    }
}
