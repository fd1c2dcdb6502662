//! What is watched beside the stream: the publication and the log of the source, the identity of the
//! target's topics. Each look that finds a change of the ground under the task stops the pipeline.

mod topics_of_source;

use std::collections::BTreeSet;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use tidewire_kafka::{TopicIdentity, topics};
use tidewire_node_core::facts::{OddPartition, SlotFacts};
use tidewire_node_core::precheck::as_its_root;
use tidewire_node_core::takeover::{Owner, PinPolicy};
use tidewire_postgres::{Feedback, Source, Sql, server, slot};
use tidewire_shared::spec::{AtLimit, TableName, WalBudget, WalState};
use tidewire_shared::{Fault, FaultKind, Lsn, Persistence};
use tokio::sync::watch;

use super::kill::KillSwitch;
use crate::clock::now_ms;
use crate::shard::SourceObjects;
use crate::shard::meter::Meter;
use crate::wal;

pub(crate) use topics_of_source::{SourceIdentity, TopicsWatch};

/// How often the end of the source's log is asked for: how fresh "caught up" is.
const LOG_PERIOD: Duration = Duration::from_secs(1);
/// How often the publication is looked at, in log looks.
const PUBLICATION_TURNS: u32 = 10;
/// How long a stream may stand at one place while the log goes on. A transaction of which nothing is
/// published is decoded in silence, hence so long.
const STALLED: Duration = Duration::from_secs(900);
/// How often topic ids are asked for: bounds what a recreated topic can swallow.
const IDENTITY_PERIOD: Duration = Duration::from_secs(3);
/// The same where there are very many topics: bounds, too, when topics that appear are found.
const IDENTITY_PERIOD_OF_MANY: Duration = Duration::from_secs(20);
/// Ids that are asked for in a second.
const IDENTITY_RATE: usize = 25;
/// Longest single look at the target.
const LOOK: Duration = Duration::from_secs(10);
/// Decoding again from restart_lsn runs at about this rate; measured, docs/performance.md.
const DECODE_BYTES_PER_MS: u64 = 100_000;
/// Detection and the order of a start, before anything is decoded again.
const TAKEOVER_MS: u64 = 2_000;

/// The end of the source's log at one look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogEnd {
    pub(crate) lsn: Lsn,
    /// When that was asked for, milliseconds since 1970.
    pub(crate) at_ms: i64,
}

/// What is watched at the source.
pub(crate) struct SourceWatch {
    pub(crate) source: Source,
    pub(crate) slot: String,
    /// Who we are there.
    pub(crate) owner: Owner,
    pub(crate) budget: WalBudget,
    pub(crate) feedback: Feedback,
    pub(crate) objects: SourceObjects,
    pub(crate) end: watch::Sender<LogEnd>,
    pub(crate) meter: Meter,
    pub(crate) kill: KillSwitch,
}

impl SourceWatch {
    /// Looks until the pipeline stops. A broken connection of its own is opened again quietly: the
    /// stream finds out by itself when the source is gone.
    pub(crate) async fn run(self) {
        let kill = self.kill.clone();
        let _guard = kill.guard("watch-source");
        let mut seen = Seen {
            wal: WalState::Ok,
            in_peril: false,
            published: self.objects.stood_at(),
            reached: Lsn::ZERO,
            since: Instant::now(),
            odd: BTreeSet::new(),
        };
        let look = async {
            let mut sql = None;
            for turn in 0_u32.. {
                let publication_too = turn.is_multiple_of(PUBLICATION_TURNS);
                if let Err(fault) = self.look(&mut sql, &mut seen, publication_too).await {
                    if fault.persistence() == Persistence::Definite {
                        return self.kill.trip(fault);
                    }
                    tracing::debug!(%fault, "could not look at the source");
                    sql = None;
                }
                tokio::time::sleep(LOG_PERIOD).await;
            }
        };
        tokio::select! {
            () = look => {}
            () = kill.tripped() => {}
        }
        if seen.wal == WalState::Limit && self.budget.at_limit == AtLimit::DropSlot {
            actix_rt::spawn(wal::drop_slot(self.source, self.slot, self.owner));
        }
    }

    async fn look(
        &self,
        open: &mut Option<Sql>,
        seen: &mut Seen,
        publication_too: bool,
    ) -> Result<(), Fault> {
        let sql = match open {
            Some(sql) => sql,
            None => open.insert(self.source.connect().await?),
        };
        let at_ms = now_ms();
        let end = server::facts(sql).await?.flush_lsn;
        self.end.send_replace(LogEnd { lsn: end, at_ms });
        if let Some(slot) = slot::look(sql, &self.slot).await? {
            self.weigh(&slot, end, seen)?;
        }
        self.stalled(end, seen);
        if publication_too {
            self.objects(sql, seen, end).await?;
        }
        Ok(())
    }

    /// Looks at what the task takes; the log has come to `end`. Whatever has to be brought up to date is,
    /// by a start.
    async fn objects(&self, sql: &mut Sql, seen: &mut Seen, end: Lsn) -> Result<(), Fault> {
        let attached = self.objects.compare(sql, seen.published, end).await?;
        seen.published = end;
        let appeared = self.objects.appeared(sql).await?;
        let reshaped = self.objects.reshaped(sql).await?;
        for partition in self.objects.odd_partitions(sql).await? {
            if seen.odd.insert(partition.name.clone()) {
                let (OddPartition { name, root, .. }, repair) =
                    (&partition, as_its_root(&partition));
                self.meter.log().notice(format!(
                    "partition {name} has another replica identity than {root}: its old rows do not \
                     come as those of the others, and UPDATE and DELETE fail where it has none that \
                     is usable: {repair}"
                ));
            }
        }
        for (tables, what) in [
            (attached, "tables are partitions of another one by now"),
            (appeared, "tables appeared that the task takes"),
            (reshaped, "tables have to be published in another form"),
        ] {
            if !tables.is_empty() {
                tracing::info!(?tables, "{what}");
                self.kill.rebuild();
            }
        }
        Ok(())
    }

    /// Shows what the slot holds back; a fault when that ends the task.
    fn weigh(&self, slot: &SlotFacts, end: Lsn, seen: &mut Seen) -> Result<(), Fault> {
        let retained = wal::retained(slot, end);
        self.meter.update(|report| {
            report.wal_retained_bytes = retained;
            report.predicted_failover_ms = TAKEOVER_MS + retained / DECODE_BYTES_PER_MS;
        });
        let state = self.budget.state(retained);
        wal::tell(&slot.name, (seen.wal, state), retained, self.meter.log());
        seen.wal = state;
        if let Some(line) = wal::peril(slot, retained).filter(|_| !seen.in_peril) {
            self.meter.log().notice(line);
        }
        seen.in_peril = wal::peril(slot, retained).is_some();
        let durable = self.meter.report().durable_lsn;
        let durable = durable.max(slot.confirmed_flush.unwrap_or_default());
        wal::sentence(slot, &self.budget, retained, durable).map_or(Ok(()), Err)
    }

    /// Stops a stream that is connected and answers, but does not come past one place while the log
    /// goes on: servers are known that wait for ever on a record that a crash cut in half.
    fn stalled(&self, end: Lsn, seen: &mut Seen) {
        let waits_at = self.feedback.waits_at().filter(|at| *at < end);
        if waits_at != Some(seen.reached) {
            seen.reached = waits_at.unwrap_or_default();
            seen.since = Instant::now();
        }
        if waits_at.is_some() && seen.since.elapsed() >= STALLED {
            let message = format!(
                "has not come past {} for {STALLED:?} while the log went on to {end}",
                seen.reached
            );
            self.kill.trip(
                Fault::new(FaultKind::SourceBusy, format!("stream of slot {}", self.slot), message)
                    .remedy(
                        "look for a long decoding in pg_stat_activity and at the server's log; \
                         minor releases before August 2025 can wait for ever after a crash",
                    ),
            );
        }
    }
}

/// What the looks before this one found.
struct Seen {
    wal: WalState,
    /// The server may remove log that the slot needs.
    in_peril: bool,
    /// The end of the log when the publication was last found to have lost nothing.
    published: Lsn,
    /// Where the stream stood, waiting for the server, and since when.
    reached: Lsn,
    since: Instant,
    /// Partitions whose replica identity was told of.
    odd: BTreeSet<TableName>,
}

/// How often the ids of so many topics are asked for. An idle task of a thousand topics would do little
/// else otherwise.
fn identity_period(topics: usize) -> Duration {
    let seconds = u64::try_from(topics / IDENTITY_RATE).unwrap_or(u64::MAX);
    Duration::from_secs(seconds).clamp(IDENTITY_PERIOD, IDENTITY_PERIOD_OF_MANY)
}

/// What is watched at the target.
pub(crate) struct TargetWatch {
    pub(crate) identity: TopicIdentity,
    pub(crate) pins: Vec<topics::Identity>,
    /// Which changes of them the task goes on with.
    pub(crate) policy: PinPolicy,
    pub(crate) kill: KillSwitch,
    /// Closed when the pipeline has ended.
    pub(crate) ended: std::sync::mpsc::Receiver<()>,
}

impl TargetWatch {
    /// Looks until the pipeline has ended; blocks, so it has a thread of its own.
    pub(crate) fn run(self) {
        let _guard = self.kill.guard("watch-target");
        let period = identity_period(self.pins.len());
        while matches!(self.ended.recv_timeout(period), Err(RecvTimeoutError::Timeout)) {
            match self.identity.check(&self.pins, self.policy, LOOK) {
                Err(fault) if fault.persistence() == Persistence::Definite => {
                    return self.kill.trip(fault);
                }
                Err(fault) => tracing::debug!(%fault, "could not look at the target"),
                // The next start pins the topic as it is now. A copy grows when its source has grown.
                Ok(true) if self.policy != PinPolicy::Copied => return self.kill.rebuild(),
                Ok(_) => {}
            }
        }
    }
}
