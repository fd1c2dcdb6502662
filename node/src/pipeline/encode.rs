//! Encode stage: changes become records.

use actix::prelude::Recipient;
use tidewire_node_core::batch::ChangeBatch;
use tidewire_node_core::encode::{EncodedBatch, Encoder};
use tidewire_shared::Fault;

use super::pool::Pool;
use super::stage::{Batch, Stage, pass};
use crate::clock::now_us;

pub(super) struct EncodeStage {
    encoder: Encoder,
    /// Where emptied change batches go back to the decoder.
    drained: Pool<Box<ChangeBatch>>,
    emptied: Pool<Box<EncodedBatch>>,
    next: Recipient<Batch<Box<EncodedBatch>>>,
}

impl EncodeStage {
    pub(super) fn new(
        encoder: Encoder,
        drained: Pool<Box<ChangeBatch>>,
        emptied: Pool<Box<EncodedBatch>>,
        next: Recipient<Batch<Box<EncodedBatch>>>,
    ) -> Self {
        Self { encoder, drained, emptied, next }
    }
}

impl Stage for EncodeStage {
    type Batch = Box<ChangeBatch>;

    async fn run(&mut self, mut changes: Box<ChangeBatch>) -> Result<(), Fault> {
        let mut encoded = self.emptied.take(Box::default);
        self.encoder.encode(&changes, now_us(), &mut encoded)?;
        changes.clear();
        self.drained.give(changes);
        pass(&self.next, encoded).await
    }
}
