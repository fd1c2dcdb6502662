//! Which client reads which partition: one reads all, but the busy ones may have another to themselves.
//!
//! That is for speed alone. A partition goes over only once the other client has reached its leader, and
//! where anything fails it stays where it is and is read on there.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tidewire_shared::{Fault, FaultKind};

use super::fetched::Fetched;
use super::lane::Lane;
use super::{Apart, SourceLimits, SourcePartition, Unreachable};
use crate::config::Settings;

/// How soon a partition is known to be busy.
const BUSY_PERIOD: Duration = Duration::from_secs(1);
/// Longest wait for one client while another one may have something.
const GLANCE: Duration = Duration::from_millis(10);

/// The clients of one consumer.
#[derive(Debug)]
pub(super) struct Lanes {
    settings: Settings,
    limits: SourceLimits,
    quiet: Lane,
    /// Reads the busy partitions, while there are any that are to be read apart.
    busy: Option<Lane>,
    /// Whether the busy partitions are asked first this time.
    busy_first: bool,
    rising: Option<Rising>,
    /// No partition rises before: the last time it failed.
    rests_until: Option<Instant>,
    /// Metadata requests of clients that are gone.
    requests_before: u64,
}

/// Partitions that are to be read apart as soon as their client has reached their leaders.
#[derive(Debug)]
struct Rising {
    slots: Vec<usize>,
    prepared: JoinHandle<Result<(), Fault>>,
}

impl Lanes {
    pub(super) fn open(settings: &Settings, limits: SourceLimits) -> Result<Self, Fault> {
        Ok(Self {
            settings: settings.clone(),
            limits,
            quiet: Lane::open(settings, limits)?,
            busy: None,
            busy_first: false,
            rising: None,
            rests_until: None,
            requests_before: 0,
        })
    }

    /// Begins to read partitions as those slots. Whoever read one of them before does not any more.
    pub(super) fn assign(
        &mut self,
        partitions: &[SourcePartition],
        numbers: &[usize],
        timeout: Duration,
    ) -> Result<(), Fault> {
        self.quiet.assign(partitions, numbers, timeout)?;
        self.busy.iter_mut().for_each(|lane| lane.give_up(partitions));
        Ok(())
    }

    pub(super) fn remove(&mut self, slots: &[usize]) {
        self.busy.iter_mut().chain([&mut self.quiet]).for_each(|lane| lane.remove(slots));
    }

    /// What comes next from any client.
    pub(super) fn next(&mut self, timeout: Duration) -> Result<Option<Fetched>, Fault> {
        if let Some(apart) = self.limits.busy_apart {
            self.bring_back(apart);
            self.set_apart(apart);
        }
        let Some(busy) = self.busy.as_mut().filter(|busy| !busy.is_empty()) else {
            return self.quiet.next(timeout);
        };
        self.busy_first = !self.busy_first;
        let (first, second) = match self.busy_first {
            true => (&mut *busy, &mut self.quiet),
            false => (&mut self.quiet, &mut *busy),
        };
        if let Some(fetched) = first.next(Duration::ZERO)? {
            return Ok(Some(fetched));
        }
        if let Some(fetched) = second.next(Duration::ZERO)? {
            return Ok(Some(fetched));
        }
        busy.next(timeout.min(GLANCE))
    }

    pub(super) fn unreachable(&self) -> Option<Unreachable> {
        longest(self.reading().filter_map(Lane::unreachable))
    }

    pub(super) fn silent(&self) -> Option<Unreachable> {
        longest(self.reading().filter_map(Lane::silent))
    }

    /// The farthest that any client was told: one that gave a partition away is told no more.
    pub(super) fn ends(&self, slot: usize) -> Option<(i64, i64)> {
        let told = self.lanes().filter_map(|lane| lane.ends(slot));
        told.reduce(|one, other| (one.0.max(other.0), one.1.max(other.1)))
    }

    pub(super) fn metadata_requests(&self) -> u64 {
        self.requests_before + self.lanes().map(Lane::metadata_requests).sum::<u64>()
    }

    /// Number of clients that read.
    pub(super) fn count(&self) -> usize {
        self.reading().count()
    }

    fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.busy.iter().chain([&self.quiet])
    }

    /// A client that is only on its way to the brokers holds nobody up.
    fn reading(&self) -> impl Iterator<Item = &Lane> {
        self.busy.iter().filter(|busy| !busy.is_empty()).chain([&self.quiet])
    }

    /// Has partitions that were quiet for long enough read with the others again.
    fn bring_back(&mut self, apart: Apart) {
        let Some(busy) = &mut self.busy else { return };
        let fallen = busy.quiet(apart.quiet, apart.busy_bytes);
        if !fallen.is_empty()
            && let Err(fault) = busy.hand_over(&fallen, &mut self.quiet)
        {
            tracing::warn!(%fault, "partitions that are quiet stay in a client of their own");
        }
        self.end_idle();
    }

    /// Has partitions that are busy read apart; what fails is tried again later.
    fn set_apart(&mut self, apart: Apart) {
        let busy = self.quiet.busy(BUSY_PERIOD, apart.busy_bytes);
        let outcome = match self.rising.take() {
            Some(rising) if rising.prepared.is_finished() => self.rise(rising),
            Some(rising) => {
                self.rising = Some(rising);
                Ok(())
            }
            None if busy.is_empty() || self.rests_until.is_some_and(|it| Instant::now() < it) => {
                Ok(())
            }
            None => self.prepare(busy),
        };
        if let Err(fault) = outcome {
            tracing::warn!(%fault, "partitions that are busy stay in one client with the others");
            self.rests_until = Some(Instant::now() + apart.quiet);
            self.end_idle();
        }
    }

    fn prepare(&mut self, slots: Vec<usize>) -> Result<(), Fault> {
        let busy = match self.busy.take() {
            Some(busy) => busy,
            None => Lane::open(&self.settings, self.limits.of_busy())?,
        };
        let partitions = slots.iter().filter_map(|slot| self.quiet.rest_of(*slot)).collect();
        let prepared = self.busy.insert(busy).prepare(partitions)?;
        self.rising = Some(Rising { slots, prepared });
        Ok(())
    }

    fn rise(&mut self, rising: Rising) -> Result<(), Fault> {
        let died = |_| Err(Fault::new(FaultKind::Internal, "reader", "its helper thread died"));
        rising.prepared.join().unwrap_or_else(died)?;
        let Some(busy) = &mut self.busy else { return Ok(()) };
        self.quiet.hand_over(&rising.slots, busy)?;
        tracing::info!(partitions = rising.slots.len(), "partitions that are busy are read apart");
        Ok(())
    }

    /// Ends the client of the busy partitions when none is left or on its way.
    fn end_idle(&mut self) {
        if self.rising.is_none()
            && let Some(done) = self.busy.take_if(|busy| busy.is_empty())
        {
            self.requests_before += done.metadata_requests();
        }
    }
}

/// What has lasted longest.
fn longest(all: impl Iterator<Item = Unreachable>) -> Option<Unreachable> {
    all.min_by_key(|away| away.since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_clients_that_are_cut_off_the_one_that_is_so_for_longer_is_told() {
        let now = Instant::now();
        let away = |seconds: u64| Unreachable {
            since: now + Duration::from_secs(seconds),
            fault: Fault::new(FaultKind::SourceUnreachable, "brokers", seconds.to_string()),
        };
        for both in [[1, 8], [8, 1]] {
            let told = longest(both.into_iter().map(away)).expect("one of them");
            assert_eq!((told.since, told.fault.message.as_str()), (away(1).since, "1"));
        }
        assert!(longest(std::iter::empty()).is_none());
    }
}
