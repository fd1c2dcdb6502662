//! exactly_once: every Kafka transaction holds output records and, last, the position that covers them.
//!
//! Any end of a transaction that is not clean costs the producer and with it the pipeline: the shard
//! starts over from the position that the target really holds.

use std::time::Duration;

use tidewire_kafka::{End, Sent, TopicHandle, TransactionalProducer};
use tidewire_node_core::takeover::PositionEntry;
use tidewire_node_core::transaction::{CallOutcome, EndKind, EndVerdict, TransactionEnd};
use tidewire_shared::report::PositionHint;
use tidewire_shared::{Fault, FaultKind};

use super::Outgoing;
use crate::fault_point;
use crate::pipeline::positions::{PositionWriter, Recorded};
use crate::shard::meter::Meter;

/// A commit that has no answer by then is given up; the broker ends the transaction by itself at 30 s.
const COMMIT: Duration = Duration::from_secs(25);
/// Aborting frees readers sooner than the broker's timeout would; it is worth a short wait only.
const ABORT: Duration = Duration::from_secs(2);

/// A transactional producer and its positions.
pub(crate) struct Fenced {
    pub(crate) producer: TransactionalProducer,
    /// The topics of the task, as the encoder numbers them.
    pub(crate) topics: Vec<TopicHandle>,
    pub(crate) positions: PositionWriter,
    pub(crate) meter: Meter,
}

impl Fenced {
    pub(super) fn begin(&mut self) -> Result<(), Fault> {
        self.producer.begin()
    }

    pub(super) fn send(&mut self, record: &Outgoing<'_>) -> Result<Sent, Fault> {
        let misnumbered = || Fault::new(FaultKind::Internal, "record", "has no topic");
        let topic = *self.topics.get(record.topic).ok_or_else(misnumbered)?;
        self.producer.send_record(&topic, &record.record)
    }

    pub(super) fn wait_for_room(&mut self, timeout: Duration) -> Result<bool, Fault> {
        self.producer.wait_for_room(timeout)
    }

    pub(super) fn commit<P: Recorded>(
        &mut self,
        entry: &PositionEntry<P>,
    ) -> Result<Option<PositionHint>, Fault> {
        self.positions.send(&mut self.producer, entry, self.meter.as_of())?;
        fault_point::reach("before_end_txn");
        let end = self.producer.commit(COMMIT);
        fault_point::reach("after_end_txn");
        judge(&end)?;
        Ok(self.positions.durable(&self.producer, entry.serial))
    }

    pub(super) fn abandon(&mut self) {
        if !self.producer.is_spent() {
            fault_point::reach("before_abort");
            let end = self.producer.abort(ABORT);
            tracing::debug!(?end, "gave the producer up");
        }
    }
}

/// Whether the producer may be used again after this end.
fn judge(end: &End) -> Result<(), Fault> {
    let outcome = if end.outcome.is_ok() { CallOutcome::Success } else { CallOutcome::Failed };
    let (kind, end_requests) = (EndKind::Commit, end.end_requests);
    let seen = TransactionEnd { kind, outcome, end_requests, produced: true };
    match (&end.outcome, seen.judge()) {
        (Err(fault), _) => Err(fault.clone()),
        (Ok(()), EndVerdict::Clean) => Ok(()),
        (Ok(()), EndVerdict::DropProducer) => Err(Fault::new(
            FaultKind::TargetBusy,
            "producer",
            format!("its transaction was ended by {end_requests} requests instead of one"),
        )),
    }
}
