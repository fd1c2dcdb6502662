//! A load of numbered records, and how many there were.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::servers::Kafka;
use crate::writer::{Writer, Written};

/// Writes records into every partition of a topic, in turn, until it is stopped.
#[derive(Debug)]
pub struct CopyLoad {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl CopyLoad {
    /// Starts to write about so many records a second.
    ///
    /// # Errors
    /// When the writer does not start.
    pub fn start(kafka: &Kafka, topic: &str, partitions: u32, per_second: u32) -> Result<Self> {
        let mut writer = Writer::start(kafka, "lz4", None)?;
        let (stop, topic) = (Arc::new(AtomicBool::new(false)), topic.to_owned());
        let written = Arc::new(AtomicU64::new(0));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&written));
        let pause = Duration::from_secs(1) * partitions / per_second.max(1);
        let thread = thread::spawn(move || {
            for round in 0_u64.. {
                if stopped.load(Ordering::Acquire) {
                    break;
                }
                let began = Instant::now();
                let record = |partition| Written {
                    partition,
                    key: Some(format!("{partition}").into_bytes()),
                    ..Written::value(format!("{round}"))
                };
                let records: Vec<_> = (0..partitions).map(record).collect();
                writer.send(&topic, &records)?;
                count.fetch_add(u64::from(partitions), Ordering::Release);
                thread::sleep(pause.saturating_sub(began.elapsed()));
            }
            Ok(())
        });
        Ok(Self { stop, written, thread: Some(thread) })
    }

    /// How many records Kafka has taken so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Stops it, and tells how many records there are.
    ///
    /// # Errors
    /// When the writer failed.
    pub fn finish(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take().context("was finished twice")?;
        thread.join().map_err(|_| anyhow!("the writer panicked"))??;
        Ok(self.written())
    }
}

impl Drop for CopyLoad {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}
