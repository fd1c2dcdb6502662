//! Decode stage: frames become changes.
//!
//! The decoder is pure; this shell answers its one question, what the catalog says about a table that
//! the stream names for the first time.

use actix::prelude::Recipient;
use bytes::Buf;
use tidewire_node_core::batch::ChangeBatch;
use tidewire_node_core::decode::{Decoder, NeedTable};
use tidewire_postgres::{RawBatch, Source, Sql, catalog};
use tidewire_shared::{Fault, FaultKind};

use super::pool::Pool;
use super::stage::{Batch, Stage, pass};

pub(super) struct DecodeStage {
    decoder: Decoder,
    /// Filled until it is full, or until there is nothing left to decode.
    batch: Box<ChangeBatch>,
    emptied: Pool<Box<ChangeBatch>>,
    next: Recipient<Batch<Box<ChangeBatch>>>,
    source: Source,
    /// Opened at the first table; opened again when it broke.
    catalog: Option<Sql>,
}

impl DecodeStage {
    pub(super) fn new(
        decoder: Decoder,
        source: Source,
        emptied: Pool<Box<ChangeBatch>>,
        next: Recipient<Batch<Box<ChangeBatch>>>,
    ) -> Self {
        Self { decoder, batch: Box::default(), emptied, next, source, catalog: None }
    }

    async fn flush(&mut self) -> Result<(), Fault> {
        let empty = self.emptied.take(Box::default);
        pass(&self.next, std::mem::replace(&mut self.batch, empty)).await
    }

    /// Looks up the table that is asked for, and those that `rest` will ask for: a transaction may
    /// touch thousands of tables for the first time.
    async fn look_up(&mut self, need: &NeedTable, rest: &[u8]) -> Result<(), Fault> {
        let open = self.catalog.take().filter(|sql| !sql.is_closed());
        let mut sql = match open {
            Some(sql) => sql,
            None => self.source.connect().await?,
        };
        let mut wanted = self.decoder.tables_ahead(rest);
        wanted.retain(|oid| *oid != need.oid);
        wanted.push(need.oid);
        let mut found = catalog::tables_by_oid(&mut sql, &wanted).await?;
        self.catalog = Some(sql);
        for oid in wanted {
            let place = found.iter().position(|facts| facts.oid == oid);
            self.decoder.provide(oid, place.map(|place| found.swap_remove(place)));
        }
        Ok(())
    }
}

impl Stage for DecodeStage {
    type Batch = RawBatch;

    async fn run(&mut self, raw: RawBatch) -> Result<(), Fault> {
        let mut bytes = raw.bytes;
        loop {
            let fed = self.decoder.feed(&bytes, &mut self.batch)?;
            bytes.advance(fed.consumed);
            if let Some(need) = &fed.need {
                self.look_up(need, &bytes).await?;
            } else if fed.full {
                self.flush().await?;
            } else if bytes.is_empty() {
                return if fed.held { Ok(()) } else { self.flush().await };
            } else if fed.consumed == 0 {
                let left = bytes.len();
                return Err(Fault::new(
                    FaultKind::Decode,
                    "replication stream",
                    format!("{left} bytes at the end of a batch are not a whole frame"),
                ));
            }
        }
    }
}
