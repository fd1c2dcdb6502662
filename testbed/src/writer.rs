//! Records as an independent producer writes them: Kafka's own Java client.

use anyhow::{Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::json_lines::JsonLines;
use crate::servers::Kafka;
use crate::servers::java::ClassPath;

/// A record to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The partition.
    pub partition: u32,
    /// The key, if there is one.
    pub key: Option<Vec<u8>>,
    /// The value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Header names and values in order.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// In ms since 1970, or −1: without one; none is the moment of sending.
    pub timestamp: Option<i64>,
}

impl Written {
    /// A record of partition 0 without a key.
    #[must_use]
    pub fn value(value: impl Into<Vec<u8>>) -> Self {
        Self { value: Some(value.into()), ..Self::default() }
    }

    fn json(&self, topic: &str) -> Value {
        let text = |bytes: &Vec<u8>| STANDARD.encode(bytes);
        let headers = self.headers.iter();
        json!({
            "topic": topic,
            "partition": self.partition,
            "key": self.key.as_ref().map(text),
            "value": self.value.as_ref().map(text),
            "headers": headers
                .map(|(name, value)| json!([STANDARD.encode(name), value.as_ref().map(text)]))
                .collect::<Vec<_>>(),
            "timestamp": self.timestamp,
        })
    }
}

/// How a producer is started, as often as that is needed.
#[derive(Clone, Debug)]
pub struct WriterPlan {
    classes: ClassPath,
    bootstrap: String,
    compression: String,
    transactional_id: Option<String>,
}

impl WriterPlan {
    /// A producer that compresses so (`none`, `gzip`, `snappy`, `lz4`, `zstd`), with transactions if it
    /// gets an id for them.
    #[must_use]
    pub fn new(kafka: &Kafka, compression: &str, transactional_id: Option<&str>) -> Self {
        Self::at(kafka.classes().clone(), kafka.inner_bootstrap(), compression, transactional_id)
    }

    /// As [`WriterPlan::new`], of any release, for the brokers at `bootstrap`.
    #[must_use]
    pub fn at(
        classes: ClassPath,
        bootstrap: String,
        compression: &str,
        transactional_id: Option<&str>,
    ) -> Self {
        let transactional_id = transactional_id.map(str::to_owned);
        Self { classes, bootstrap, compression: compression.to_owned(), transactional_id }
    }

    /// Starts it.
    ///
    /// # Errors
    /// When Java does not start.
    pub fn start(&self) -> Result<Writer> {
        let mut command = self.classes.java();
        command.args(["-Xmx1g", "-XX:TieredStopAtLevel=1", "Writer"]);
        command.args([&self.bootstrap, &self.compression]).args(&self.transactional_id);
        JsonLines::spawn(&mut command, None).map(Writer)
    }
}

/// The producer: idempotent, and patient with brokers that are away for minutes.
#[derive(Debug)]
pub struct Writer(JsonLines);

#[derive(Deserialize)]
struct Answer {
    error: Option<String>,
    #[serde(default)]
    offsets: Vec<u64>,
}

impl Writer {
    /// Starts one, see [`WriterPlan`].
    ///
    /// # Errors
    /// When Java does not start.
    pub fn start(kafka: &Kafka, compression: &str, transactional_id: Option<&str>) -> Result<Self> {
        WriterPlan::new(kafka, compression, transactional_id).start()
    }

    /// Writes records, waits until Kafka has them, and gives their offsets.
    ///
    /// # Errors
    /// When Kafka refuses one.
    pub fn send(&mut self, topic: &str, records: &[Written]) -> Result<Vec<u64>> {
        let records: Vec<_> = records.iter().map(|record| record.json(topic)).collect();
        self.ask(json!({"do": "send", "records": records}))
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// Without a transactional id, or inside a transaction.
    pub fn begin(&mut self) -> Result<()> {
        self.ask(json!({"do": "begin"})).map(drop)
    }

    /// Commits it.
    ///
    /// # Errors
    /// When Kafka refuses.
    pub fn commit(&mut self) -> Result<()> {
        self.ask(json!({"do": "commit"})).map(drop)
    }

    /// Aborts it.
    ///
    /// # Errors
    /// When Kafka refuses.
    pub fn abort(&mut self) -> Result<()> {
        self.ask(json!({"do": "abort"})).map(drop)
    }

    fn ask(&mut self, command: Value) -> Result<Vec<u64>> {
        let answer: Answer = self.0.ask(&command.to_string())?;
        match answer.error {
            Some(error) => bail!("Kafka refused: {error}"),
            None => Ok(answer.offsets),
        }
    }
}
