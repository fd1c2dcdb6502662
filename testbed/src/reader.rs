//! Records as an independent consumer sees them: Kafka's own Java client, read_committed.

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::json_lines::JsonLines;
use crate::process::{self, Signal};
use crate::servers::Kafka;
use crate::servers::java::ClassPath;

/// One record of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The topic.
    pub topic: String,
    /// The partition, from 0.
    pub partition: u32,
    /// The offset in the partition.
    pub offset: u64,
    /// The record's own timestamp, in ms since 1970.
    pub timestamp: i64,
    /// When the reader got it, in µs since 1970.
    pub received_at_micros: i64,
    /// The key, if there is one.
    pub key: Option<Vec<u8>>,
    /// The value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Header names and values in the record's order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// A line that `Reader.java` prints.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Record(Box<RawRecord>),
    End {
        #[serde(rename = "eof")]
        _eof: bool,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRecord {
    topic: String,
    partition: u32,
    offset: u64,
    timestamp: i64,
    received_at_micros: i64,
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(String, Option<String>)>,
}

impl TryFrom<RawRecord> for Record {
    type Error = anyhow::Error;

    fn try_from(raw: RawRecord) -> Result<Self> {
        let bytes = |text: Option<String>| text.map(|text| STANDARD.decode(text)).transpose();
        let headers = raw
            .headers
            .into_iter()
            .map(|(name, value)| Ok((String::from_utf8(STANDARD.decode(name)?)?, bytes(value)?)))
            .collect::<Result<_>>()?;
        Ok(Self {
            topic: raw.topic,
            partition: raw.partition,
            offset: raw.offset,
            timestamp: raw.timestamp,
            received_at_micros: raw.received_at_micros,
            key: bytes(raw.key)?,
            value: bytes(raw.value)?,
            headers,
        })
    }
}

/// How many records wait between the Java process and the test at most.
const QUEUE: usize = 8_192;

/// A consumer that reads topics from their beginning.
#[derive(Debug)]
pub struct Reader {
    records: Receiver<Result<Record>>,
    pid: u32,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Reads on and on, until dropped.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn follow(kafka: &Kafka, topics: &[&str]) -> Result<Self> {
        Self::start(kafka.classes(), &kafka.inner_bootstrap(), topics, "follow")
    }

    /// Reads up to the last stable offsets as they are now, then ends.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn until_end(kafka: &Kafka, topics: &[&str]) -> Result<Self> {
        Self::start(kafka.classes(), &kafka.inner_bootstrap(), topics, "until-end")
    }

    /// All records of the topics up to their last stable offsets.
    ///
    /// # Errors
    /// When the reader fails before the end.
    pub fn all(kafka: &Kafka, topics: &[&str]) -> Result<Vec<Record>> {
        Self::until_end(kafka, topics)?.collect()
    }

    /// Starts a reader on any cluster; `mode` is `follow` or `until-end`.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start(
        classes: &ClassPath,
        bootstrap: &str,
        topics: &[&str],
        mode: &str,
    ) -> Result<Self> {
        let mut command = classes.java();
        // Room for the largest record in base64, a few times.
        command.args(["-Xmx1500m", "-XX:TieredStopAtLevel=1", "Reader"]);
        command.args([bootstrap, &topics.join(","), mode]);
        let log = tempfile::NamedTempFile::new()?;
        let mut lines = JsonLines::spawn(&mut command, Some(log.path()))?;
        let pid = lines.pid();
        let (sender, records) = sync_channel(QUEUE);
        let thread = thread::spawn(move || {
            loop {
                let next = match lines.next::<Line>() {
                    Ok(Some(Line::Record(raw))) => Record::try_from(*raw),
                    Ok(Some(Line::End { .. })) => return,
                    Ok(None) => {
                        Err(anyhow!("the reader ended early: {}", process::tail(log.path(), 2_000)))
                    }
                    Err(wrong) => Err(wrong),
                };
                let last = next.is_err();
                if sender.send(next).is_err() || last {
                    return;
                }
            }
        });
        Ok(Self { records, pid, thread: Some(thread) })
    }

    /// The next record, or none when `limit` passes without one.
    ///
    /// # Errors
    /// When the reader failed or has come to its end.
    pub fn next_within(&mut self, limit: Duration) -> Result<Option<Record>> {
        match self.records.recv_timeout(limit) {
            Ok(record) => record.map(Some),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!("the reader has ended"),
        }
    }

    /// The next `count` records.
    ///
    /// # Errors
    /// When `limit` passes without a further record, or the reader failed.
    pub fn take_within(&mut self, count: usize, limit: Duration) -> Result<Vec<Record>> {
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            let record = self
                .next_within(limit)?
                .with_context(|| format!("{} of {count} records in time", taken.len()))?;
            taken.push(record);
        }
        Ok(taken)
    }
}

impl Iterator for Reader {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        self.records.recv().ok()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // The end of the process ends the thread; the closed channel ends it where it waits.
        if process::alive(self.pid) {
            drop(process::signal(self.pid, Signal::KILL));
        }
        let (_, closed) = sync_channel(0);
        self.records = closed;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
