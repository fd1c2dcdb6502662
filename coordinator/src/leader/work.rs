//! Work streams of nodes: prechecks and clean-ups, ordered and answered.
//!
//! They go over a stream of their own so that nothing bulky delays a heartbeat.

use std::sync::Arc;

use tidewire_coordinator_core::{
    Checkpoint, Command, CommandKind, Rejection, Standing, Task, WorkKind,
};
use tidewire_proto::convert::ConvertError;
use tidewire_proto::node::v1::work_done::Outcome;
use tidewire_proto::node::v1::work_order::Work;
use tidewire_proto::node::v1::{CleanUp, Precheck, ShardAtRest, ShardPlace, WorkDone, WorkOrder};
use tidewire_shared::precheck::PrecheckReport;
use tidewire_shared::{Fault, FaultKind, NodeName, TaskId, TaskSpec};
use tokio::sync::{mpsc, oneshot};

use super::neighbours::Around;
use super::observation::wire_hint;
use super::session::Inbox;
use super::term::{Outbox, Term};
use super::{Leader, SessionKey};
use crate::clock;

/// Orders a node may leave unread.
const OUTBOX_MAX: usize = 64;
/// Orders without an answer; each is a call that waits, or a task that starts or is deleted.
const ORDERS_MAX: usize = 4_096;

/// An order that is not answered yet.
#[derive(Debug)]
pub(super) struct Order {
    node: NodeName,
    purpose: Purpose,
}

/// What the answer is for.
#[derive(Debug)]
enum Purpose {
    /// A step in the life of a task, as the core wants it.
    Step(TaskId, WorkKind),
    /// The precheck of this revision of a task, its present one or a draft, as the core wants it.
    Precheck(TaskId, WorkKind, u64),
    /// A call that waits for the report.
    Look(oneshot::Sender<Result<PrecheckReport, Fault>>),
    /// A call that waits for whatever the node answers.
    Ask(oneshot::Sender<Result<Outcome, Fault>>),
}

/// Why no node does the work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkError {
    /// This coordinator does not lead.
    #[error("not the leader")]
    NotLeader,
    /// Nobody could take the order.
    #[error("no node is connected")]
    NoNode,
    /// The document cannot be given to a node: a connection that it names is missing or does not fit.
    #[error(transparent)]
    Unresolved(Box<Rejection>),
    /// The node could not carry it out.
    #[error(transparent)]
    Failed(Box<Fault>),
}

impl Leader {
    /// Opens the work stream of a node that has a session.
    ///
    /// `None`: there is no session of this process here.
    pub(crate) fn open_work(
        &self,
        node: &NodeName,
        instance: u64,
    ) -> Option<(SessionKey, Inbox<WorkOrder>)> {
        let mut term = self.lock();
        let term = term.as_mut()?;
        term.sessions.get(node).filter(|session| session.instance == instance)?;
        let serial = term.next_serial();
        let (sender, inbox) = mpsc::channel(OUTBOX_MAX);
        term.workers.insert(node.clone(), Outbox { serial, instance, sender });
        self.ring();
        Some((SessionKey::new(node.clone(), instance, serial), inbox))
    }

    /// Notes that a work stream ended: what was ordered over it is not answered any more.
    pub(crate) fn close_work(&self, key: &SessionKey) {
        let mut term = self.lock();
        let Some(term) = term.as_mut() else { return };
        if term.workers.get(key.node()).is_none_or(|outbox| outbox.serial != key.serial()) {
            return;
        }
        term.workers.remove(key.node());
        let (lost, kept) = std::mem::take(&mut term.orders)
            .into_iter()
            .partition(|(_, order)| order.node == *key.node());
        term.orders = kept;
        for (_, order) in lost {
            let fault = Fault::new(
                FaultKind::Coordination,
                format!("node {}", key.node()),
                "the connection broke before the work was done",
            );
            fail(term, order.purpose, fault);
        }
        self.ring();
    }

    /// Takes in the answer to an order.
    ///
    /// # Errors
    /// When the answer does not hold what it must.
    pub(crate) async fn work_done(&self, done: WorkDone) -> Result<(), ConvertError> {
        if let Some(Outcome::Log(log)) = done.outcome {
            let node: NodeName = tidewire_proto::convert::parsed("node", &done.node)?;
            self.logs.take(&self.handle.state(), &node, done.instance, log.lines);
            return Ok(());
        }
        let Some(outcome) = done.outcome else {
            return Err(ConvertError::new("outcome", "is missing"));
        };
        let order = self.lock().as_mut().and_then(|term| term.orders.remove(&done.id));
        let Some(order) = order else { return Ok(()) };
        let Some(command) = self.settle(order.purpose, outcome)? else { return Ok(()) };
        // If the log does not take it, the next round finds the same work undone and orders it again.
        if let Err(error) = self.handle.propose(Command::internal(clock::wall_ms(), command)).await
        {
            tracing::warn!(%error, "the result of an order is lost; it will be ordered again");
        }
        self.ring();
        Ok(())
    }

    /// Gives an answer to whoever waits for it; the command, if the log has to know it.
    fn settle(
        &self,
        purpose: Purpose,
        outcome: Outcome,
    ) -> Result<Option<CommandKind>, ConvertError> {
        let command = match (outcome, purpose) {
            (Outcome::Fault(fault), purpose) => {
                let fault = tidewire_proto::convert::required("fault", Some(fault))?;
                if let Some(term) = self.lock().as_mut() {
                    fail(term, purpose, fault);
                }
                self.ring();
                None
            }
            (Outcome::Precheck(report), purpose) => {
                let report = tidewire_proto::convert::required("precheck", Some(report))?;
                return self.prechecked(purpose, report);
            }
            (
                answer @ (Outcome::Tested(_)
                | Outcome::Discovered(_)
                | Outcome::WalWeighed(_)
                | Outcome::Rewind(_)),
                Purpose::Ask(call),
            ) => {
                // Whoever asked may have gone, here and below.
                drop(call.send(Ok(answer)));
                None
            }
            (Outcome::CleanUp(clean_up), Purpose::Step(task, WorkKind::CleanUp)) => {
                self.step_done(&task, WorkKind::CleanUp);
                Some(CommandKind::RemoveTask { task, left: clean_up.left })
            }
            (Outcome::CleanUp(clean_up), Purpose::Step(task, WorkKind::Sweep)) => self
                .swept(&task, clean_up.left)
                .map(|left| CommandKind::RecordLeftovers { task, left }),
            _ => return Err(ConvertError::new("outcome", "is no answer to what was asked")),
        };
        Ok(command)
    }

    fn prechecked(
        &self,
        purpose: Purpose,
        report: PrecheckReport,
    ) -> Result<Option<CommandKind>, ConvertError> {
        match purpose {
            Purpose::Look(answer) => {
                // Whoever asked may have gone.
                drop(answer.send(Ok(report)));
                Ok(None)
            }
            Purpose::Precheck(task, kind, revision) => {
                self.step_done(&task, kind);
                Ok(Some(match kind {
                    WorkKind::Revision => CommandKind::RecordRevision { task, revision, report },
                    WorkKind::Precheck | WorkKind::CleanUp | WorkKind::Sweep => {
                        CommandKind::RecordPrecheck { task, revision, report }
                    }
                }))
            }
            _ => Err(ConvertError::new("precheck", "was not asked")),
        }
    }

    /// What is left after another clean-up, if that is news. What is still the same counts as an attempt
    /// that failed, so that the next one waits longer.
    fn swept(&self, task: &TaskId, left: Vec<String>) -> Option<Vec<String>> {
        if left.is_empty() {
            self.step_done(task, WorkKind::Sweep);
            return Some(left);
        }
        if let Some(term) = self.lock().as_mut() {
            let why = format!("could not drop all that it left: {}", left.join("; "));
            let fault = Fault::new(FaultKind::SourceState, format!("task {task}"), why);
            term.observed.work_failed(task, WorkKind::Sweep, fault, clock::mono_ms());
        }
        let known = self.handle.state();
        let news = known.leftovers_of(task).is_some_and(|known| known.left != left);
        news.then_some(left)
    }

    fn step_done(&self, task: &TaskId, kind: WorkKind) {
        if let Some(term) = self.lock().as_mut() {
            term.observed.work_done(task, kind);
        }
    }

    /// Has a connected node do something beside its shards, and waits for its answer.
    ///
    /// # Errors
    /// When this coordinator does not lead, no node is connected, or the node could not do it.
    pub(crate) async fn ask(&self, work: Work) -> Result<Outcome, WorkError> {
        let (call, answer) = oneshot::channel();
        {
            let mut term = self.lock();
            let term = term.as_mut().ok_or(WorkError::NotLeader)?;
            let node = term.worker().ok_or(WorkError::NoNode)?;
            if !term.order(&node, work, Purpose::Ask(call)) {
                return Err(WorkError::NoNode);
            }
        }
        match answer.await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(fault)) => Err(WorkError::Failed(Box::new(fault))),
            Err(_) => Err(WorkError::NotLeader),
        }
    }

    /// Has a connected node look whether a task could run, and waits for its report.
    ///
    /// # Errors
    /// When this coordinator does not lead, no node is connected, or the node could not look.
    pub(crate) async fn look(
        &self,
        spec: &TaskSpec,
        task: Option<(&TaskId, bool)>,
    ) -> Result<PrecheckReport, WorkError> {
        let resolved = self.handle.state().resolve(&Arc::new(spec.clone()));
        let spec = resolved.map_err(|rejection| WorkError::Unresolved(Box::new(rejection)))?;
        let (answer, report) = oneshot::channel();
        {
            let mut term = self.lock();
            let term = term.as_mut().ok_or(WorkError::NotLeader)?;
            let node = term.worker().ok_or(WorkError::NoNode)?;
            let around = Around::of(&self.handle.state(), task.map(|(id, _)| id), spec.name());
            let precheck = Precheck {
                spec: Some(spec.as_ref().clone().into()),
                task_id: task.map_or_else(String::new, |(id, _)| id.to_string()),
                started_before: task.is_some_and(|(_, started_before)| started_before),
                neighbours: around.neighbours,
                slot_owners: around.slot_owners,
                shards: task
                    .and_then(|(id, _)| self.handle.state().task(id).map(copying_shards))
                    .unwrap_or_default(),
            };
            let sent = term.order(&node, Work::Precheck(precheck), Purpose::Look(answer));
            if !sent {
                return Err(WorkError::NoNode);
            }
        }
        match report.await {
            Ok(Ok(report)) => Ok(report),
            Ok(Err(fault)) => Err(WorkError::Failed(Box::new(fault))),
            Err(_) => Err(WorkError::NotLeader),
        }
    }
}

impl Term {
    /// A living node that takes work.
    fn worker(&self) -> Option<NodeName> {
        let now_ms = clock::mono_ms();
        let lives = |node: &&NodeName| self.observed.standing(node, now_ms) == Standing::Live;
        self.workers.keys().find(lives).cloned()
    }

    /// Hands a step in the life of a task to a node; `false`: it could not be sent.
    pub(super) fn order_step(
        &mut self,
        node: &NodeName,
        task: &TaskId,
        kind: WorkKind,
        facts: &StepFacts,
    ) -> bool {
        let spec = Some(facts.spec.as_ref().clone().into());
        let task_id = task.to_string();
        let work = match kind {
            WorkKind::Precheck | WorkKind::Revision => Work::Precheck(Precheck {
                spec,
                task_id,
                started_before: facts.started_before,
                neighbours: facts.around.neighbours.clone(),
                slot_owners: facts.around.slot_owners.clone(),
                shards: facts.copying.clone(),
            }),
            WorkKind::CleanUp | WorkKind::Sweep => {
                let shards = facts
                    .shards
                    .iter()
                    .map(|(shard, ordinal)| ShardPlace { shard: *shard, ordinal: *ordinal });
                let in_use = facts.around.in_use.clone();
                Work::CleanUp(CleanUp { spec, task_id, shards: shards.collect(), in_use })
            }
        };
        let purpose = match kind {
            WorkKind::Precheck | WorkKind::Revision => {
                Purpose::Precheck(task.clone(), kind, facts.revision)
            }
            WorkKind::CleanUp | WorkKind::Sweep => Purpose::Step(task.clone(), kind),
        };
        self.order(node, work, purpose)
    }

    fn order(&mut self, node: &NodeName, work: Work, purpose: Purpose) -> bool {
        self.orders.retain(|_, order| match &order.purpose {
            Purpose::Look(answer) => !answer.is_closed(),
            Purpose::Ask(answer) => !answer.is_closed(),
            Purpose::Step(..) | Purpose::Precheck(..) => true,
        });
        if self.orders.len() >= ORDERS_MAX {
            return false;
        }
        let id = self.next_serial();
        let Some(outbox) = self.workers.get(node) else { return false };
        let sent = outbox.sender.try_send(Ok(WorkOrder { id, work: Some(work) })).is_ok();
        if sent {
            self.orders.insert(id, Order { node: node.clone(), purpose });
        }
        sent
    }
}

/// What a node must know for a step.
#[derive(Debug)]
pub(super) struct StepFacts {
    pub(super) spec: Arc<TaskSpec>,
    pub(super) started_before: bool,
    /// For a clean-up, all shards that the task ever had: number, and number in the positions topic.
    pub(super) shards: Vec<(u32, u64)>,
    /// Of the document that is given.
    pub(super) revision: u64,
    pub(super) around: Around,
    /// As [`copying_shards`] has them, for a precheck.
    pub(super) copying: Vec<ShardAtRest>,
}

/// The shards of a task that copies topics whose positions tell what it has copied; none before its start.
pub(super) fn copying_shards(task: &Task) -> Vec<ShardAtRest> {
    if !matches!(task.spec().as_ref(), TaskSpec::KafkaToKafka(_)) || !task.started_before() {
        return Vec::new();
    }
    let at_rest = |number: u32, ordinal, checkpoint: Option<&Checkpoint>| ShardAtRest {
        shard: number,
        ordinal,
        epoch: 0,
        hint: checkpoint.map(|checkpoint| wire_hint(checkpoint.hint)),
        record: checkpoint.map_or_else(Vec::new, |it| it.record.clone()),
    };
    let before = task.predecessors().iter().flat_map(|generation| {
        (generation.first()..)
            .zip(generation.shards())
            .map(|(number, shard)| at_rest(number, shard.ordinal, shard.checkpoint.as_ref()))
    });
    let shards =
        task.shards().map(|(id, shard)| at_rest(id.index, shard.ordinal(), shard.checkpoint()));
    shards.chain(before).collect()
}

fn fail(term: &mut Term, purpose: Purpose, fault: Fault) {
    match purpose {
        Purpose::Step(task, kind) | Purpose::Precheck(task, kind, _) => {
            term.observed.work_failed(&task, kind, fault, clock::mono_ms());
        }
        // Whoever asked may have gone.
        Purpose::Look(answer) => drop(answer.send(Err(fault))),
        Purpose::Ask(answer) => drop(answer.send(Err(fault))),
    }
}
