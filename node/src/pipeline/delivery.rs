//! Delivery: the thread that owns the producer and decides when what it wrote becomes durable.
//!
//! Records and the position that covers them become durable together, by the [`Outlet`] of the task's
//! delivery. What a batch is made of differs between kinds of task and is known to a [`Carrier`]; when
//! to begin, end and give up is the same for all and stands here.

mod copy;
mod postgres;

use std::time::{Duration, Instant};

use tidewire_kafka::Sent;
use tidewire_node_core::pacing::{Allowance, Backlog, Pace, pace};
use tidewire_node_core::takeover::PositionEntry;
use tidewire_node_core::throttle::Throttle;
use tidewire_shared::report::PositionHint;
use tidewire_shared::{Fault, FaultKind};
use tokio::sync::mpsc;

use super::kill::KillSwitch;
use super::outlet::{Outgoing, Outlet};
use super::positions::Recorded;
use crate::fault_point;

pub(crate) use copy::{CopyCarrier, Read, Slot};
pub(crate) use postgres::{Fittings, PostgresCarrier};

/// How long a full queue may stand still before the pipeline gives up.
const STALLED: Duration = Duration::from_secs(20);
/// How often a thread with nothing to do looks around.
const IDLE_LOOK: Duration = Duration::from_millis(500);

/// Turns batches of one kind of source into records and positions.
pub(crate) trait Carrier: Send + 'static {
    /// What it takes.
    type Batch: Send + 'static;
    /// How far it has come.
    type Position: Recorded;

    /// Hands the records of a batch to the writer, and notes how far they reach.
    fn take(&mut self, batch: Self::Batch, to: &mut Writer) -> Result<Taken, Fault>;

    /// How far behind its source it is.
    fn backlog(&self) -> Backlog;

    /// The position of everything that was taken; none when it has not moved.
    fn seal(&mut self) -> Result<Option<PositionEntry<Self::Position>>, Fault>;

    /// What was sealed is durable; `at` is where coordinators find the record of it.
    fn committed(&mut self, at: Option<PositionHint>, writer: &Writer) -> Result<(), Fault>;

    /// Nothing came for a while. Whether a position without records is to be made durable.
    fn idle(&mut self, writer: &Writer) -> Result<bool, Fault>;
}

/// What came of a batch.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Taken {
    /// Keys and values, bytes.
    pub(crate) bytes: u64,
    /// Rows, or records of the source.
    pub(crate) rows: u64,
    /// The position is to be made durable at once.
    pub(crate) due: bool,
}

/// Everything the delivery thread works with.
pub(crate) struct Delivery<C> {
    pub(crate) carrier: C,
    pub(crate) outlet: Outlet,
    pub(crate) kill: KillSwitch,
    pub(crate) throttle: Throttle,
}

impl<C: Carrier> Delivery<C> {
    /// Runs until the pipeline stops; trips the switch with whatever goes wrong.
    pub(crate) fn run(self, mut batches: mpsc::Receiver<C::Batch>) {
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

/// The way out, with what went through it since the last commit.
pub(crate) struct Writer {
    pub(crate) outlet: Outlet,
    kill: KillSwitch,
    began: Instant,
    /// Bytes written and not durable yet; none: nothing was begun.
    open: Option<u64>,
    last_commit: Instant,
    commit_took: Duration,
    allowance: Allowance,
}

impl Writer {
    /// Time since the pipeline was built.
    pub(crate) fn clock(&self) -> Duration {
        self.began.elapsed()
    }

    /// Whether everything that was written is durable.
    pub(crate) fn is_settled(&self) -> bool {
        self.open.is_none()
    }

    /// Begins what the next commit makes durable, unless that was done.
    pub(crate) fn begun(&mut self) -> Result<&mut u64, Fault> {
        if self.open.is_none() {
            self.outlet.begin()?;
        }
        Ok(self.open.get_or_insert_default())
    }

    /// Hands a record to the producer; waits while its queue is full.
    pub(crate) fn send(&mut self, outgoing: &Outgoing<'_>) -> Result<(), Fault> {
        let record = &outgoing.record;
        let bytes = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        *self.begun()? += u64::try_from(bytes).unwrap_or(0);
        let mut stalled = Duration::ZERO;
        loop {
            match self.outlet.send(outgoing)? {
                Sent::Queued => return Ok(()),
                Sent::Full if stalled >= STALLED || self.kill.is_tripped() => {
                    return Err(Fault::new(
                        FaultKind::TargetBusy,
                        "producer queue",
                        format!("no record left it for {} s", stalled.as_secs()),
                    )
                    .remedy("see that the brokers are up and have their replicas in sync"));
                }
                Sent::Full => {
                    let step = Duration::from_secs(1);
                    let moved = self.outlet.wait_for_room(step)?;
                    stalled = if moved { Duration::ZERO } else { stalled + step };
                }
            }
        }
    }

    fn commit<P: Recorded>(
        &mut self,
        entry: &PositionEntry<P>,
    ) -> Result<Option<PositionHint>, Fault> {
        let began = Instant::now();
        let at = self.outlet.commit(entry)?;
        self.commit_took = began.elapsed();
        self.allowance.learn(self.open.take().unwrap_or_default(), self.commit_took);
        self.last_commit = Instant::now();
        Ok(at)
    }
}

struct Run<C> {
    carrier: C,
    writer: Writer,
    throttle: Throttle,
}

impl<C: Carrier> Run<C> {
    fn new(delivery: Delivery<C>) -> Self {
        let Delivery { carrier, outlet, kill, throttle } = delivery;
        let now = Instant::now();
        let writer = Writer {
            outlet,
            kill,
            began: now,
            open: None,
            last_commit: now,
            commit_took: Duration::ZERO,
            allowance: Allowance::default(),
        };
        Self { carrier, writer, throttle }
    }

    async fn serve(mut self, batches: &mut mpsc::Receiver<C::Batch>) -> Result<(), Fault> {
        let kill = self.writer.kill.clone();
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
            if let Err(fault) = self.take(batch) {
                break Err(fault);
            }
        };
        self.writer.outlet.abandon();
        served
    }

    /// Waits a while where the task's limits ask for it; `false` where the next batch may go now. No
    /// transaction stays open meanwhile: readers would wait with us, and the broker would end it.
    async fn hold(&mut self, kill: &KillSwitch) -> Result<bool, Fault> {
        let wait = self.throttle.wait(self.writer.clock());
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
        let writer = &self.writer;
        let full = writer.allowance.is_full(writer.open?);
        let since = writer.last_commit.elapsed();
        Some(pace(full, since, writer.commit_took, self.carrier.backlog()))
    }

    fn take(&mut self, batch: C::Batch) -> Result<(), Fault> {
        // Batches may follow each other for as long as a slow commit lets them: longer than a lease.
        self.writer.outlet.look()?;
        let taken = self.carrier.take(batch, &mut self.writer)?;
        self.throttle.spend(self.writer.clock(), taken.bytes, taken.rows);
        if taken.due {
            self.writer.begun()?;
            self.commit()?;
        }
        Ok(())
    }

    /// Ends what is open with its position; then the carrier tells meter and source.
    fn commit(&mut self) -> Result<(), Fault> {
        if self.writer.is_settled() {
            return Ok(());
        }
        let Some(entry) = self.carrier.seal()? else {
            return Err(Fault::new(FaultKind::Internal, "progress", "had nothing to seal"));
        };
        let at = self.writer.commit(&entry)?;
        fault_point::reach("before_source_reply");
        self.carrier.committed(at, &self.writer)
    }

    /// Persists the place that an idle source has reached, once that is due.
    fn idle(&mut self) -> Result<(), Fault> {
        self.writer.outlet.look()?;
        if self.carrier.idle(&self.writer)? {
            self.writer.begun()?;
            self.commit()?;
        }
        Ok(())
    }
}

/// The stages before are gone and did not say why.
fn deserted() -> Fault {
    Fault::new(FaultKind::Internal, "pipeline", "its stages ended without a reason")
        .remedy("look for a panic in the node's log and report it")
}
