//! Setting the position of a shard that nobody runs back: the errand of `tidewire task rewind`.
//!
//! Safe beside a start that begins at the same time. exactly_once: whoever initialises the producer last
//! fences the other, and a later owner is known by the epoch of its claim (`tidewire_node_core::rewind`).
//! at_least_once: the coordinators keep no position under an epoch that is not current any more.

use tidewire_node_core::rewind::Rewind;
use tidewire_node_core::takeover::Owner;
use tidewire_postgres::{Source, slot};
use tidewire_proto::node::v1::RewindDone;
use tidewire_shared::spec::PostgresTask;
use tidewire_shared::{ClusterId, Fault, Lsn, NodeName};

use super::target;
use crate::shard::Assignment;

/// Takes the shard of this assignment back to `to`.
pub(crate) async fn rewind(
    spec: &PostgresTask,
    assignment: &Assignment,
    cluster: &ClusterId,
    node: &NodeName,
    to: Lsn,
) -> Result<RewindDone, Fault> {
    let owner = Owner {
        cluster: cluster.clone(),
        shard: assignment.shard.clone(),
        epoch: assignment.epoch,
    };
    let sql = Source::new(&spec.source, &owner.application_name())?.connect().await?;
    let name = spec.source.slot.name(&assignment.shard.slot_name());
    let seen = slot::look(&sql, &name).await?;
    let mut target = target(spec, assignment, cluster, node)?;
    let newest = target.resting_position(spec.delivery, assignment).await?;
    let back = Rewind {
        newest: newest.as_ref(),
        slot_name: &name,
        slot: seen.as_ref(),
        epoch: assignment.epoch,
        to,
    };
    let kept = target.go_on_from(back.judge()?, spec.delivery, &assignment.shard).await?;
    Ok(RewindDone { kept: kept.into_iter().collect(), ..RewindDone::default() })
}
