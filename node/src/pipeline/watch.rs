//! What is watched beside the stream: the publication and the log of the source, the identity of the
//! target's topics. Each look that finds a change of the ground under the task stops the pipeline.

use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use tidewire_kafka::{TopicIdentity, topics};
use tidewire_node_core::facts::PublicationFacts;
use tidewire_postgres::{Source, Sql, publication, server, slot};
use tidewire_shared::{Fault, Lsn, Persistence};
use tokio::sync::watch;

use super::kill::KillSwitch;
use crate::shard::meter::Meter;

/// How often the end of the source's log is asked for: how fresh "caught up" is.
const LOG_PERIOD: Duration = Duration::from_secs(1);
/// How often the publication is looked at, in log looks.
const PUBLICATION_TURNS: u32 = 10;
/// How often topic ids are asked for: bounds what a recreated topic can swallow.
const IDENTITY_PERIOD: Duration = Duration::from_secs(3);
/// Longest single look at the target.
const LOOK: Duration = Duration::from_secs(10);
/// Decoding again from restart_lsn runs at about this rate; measured, docs/performance.md.
const DECODE_BYTES_PER_MS: u64 = 100_000;
/// Detection and the order of a start, before anything is decoded again.
const TAKEOVER_MS: u64 = 2_000;

/// What is watched at the source.
pub(crate) struct SourceWatch {
    pub(crate) source: Source,
    pub(crate) slot: String,
    pub(crate) publication: PublicationFacts,
    pub(crate) end: watch::Sender<Lsn>,
    pub(crate) meter: Meter,
    pub(crate) kill: KillSwitch,
}

impl SourceWatch {
    /// Looks until the pipeline stops. A broken connection of its own is opened again quietly: the
    /// stream finds out by itself when the source is gone.
    pub(crate) async fn run(self) {
        let kill = self.kill.clone();
        let _guard = kill.guard("watch-source");
        let look = async {
            let mut sql = None;
            for turn in 0_u32.. {
                if let Err(fault) =
                    self.look(&mut sql, turn.is_multiple_of(PUBLICATION_TURNS)).await
                {
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
    }

    async fn look(&self, open: &mut Option<Sql>, publication_too: bool) -> Result<(), Fault> {
        let sql = match open {
            Some(sql) => sql,
            None => open.insert(self.source.connect().await?),
        };
        let end = server::facts(sql).await?.flush_lsn;
        self.end.send_replace(end);
        if let Some(slot) = slot::look(sql, &self.slot).await? {
            let restart = slot.restart_lsn.unwrap_or(end);
            let retained = end.0.saturating_sub(restart.0);
            self.meter.update(|report| {
                report.wal_retained_bytes = retained;
                report.predicted_failover_ms = TAKEOVER_MS + retained / DECODE_BYTES_PER_MS;
            });
        }
        if publication_too {
            let seen = publication::look(sql, &self.publication.name).await?;
            publication::compare(&self.publication, seen.as_ref())?;
        }
        Ok(())
    }
}

/// What is watched at the target.
pub(crate) struct TargetWatch {
    pub(crate) identity: TopicIdentity,
    pub(crate) pins: Vec<topics::Identity>,
    pub(crate) kill: KillSwitch,
    /// Closed when the pipeline has ended.
    pub(crate) ended: std::sync::mpsc::Receiver<()>,
}

impl TargetWatch {
    /// Looks until the pipeline has ended; blocks, so it has a thread of its own.
    pub(crate) fn run(self) {
        let _guard = self.kill.guard("watch-target");
        while matches!(self.ended.recv_timeout(IDENTITY_PERIOD), Err(RecvTimeoutError::Timeout)) {
            match self.identity.check(&self.pins, LOOK) {
                Err(fault) if fault.persistence() == Persistence::Definite => {
                    return self.kill.trip(fault);
                }
                Err(fault) => tracing::debug!(%fault, "could not look at the target"),
                Ok(()) => {}
            }
        }
    }
}
