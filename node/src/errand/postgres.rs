//! Errands about a task from PostgreSQL: its precheck, its rewind, what it leaves behind.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use tidewire_kafka::Settings;
use tidewire_node_core::facts::{Neighbour, SlotOwner};
use tidewire_node_core::objects::{self, ListedTable, ResolvedTable};
use tidewire_node_core::precheck::{
    SourceLook, TargetLook, identifier, judge_source, judge_target,
};
use tidewire_node_core::takeover::Owner;
use tidewire_postgres::precheck::Wanted;
use tidewire_postgres::{Source, Sql, heartbeat, publication};
use tidewire_proto::convert::{ConvertError, required};
use tidewire_proto::node::v1 as pb;
use tidewire_shared::precheck::CheckItem;
use tidewire_shared::spec::{BadRecord, Delivery, Managed, PostgresTask, TableName};
use tidewire_shared::{ClusterId, Epoch, Fault, FaultKind, NodeName, ShardId};

use super::{at_rest, first_shard, from_postgres, tell};
use crate::shard::{self, SourceObjects, blocking};
use crate::task_log::TaskLog;

/// The names that a task has at its source.
pub(super) struct Names {
    pub(super) slot: String,
    publication: String,
}

impl Names {
    pub(super) fn new(spec: &PostgresTask, shard: &ShardId) -> Self {
        let ours = shard.slot_name();
        Self {
            slot: spec.source.slot.name(&ours),
            publication: spec.source.publication.name(&ours),
        }
    }
}

pub(super) fn source(
    cluster: &ClusterId,
    spec: &PostgresTask,
    shard: &ShardId,
) -> Result<Source, Fault> {
    let owner = Owner { cluster: cluster.clone(), shard: shard.clone(), epoch: Epoch(0) };
    Source::new(&spec.source, &owner.application_name())
}

/// The other tasks of the cluster.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) neighbours: &'a [Neighbour],
    pub(super) slot_owners: &'a [SlotOwner],
}

/// Looks at both ends and judges what is there.
pub(super) async fn precheck(
    cluster: &ClusterId,
    spec: &PostgresTask,
    shard: &ShardId,
    started_before: bool,
    around: Around<'_>,
) -> Result<Vec<CheckItem>, Fault> {
    let names = Names::new(spec, shard);
    let listed = listed(cluster, spec, shard).await;
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
        let source = source(cluster, spec, shard)?;
        tidewire_postgres::precheck::precheck(&source, wanted).await
    };
    let (target_spec, topics) = (spec.clone(), topics(spec, &tables));
    let target_seen = blocking(move || {
        let settings = Settings::new(&target_spec.target, target_spec.limits.record_bytes)?;
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        Ok(match target_spec.delivery {
            Delivery::ExactlyOnce => tidewire_kafka::precheck::look(&settings, &topics),
            Delivery::AtLeastOnce => tidewire_kafka::precheck::look_at_topics(&settings, &topics),
        })
    });
    let (source_seen, target_seen) = tokio::join!(source_seen, target_seen);
    let mut items = judge_source(&SourceLook {
        spec,
        tables: &tables,
        slot: &names.slot,
        publication: &names.publication,
        started_before,
        slot_owners: around.slot_owners,
        seen: source_seen.as_ref(),
    });
    items.extend(judge_target(&TargetLook {
        spec,
        tables: &tables,
        neighbours: around.neighbours,
        seen: &target_seen?,
    }));
    Ok(items)
}

/// Has the shard of a task that nobody runs go on from elsewhere.
pub(super) async fn rewind(
    node: &NodeName,
    cluster: &ClusterId,
    log: &TaskLog,
    order: pb::RewindLog,
) -> Result<pb::RewindDone, Fault> {
    let spec = from_postgres(order.spec)?;
    let first = first_shard(&order.task_id)?;
    let asked = || -> Result<_, ConvertError> {
        let shard = order.shard.ok_or_else(|| ConvertError::new("shard", "is missing"))?;
        let shard = at_rest(&spec.clone().into(), &first, shard)?;
        Ok((shard, required("at", order.at)?))
    };
    let (shard, place) =
        asked().map_err(|error| Fault::new(FaultKind::Internal, "work order", error))?;
    let done = shard::rewind(&spec, &shard, (cluster, node), place, order.look_only).await?;
    if !order.look_only {
        tell(log, &shard, &done.moved);
    }
    Ok(done)
}

/// What the patterns of a task may take. A source that cannot be asked is told of by its own item.
async fn listed(cluster: &ClusterId, spec: &PostgresTask, shard: &ShardId) -> Vec<ListedTable> {
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
fn topics(spec: &PostgresTask, tables: &[ResolvedTable]) -> BTreeSet<String> {
    let mut topics: BTreeSet<String> = tables.iter().map(|table| table.topic.clone()).collect();
    if let BadRecord::DeadLetter(topic) = &spec.on_bad_record {
        topics.insert(topic.clone());
    }
    topics
}

/// An owner before whom every session of the shard gives way.
pub(super) fn above_all(cluster: &ClusterId, shard: &ShardId) -> Owner {
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

/// Drops what the task made at its source; notes what is left, with how to drop it by hand. What another
/// task was told to use stays for it, and is dropped once that one is deleted.
pub(super) async fn clean_source(
    cluster: &ClusterId,
    spec: &PostgresTask,
    shard: &ShardId,
    in_use: &HashMap<String, String>,
    left: &mut Vec<String>,
) {
    let names = Names::new(spec, shard);
    let database = &spec.source.database;
    let mut made = Vec::new();
    if spec.source.slot == Managed::Managed {
        made.push(Made::Slot(names.slot.clone()));
    }
    if let Some(table) = spec.source.heartbeat.beats_into() {
        made.push(Made::Beats { table, slot: names.slot });
    }
    if spec.source.publication == Managed::Managed {
        made.push(Made::Publication(names.publication));
        made.push(Made::Publication(shard.inserts_publication_name()));
    }
    let connected = async { source(cluster, spec, shard)?.connect().await }.await;
    for object in made {
        let by_hand = object.by_hand();
        if let Some(task) = object.shared().and_then(|name| in_use.get(name)) {
            left.push(format!("{object} in database {database}: task {task} uses it; {by_hand}"));
            continue;
        }
        let dropped = match &connected {
            Ok(sql) => object.drop(sql, cluster, shard).await,
            // A row, or a publication that may never have been made, is not worth a word then.
            Err(_) if !object.is_known_to_be_there(shard) => continue,
            Err(fault) => Err(fault.clone()),
        };
        if let Err(fault) = dropped {
            left.push(format!("{object} in database {database}: {fault}; {by_hand}"));
        }
    }
}

/// Something that a task made at its source.
enum Made {
    Slot(String),
    Beats { table: TableName, slot: String },
    Publication(String),
}

impl Made {
    /// Its name, if another task may have been told to use it.
    fn shared(&self) -> Option<&String> {
        match self {
            Self::Slot(name) | Self::Publication(name) => Some(name),
            Self::Beats { .. } => None,
        }
    }

    fn is_known_to_be_there(&self, shard: &ShardId) -> bool {
        self.shared().is_some_and(|name| *name != shard.inserts_publication_name())
    }

    fn by_hand(&self) -> String {
        match self {
            Self::Slot(name) => format!("SELECT pg_drop_replication_slot('{name}');"),
            Self::Beats { table, slot } => {
                format!("DELETE FROM {table} WHERE slot_name = '{slot}';")
            }
            Self::Publication(name) => format!("DROP PUBLICATION {};", identifier(name)),
        }
    }

    async fn drop(&self, sql: &Sql, cluster: &ClusterId, shard: &ShardId) -> Result<(), Fault> {
        match self {
            Self::Slot(name) => drop_slot(sql, name, cluster, shard).await,
            Self::Beats { table, slot } => heartbeat::forget(sql, table, slot).await,
            Self::Publication(name) => publication::drop(sql, name).await,
        }
    }
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slot(name) => write!(f, "slot {name}"),
            Self::Beats { table, .. } => write!(f, "row of heartbeat table {table}"),
            Self::Publication(name) => write!(f, "publication {name}"),
        }
    }
}
