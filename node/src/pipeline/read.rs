//! Reading topics: the thread that owns the consumer hands what it fetched to the delivery.
//!
//! While the delivery is busy it does not read, and librdkafka stops fetching when its own queue, which
//! is bounded in bytes, is full.

use std::time::{Duration, Instant};

use tidewire_kafka::{Consumer, Unreachable};
use tidewire_shared::{Fault, FaultKind};
use tokio::sync::mpsc;

use super::delivery::Read;
use super::kill::KillSwitch;
use super::watch::SourceIdentity;

/// Longest wait for records before the switch is looked at.
const WAIT: Duration = Duration::from_millis(200);
/// A source, or one of its brokers, that was away for longer ends the pipeline: from then on the task
/// shows that it retries.
const AWAY: Duration = Duration::from_secs(10);
/// How often it is looked whether a broker is silent: librdkafka gives up such a request soon after
/// [`AWAY`].
const LOOK_PERIOD: Duration = Duration::from_millis(250);
/// Between two looks of a reader that runs, however slowly its records are taken.
const PAUSE: Duration = Duration::from_secs(5);
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
        let mut watch = Watch { looked: told };
        while !self.kill.is_tripped() {
            let fetched = self.consumer.next(WAIT)?;
            let due = watch.is_due(Instant::now());
            let Some(fetched) = fetched else {
                give_up(self.consumer.unreachable())?;
                continue;
            };
            if due {
                give_up(self.consumer.silent())?;
            }
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
}

/// When it is looked whether a broker is silent while records flow from others.
struct Watch {
    looked: Instant,
}

impl Watch {
    /// Now and then, but not after a pause: whoever was frozen himself has not read the answers yet that
    /// came meanwhile.
    fn is_due(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.looked);
        if since < LOOK_PERIOD {
            return false;
        }
        self.looked = now;
        since < PAUSE
    }
}

fn give_up(away: Option<Unreachable>) -> Result<(), Fault> {
    match away {
        Some(away) if away.since.elapsed() >= AWAY => Err(away.fault),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_broker_is_looked_for_while_records_flow_but_not_right_after_a_pause() {
        let mut now = Instant::now();
        let mut watch = Watch { looked: now };
        let mut after = |millis| {
            now += Duration::from_millis(millis);
            watch.is_due(now)
        };
        let due = [after(10), after(100), after(200), after(200), after(50), after(3_000)];
        assert_eq!(due, [false, false, true, false, true, true]);
        assert!(!after(12_000), "its own pause");
        assert!(!after(100) && after(150));
    }
}
