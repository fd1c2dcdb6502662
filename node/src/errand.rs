//! Errands of the leader: a precheck, the clean-up after a deleted task, a look at a connection.

mod connection;
mod kafka;
mod postgres;
mod wal;

use std::time::Duration;

use tidewire_kafka::{Positions, Settings, positions};
use tidewire_node_core::facts::{Neighbour, SlotOwner};
use tidewire_proto::convert::ConvertError;
use tidewire_proto::node::v1 as pb;
use tidewire_shared::precheck::PrecheckReport;
use tidewire_shared::spec::{Delivery, PostgresTask, TopicRule};
use tidewire_shared::{ClusterId, Epoch, Fault, FaultKind, NodeName, ShardId, TaskId, TaskSpec};

use crate::clock::now_ms;
use crate::shard::{Assignment, blocking};
use crate::task_log::TaskLog;

/// Longest single call to the target.
const CALL: Duration = Duration::from_secs(20);

/// Does an errand and says what came of it.
pub(crate) async fn run(
    node: &NodeName,
    cluster: &ClusterId,
    log: &TaskLog,
    work: Option<pb::work_order::Work>,
) -> pb::work_done::Outcome {
    let outcome = match work {
        Some(pb::work_order::Work::Precheck(order)) => precheck(cluster, order)
            .await
            .map(|report| pb::work_done::Outcome::Precheck(report.into())),
        Some(pb::work_order::Work::CleanUp(order)) => clean_up(cluster, order)
            .await
            .map(|left| pb::work_done::Outcome::CleanUp(pb::CleanUpDone { left })),
        Some(pb::work_order::Work::Test(work)) => connection::test(node, work)
            .await
            .map(|tested| pb::work_done::Outcome::Tested(tested.into())),
        Some(pb::work_order::Work::Discover(work)) => connection::discover(work)
            .await
            .map(|found| pb::work_done::Outcome::Discovered(found.into())),
        Some(pb::work_order::Work::WeighWal(order)) => {
            wal::weigh(node, cluster, order).await.map(pb::work_done::Outcome::WalWeighed)
        }
        Some(pb::work_order::Work::RewindLog(order)) => {
            postgres::rewind(node, cluster, log, order).await.map(pb::work_done::Outcome::Rewind)
        }
        Some(pb::work_order::Work::RewindCopy(order)) => {
            kafka::rewind(node, cluster, log, order).await.map(pb::work_done::Outcome::Rewind)
        }
        None => Err(Fault::new(FaultKind::Internal, "work order", "is of a kind not known here")
            .remedy("run coordinators and nodes of the same release")),
    };
    outcome.unwrap_or_else(|fault| pb::work_done::Outcome::Fault(fault.into()))
}

/// A shard that nobody runs, as an order tells of it.
fn at_rest(
    spec: &TaskSpec,
    first: &ShardId,
    shard: pb::ShardAtRest,
) -> Result<Assignment, ConvertError> {
    Ok(Assignment {
        shard: ShardId { index: shard.shard, ..first.clone() },
        epoch: Epoch(shard.epoch),
        spec: spec.clone(),
        place: (0, 1),
        before: Vec::new(),
        resumed_over: Vec::new(),
        ordinal: shard.ordinal,
        hint: shard.hint.map(TryInto::try_into).transpose()?,
        record: shard.record,
    })
}

/// Tells in the log of a task what its user has chosen.
fn tell(log: &TaskLog, shard: &Assignment, moved: &[String]) {
    let log = log.of(&shard.shard, shard.epoch);
    moved.iter().for_each(|line| log.notice(format!("goes on from elsewhere: {line}")));
}

/// The one shard of a task. A document that is only looked at has no identity yet; under the name
/// used instead there is no slot of ours.
fn first_shard(task_id: &str) -> Result<ShardId, Fault> {
    let task: Result<TaskId, _> = if task_id.is_empty() { "precheck" } else { task_id }.parse();
    task.map(|task| ShardId { task, index: 0 })
        .map_err(|error| Fault::new(FaultKind::Internal, "work order", error))
}

fn parse(spec: Option<tidewire_proto::task::v1::TaskSpec>) -> Result<TaskSpec, Fault> {
    let unreadable = |why: String| Fault::new(FaultKind::Internal, "work order", why);
    spec.ok_or_else(|| unreadable("has no task".to_owned()))?
        .try_into()
        .map_err(|error| unreadable(format!("{error}")))
}

/// Only tasks from PostgreSQL have slots and log positions.
fn from_postgres(spec: Option<tidewire_proto::task::v1::TaskSpec>) -> Result<PostgresTask, Fault> {
    match parse(spec)? {
        TaskSpec::PostgresToKafka(task) => Ok(task),
        TaskSpec::KafkaToKafka(task) => {
            let message = "reads no PostgreSQL log: it has no position of this kind";
            Err(Fault::new(FaultKind::Configuration, format!("task {}", task.name), message)
                .remedy("see the positions with `tidewire positions show`"))
        }
    }
}

async fn precheck(cluster: &ClusterId, order: pb::Precheck) -> Result<PrecheckReport, Fault> {
    let shard = first_shard(&order.task_id)?;
    let neighbours: Vec<_> = order.neighbours.into_iter().map(neighbour).collect();
    let owners: Vec<_> = order.slot_owners.into_iter().map(slot_owner).collect();
    let started = order.started_before;
    let items = match parse(order.spec)? {
        TaskSpec::PostgresToKafka(task) => {
            let around = postgres::Around { neighbours: &neighbours, slot_owners: &owners };
            postgres::precheck(cluster, &task, &shard, started, around).await?
        }
        TaskSpec::KafkaToKafka(task) => {
            let known = kafka::known_topics(cluster, &task, &shard, order.shards);
            kafka::precheck(&task, started, known, neighbours).await?
        }
    };
    Ok(PrecheckReport { at_ms: now_ms(), items })
}

fn neighbour(other: pb::Neighbour) -> Neighbour {
    let rules = other.rules.into_iter().map(TopicRule::try_from);
    Neighbour {
        task: other.task,
        brokers: other.brokers,
        topics: other.topics,
        source_brokers: other.source_brokers,
        // A rule that cannot be read is of a later release; the others are still worth a look.
        rules: rules.filter_map(Result::ok).collect(),
    }
}

fn slot_owner(owner: pb::SlotOwner) -> SlotOwner {
    let pb::SlotOwner { slot, task, deleted } = owner;
    SlotOwner { slot, task, deleted }
}

/// Drops what the task made; gives what is left, each with how to drop it by hand.
async fn clean_up(cluster: &ClusterId, order: pb::CleanUp) -> Result<Vec<String>, Fault> {
    let spec = parse(order.spec)?;
    let first = first_shard(&order.task_id)?;
    let mut left = Vec::new();
    if let TaskSpec::PostgresToKafka(task) = &spec {
        postgres::clean_source(cluster, task, &first, &order.in_use, &mut left).await;
    }
    // Of an at_least_once task only the coordinators keep the position.
    if spec.delivery() == Delivery::AtLeastOnce {
        return Ok(left);
    }
    let shards = order.shards.into_iter().map(|place| {
        let shard = ShardId { index: place.shard, ..first.clone() };
        (shard.transactional_id(cluster), shard.position_key(cluster), place.ordinal)
    });
    let shards: Vec<_> = shards.collect();
    let key = first.position_key(cluster);
    let erased = blocking(move || {
        let settings = Settings::new(spec.target(), spec.limits().record_bytes)?;
        let positions = Positions::ensure(&settings, positions::PARTITIONS, CALL)?;
        shards.iter().try_for_each(|(id, key, ordinal)| {
            positions.erase(id, key, positions.partition_of(*ordinal), CALL)
        })
    });
    if let Err(fault) = erased.await {
        let object = format!("positions of {key} in {}", positions::TOPIC);
        left.push(format!("{object}: {fault}; they are harmless and may stay"));
    }
    Ok(left)
}
