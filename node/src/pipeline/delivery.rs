//! Delivery: the thread that owns the producer and decides when what it wrote becomes durable.
//!
//! Records and the position that covers them become durable together, by the [`Outlet`] of the task's
//! delivery. The source is told of a position only after that.

use std::time::{Duration, Instant};

use tidewire_kafka::Sent;
use tidewire_node_core::encode::{EncodeError, EncodedBatch, Record};
use tidewire_node_core::pacing::{Backlog, Pace, pace};
use tidewire_node_core::progress::{Progress, Reached};
use tidewire_node_core::throttle::Throttle;
use tidewire_postgres::Feedback;
use tidewire_shared::report::Counters;
use tidewire_shared::{Fault, FaultKind, Lsn};
use tokio::sync::{mpsc, watch};

use super::kill::KillSwitch;
use super::letters::Letters;
use super::outlet::{Outgoing, Outlet};
use super::pool::Pool;
use super::watch::LogEnd;
use crate::fault_point;
use crate::shard::meter::{Durable, Meter};

/// How long a full queue may stand still before the pipeline gives up.
const STALLED: Duration = Duration::from_secs(20);
/// How often a thread with nothing to do looks around.
const IDLE_LOOK: Duration = Duration::from_millis(500);

/// Everything the delivery thread works with.
pub(crate) struct Delivery {
    pub(crate) outlet: Outlet,
    pub(crate) progress: Progress,
    pub(crate) feedback: Feedback,
    /// Newest position that the stream has reached, for the heartbeat of the source.
    pub(crate) seen: watch::Sender<Lsn>,
    /// Newest end of the source's log, as the watcher last looked.
    pub(crate) source_end: watch::Receiver<LogEnd>,
    pub(crate) meter: Meter,
    pub(crate) kill: KillSwitch,
    pub(crate) emptied: Pool<Box<EncodedBatch>>,
    pub(crate) throttle: Throttle,
    pub(crate) letters: Letters,
}

/// What is written and not durable yet, and what surrounds it.
struct Run {
    delivery: Delivery,
    began: Instant,
    open: Option<Open>,
    last_commit: Instant,
    commit_took: Duration,
    /// Newest position received, whether or not anything came of it.
    received: Lsn,
    server_end: Lsn,
}

/// What the next commit makes durable.
#[derive(Default)]
struct Open {
    bytes: u64,
    counters: Counters,
    last_commit_time_us: i64,
    /// Why the first change of it became a dead letter.
    refused: Option<Box<EncodeError>>,
}

impl Delivery {
    /// Runs until the pipeline stops; trips the switch with whatever goes wrong.
    pub(crate) fn run(self, mut batches: mpsc::Receiver<Box<EncodedBatch>>) {
        let kill = self.kill.clone();
        let _guard = kill.guard("produce");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let outcome = match runtime {
            Ok(runtime) => runtime.block_on(Run::new(self).serve(&mut batches)),
            Err(error) => Err(Fault::new(FaultKind::Internal, "producer thread", error)),
        };
        match outcome {
            Ok(()) => kill.stop(),
            Err(fault) => kill.trip(fault),
        }
    }
}

impl Run {
    fn new(delivery: Delivery) -> Self {
        let now = Instant::now();
        Self {
            began: now,
            open: None,
            last_commit: now,
            commit_took: Duration::ZERO,
            received: delivery.progress.durable().position().lsn,
            server_end: Lsn::ZERO,
            delivery,
        }
    }

    async fn serve(mut self, batches: &mut mpsc::Receiver<Box<EncodedBatch>>) -> Result<(), Fault> {
        let kill = self.delivery.kill.clone();
        let served = loop {
            match self.hold(&kill).await {
                Ok(false) => {}
                Ok(true) => continue,
                Err(fault) => break Err(fault),
            }
            let wait = match self.pace() {
                Some(Pace::End) => {
                    if let Err(fault) = self.commit() {
                        break Err(fault);
                    }
                    continue;
                }
                Some(Pace::Wait(wait)) => wait,
                None => IDLE_LOOK,
            };
            let batch = tokio::select! {
                biased;
                () = kill.tripped() => break Ok(()),
                batch = batches.recv() => batch,
                () = tokio::time::sleep(wait) => {
                    if let Err(fault) = self.idle() {
                        break Err(fault);
                    }
                    continue;
                }
            };
            // The switch is looked at first: nobody asked for this end.
            let Some(batch) = batch else { break Err(deserted()) };
            if let Err(fault) = self.take(&batch) {
                break Err(fault);
            }
            self.delivery.emptied.give(batch);
        };
        self.delivery.outlet.abandon();
        served
    }

    /// Waits a while where the task's limits ask for it; `false` where the next batch may go now. No
    /// transaction stays open meanwhile: readers would wait with us, and the broker would end it.
    async fn hold(&mut self, kill: &KillSwitch) -> Result<bool, Fault> {
        let wait = self.delivery.throttle.wait(self.began.elapsed());
        if wait.is_zero() || kill.is_tripped() {
            return Ok(false);
        }
        self.commit()?;
        tokio::select! {
            () = kill.tripped() => {}
            () = tokio::time::sleep(wait.min(IDLE_LOOK)) => self.idle()?,
        }
        Ok(true)
    }

    /// Whether the open transaction is to be ended; `None` when there is none.
    fn pace(&self) -> Option<Pace> {
        let open = self.open.as_ref()?;
        let source_end = self.server_end.max(self.delivery.source_end.borrow().lsn);
        let backlog = Backlog::between(self.received, source_end);
        Some(pace(open.bytes, self.last_commit.elapsed(), self.commit_took, backlog))
    }

    /// Accepts a batch: its records into the producer, its end into the progress.
    fn take(&mut self, batch: &EncodedBatch) -> Result<(), Fault> {
        for record in &batch.records {
            self.send(batch, record)?;
        }
        if let (Some(open), Some(refused)) = (&mut self.open, &batch.refused) {
            open.refused.get_or_insert_with(|| refused.clone());
        }
        self.accept(batch)?;
        let Counters { insert, update, delete, truncate, bytes, .. } = batch.counters;
        let rows = insert + update + delete + truncate;
        self.delivery.throttle.spend(self.began.elapsed(), bytes, rows);
        // A server that only answers our questions has not moved: a heartbeat is due all the same.
        let received = self.received;
        self.delivery.seen.send_if_modified(|seen| std::mem::replace(seen, received) != received);
        self.look_around();
        Ok(())
    }

    fn send(&mut self, batch: &EncodedBatch, record: &Record) -> Result<(), Fault> {
        let misnumbered = || Fault::new(FaultKind::Internal, "record", "has no topic or no value");
        let topic = usize::from(record.topic);
        let value = batch.buf.get(record.value.clone()).ok_or_else(misnumbered)?;
        let key = record.key.clone().and_then(|range| batch.buf.get(range));
        let partition = u32::try_from(record.partition).map_err(|_| misnumbered())?;
        let told = batch.identity_headers || record.dead_letter;
        let texts = told.then(|| record.identity.headers());
        let mut headers = [("", &[][..]); 4];
        let all = texts.iter().flatten().map(|(name, text)| (*name, text.as_bytes()));
        let mut count = 0;
        for (place, header) in headers.iter_mut().zip(all.chain(batch.key_header(record))) {
            *place = header;
            count += 1;
        }
        let headers = headers.get(..count).unwrap_or_default();
        let mut stalled = Duration::ZERO;
        let open = self.begun()?;
        open.bytes += u64::try_from(value.len() + key.map_or(0, <[u8]>::len)).unwrap_or(0);
        let value = (!record.tombstone).then_some(value);
        let outgoing = Outgoing { topic, partition, key, value, headers };
        loop {
            let outlet = &mut self.delivery.outlet;
            match outlet.send(&outgoing)? {
                Sent::Queued => return Ok(()),
                Sent::Full if stalled >= STALLED || self.delivery.kill.is_tripped() => {
                    return Err(Fault::new(
                        FaultKind::TargetBusy,
                        "producer queue",
                        format!("no record left it for {} s", stalled.as_secs()),
                    )
                    .remedy("see that the brokers are up and have their replicas in sync"));
                }
                Sent::Full => {
                    let step = Duration::from_secs(1);
                    let moved = outlet.wait_for_room(step)?;
                    stalled = if moved { Duration::ZERO } else { stalled + step };
                }
            }
        }
    }

    fn begun(&mut self) -> Result<&mut Open, Fault> {
        if self.open.is_none() {
            self.delivery.outlet.begin()?;
        }
        Ok(self.open.get_or_insert_default())
    }

    fn accept(&mut self, batch: &EncodedBatch) -> Result<(), Fault> {
        let end = &batch.end;
        self.received = self.received.max(end.lsn);
        self.server_end = self.server_end.max(end.server_wal_end);
        let progress = &mut self.delivery.progress;
        let inside_before = progress.accepted().position().inside;
        let records = u64::try_from(batch.records.len()).unwrap_or(u64::MAX);
        if records == 0 && end.inside.is_some() && end.inside == inside_before {
            return Ok(());
        }
        if records == 0 && end.inside.is_none() && inside_before.is_none() {
            self.delivery.meter.update(|report| {
                report.counters.transactions += end.transactions;
                report.counters.filtered += end.filtered;
            });
            if end.last_commit_time_us > 0 && !progress.has_open() {
                self.delivery.meter.complete_until(end.last_commit_time_us / 1_000);
            }
            let now = self.began.elapsed();
            if progress.keepalive(end.lsn, end.reply_requested, now) {
                self.begun()?;
                return self.commit();
            }
            return Ok(());
        }
        let whole = end.lsn > progress.accepted().position().lsn;
        if whole {
            progress
                .accept(Reached::End(end.lsn), if end.inside.is_some() { 0 } else { records })?;
        }
        if let Some(inside) = end.inside {
            progress.accept(Reached::Inside(inside), records)?;
        }
        let open = self.begun()?;
        open.counters += batch.counters;
        open.last_commit_time_us = open.last_commit_time_us.max(end.last_commit_time_us);
        Ok(())
    }

    /// Seals the transaction with its position and commits it; then tells meter and source.
    fn commit(&mut self) -> Result<(), Fault> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let Some(entry) = self.delivery.progress.seal()? else {
            return Err(Fault::new(FaultKind::Internal, "progress", "had nothing to seal"));
        };
        let delivery = &mut self.delivery;
        let began = Instant::now();
        let position = delivery.outlet.commit(&entry)?;
        self.commit_took = began.elapsed();
        self.last_commit = Instant::now();
        let durable = delivery.progress.committed(self.began.elapsed())?.position().clone();
        let last_commit_ms =
            (open.last_commit_time_us > 0).then_some(open.last_commit_time_us / 1_000);
        delivery.meter.durable(&Durable {
            lsn: durable.lsn,
            position,
            last_commit_ms,
            counters: open.counters,
        });
        delivery.letters.note(open.counters.dead_letters, open.refused);
        self.tell_letters();
        fault_point::reach("before_source_reply");
        self.confirm()
    }

    fn tell_letters(&mut self) {
        if let Some(line) = self.delivery.letters.due(Instant::now()) {
            self.delivery.meter.log().notice(line);
        }
    }

    /// Tells the source what it may forget.
    fn confirm(&mut self) -> Result<(), Fault> {
        let delivery = &mut self.delivery;
        let lsn = delivery.outlet.confirmable(delivery.progress.confirmable());
        let confirmed = delivery.progress.confirm(lsn)?.lsn();
        delivery.feedback.report(confirmed);
        delivery.meter.update(|report| report.confirmed_lsn = confirmed);
        Ok(())
    }

    /// Persists the place that an idle source has reached, once that is due.
    fn idle(&mut self) -> Result<(), Fault> {
        self.delivery.outlet.look()?;
        self.tell_letters();
        self.confirm()?;
        let now = self.began.elapsed();
        if self.open.is_none() && self.delivery.progress.keepalive(self.received, false, now) {
            self.begun()?;
            self.commit()?;
        }
        self.look_around();
        Ok(())
    }

    /// Tells the meter whether everything that the source had at the last look is durable.
    fn look_around(&self) {
        let LogEnd { lsn: source_end, at_ms } = *self.delivery.source_end.borrow();
        let inside = self.delivery.progress.accepted().position().inside.is_some();
        // Before the first look nobody knows.
        let looked = at_ms > 0;
        let caught_up = looked && self.open.is_none() && !inside && self.received >= source_end;
        let newest = source_end.max(self.server_end);
        if caught_up {
            self.delivery.meter.complete_until(at_ms);
        }
        self.delivery.meter.update(|report| {
            report.caught_up = caught_up;
            report.source_lsn = newest;
        });
    }
}

/// The stages before are gone and did not say why.
fn deserted() -> Fault {
    Fault::new(FaultKind::Internal, "pipeline", "its stages ended without a reason")
        .remedy("look for a panic in the node's log and report it")
}
