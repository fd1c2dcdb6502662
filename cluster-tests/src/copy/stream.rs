//! A producer that writes a mixture into a topic until it is stopped, over whatever happens to the
//! brokers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use tidewire_testbed::writer::{Writer, WriterPlan};

use super::Mixture;

/// Between the beginnings of two batches.
const PERIOD: Duration = Duration::from_millis(400);
/// Longest pause inside a transaction, milliseconds.
const LINGER_MS: u32 = 1_500;
/// A producer that fails for longer is not the brokers' fault.
const TROUBLE_LIMIT: Duration = Duration::from_secs(300);

/// What a stream's batches are held together by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Nothing.
    Plain,
    /// Transactions that stay open for up to seconds, one of three aborted.
    Transactions,
}

/// What two threads know of a stream.
#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    /// Partitions that it writes to.
    partitions: AtomicU32,
}

/// A producer at work.
#[derive(Debug)]
pub struct Stream {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<u64>>>,
}

impl Stream {
    /// Starts to write into the first `partitions` partitions of a topic.
    #[must_use]
    pub fn start(
        plan: WriterPlan,
        (topic, partitions): (&str, u32),
        shape: Shape,
        seed: u64,
    ) -> Self {
        let shared = Shared { stop: false.into(), partitions: partitions.into() };
        let shared = Arc::new(shared);
        let producer = Producer {
            plan,
            topic: topic.to_owned(),
            shape,
            mixture: Mixture::new(seed),
            shared: Arc::clone(&shared),
            writer: None,
            trouble: None,
        };
        let thread = Some(thread::spawn(move || producer.run()));
        Self { shared, thread }
    }

    /// Goes on with so many partitions.
    pub fn widen(&self, partitions: u32) {
        self.shared.partitions.store(partitions, Ordering::Release);
    }

    /// Stops it with nothing left open; gives the number of records that Kafka has acknowledged outside
    /// of aborted transactions.
    ///
    /// # Errors
    /// When it could not go on.
    pub fn finish(mut self) -> Result<u64> {
        self.shared.stop.store(true, Ordering::Release);
        let thread = self.thread.take().context("was finished twice")?;
        thread.join().map_err(|_| anyhow!("the stream panicked"))?
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
    }
}

struct Producer {
    plan: WriterPlan,
    topic: String,
    shape: Shape,
    mixture: Mixture,
    shared: Arc<Shared>,
    /// None before the first record and after trouble.
    writer: Option<Writer>,
    trouble: Option<Instant>,
}

impl Producer {
    fn run(mut self) -> Result<u64> {
        let mut written = 0;
        // A round may be over before the first transaction is committed: a load that is none proves nothing.
        while written == 0 || !self.shared.stop.load(Ordering::Acquire) {
            let began = Instant::now();
            written += self.attempt(Self::write)?.unwrap_or(0);
            thread::sleep(PERIOD.saturating_sub(began.elapsed()));
        }
        // What a producer left open that failed would hold readers for a minute.
        while self.shape == Shape::Transactions && self.writer.is_none() {
            self.attempt(|_, writer| writer.begin().and_then(|()| writer.abort()))?;
        }
        Ok(written)
    }

    /// None after trouble: what was sent may have been written, and is not sent again. A producer that
    /// failed is replaced; the topic itself is the truth.
    fn attempt<T>(
        &mut self,
        work: impl FnOnce(&mut Self, &mut Writer) -> Result<T>,
    ) -> Result<Option<T>> {
        let mut writer = match self.writer.take() {
            Some(writer) => writer,
            None => self.plan.start()?,
        };
        match work(self, &mut writer) {
            Ok(done) => {
                self.writer = Some(writer);
                self.trouble = None;
                Ok(Some(done))
            }
            Err(failed) => {
                let since = *self.trouble.get_or_insert_with(Instant::now);
                ensure!(since.elapsed() < TROUBLE_LIMIT, "write into {}: {failed:#}", self.topic);
                thread::sleep(Duration::from_secs(1));
                Ok(None)
            }
        }
    }

    fn write(&mut self, writer: &mut Writer) -> Result<u64> {
        match self.shape {
            Shape::Plain => self.send(writer),
            Shape::Transactions => self.transaction(writer),
        }
    }

    fn send(&mut self, writer: &mut Writer) -> Result<u64> {
        let batch = self.mixture.batch(self.shared.partitions.load(Ordering::Acquire));
        Ok(u64::try_from(writer.send(&self.topic, &batch)?.len())?)
    }

    fn transaction(&mut self, writer: &mut Writer) -> Result<u64> {
        writer.begin()?;
        let mut written = 0;
        for _ in 0..=self.mixture.below(4) {
            written += self.send(writer)?;
            thread::sleep(Duration::from_millis(self.mixture.below(LINGER_MS).into()));
        }
        if self.mixture.below(3) == 0 {
            writer.abort()?;
            return Ok(0);
        }
        writer.commit()?;
        Ok(written)
    }
}
