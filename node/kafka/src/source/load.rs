//! What came of each partition lately: which are busy, and where each would be read on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::fetched::Stretch;

/// A partition is busy when as much came of it within its client's period: a quarter of what is read
/// ahead.
const BUSY: u64 = 4 << 20;

/// Whether a partition is busy of which so much came.
pub(super) fn is_busy(weight: u64) -> bool {
    weight >= BUSY
}

/// What came of the partitions of one client since its period began.
#[derive(Debug)]
pub(super) struct Load {
    began: Instant,
    seen: BTreeMap<usize, Stretch>,
}

impl Default for Load {
    fn default() -> Self {
        Self { began: Instant::now(), seen: BTreeMap::new() }
    }
}

impl Load {
    /// Adds what was handed out; of one partition in its order.
    pub(super) fn add(&mut self, stretch: &Stretch) {
        let seen = self.seen.entry(stretch.slot).or_insert(Stretch { weight: 0, ..*stretch });
        seen.weight += stretch.weight;
        seen.next = stretch.next;
        seen.leader_epoch = stretch.leader_epoch.or(seen.leader_epoch);
    }

    /// A partition that is not read any more.
    pub(super) fn forget(&mut self, slot: usize) {
        self.seen.remove(&slot);
    }

    /// Whether nothing came of any partition.
    pub(super) fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// At the end of a period: the partitions that leave by their weight. All begin anew.
    pub(super) fn leaving(
        &mut self,
        now: Instant,
        period: Duration,
        leaves: fn(u64) -> bool,
    ) -> Vec<Stretch> {
        if now.saturating_duration_since(self.began) < period {
            return Vec::new();
        }
        self.began = now;
        let weighed = self.seen.values_mut().map(|seen| {
            let weight = std::mem::take(&mut seen.weight);
            Stretch { weight, ..*seen }
        });
        weighed.filter(|stretch| leaves(stretch.weight)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(1);

    fn came(slot: usize, weight: u64, next: i64, leader_epoch: Option<i32>) -> Stretch {
        Stretch { slot, weight, next, leader_epoch }
    }

    #[test]
    fn a_partition_leaves_at_the_end_of_a_period_from_where_it_stands() {
        let mut load = Load::default();
        let end = load.began + PERIOD;
        load.add(&came(1, BUSY - 1, 10, Some(3)));
        load.add(&came(2, BUSY - 1, 70, Some(3)));
        load.add(&came(1, 1, 12, None));
        assert_eq!(load.leaving(end - PERIOD / 2, PERIOD, is_busy), []);
        assert_eq!(load.leaving(end, PERIOD, is_busy), [came(1, BUSY, 12, Some(3))]);
    }

    #[test]
    fn each_period_begins_with_nothing() {
        let mut load = Load::default();
        let end = load.began + PERIOD;
        load.add(&came(1, BUSY - 1, 10, None));
        assert_eq!(load.leaving(end, PERIOD, is_busy), []);
        load.add(&came(1, BUSY - 1, 20, Some(1)));
        assert_eq!(load.leaving(end + PERIOD, PERIOD, is_busy), []);
        let quiet = load.leaving(end + 2 * PERIOD, PERIOD, |weight| !is_busy(weight));
        assert_eq!(quiet, [came(1, 0, 20, Some(1))]);
        load.forget(1);
        assert!(load.is_empty());
    }
}
