//! What delivery does with encoded changes: records out, LSNs back to the source.

use std::collections::VecDeque;
use std::time::Instant;

use tidewire_kafka::{Headers, Record};
use tidewire_node_core::encode::{EncodeError, EncodedBatch, Record as Encoded};
use tidewire_node_core::pacing::Backlog;
use tidewire_node_core::progress::{Progress, Reached};
use tidewire_node_core::takeover::PositionEntry;
use tidewire_postgres::Feedback;
use tidewire_shared::report::{Counters, PositionHint};
use tidewire_shared::{Fault, FaultKind, Lsn, PgPosition};
use tokio::sync::watch;

use super::{Carrier, Taken, Writer};
use crate::pipeline::letters::Letters;
use crate::pipeline::outlet::Outgoing;
use crate::pipeline::pool::Pool;
use crate::pipeline::watch::LogEnd;
use crate::shard::meter::{Durable, Meter};

/// Carries encoded changes.
pub(crate) struct PostgresCarrier {
    progress: Progress,
    /// The incarnation of the source, for the headers that carry an identity; none for the first.
    incarnation: Option<String>,
    feedback: Feedback,
    /// Newest position that the stream has reached, for the heartbeat of the source.
    seen: watch::Sender<Lsn>,
    /// Newest end of the source's log, as the watcher last looked.
    source_end: watch::Receiver<LogEnd>,
    meter: Meter,
    emptied: Pool<Box<EncodedBatch>>,
    letters: Letters,
    /// What the next commit makes durable.
    pending: Pending,
    /// Newest position received, whether or not anything came of it.
    received: Lsn,
    server_end: Lsn,
    /// Durable positions that may not be kept for good yet, oldest first. The lease bounds them: while
    /// it holds the coordinators get one at least every few seconds.
    waiting: VecDeque<(u64, Lsn)>,
    kept: Lsn,
}

#[derive(Default)]
struct Pending {
    counters: Counters,
    last_commit_time_us: i64,
    /// Why the first change of it became a dead letter.
    refused: Option<Box<EncodeError>>,
}

/// What a carrier is made of.
pub(crate) struct Fittings {
    pub(crate) progress: Progress,
    pub(crate) feedback: Feedback,
    pub(crate) seen: watch::Sender<Lsn>,
    pub(crate) source_end: watch::Receiver<LogEnd>,
    pub(crate) meter: Meter,
    pub(crate) emptied: Pool<Box<EncodedBatch>>,
    pub(crate) letters: Letters,
    /// What the source has been told is kept for good.
    pub(crate) kept: Lsn,
}

impl PostgresCarrier {
    pub(crate) fn new(fittings: Fittings) -> Self {
        let Fittings { progress, feedback, seen, source_end, meter, emptied, letters, kept } =
            fittings;
        let start = progress.durable().position();
        Self {
            received: start.lsn,
            incarnation: (start.incarnation > 0).then(|| start.incarnation.to_string()),
            progress,
            feedback,
            seen,
            source_end,
            meter,
            emptied,
            letters,
            pending: Pending::default(),
            server_end: Lsn::ZERO,
            waiting: VecDeque::new(),
            kept,
        }
    }

    fn send(&self, batch: &EncodedBatch, record: &Encoded, to: &mut Writer) -> Result<(), Fault> {
        let misnumbered = || Fault::new(FaultKind::Internal, "record", "has no topic or no value");
        let topic = usize::from(record.topic);
        let value = batch.buf.get(record.value.clone()).ok_or_else(misnumbered)?;
        let key = record.key.clone().and_then(|range| batch.buf.get(range));
        let partition = u32::try_from(record.partition).map_err(|_| misnumbered())?;
        let told = batch.identity_headers || record.dead_letter;
        let texts = told.then(|| record.identity.headers());
        let incarnation = self.incarnation.as_ref().filter(|_| told);
        let mut headers = [("", &[][..]); 5];
        let all = texts.iter().flatten().map(|(name, text)| (*name, text.as_bytes()));
        let all = all.chain(incarnation.map(|text| ("tw.inc", text.as_bytes())));
        let mut count = 0;
        for (place, header) in headers.iter_mut().zip(all.chain(batch.key_header(record))) {
            *place = header;
            count += 1;
        }
        let headers = Headers::Pairs(headers.get(..count).unwrap_or_default());
        let value = (!record.tombstone).then_some(value);
        let record = Record { partition, key, value, headers, timestamp: None };
        to.send(&Outgoing { topic, record })
    }

    /// Notes how far a batch reaches; whether its position is to be made durable at once.
    fn accept(&mut self, batch: &EncodedBatch, to: &mut Writer) -> Result<bool, Fault> {
        let end = &batch.end;
        self.received = self.received.max(end.lsn);
        self.server_end = self.server_end.max(end.server_wal_end);
        let inside_before = self.progress.accepted().position().inside;
        let records = u64::try_from(batch.records.len()).unwrap_or(u64::MAX);
        if records == 0 && end.inside.is_some() && end.inside == inside_before {
            return Ok(false);
        }
        if records == 0 && end.inside.is_none() && inside_before.is_none() {
            self.meter.update(|report| {
                report.counters.transactions += end.transactions;
                report.counters.filtered += end.filtered;
            });
            if end.last_commit_time_us > 0 && !self.progress.has_open() {
                self.meter.complete_until(end.last_commit_time_us / 1_000);
            }
            return Ok(self.progress.keepalive(end.lsn, end.reply_requested, to.clock()));
        }
        let whole = end.lsn > self.progress.accepted().position().lsn;
        if whole {
            let records = if end.inside.is_some() { 0 } else { records };
            self.progress.accept(Reached::End(end.lsn), records)?;
        }
        if let Some(inside) = end.inside {
            self.progress.accept(Reached::Inside(inside), records)?;
        }
        to.begun()?;
        self.pending.counters += batch.counters;
        let newest = self.pending.last_commit_time_us.max(end.last_commit_time_us);
        self.pending.last_commit_time_us = newest;
        Ok(false)
    }

    fn tell_letters(&mut self) {
        if let Some(line) = self.letters.due(Instant::now()) {
            self.meter.log().notice(line);
        }
    }

    /// Tells the source what it may forget.
    fn confirm(&mut self, writer: &Writer) -> Result<(), Fault> {
        if let Some((newest, _)) = self.waiting.back() {
            let serial = writer.outlet.kept(*newest);
            while let Some((_, lsn)) = self.waiting.pop_front_if(|(it, _)| *it <= serial) {
                self.kept = self.kept.max(lsn);
            }
        }
        let confirmed = self.progress.confirm(self.kept)?.lsn();
        self.feedback.report(confirmed);
        self.meter.update(|report| report.confirmed_lsn = confirmed);
        Ok(())
    }

    /// Tells the meter whether everything that the source had at the last look is durable.
    fn look_around(&self, writer: &Writer) {
        let LogEnd { lsn: source_end, at_ms } = *self.source_end.borrow();
        let inside = self.progress.accepted().position().inside.is_some();
        // Before the first look nobody knows.
        let looked = at_ms > 0;
        let caught_up = looked && writer.is_settled() && !inside && self.received >= source_end;
        let newest = source_end.max(self.server_end);
        if caught_up {
            self.meter.complete_until(at_ms);
        }
        self.meter.update(|report| {
            report.caught_up = caught_up;
            report.source_lsn = newest;
        });
    }
}

impl Carrier for PostgresCarrier {
    type Batch = Box<EncodedBatch>;
    type Position = PgPosition;

    fn take(&mut self, batch: Box<EncodedBatch>, to: &mut Writer) -> Result<Taken, Fault> {
        for record in &batch.records {
            self.send(&batch, record, to)?;
        }
        if let Some(refused) = &batch.refused {
            self.pending.refused.get_or_insert_with(|| refused.clone());
        }
        let due = self.accept(&batch, to)?;
        let Counters { insert, update, delete, truncate, bytes, .. } = batch.counters;
        let rows = insert + update + delete + truncate;
        // A server that only answers our questions has not moved: a heartbeat is due all the same.
        let received = self.received;
        self.seen.send_if_modified(|seen| std::mem::replace(seen, received) != received);
        self.look_around(to);
        self.emptied.give(batch);
        Ok(Taken { bytes, rows, due })
    }

    fn backlog(&self) -> Backlog {
        let source_end = self.server_end.max(self.source_end.borrow().lsn);
        Backlog::between(self.received, source_end)
    }

    fn seal(&mut self) -> Result<Option<PositionEntry<PgPosition>>, Fault> {
        self.progress.seal()
    }

    fn committed(&mut self, at: Option<PositionHint>, writer: &Writer) -> Result<(), Fault> {
        let pending = std::mem::take(&mut self.pending);
        let lsn = self.progress.committed(writer.clock())?.position().lsn;
        let last_commit_ms =
            (pending.last_commit_time_us > 0).then_some(pending.last_commit_time_us / 1_000);
        let durable = Durable { position: at, last_commit_ms, counters: pending.counters };
        self.meter.durable(&durable, |report| report.durable_lsn = lsn);
        self.letters.note(pending.counters.dead_letters, pending.refused);
        self.tell_letters();
        self.waiting.push_back((self.progress.serial(), lsn));
        self.look_around(writer);
        self.confirm(writer)
    }

    fn idle(&mut self, writer: &Writer) -> Result<bool, Fault> {
        self.tell_letters();
        self.confirm(writer)?;
        let due =
            writer.is_settled() && self.progress.keepalive(self.received, false, writer.clock());
        self.look_around(writer);
        Ok(due)
    }
}
