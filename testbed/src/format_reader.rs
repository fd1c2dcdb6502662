//! Records as Canal's client library and Flink's formats see them.

use anyhow::{Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use crate::json_lines::JsonLines;
use crate::servers::cache::Cache;
use crate::servers::java::ClassPath;

/// A Java process with the libraries in it.
#[derive(Debug)]
pub struct FormatReader(JsonLines);

#[derive(Deserialize)]
struct Answer {
    seen: Option<Value>,
    exception: Option<String>,
}

impl FormatReader {
    /// A reader of Canal's `FlatMessage`: each record is an object of its members.
    ///
    /// # Errors
    /// When the libraries cannot be fetched or Java does not start.
    pub fn canal() -> Result<Self> {
        Self::start("canal", &[])
    }

    /// A reader of Flink's format `canal-json` or `debezium-json` over STRING columns: each record
    /// is an array of rows `{"kind": "+I", "row": {…}}`.
    ///
    /// # Errors
    /// As [`FormatReader::canal`].
    pub fn flink(format: &str, columns: &[&str]) -> Result<Self> {
        Self::start(format, columns)
    }

    fn start(format: &str, columns: &[&str]) -> Result<Self> {
        let mut command = ClassPath::formats(&Cache::open()?)?.program("FormatReader");
        command.arg(format).args(columns);
        JsonLines::spawn(&mut command, None).map(Self)
    }

    /// Shows one record's value to the library.
    ///
    /// # Errors
    /// What the library throws, or when the process ends.
    pub fn read(&mut self, value: &[u8]) -> Result<Value> {
        let Answer { seen, exception } = self.0.ask(&STANDARD.encode(value))?;
        match exception {
            None => Ok(seen.unwrap_or(Value::Null)),
            Some(trace) => {
                Err(anyhow!("{}", trace.lines().take(6).collect::<Vec<_>>().join(" | ")))
            }
        }
    }
}
