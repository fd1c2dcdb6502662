//! Records as they arrive, received by a consumer on its own thread.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use crate::oracle::dts_avro::DtsAvro;
use crate::reader::Reader;
use crate::servers::Kafka;
use anyhow::Result;

/// One received record. Times are µs since 1970.
#[derive(Clone, Copy, Debug)]
struct Receipt {
    partition: u32,
    received: i64,
    /// When the source had it.
    committed: i64,
}

/// What records are, and so where they hold their time.
#[derive(Clone, Copy)]
enum What {
    Changes,
    Copies,
}

/// What has arrived so far.
#[derive(Clone, Debug)]
pub struct Live(Arc<Mutex<Vec<Receipt>>>);

/// The delay that is shown is of the records received in this time.
const RECENT: i64 = 1_000_000;

impl Live {
    /// Starts to receive records of the format `dts_avro`; the thread ends when all handles are gone.
    ///
    /// # Errors
    /// When the reader cannot be started.
    pub fn start(kafka: &Kafka, topics: &[&str]) -> Result<Self> {
        Ok(Self::follow(Reader::follow(kafka, topics)?, What::Changes))
    }

    /// Starts to receive copies of records, which hold the time at which their originals were made.
    ///
    /// # Errors
    /// When the reader cannot be started.
    pub fn start_copies(kafka: &Kafka, topics: &[&str]) -> Result<Self> {
        Ok(Self::follow(Reader::follow(kafka, topics)?, What::Copies))
    }

    fn follow(mut reader: Reader, what: What) -> Self {
        let live = Self(Arc::default());
        let receipts = Arc::downgrade(&live.0);
        thread::spawn(move || -> Result<()> {
            let avro = DtsAvro::new()?;
            let decoder = avro.decoder()?;
            while let Some(receipts) = receipts.upgrade() {
                let Some(record) = reader.next_within(Duration::from_millis(200))? else {
                    continue;
                };
                let value = record.value.as_deref().unwrap_or_default();
                let committed = match what {
                    What::Changes => decoder.decode(value)?.source_timestamp,
                    What::Copies => record.timestamp,
                };
                let (partition, received) = (record.partition, record.received_at_micros);
                let receipt = Receipt { partition, received, committed: committed * 1_000 };
                receipts.lock().unwrap_or_else(PoisonError::into_inner).push(receipt);
            }
            Ok(())
        });
        live
    }

    /// How many records came so far.
    #[must_use]
    pub fn received(&self) -> usize {
        self.receipts().len()
    }

    /// The median delay of the records received in the last second.
    #[must_use]
    pub fn delay_now(&self) -> Option<Duration> {
        let since = now_micros() - RECENT;
        let receipts = self.receipts();
        let recent: Vec<_> =
            receipts.iter().rev().take_while(|receipt| receipt.received > since).copied().collect();
        median(&recent)
    }

    /// The median delay of all records so far.
    #[must_use]
    pub fn median_delay(&self) -> Duration {
        median(&self.receipts()).unwrap_or_default()
    }

    /// From a kill to the first record of the new owner. What the old one had committed may still
    /// arrive shortly after the kill: the new owner's records begin behind the longest silence.
    #[must_use]
    pub fn takeover(&self, kill: i64) -> Option<Duration> {
        self.longest_after(kill, |_| true)
    }

    /// As [`Live::takeover`], of these partitions: others may belong to somebody who lives.
    #[must_use]
    pub fn takeover_of(&self, kill: i64, partitions: &BTreeSet<u32>) -> Option<Duration> {
        self.longest_after(kill, |receipt| partitions.contains(&receipt.partition))
    }

    fn longest_after(&self, kill: i64, counts: impl Fn(&Receipt) -> bool) -> Option<Duration> {
        let receipts = self.receipts();
        let after = receipts.iter().filter(|receipt| receipt.received > kill && counts(receipt));
        let after = after.map(|receipt| receipt.received);
        let mut last = kill;
        let mut longest = None;
        for time in after {
            if longest.is_none_or(|(silence, _)| time - last > silence) {
                longest = Some((time - last, time));
            }
            last = time;
        }
        let (_, first) = longest?;
        Some(Duration::from_micros(u64::try_from(first - kill).ok()?))
    }

    /// The longest time without a record between the first and the last one.
    #[must_use]
    pub fn longest_silence(&self) -> Option<Duration> {
        let receipts = self.receipts();
        let silence = receipts.windows(2).map(|pair| match pair {
            [before, after] => after.received - before.received,
            _ => 0,
        });
        silence.max().and_then(|micros| Some(Duration::from_micros(u64::try_from(micros).ok()?)))
    }

    fn receipts(&self) -> MutexGuard<'_, Vec<Receipt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn median(receipts: &[Receipt]) -> Option<Duration> {
    let mut delays: Vec<i64> =
        receipts.iter().map(|receipt| (receipt.received - receipt.committed).max(0)).collect();
    delays.sort_unstable();
    let middle = *delays.get(delays.len() / 2)?;
    Some(Duration::from_micros(u64::try_from(middle).ok()?))
}

/// The wall clock in µs since 1970: the reader's process has the same one.
#[must_use]
pub fn now_micros() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_takeover_ends_the_longest_silence_after_the_kill() {
        let receipts = [900, 1_010, 1_020, 5_000, 5_050, 5_100].map(|received| Receipt {
            partition: 1,
            received,
            committed: received - 7,
        });
        let live = Live(Arc::new(Mutex::new(receipts.to_vec())));
        assert_eq!(live.takeover(1_000), Some(Duration::from_micros(4_000)));
        assert_eq!(live.takeover(6_000), None);
        assert_eq!(live.takeover_of(1_000, &[1].into()), Some(Duration::from_micros(4_000)));
        assert_eq!(live.takeover_of(1_000, &[0, 2].into()), None);
        assert_eq!(live.median_delay(), Duration::from_micros(7));
    }
}
