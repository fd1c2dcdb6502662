//! What came of each partition lately: which are busy, and where each would be read on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidewire_shared::PartitionPosition;

use super::fetched::Stretch;

/// What came of the partitions of one client since its period began.
#[derive(Debug)]
pub(super) struct Load {
    began: Instant,
    seen: BTreeMap<usize, Seen>,
}

/// What came of one partition.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// In this period.
    weight: u64,
    /// Behind all of it.
    at: PartitionPosition,
    /// Whether it was there when the period began.
    whole: bool,
}

impl Default for Load {
    fn default() -> Self {
        Self { began: Instant::now(), seen: BTreeMap::new() }
    }
}

impl Load {
    /// Adds what was handed out; of one partition in its order.
    pub(super) fn add(&mut self, stretch: &Stretch) {
        let Stretch { slot, weight, at } = *stretch;
        let seen = self.seen.entry(slot).or_insert(Seen { weight: 0, at, whole: false });
        seen.weight += weight;
        seen.at = seen.at.then(at);
    }

    /// A partition that is not read any more.
    pub(super) fn forget(&mut self, slot: usize) {
        self.seen.remove(&slot);
    }

    /// Where a partition would be read on; none: nothing came of it, or it is not read any more.
    pub(super) fn at(&self, slot: usize) -> Option<PartitionPosition> {
        self.seen.get(&slot).map(|seen| seen.at)
    }

    /// Whether nothing came of any partition.
    pub(super) fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// At the end of a period: the partitions of which at least so much came in it.
    pub(super) fn busy(&mut self, now: Instant, period: Duration, bytes: u64) -> Vec<usize> {
        self.turn(now, period, |seen| seen.weight >= bytes)
    }

    /// At the end of a period: the partitions of which less came in the whole of it.
    pub(super) fn quiet(&mut self, now: Instant, period: Duration, bytes: u64) -> Vec<usize> {
        self.turn(now, period, |seen| seen.whole && seen.weight < bytes)
    }

    fn turn(
        &mut self,
        now: Instant,
        period: Duration,
        found: impl Fn(&Seen) -> bool,
    ) -> Vec<usize> {
        if now.saturating_duration_since(self.began) < period {
            return Vec::new();
        }
        self.began = now;
        let those = self.seen.iter().filter(|(_, seen)| found(seen)).map(|(slot, _)| *slot);
        let those = those.collect();
        for seen in self.seen.values_mut() {
            (seen.weight, seen.whole) = (0, true);
        }
        those
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(1);
    const BUSY: u64 = 1_000;

    fn place(next: i64, leader_epoch: Option<i32>) -> PartitionPosition {
        PartitionPosition { next, leader_epoch }
    }

    fn came(slot: usize, weight: u64, at: PartitionPosition) -> Stretch {
        Stretch { slot, weight, at }
    }

    #[test]
    fn a_partition_is_known_to_be_busy_at_the_end_of_a_period() {
        let mut load = Load::default();
        let end = load.began + PERIOD;
        load.add(&came(1, BUSY - 1, place(10, Some(3))));
        load.add(&came(2, BUSY - 1, place(70, Some(3))));
        load.add(&came(1, 1, place(11, Some(3))));
        assert!(load.busy(end - PERIOD / 2, PERIOD, BUSY).is_empty());
        assert_eq!(load.busy(end, PERIOD, BUSY), [1]);
        assert!(
            load.busy(end + PERIOD, PERIOD, BUSY).is_empty(),
            "each period begins with nothing"
        );
    }

    #[test]
    fn a_partition_is_read_on_behind_later_markers_without_the_epoch_of_the_record_before_them() {
        let mut load = Load::default();
        load.add(&came(1, 1, place(10, Some(3))));
        load.add(&came(1, 0, place(10, None)));
        assert_eq!(load.at(1), Some(place(10, Some(3))), "the end, where the record stands");
        load.add(&came(1, 0, place(12, None)));
        assert_eq!(load.at(1), Some(place(12, None)));
        load.forget(1);
        assert!(load.at(1).is_none() && load.is_empty());
    }

    #[test]
    fn a_partition_that_came_within_a_period_was_not_quiet_in_the_whole_of_it() {
        let mut load = Load::default();
        let mut end = load.began;
        load.add(&came(1, 0, place(10, None)));
        let mut quiet = |load: &mut Load| {
            end += PERIOD;
            load.quiet(end, PERIOD, BUSY)
        };
        assert!(quiet(&mut load).is_empty());
        load.add(&came(1, BUSY, place(20, None)));
        load.add(&came(2, 1, place(5, None)));
        assert!(quiet(&mut load).is_empty());
        load.add(&came(2, BUSY, place(6, None)));
        assert_eq!(quiet(&mut load), [1]);
        assert_eq!(quiet(&mut load), [1, 2]);
    }
}
