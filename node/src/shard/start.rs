//! The order of a start: does what [`Takeover`] says next and tells it what was seen.
//!
//! Nothing is decided here. The order, and why it is safe, stands in `tidewire_node_core::takeover`.

mod objects;
mod rewind;
mod source;
mod target;

use std::time::Duration;

use tidewire_node_core::leased::LeasedStart;
use tidewire_node_core::takeover::{Fact, Ownership, Remembered, Start, Step, Stop, Takeover};
use tidewire_proto::node::v1::ConfirmOwnershipRequest;
use tidewire_shared::spec::Delivery;
use tidewire_shared::{ClusterId, Epoch, Fault, FaultKind, TaskSpec};

use super::Assignment;
use super::meter::Meter;
use super::supervisor::{Surroundings, no_cluster};
use crate::fault_point;
use crate::pipeline::Parts;
use source::SourceSide;
use target::TargetSide;

pub(crate) use objects::SourceObjects;
pub(crate) use rewind::rewind;
pub(crate) use target::blocking;

/// Between two questions to coordinators that do not answer.
const ASK_AGAIN: Duration = Duration::from_millis(300);

/// Why a start ended without streaming.
#[derive(Debug)]
pub(super) enum NoStart {
    /// Someone else owns the shard; nothing may be touched.
    Superseded,
    /// Something is in the way.
    Fault(Fault),
}

impl From<Fault> for NoStart {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// Walks the order of a start until the stream is open; `again` after an earlier attempt under the
/// same epoch.
pub(super) async fn start(
    assignment: &Assignment,
    surroundings: &Surroundings,
    meter: &Meter,
    again: bool,
) -> Result<Box<Parts>, NoStart> {
    let cluster = surroundings.cluster.borrow().clone().ok_or_else(no_cluster)?;
    let mut starter = Starter {
        assignment,
        surroundings,
        source: SourceSide::new(assignment, &cluster)?,
        target: TargetSide::new(assignment, &cluster, &surroundings.node)?,
    };
    starter.source.connect_ahead();
    // What an earlier attempt has written itself is newer than what the coordinators knew.
    let (mut order, mut step) = match assignment.spec.delivery {
        Delivery::ExactlyOnce => {
            let hint = meter.report().position.or(assignment.hint);
            let remembered = hint
                .map_or(Remembered::Nothing, |hint| Remembered::Position(target::core_hint(&hint)));
            let begin = if again { Takeover::again } else { Takeover::begin };
            let (order, step) = begin(assignment.shard.clone(), assignment.epoch, remembered);
            (Order::Fenced(order), step)
        }
        Delivery::AtLeastOnce => {
            let written = Some(meter.report().record).filter(|record| !record.is_empty());
            let known =
                starter.target.kept_position(written.as_ref().unwrap_or(&assignment.record))?;
            let (shard, epoch) = (assignment.shard.clone(), assignment.epoch);
            let (order, step) = LeasedStart::begin(shard, epoch, known);
            (Order::Leased(order), step)
        }
    };
    loop {
        tracing::debug!(shard = %assignment.shard, epoch = %assignment.epoch, step = name(&step));
        let fact = match step {
            Step::Stream(start) => return starter.parts(start, meter).await.map_err(Into::into),
            Step::Stop(stop) => return Err(starter.stop(stop).await),
            step => starter.fact(step).await,
        };
        for line in starter.source.told() {
            meter.log().info(line);
        }
        step = order.step(fact);
    }
}

/// The order of a start: which one it is depends on the delivery.
enum Order {
    Fenced(Takeover),
    Leased(LeasedStart),
}

impl Order {
    fn step(&mut self, fact: Fact) -> Step {
        match self {
            Self::Fenced(order) => order.step(fact),
            Self::Leased(order) => order.step(fact),
        }
    }
}

/// Opens what an assignment will need, so that names are resolved and both ends are known to answer.
pub(super) async fn prepare(spec: &TaskSpec) {
    let cluster: Result<ClusterId, _> = "prepare".parse();
    let (Ok(cluster), Ok(task)) = (cluster, "prepare".parse()) else { return };
    let shard = tidewire_shared::ShardId { task, index: 0 };
    let assignment = Assignment {
        shard,
        epoch: Epoch(0),
        spec: spec.clone(),
        ordinal: 0,
        hint: None,
        record: Vec::new(),
    };
    if let Ok(mut source) = SourceSide::new(&assignment, &cluster) {
        source.connect_ahead();
        source.warm().await;
    }
}

struct Starter<'a> {
    assignment: &'a Assignment,
    surroundings: &'a Surroundings,
    source: SourceSide,
    target: TargetSide,
}

impl Starter<'_> {
    /// Does one step and says what was seen.
    async fn fact(&mut self, step: Step) -> Fact {
        let seen = match step {
            Step::InitProducer => {
                fault_point::reach("before_init_producer");
                self.target.init_producer().await
            }
            Step::ReadPositions { hint } => self.target.read_positions(hint).await,
            Step::ConfirmOwnership => Ok(self.confirm().await),
            Step::VerifyTopics => self.verify_topics().await,
            Step::PrepareSource => self.source.ensure_publication().await,
            Step::FindStart => self.source.ensure_slot().await,
            Step::CommitClaim(entry) => {
                let ended = self.target.commit_claim(entry).await;
                fault_point::reach("after_claim");
                ended
            }
            Step::TakeSource => self.source.take_slot().await,
            Step::VerifySource(position) => self.source.verify(&position).await,
            Step::Stream(_) | Step::Stop(_) => {
                Err(Fault::new(FaultKind::Internal, "start", "was at its end already"))
            }
        };
        match seen {
            Ok(fact) => fact,
            Err(fault) if fault.kind == FaultKind::Fenced => Fact::ProducerLost,
            Err(fault) => Fact::Failed(fault),
        }
    }

    async fn verify_topics(&mut self) -> Result<Fact, Fault> {
        let tables = self.source.resolve().await?;
        self.target.verify_topics(tables, &self.assignment.spec.on_bad_record).await
    }

    async fn confirm(&self) -> Fact {
        Fact::Ownership(match self.ask(Epoch(0)).await {
            Ok(None) => Ownership::Current,
            Ok(Some(epoch)) => Ownership::Superseded(epoch),
            Err(fault) => {
                tracing::info!(shard = %self.assignment.shard, %fault, "waiting for the coordinators");
                tokio::time::sleep(ASK_AGAIN).await;
                Ownership::Unreachable
            }
        })
    }

    /// The epoch that is current instead of ours, if it is not ours.
    async fn ask(&self, seen: Epoch) -> Result<Option<Epoch>, Fault> {
        let answer = self
            .surroundings
            .leader
            .confirm(ConfirmOwnershipRequest {
                node: self.surroundings.node.to_string(),
                instance: self.surroundings.instance,
                task_id: self.assignment.shard.task.to_string(),
                shard: self.assignment.shard.index,
                epoch: self.assignment.epoch.0,
                seen_epoch: seen.0,
            })
            .await?;
        Ok((!answer.current).then_some(Epoch(answer.current_epoch)))
    }

    /// Ends the start. A higher epoch in the target is told to the coordinators: if they know of no
    /// such owner, they were restored from a backup and must assign one above it.
    async fn stop(&self, stop: Stop) -> NoStart {
        match stop {
            Stop::HigherEpoch(seen) => match self.ask(seen).await {
                Ok(_) => NoStart::Superseded,
                Err(fault) => NoStart::Fault(fault),
            },
            Stop::NotOwner(_) => NoStart::Superseded,
            Stop::Fault(fault) => NoStart::Fault(fault),
        }
    }

    async fn parts(self, start: Start, meter: &Meter) -> Result<Box<Parts>, Fault> {
        let from = start.from;
        let lease = self.surroundings.lease.clone();
        let stream = self.source.stream(&start).await?;
        let parts = self.target.parts(start, stream, self.assignment, meter, lease)?;
        meter.synchronizing();
        meter.log().info(format!("streams from {from}"));
        Ok(parts)
    }
}

fn name(step: &Step) -> &'static str {
    match step {
        Step::InitProducer => "init producer",
        Step::ReadPositions { .. } => "read positions",
        Step::ConfirmOwnership => "confirm ownership",
        Step::VerifyTopics => "verify topics",
        Step::PrepareSource => "ensure publication",
        Step::FindStart => "ensure slot",
        Step::CommitClaim(_) => "commit claim",
        Step::TakeSource => "take slot",
        Step::VerifySource(_) => "verify source",
        Step::Stream(_) => "stream",
        Step::Stop(_) => "stop",
    }
}
