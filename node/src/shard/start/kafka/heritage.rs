//! How far other shards came: what a shard that replaces them asks before its first claim, and what a
//! precheck asks of those that run.

use std::collections::BTreeSet;
use std::thread::ScopedJoinHandle;

use tidewire_kafka::{Positions, Settings, TransactionalProducer};
use tidewire_node_core::copy::Left;
use tidewire_node_core::takeover::{PositionEntry, Remembered, missing_record};
use tidewire_proto::convert::ConvertError;
use tidewire_proto::node::v1 as pb;
use tidewire_shared::spec::{Delivery, KafkaTask};
use tidewire_shared::{ClusterId, Fault, FaultKind, KafkaPosition, ShardId};

use super::super::target::{
    CALL, READ, TargetSide, blocking, core_hint, kept, too_early, wire_hint,
};
use crate::pipeline::positions::entry;
use crate::shard::Retired;

/// Shards that are asked about at the same time: each takes two clients and some threads.
const AT_ONCE: usize = 4;

/// The newest records of these shards, in their order. Where nothing fences, the coordinators have seen
/// that nobody owns them any more, and keep their positions.
pub(super) async fn left(
    target: &TargetSide,
    shards: &[Retired],
    delivery: Delivery,
    cluster: &ClusterId,
) -> Result<Vec<Left>, Fault> {
    match delivery {
        Delivery::ExactlyOnce => left_at_target(target, shards, cluster).await,
        Delivery::AtLeastOnce => {
            let key = |it: &Retired| it.shard.position_key(cluster);
            shards.iter().map(|it| kept(&it.record, &key(it))).collect()
        }
    }
}

async fn left_at_target(
    target: &TargetSide,
    shards: &[Retired],
    cluster: &ClusterId,
) -> Result<Vec<Left>, Fault> {
    let positions = target.positions.clone().ok_or_else(too_early)?;
    let (settings, cluster, shards) = (target.settings.clone(), cluster.clone(), shards.to_vec());
    blocking(move || {
        each(&shards, |it| {
            fence(&settings, it, &cluster)?;
            newest(&positions, it, &cluster)
        })
    })
    .await
}

/// The topics of which these shards have places. They may run meanwhile: nobody is fenced.
pub(crate) async fn copied_topics(
    task: &KafkaTask,
    first: &ShardId,
    shards: Vec<pb::ShardAtRest>,
    cluster: &ClusterId,
) -> Result<BTreeSet<String>, Fault> {
    let unreadable =
        |error: ConvertError| Fault::new(FaultKind::Internal, "work order", error.to_string());
    let shard = |shard: pb::ShardAtRest| {
        Ok(Retired {
            shard: ShardId { index: shard.shard, ..first.clone() },
            ordinal: shard.ordinal,
            hint: shard.hint.map(TryInto::try_into).transpose()?,
            record: shard.record,
        })
    };
    let shards =
        shards.into_iter().map(shard).collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    let settings = Settings::new(&task.target, task.limits.record_bytes)?;
    let (delivery, cluster) = (task.delivery, cluster.clone());
    let left = blocking(move || match delivery {
        Delivery::ExactlyOnce => match Positions::existing(&settings, CALL)? {
            Some(positions) => each(&shards, |it| newest(&positions, it, &cluster)),
            None => Ok(Vec::new()),
        },
        Delivery::AtLeastOnce => {
            shards.iter().map(|it| kept(&it.record, &it.shard.position_key(&cluster))).collect()
        }
    });
    let left = left.await?.into_iter().flatten();
    Ok(left
        .flat_map(|entry: PositionEntry<KafkaPosition>| entry.position.topics.into_keys())
        .collect())
}

/// Asks about shards, a few at a time.
fn each(
    shards: &[Retired],
    look: impl Fn(&Retired) -> Result<Left, Fault> + Sync,
) -> Result<Vec<Left>, Fault> {
    let look = &look;
    let mut found = Vec::with_capacity(shards.len());
    for some in shards.chunks(AT_ONCE) {
        found.extend(std::thread::scope(|scope| {
            let asked: Vec<_> = some.iter().map(|it| scope.spawn(move || look(it))).collect();
            asked.into_iter().map(joined).collect::<Vec<_>>()
        }));
    }
    found.into_iter().collect()
}

/// Fences whoever owned a shard that is no more: what it has not committed by then it never will.
fn fence(settings: &Settings, retired: &Retired, cluster: &ClusterId) -> Result<(), Fault> {
    let id = retired.shard.transactional_id(cluster);
    TransactionalProducer::create(settings, &id)?.init(CALL)
}

/// The newest record of a shard.
fn newest(positions: &Positions, retired: &Retired, cluster: &ClusterId) -> Result<Left, Fault> {
    let key = retired.shard.position_key(cluster);
    let partition = positions.partition_of(retired.ordinal);
    let hint = retired.hint.as_ref().map(core_hint);
    let read = positions.read(&key, partition, hint.map(wire_hint).as_ref(), READ)?;
    let newest = read.record.map(|record| entry(record, &key)).transpose()?;
    let remembered = hint.map_or(Remembered::Nothing, Remembered::Position);
    missing_record(&retired.shard, remembered, newest.as_ref()).map_or(Ok(newest), Err)
}

fn joined<T>(thread: ScopedJoinHandle<'_, Result<T, Fault>>) -> Result<T, Fault> {
    let panicked = |_| Fault::new(FaultKind::Internal, "kafka call", "panicked");
    thread.join().map_err(panicked)?
}
