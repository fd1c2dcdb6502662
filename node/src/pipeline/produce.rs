//! Produce stage: hands encoded batches to the thread that owns the producer ([`super::delivery`]).
//!
//! librdkafka's calls block, so they have no place on an arbiter.

use tidewire_node_core::encode::EncodedBatch;
use tidewire_shared::{Fault, FaultKind};
use tokio::sync::mpsc;

use super::stage::Stage;

/// Batches between the actor and its thread: one, so that the thread never waits for a wake-up while
/// there is work.
pub(super) const HAND_OVER: usize = 1;

pub(super) struct ProduceStage {
    delivery: mpsc::Sender<Box<EncodedBatch>>,
}

impl ProduceStage {
    pub(super) fn new(delivery: mpsc::Sender<Box<EncodedBatch>>) -> Self {
        Self { delivery }
    }
}

impl Stage for ProduceStage {
    type Batch = Box<EncodedBatch>;

    async fn run(&mut self, batch: Box<EncodedBatch>) -> Result<(), Fault> {
        let stopped = |_| Fault::new(FaultKind::Internal, "pipeline", "the producer has stopped");
        self.delivery.send(batch).await.map_err(stopped)
    }
}
