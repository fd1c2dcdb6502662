//! Setting the position of a shard that nobody runs back: the errand of `tidewire task rewind`.
//!
//! Safe beside a start that begins at the same time: whoever initialises the producer last fences the
//! other, and a later owner is known by the epoch of its claim (`tidewire_node_core::rewind`).

use tidewire_node_core::rewind::Rewind;
use tidewire_node_core::takeover::Owner;
use tidewire_postgres::{Source, slot};
use tidewire_shared::spec::{Delivery, PostgresTask};
use tidewire_shared::{ClusterId, Fault, FaultKind, Lsn, NodeName};

use super::super::target::core_hint;
use super::target;
use crate::shard::Assignment;

/// Takes the shard of this assignment back to `to`.
pub(crate) async fn rewind(
    spec: &PostgresTask,
    assignment: &Assignment,
    cluster: &ClusterId,
    node: &NodeName,
    to: Lsn,
) -> Result<(), Fault> {
    if spec.delivery == Delivery::AtLeastOnce {
        let message = "delivers at_least_once, whose position cannot be set back";
        return Err(Fault::new(FaultKind::Configuration, format!("task {}", spec.name), message)
            .remedy("make a task anew, with the slot as existing one and `start: {lsn: …}`"));
    }
    let owner = Owner {
        cluster: cluster.clone(),
        shard: assignment.shard.clone(),
        epoch: assignment.epoch,
    };
    let sql = Source::new(&spec.source, &owner.application_name())?.connect().await?;
    let name = spec.source.slot.name(&assignment.shard.slot_name());
    let seen = slot::look(&sql, &name).await?;
    let mut target = target(spec, assignment, cluster, node)?;
    target.init_producer().await?;
    let hint = assignment.hint.as_ref().map(core_hint);
    let newest = target.read_positions(hint).await?;
    let back = Rewind {
        newest: newest.as_ref(),
        slot_name: &name,
        slot: seen.as_ref(),
        epoch: assignment.epoch,
        to,
    };
    target.commit_moved(back.judge()?, &assignment.shard).await
}
