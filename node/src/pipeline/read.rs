//! Reading topics: the thread that owns the consumer hands what it fetched to the delivery.
//!
//! While the delivery is busy it does not read, and librdkafka stops fetching when its own queue, which
//! is bounded in bytes, is full.

use std::time::{Duration, Instant};

use tidewire_kafka::Consumer;
use tidewire_shared::{Fault, FaultKind};
use tokio::sync::mpsc;

use super::delivery::Read;
use super::kill::KillSwitch;
use super::watch::SourceIdentity;

/// Longest wait for records before the switch is looked at.
const WAIT: Duration = Duration::from_millis(200);
/// A source that was away for longer ends the pipeline: from then on the task shows that it retries.
const AWAY: Duration = Duration::from_secs(10);
/// How often the ends of partitions are told.
const ENDS_PERIOD: Duration = Duration::from_secs(1);

/// Reads the partitions of a shard.
pub(crate) struct Reader {
    pub(crate) consumer: Consumer,
    /// Partitions that it reads, numbered from 0.
    pub(crate) slots: usize,
    pub(crate) identity: SourceIdentity,
    pub(crate) kill: KillSwitch,
}

impl Reader {
    /// Runs until the pipeline stops; trips the switch with whatever goes wrong.
    pub(crate) fn run(mut self, next: &mpsc::Sender<Read>) {
        let _guard = self.kill.guard("read");
        if let Err(fault) = self.read(next) {
            self.kill.trip(self.reason(fault));
        }
    }

    /// Of a topic that was made again offsets are missing, too: that is told as what it is.
    fn reason(&self, fault: Fault) -> Fault {
        if fault.kind != FaultKind::SourceHistory {
            return fault;
        }
        match self.identity.verify() {
            Err(reason) if reason.kind == FaultKind::SourceHistory => reason,
            _ => fault,
        }
    }

    fn read(&mut self, next: &mpsc::Sender<Read>) -> Result<(), Fault> {
        let mut told = Instant::now();
        while !self.kill.is_tripped() {
            let Some(fetched) = self.consumer.next(WAIT)? else {
                self.reachable()?;
                continue;
            };
            let ends = if told.elapsed() >= ENDS_PERIOD {
                told = Instant::now();
                self.ends()
            } else {
                Vec::new()
            };
            let metadata_requests = self.consumer.metadata_requests();
            let read = Read { fetched, metadata_requests, ends };
            // The delivery has ended and said why.
            if next.blocking_send(read).is_err() {
                break;
            }
        }
        Ok(())
    }

    fn ends(&self) -> Vec<(usize, i64)> {
        (0..self.slots)
            .filter_map(|slot| self.consumer.ends(slot).map(|(_, end)| (slot, end)))
            .collect()
    }

    fn reachable(&self) -> Result<(), Fault> {
        match self.consumer.unreachable() {
            Some(away) if away.since.elapsed() >= AWAY => Err(away.fault),
            _ => Ok(()),
        }
    }
}
