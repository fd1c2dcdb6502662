//! at_least_once: records are durable when Kafka has acknowledged all of them, and their position when
//! the coordinators have it.
//!
//! The source is told only of positions that the coordinators have. Nothing is written past the end of
//! the node's lease: from then on another node may write.

use std::time::Duration;

use tidewire_kafka::{PlainProducer, Sent};
use tidewire_node_core::takeover::PositionEntry;
use tidewire_shared::report::PositionHint;
use tidewire_shared::{Fault, FaultKind, NodeName, TaskName};

use super::Outgoing;
use crate::fault_point;
use crate::lease::Lease;
use crate::pipeline::kill::KillSwitch;
use crate::pipeline::positions::{Recorded, report};
use crate::shard::meter::Meter;

/// Records that are not acknowledged by then are given up.
const FLUSH: Duration = Duration::from_secs(25);
/// What a shard that stops waits for its last records, so that none arrives behind the next owner's.
const LAST_FLUSH: Duration = Duration::from_secs(2);

/// A producer without transactions, under a lease.
pub(crate) struct Leased {
    producer: PlainProducer,
    task: TaskName,
    node: NodeName,
    meter: Meter,
    lease: Lease,
    kill: KillSwitch,
}

impl Leased {
    pub(crate) fn new(
        producer: PlainProducer,
        (task, node): (TaskName, NodeName),
        meter: Meter,
        lease: Lease,
        kill: KillSwitch,
    ) -> Self {
        Self { producer, task, node, meter, lease, kill }
    }

    pub(super) fn may_write(&self) -> Result<(), Fault> {
        check(&self.lease)
    }

    pub(super) fn send(&mut self, record: &Outgoing<'_>) -> Result<Sent, Fault> {
        self.producer.send_record(record.topic, &record.record)
    }

    pub(super) fn wait_for_room(&mut self, timeout: Duration) -> Result<bool, Fault> {
        let moved = self.producer.wait_for_room(timeout)?;
        self.may_write()?;
        Ok(moved)
    }

    pub(super) fn commit<P: Recorded>(
        &mut self,
        entry: &PositionEntry<P>,
    ) -> Result<PositionHint, Fault> {
        fault_point::reach("before_flush");
        let (lease, kill) = (&self.lease, &self.kill);
        self.producer.flush(FLUSH, || {
            check(lease)?;
            if kill.is_tripped() { Err(stopping()) } else { Ok(()) }
        })?;
        fault_point::reach("after_flush");
        Ok(report(entry, (&self.task, &self.node), &self.meter))
    }

    /// Serial of the newest position that the coordinators have.
    pub(super) fn kept(&self) -> u64 {
        self.meter.kept()
    }

    pub(super) fn abandon(&mut self) {
        let lease = &self.lease;
        if let Err(fault) = self.producer.flush(LAST_FLUSH, || check(lease)) {
            tracing::debug!(%fault, "gave the producer up");
        }
    }
}

fn check(lease: &Lease) -> Result<(), Fault> {
    if lease.holds() {
        return Ok(());
    }
    let message = "have not renewed the lease of this node: another one may write for it now";
    Err(Fault::new(FaultKind::Coordination, "coordinators", message)
        .remedy("see that most of the coordinators run and that this node reaches their leader"))
}

fn stopping() -> Fault {
    Fault::new(FaultKind::TargetBusy, "producer", "was stopped while records were on their way")
}
