//! Weighs what the slot of a task holds that does not stream; at its limit, does what the task asks for.

use tidewire_postgres::{server, slot};
use tidewire_proto::node::v1 as pb;
use tidewire_shared::{ClusterId, Fault, Lsn, NodeName};

use super::postgres::{Names, above_all, source};
use super::{first_shard, from_postgres};
use crate::wal;

pub(super) async fn weigh(
    node: &NodeName,
    cluster: &ClusterId,
    order: pb::WeighWal,
) -> Result<pb::WalWeighed, Fault> {
    let (spec, shard) = (from_postgres(order.spec)?, first_shard(&order.task_id)?);
    let name = Names::new(&spec, &shard).slot;
    let sql = source(cluster, &spec, &shard)?.connect().await?;
    let end = server::facts(&sql).await?.flush_lsn;
    let mut weighed = pb::WalWeighed { node: node.to_string(), ..pb::WalWeighed::default() };
    let Some(seen) = slot::look(&sql, &name).await? else { return Ok(weighed) };
    weighed.retained_bytes = wal::retained(&seen, end);
    let durable = Lsn(order.durable_lsn).max(seen.confirmed_flush.unwrap_or_default());
    let budget = &spec.source.wal_budget;
    if let Some(fault) = wal::sentence(&seen, budget, weighed.retained_bytes, durable) {
        // No owner streams, so whatever session of it is left is a dead owner's. One that begins just now
        // finds the slot gone.
        let owner = above_all(cluster, &shard);
        wal::drop_now(&sql, &name, &owner).await?;
        tracing::error!(%fault, "dropped the slot of a task that does not stream");
        weighed.retained_bytes = 0;
        weighed.dropped = Some(fault.into());
    }
    Ok(weighed)
}
