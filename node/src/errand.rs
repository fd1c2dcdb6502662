//! Errands of the leader: a precheck, the clean-up after a deleted task, a look at a connection.

mod connection;
mod wal;

use std::collections::BTreeSet;
use std::time::Duration;

use tidewire_kafka::{Positions, Settings, positions};
use tidewire_node_core::facts::Neighbour;
use tidewire_node_core::objects::{self, ListedTable, ResolvedTable};
use tidewire_node_core::precheck::{
    SourceLook, TargetLook, identifier, judge_source, judge_target,
};
use tidewire_node_core::takeover::Owner;
use tidewire_postgres::precheck::Wanted;
use tidewire_postgres::{Source, Sql, heartbeat, publication};
use tidewire_proto::convert::ConvertError;
use tidewire_proto::node::v1 as pb;
use tidewire_shared::precheck::PrecheckReport;
use tidewire_shared::spec::{BadRecord, Delivery, Managed, TableName};
use tidewire_shared::{
    ClusterId, Epoch, Fault, FaultKind, Lsn, NodeName, ShardId, TaskId, TaskSpec,
};

use crate::clock::now_ms;
use crate::shard::{self, Assignment, SourceObjects, blocking};

/// Longest single call to the target.
const CALL: Duration = Duration::from_secs(20);

/// Does an errand and says what came of it.
pub(crate) async fn run(
    node: &NodeName,
    cluster: &ClusterId,
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
        Some(pb::work_order::Work::Rewind(order)) => rewind(node, cluster, order)
            .await
            .map(|()| pb::work_done::Outcome::Rewind(pb::RewindDone {})),
        None => Err(Fault::new(FaultKind::Internal, "work order", "is of a kind not known here")
            .remedy("run coordinators and nodes of the same release")),
    };
    outcome.unwrap_or_else(|fault| pb::work_done::Outcome::Fault(fault.into()))
}

/// Sets the position of a shard that nobody runs back.
async fn rewind(node: &NodeName, cluster: &ClusterId, order: pb::Rewind) -> Result<(), Fault> {
    let unreadable = |error| Fault::new(FaultKind::Internal, "work order", error);
    let hint = order.hint.map(TryInto::try_into).transpose();
    let assignment = Assignment {
        shard: ShardId { index: order.shard, ..first_shard(&order.task_id)? },
        epoch: Epoch(order.epoch),
        spec: parse(order.spec)?,
        ordinal: order.ordinal,
        record: Vec::new(),
        hint: hint.map_err(|error: ConvertError| unreadable(error.to_string()))?,
    };
    shard::rewind(&assignment, cluster, node, Lsn(order.to)).await
}

/// The names that a task has at its source.
struct Names {
    slot: String,
    publication: String,
}

impl Names {
    fn new(spec: &TaskSpec, shard: &ShardId) -> Self {
        let ours = shard.slot_name();
        Self {
            slot: spec.source.slot.name(&ours),
            publication: spec.source.publication.name(&ours),
        }
    }
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

fn source(cluster: &ClusterId, spec: &TaskSpec, shard: &ShardId) -> Result<Source, Fault> {
    let owner = Owner { cluster: cluster.clone(), shard: shard.clone(), epoch: Epoch(0) };
    Source::new(&spec.source, &owner.application_name())
}

async fn precheck(cluster: &ClusterId, order: pb::Precheck) -> Result<PrecheckReport, Fault> {
    let spec = parse(order.spec)?;
    let shard = first_shard(&order.task_id)?;
    let names = Names::new(&spec, &shard);
    let listed = listed(cluster, &spec, &shard).await;
    let tables = objects::resolve(&spec.objects, &spec.source.database, &listed);
    let table_names: Vec<TableName> = tables.iter().map(|table| table.name.clone()).collect();
    let heartbeat = spec.source.heartbeat.beats_into();
    let source_seen = async {
        let wanted = Wanted {
            slot: &names.slot,
            publication: &names.publication,
            tables: &table_names,
            heartbeat: heartbeat.as_ref(),
        };
        let source = source(cluster, &spec, &shard)?;
        tidewire_postgres::precheck::precheck(&source, wanted).await
    };
    let (target_spec, topics) = (spec.clone(), topics(&spec, &tables));
    let target_seen = blocking(move || {
        let settings = Settings::new(&target_spec.target, target_spec.limits.record_bytes)?;
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        Ok(match target_spec.delivery {
            Delivery::ExactlyOnce => tidewire_kafka::precheck::look(&settings, &topics),
            Delivery::AtLeastOnce => tidewire_kafka::precheck::look_at_topics(&settings, &topics),
        })
    });
    let (source_seen, target_seen) = tokio::join!(source_seen, target_seen);
    let neighbours: Vec<_> = order.neighbours.into_iter().map(neighbour).collect();
    let mut items = judge_source(&SourceLook {
        spec: &spec,
        tables: &tables,
        slot: &names.slot,
        publication: &names.publication,
        started_before: order.started_before,
        seen: source_seen.as_ref(),
    });
    items.extend(judge_target(&TargetLook {
        spec: &spec,
        tables: &tables,
        neighbours: &neighbours,
        seen: &target_seen?,
    }));
    Ok(PrecheckReport { at_ms: now_ms(), items })
}

/// What the patterns of a task may take. A source that cannot be asked is told of by its own item.
async fn listed(cluster: &ClusterId, spec: &TaskSpec, shard: &ShardId) -> Vec<ListedTable> {
    if !objects::has_patterns(&spec.objects) {
        return Vec::new();
    }
    let listed = async {
        let mut sql = source(cluster, spec, shard)?.connect().await?;
        SourceObjects::new(spec, shard).list(&mut sql).await
    };
    listed.await.unwrap_or_else(|fault: Fault| {
        tracing::debug!(%fault, "could not list the tables of the source");
        Vec::new()
    })
}

/// The topics that a task writes to, once each.
fn topics(spec: &TaskSpec, tables: &[ResolvedTable]) -> BTreeSet<String> {
    let mut topics: BTreeSet<String> = tables.iter().map(|table| table.topic.clone()).collect();
    if let BadRecord::DeadLetter(topic) = &spec.on_bad_record {
        topics.insert(topic.clone());
    }
    topics
}

fn neighbour(other: pb::Neighbour) -> Neighbour {
    Neighbour { task: other.task, brokers: other.brokers, topics: other.topics }
}

/// Drops what the task made; gives what is left, each with how to drop it by hand.
async fn clean_up(cluster: &ClusterId, order: pb::CleanUp) -> Result<Vec<String>, Fault> {
    let spec = parse(order.spec)?;
    let shard = first_shard(&order.task_id)?;
    let mut left = Vec::new();
    clean_source(cluster, &spec, &shard, &mut left).await;
    let (id, key) = (shard.transactional_id(cluster), shard.position_key(cluster));
    let object = format!("positions of {key} in {}", positions::TOPIC);
    let transactional = spec.delivery == Delivery::ExactlyOnce;
    let erased = blocking(move || {
        let settings = Settings::new(&spec.target, spec.limits.record_bytes)?;
        let positions = Positions::ensure(&settings, positions::PARTITIONS, CALL)?;
        positions.erase(&id, &key, positions.partition_of(order.ordinal), CALL)
    });
    // Of an at_least_once task only the coordinators keep the position.
    if transactional && let Err(fault) = erased.await {
        left.push(format!("{object}: {fault}; they are harmless and may stay"));
    }
    Ok(left)
}

/// An owner before whom every session of the shard gives way.
fn above_all(cluster: &ClusterId, shard: &ShardId) -> Owner {
    Owner { cluster: cluster.clone(), shard: shard.clone(), epoch: Epoch(u64::MAX) }
}

/// Drops the slot. The last owner may have died with its connection open, or be cut off and stream
/// on: nobody owns a deleted task, so whatever session of its shard is left is ended first.
async fn drop_slot(
    sql: &Sql,
    name: &str,
    cluster: &ClusterId,
    shard: &ShardId,
) -> Result<(), Fault> {
    crate::wal::drop_now(sql, name, &above_all(cluster, shard)).await
}

async fn clean_source(
    cluster: &ClusterId,
    spec: &TaskSpec,
    shard: &ShardId,
    left: &mut Vec<String>,
) {
    let names = Names::new(spec, shard);
    let slot_by_hand = format!("SELECT pg_drop_replication_slot('{}');", names.slot);
    let publication_by_hand = format!("DROP PUBLICATION {};", identifier(&names.publication));
    let mut note = |what: String, fault: &Fault, by_hand: &str| {
        left.push(format!("{what} in database {}: {fault}; {by_hand}", spec.source.database));
    };
    let slot_is_ours = spec.source.slot == Managed::Managed;
    let publication_is_ours = spec.source.publication == Managed::Managed;
    let connected = async { source(cluster, spec, shard)?.connect().await }.await;
    let sql = match connected {
        Ok(sql) => sql,
        Err(fault) => {
            if slot_is_ours {
                note(format!("slot {}", names.slot), &fault, &slot_by_hand);
            }
            if publication_is_ours {
                note(format!("publication {}", names.publication), &fault, &publication_by_hand);
            }
            return;
        }
    };
    if slot_is_ours && let Err(fault) = drop_slot(&sql, &names.slot, cluster, shard).await {
        note(format!("slot {}", names.slot), &fault, &slot_by_hand);
    }
    if let Some(table) = spec.source.heartbeat.beats_into()
        && let Err(fault) = heartbeat::forget(&sql, &table, &names.slot).await
    {
        let by_hand = format!("DELETE FROM {table} WHERE slot_name = '{}';", names.slot);
        note(format!("row of heartbeat table {table}"), &fault, &by_hand);
    }
    if publication_is_ours && let Err(fault) = publication::drop(&sql, &names.publication).await {
        note(format!("publication {}", names.publication), &fault, &publication_by_hand);
    }
    let inserts = shard.inserts_publication_name();
    if publication_is_ours && let Err(fault) = publication::drop(&sql, &inserts).await {
        let by_hand = format!("DROP PUBLICATION {};", identifier(&inserts));
        note(format!("publication {inserts}"), &fault, &by_hand);
    }
}
