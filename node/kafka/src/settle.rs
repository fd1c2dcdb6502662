//! How much of what was sent may wait for more of its batch.
//!
//! librdkafka has one request per partition under way when brokers drop repetitions, and while it flushes
//! it asks itself without a pause whether it may send the next one: up to half of a copy's CPU time.
//! Batches that are full leave without being flushed. So what is left of them is waited for first, and
//! only what no full batch can hold any more is flushed.

use std::time::{Duration, Instant};

use crate::config::BATCH_BYTES;
use crate::ffi::Client;
use crate::record::Record;

/// Without a sign of progress for so long a flush cannot do harm.
const STALLED: Duration = Duration::from_millis(250);

/// Longest sleep between two looks.
const LOOK: Duration = Duration::from_millis(5);

/// What was sent since the last flush, roughly.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sending {
    /// One bit per partition. Where two share one, the wait may last until what is left has stalled.
    partitions: [u64; 4],
    records: u64,
    bytes: u64,
}

impl Sending {
    pub(crate) fn note(&mut self, topic: usize, record: &Record<'_>) {
        let bit = topic.wrapping_mul(61).wrapping_add(record.partition as usize) % 256;
        self.partitions[bit / 64] |= 1 << (bit % 64);
        self.records += 1;
        self.bytes += record.size() as u64;
    }

    /// Records that batches which are not full may hold.
    fn partial(&self) -> u64 {
        let size = (self.bytes / self.records.max(1)).max(1);
        let partitions: u32 = self.partitions.iter().map(|bits| bits.count_ones()).sum();
        u64::from(partitions) * BATCH_BYTES.div_ceil(size)
    }

    /// Waits, at most until `deadline`, for what full batches hold.
    pub(crate) fn settle(&mut self, client: &Client, deadline: Instant) {
        let partial = std::mem::take(self).partial();
        let mut least = client.outstanding();
        let mut progress = Instant::now();
        while u64::from(least) > partial
            && progress.elapsed() < STALLED
            && Instant::now() < deadline
        {
            client.poll(LOOK);
            let now = client.outstanding();
            if now < least {
                least = now;
                progress = Instant::now();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_may_hold_part_of_a_batch() {
        let mut sending = Sending::default();
        assert_eq!(sending.partial(), 0);
        for n in 0..1_000 {
            let record = Record { partition: n % 4, value: Some(&[0; 1024]), ..Record::default() };
            sending.note(0, &record);
        }
        assert_eq!(sending.partial(), 4 * BATCH_BYTES / 1024);
    }
}
