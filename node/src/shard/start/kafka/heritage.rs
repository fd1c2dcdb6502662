//! How far shards came that are no more: what a shard that replaces them asks before its first claim.

use std::thread::ScopedJoinHandle;

use tidewire_kafka::{Positions, Settings, TransactionalProducer};
use tidewire_node_core::copy::Left;
use tidewire_node_core::takeover::{Remembered, missing_record};
use tidewire_shared::spec::Delivery;
use tidewire_shared::{ClusterId, Fault, FaultKind};

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
        let look = |it: &Retired| look_after_fencing(&settings, &positions, it, &cluster);
        let mut found = Vec::with_capacity(shards.len());
        for some in shards.chunks(AT_ONCE) {
            found.extend(std::thread::scope(|scope| {
                let asked: Vec<_> = some.iter().map(|it| scope.spawn(|| look(it))).collect();
                asked.into_iter().map(joined).collect::<Vec<_>>()
            }));
        }
        found.into_iter().collect()
    })
    .await
}

/// Fences whoever owned a shard that is no more, then reads how far it came: what its owner has not
/// committed by then it never will.
fn look_after_fencing(
    settings: &Settings,
    positions: &Positions,
    retired: &Retired,
    cluster: &ClusterId,
) -> Result<Left, Fault> {
    let mut producer =
        TransactionalProducer::create(settings, &retired.shard.transactional_id(cluster))?;
    producer.init(CALL)?;
    drop(producer);
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
