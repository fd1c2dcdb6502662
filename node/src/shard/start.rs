//! The order of a start: does what [`Takeover`] says next and tells it what was seen.
//!
//! Nothing is decided here. The order, and why it is safe, stands in `tidewire_node_core::takeover`;
//! what a step means at the two ends of a task, in [`postgres`] and [`kafka`].

mod kafka;
mod postgres;
mod target;

use std::time::Duration;

use tidewire_node_core::leased::LeasedStart;
use tidewire_node_core::takeover::{
    Fact, Ownership, PinPolicy, Remembered, Start, Step, Stop, Takeover,
};
use tidewire_proto::node::v1::ConfirmOwnershipRequest;
use tidewire_shared::spec::Delivery;
use tidewire_shared::{ClusterId, Epoch, Fault, FaultKind, TaskSpec};

use super::Assignment;
use super::meter::Meter;
use super::supervisor::{Surroundings, no_cluster};
use crate::fault_point;
use crate::lease::Lease;
use crate::pipeline::Parts;
use crate::pipeline::positions::Recorded;
use kafka::KafkaEnds;
use postgres::PostgresEnds;
use target::TargetSide;

pub(crate) use kafka::{ConfigSync, copied_topics, listed, rewind_copy, source_settings};
pub(crate) use postgres::{SourceObjects, rewind};
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

/// Source and target of one kind of task: what the steps of a start mean there.
trait Ends: Sized {
    /// How far a shard has come.
    type Position: Recorded + Send + 'static;

    /// The target, whose steps are the same for all kinds.
    fn target(&mut self) -> &mut TargetSide;

    /// Which changes of its topics the task goes on with.
    fn pin_policy(&self) -> PinPolicy;

    /// Begins to connect to the source, while the target is being asked.
    fn connect_ahead(&mut self);

    /// The shard stands here; told before the source is asked for anything, unless it has not begun.
    fn stands_at(&mut self, position: &Self::Position);

    async fn verify_topics(
        &mut self,
        known: Option<Self::Position>,
    ) -> Result<Fact<Self::Position>, Fault>;
    async fn prepare_source(&mut self) -> Result<Fact<Self::Position>, Fault>;
    async fn find_start(&mut self) -> Result<Fact<Self::Position>, Fault>;
    async fn take_source(&mut self) -> Result<Fact<Self::Position>, Fault>;
    async fn verify_source(
        &mut self,
        position: &Self::Position,
    ) -> Result<Fact<Self::Position>, Fault>;

    /// What was changed at the ends since this was last asked, as lines for the log of the task.
    fn told(&mut self) -> Vec<String>;

    /// Opens the source, and makes everything that the pipeline is built of.
    async fn parts(
        self,
        start: Start<Self::Position>,
        meter: &Meter,
        lease: Lease,
    ) -> Result<Parts, Fault>;
}

/// Walks the order of a start until the stream is open; `again` after an earlier attempt under the
/// same epoch.
pub(super) async fn start(
    assignment: &Assignment,
    surroundings: &Surroundings,
    meter: &Meter,
    again: bool,
) -> Result<Parts, NoStart> {
    let cluster = surroundings.cluster.borrow().clone().ok_or_else(no_cluster)?;
    let node = &surroundings.node;
    // Boxed: a start carries more than a running pipeline, which need not keep room for it.
    match &assignment.spec {
        TaskSpec::PostgresToKafka(task) => {
            let ends = PostgresEnds::new(task, assignment, &cluster, node)?;
            Box::pin(Starter { assignment, surroundings, ends }.walk(meter, again)).await
        }
        TaskSpec::KafkaToKafka(task) => {
            let ends = KafkaEnds::new(task, assignment, &cluster, node)?;
            Box::pin(Starter { assignment, surroundings, ends }.walk(meter, again)).await
        }
    }
}

/// Opens what an assignment will need, so that names are resolved and the source is known to answer.
pub(super) async fn prepare(spec: &TaskSpec) {
    let (Ok(cluster), Ok(task)) = ("prepare".parse::<ClusterId>(), "prepare".parse()) else {
        return;
    };
    let assignment = Assignment {
        shard: tidewire_shared::ShardId { task, index: 0 },
        epoch: Epoch(0),
        spec: spec.clone(),
        ordinal: 0,
        hint: None,
        record: Vec::new(),
        place: (0, 1),
        before: Vec::new(),
        resumed_over: Vec::new(),
    };
    if let TaskSpec::PostgresToKafka(task) = spec {
        postgres::warm(task, &assignment, &cluster).await;
    }
}

/// An order of a start, and its first step.
type Begun<P> = (Order<P>, Step<P>);

/// The order of a start: which one it is depends on the delivery.
enum Order<P> {
    Fenced(Takeover<P>),
    Leased(LeasedStart<P>),
}

impl<P: Recorded> Order<P> {
    fn step(&mut self, fact: Fact<P>) -> Step<P> {
        match self {
            Self::Fenced(order) => order.step(fact),
            Self::Leased(order) => order.step(fact),
        }
    }

    /// What a step that could not be done means. A fence ends the producer of exactly_once, and the order
    /// begins again. at_least_once has nothing that is fenced: who holds the source under a later epoch owns
    /// the shard, or did, and the next attempt asks the coordinators first.
    fn failed(&self, fault: Fault) -> Fact<P> {
        match self {
            Self::Fenced(_) if fault.kind == FaultKind::Fenced => Fact::ProducerLost,
            Self::Fenced(_) | Self::Leased(_) => Fact::Failed(fault),
        }
    }
}

struct Starter<'a, E> {
    assignment: &'a Assignment,
    surroundings: &'a Surroundings,
    ends: E,
}

impl<E: Ends> Starter<'_, E> {
    async fn walk(mut self, meter: &Meter, again: bool) -> Result<Parts, NoStart> {
        self.ends.connect_ahead();
        let (mut order, mut step) = self.begin(meter, again)?;
        loop {
            let (shard, epoch) = (&self.assignment.shard, self.assignment.epoch);
            tracing::debug!(%shard, %epoch, step = name(&step));
            let fact = match step {
                Step::Stream(start) => {
                    let lease = self.surroundings.lease.clone();
                    let parts = self.ends.parts(start, meter, lease).await?;
                    meter.synchronizing();
                    return Ok(parts);
                }
                Step::Stop(stop) => return Err(self.stop(stop).await),
                step => self.fact(step, meter).await.unwrap_or_else(|fault| order.failed(fault)),
            };
            for line in self.ends.told() {
                meter.log().info(line);
            }
            step = order.step(fact);
        }
    }

    /// What an earlier attempt has written itself is newer than what the coordinators knew.
    fn begin(&mut self, meter: &Meter, again: bool) -> Result<Begun<E::Position>, Fault> {
        let assignment = self.assignment;
        let (shard, epoch) = (assignment.shard.clone(), assignment.epoch);
        let policy = self.ends.pin_policy();
        match assignment.spec.delivery() {
            Delivery::ExactlyOnce => {
                let hint = meter.report().position.or(assignment.hint);
                let remembered = hint.map_or(Remembered::Nothing, |hint| {
                    Remembered::Position(target::core_hint(&hint))
                });
                let begin = if again { Takeover::again } else { Takeover::begin };
                let (order, step) = begin(shard, epoch, remembered, policy);
                Ok((Order::Fenced(order), step))
            }
            Delivery::AtLeastOnce => {
                let written = Some(meter.report().record).filter(|record| !record.is_empty());
                let known = written.as_ref().unwrap_or(&assignment.record);
                let known = self.ends.target().kept_position(known)?;
                if let Some(known) = &known {
                    self.ends.stands_at(&known.position);
                }
                let (order, step) = LeasedStart::begin(shard, epoch, known, policy);
                Ok((Order::Leased(order), step))
            }
        }
    }

    /// Does one step and says what was seen.
    async fn fact(
        &mut self,
        step: Step<E::Position>,
        meter: &Meter,
    ) -> Result<Fact<E::Position>, Fault> {
        match step {
            Step::InitProducer => {
                fault_point::reach("before_init_producer");
                let initialised = self.ends.target().init_producer().await;
                initialised.map(|()| Fact::ProducerInitialised)
            }
            Step::ReadPositions { hint } => {
                let newest = self.ends.target().read_positions(hint).await;
                if let Ok(Some(newest)) = &newest {
                    self.ends.stands_at(&newest.position);
                }
                newest.map(Fact::PositionsRead)
            }
            Step::ConfirmOwnership => Ok(self.confirm().await),
            Step::VerifyTopics(known) => self.ends.verify_topics(known).await,
            Step::PrepareSource => self.ends.prepare_source().await,
            Step::FindStart => self.ends.find_start().await,
            Step::CommitClaim(entry) => {
                fault_point::reach("before_claim");
                let target = self.ends.target();
                let ended = match self.assignment.spec.delivery() {
                    Delivery::ExactlyOnce => target.commit_claim(entry).await,
                    Delivery::AtLeastOnce => Ok(target.keep_claim(&entry, meter).await),
                };
                fault_point::reach("after_claim");
                ended.map(Fact::ClaimEnded)
            }
            Step::TakeSource => self.ends.take_source().await,
            Step::VerifySource(position) => self.ends.verify_source(&position).await,
            Step::Stream(_) | Step::Stop(_) => {
                Err(Fault::new(FaultKind::Internal, "start", "was at its end already"))
            }
        }
    }

    async fn confirm(&self) -> Fact<E::Position> {
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
}

fn name<P: Recorded>(step: &Step<P>) -> &'static str {
    match step {
        Step::InitProducer => "init producer",
        Step::ReadPositions { .. } => "read positions",
        Step::ConfirmOwnership => "confirm ownership",
        Step::VerifyTopics(_) => "verify topics",
        Step::PrepareSource => "prepare source",
        Step::FindStart => "find start",
        Step::CommitClaim(_) => "commit claim",
        Step::TakeSource => "take source",
        Step::VerifySource(_) => "verify source",
        Step::Stream(_) => "stream",
        Step::Stop(_) => "stop",
    }
}

#[cfg(test)]
mod tests {
    use tidewire_node_core::takeover::PositionEntry;
    use tidewire_shared::spec::TopicChange;
    use tidewire_shared::{Lsn, PgPosition, ShardId};

    use super::*;

    const POLICY: PinPolicy = PinPolicy::Spread(TopicChange::Stop);

    fn shard() -> ShardId {
        ShardId { task: "k3v9".parse().expect("a task's id"), index: 0 }
    }

    fn fence() -> Fault {
        Fault::new(FaultKind::Fenced, "slot tidewire_k3v9", "is held by e4, a later owner than e3")
    }

    #[test]
    fn a_fence_begins_the_order_of_exactly_once_again() {
        let (order, _) =
            Takeover::<PgPosition>::begin(shard(), Epoch(3), Remembered::Nothing, POLICY);
        let mut order = Order::Fenced(order);
        let fact = order.failed(fence());
        assert_eq!(order.step(fact), Step::ConfirmOwnership);
    }

    #[test]
    fn a_later_owner_at_the_source_ends_an_attempt_of_at_least_once_under_its_own_name() {
        let position = PgPosition {
            system_id: 7,
            timeline: 1,
            lsn: Lsn(100),
            inside: None,
            incarnation: 0,
            fingerprint: 0,
            next_ordinal: 1,
            publications: std::sync::Arc::default(),
        };
        let known = PositionEntry {
            serial: 9,
            epoch: Epoch(2),
            claim: false,
            position,
            topics: Vec::new(),
        };
        let (order, _) = LeasedStart::begin(shard(), Epoch(3), Some(known), POLICY);
        let mut order = Order::Leased(order);
        let current = Fact::Ownership(Ownership::Current);
        let _topics = order.step(current);
        assert_eq!(order.step(Fact::TopicsSeen(Vec::new())), Step::TakeSource);
        let fact = order.failed(fence());
        assert_eq!(order.step(fact), Step::Stop(Stop::Fault(fence())));
    }
}
