//! Errands about a task from Kafka: its precheck, its rewind.

use std::collections::BTreeSet;

use tidewire_kafka::Settings;
use tidewire_kafka::precheck::{TIMEOUT, look_at_copy};
use tidewire_node_core::facts::Neighbour;
use tidewire_node_core::precheck::{CopyLook, judge_copy};
use tidewire_proto::convert::ConvertError;
use tidewire_proto::node::v1 as pb;
use tidewire_shared::precheck::CheckItem;
use tidewire_shared::spec::KafkaTask;
use tidewire_shared::{ClusterId, Fault, FaultKind, NodeName, Place, ShardId, TaskSpec};

use super::{at_rest, first_shard, parse, tell};
use crate::shard::{self, blocking, source_settings};
use crate::task_log::TaskLog;

/// The topics that a task has copied some of, where that can be found out in time.
pub(super) async fn known_topics(
    cluster: &ClusterId,
    task: &KafkaTask,
    first: &ShardId,
    shards: Vec<pb::ShardAtRest>,
) -> Option<BTreeSet<String>> {
    // A leader of a release before this one does not say.
    if shards.is_empty() {
        return None;
    }
    let known = shard::copied_topics(task, first, shards, cluster);
    let known = tokio::time::timeout(TIMEOUT, known).await.ok()?;
    known.inspect_err(|fault| tracing::info!(%fault, "does not know what was copied")).ok()
}

/// Looks at both ends and judges what is there.
pub(super) async fn precheck(
    task: &KafkaTask,
    started_before: bool,
    known: impl Future<Output = Option<BTreeSet<String>>>,
    neighbours: Vec<Neighbour>,
) -> Result<Vec<CheckItem>, Fault> {
    let looked_at = task.clone();
    let seen = blocking(move || {
        let source = source_settings(&looked_at);
        let target = Settings::new(&looked_at.target, looked_at.limits.record_bytes);
        Ok(look_at_copy(source, target, &looked_at))
    });
    let (known, seen) = tokio::join!(known, seen);
    let (known, seen, neighbours) = (known.as_ref(), &seen?, &neighbours);
    Ok(judge_copy(&CopyLook { task, started_before, known, neighbours, seen }))
}

/// Has partitions of a copy that nobody runs go on from elsewhere.
pub(super) async fn rewind(
    node: &NodeName,
    cluster: &ClusterId,
    log: &TaskLog,
    order: pb::RewindCopy,
) -> Result<pb::RewindDone, Fault> {
    let unreadable = |error: String| Fault::new(FaultKind::Internal, "work order", error);
    let spec = parse(order.spec)?;
    let TaskSpec::KafkaToKafka(task) = &spec else {
        return Err(unreadable("is about a task that copies no topics".to_owned()));
    };
    let first = first_shard(&order.task_id)?;
    let shards = order.shards.into_iter().map(|shard| at_rest(&spec, &first, shard));
    let shards: Result<Vec<_>, ConvertError> = shards.collect();
    let places: Result<Vec<_>, _> = order.places.into_iter().map(Place::try_from).collect();
    let shards = shards.map_err(|error| unreadable(error.to_string()))?;
    let places = places.map_err(|error| unreadable(error.to_string()))?;
    let any = shards.first().cloned();
    let done = shard::rewind_copy(task, shards, &places, cluster, node).await?;
    if let Some(any) = any {
        tell(log, &any, &done.moved);
    }
    Ok(done)
}
