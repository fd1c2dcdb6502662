//! Records that copies are known to get wrong, repeatable from a seed.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tidewire_testbed::live::now_micros;
use tidewire_testbed::writer::Written;

/// With key, headers and framing such a value is a little below the MiB that brokers take by default.
const LARGEST: usize = 1_046_000;
/// Of so many records one is large.
const LARGE_ONE_IN: u32 = 800;
const KEYS: u32 = 40;
const HEADER_NAMES: [&str; 5] = ["trace", "b", "a", "", "höt"];

/// Draws records.
#[derive(Debug)]
pub struct Mixture {
    random: StdRng,
    number: u64,
}

impl Mixture {
    /// What it draws depends on the seed alone, but for timestamps, which are drawn from the past.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), number: 0 }
    }

    /// Some records for partitions below `partitions`.
    pub fn batch(&mut self, partitions: u32) -> Vec<Written> {
        let count = self.random.random_range(1..=20);
        (0..count).map(|_| self.record(partitions)).collect()
    }

    /// A number below `bound`, for whoever plays with the records.
    pub fn below(&mut self, bound: u32) -> u32 {
        self.random.random_range(0..bound)
    }

    fn record(&mut self, partitions: u32) -> Written {
        self.number += 1;
        Written {
            partition: self.random.random_range(0..partitions),
            key: self.key(),
            value: self.value(),
            headers: self.headers(),
            timestamp: self.timestamp(),
        }
    }

    fn key(&mut self) -> Option<Vec<u8>> {
        match self.random.random_range(0..8) {
            0 => None,
            1 => Some(Vec::new()),
            2 => Some(self.bytes(64)),
            _ => Some(format!("k{}", self.random.random_range(0..KEYS)).into_bytes()),
        }
    }

    /// Most hold a number of their own, so that one that is lost or doubled shows as what it is.
    fn value(&mut self) -> Option<Vec<u8>> {
        if self.random.random_range(0..LARGE_ONE_IN) == 0 {
            return Some(self.large());
        }
        match self.random.random_range(0..16) {
            0 => None,
            1 => Some(Vec::new()),
            2 | 3 => Some(self.bytes(3_000)),
            _ => Some(format!("record {}", self.number).into_bytes()),
        }
    }

    /// Half of them cannot be compressed.
    fn large(&mut self) -> Vec<u8> {
        let size = self.random.random_range(LARGEST - 50_000..=LARGEST);
        let mut value = vec![7; size];
        if self.random.random_bool(0.5) {
            self.random.fill(value.as_mut_slice());
        }
        value
    }

    fn bytes(&mut self, bound: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.random.random_range(0..bound)];
        self.random.fill(bytes.as_mut_slice());
        bytes
    }

    /// Names repeat, values may be null or empty.
    fn headers(&mut self) -> Vec<(String, Option<Vec<u8>>)> {
        let count = match self.random.random_range(0..3) {
            0 => self.random.random_range(1..6),
            _ => 0,
        };
        let header = |_| {
            let name = HEADER_NAMES[self.random.random_range(0..HEADER_NAMES.len())];
            let value = match self.random.random_range(0..4) {
                0 => None,
                1 => Some(Vec::new()),
                _ => Some(self.bytes(20)),
            };
            (name.to_owned(), value)
        };
        (0..count).map(header).collect()
    }

    fn timestamp(&mut self) -> Option<i64> {
        match self.random.random_range(0..20) {
            0 => Some(-1),
            1 => Some(0),
            2 | 3 => Some(self.random.random_range(1..now_micros() / 1_000)),
            _ => None,
        }
    }
}
