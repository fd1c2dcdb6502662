//! Records as the official DTS consumer SDK sees them.

use std::collections::BTreeMap;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::json_lines::JsonLines;
use crate::servers::cache::Cache;
use crate::servers::java::ClassPath;

/// A column as the SDK's schema describes it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SeenField {
    /// The column's name.
    pub name: String,
    /// The number of its type: PostgreSQL's OID.
    #[serde(rename = "type")]
    pub type_number: u32,
    /// Whether the SDK takes it for a part of the primary key.
    pub primary: bool,
    /// Whether the SDK takes it for a part of a unique key.
    pub unique: bool,
}

/// A value as the SDK shows it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct SeenValue {
    /// The SDK's kind of value, `NONE` for one that the image does not hold.
    pub kind: String,
    /// The SDK's text of it.
    pub text: Option<String>,
}

/// Values of an image by column; none is SQL's NULL.
pub type SeenImage = BTreeMap<String, Option<SeenValue>>;

/// What the SDK made of one record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct SeenRecord {
    /// `INSERT`, `UPDATE`, `DELETE`, `DDL` …
    pub operation: String,
    /// The database's name.
    pub database: Option<String>,
    /// What the SDK calls the schema's name: the database once more.
    pub schema: Option<String>,
    /// The table's name.
    pub table: Option<String>,
    /// The columns in the record's order.
    pub fields: Vec<SeenField>,
    /// The row before.
    pub before: Option<SeenImage>,
    /// The row after.
    pub after: Option<SeenImage>,
    /// The stack trace, where the SDK refused the record.
    pub exception: Option<String>,
}

/// A Java process with the SDK in it.
#[derive(Debug)]
pub struct DtsReader(JsonLines);

impl DtsReader {
    /// Starts the process.
    ///
    /// # Errors
    /// When the SDK cannot be fetched or Java does not start.
    pub fn start() -> Result<Self> {
        let classes = ClassPath::dts(&Cache::open()?)?;
        let mut command = classes.java();
        // The SDK reads dates with an internal class of the JDK.
        command.args([
            "-Xmx256m",
            "-XX:TieredStopAtLevel=1",
            "--add-exports=java.base/sun.util.calendar=ALL-UNNAMED",
            "DtsReader",
        ]);
        JsonLines::spawn(&mut command, None).map(Self)
    }

    /// Shows one record's value to the SDK.
    ///
    /// # Errors
    /// When the process ends; what the SDK refuses stands in [`SeenRecord::exception`].
    pub fn read(&mut self, value: &[u8]) -> Result<SeenRecord> {
        self.0.ask(&STANDARD.encode(value))
    }
}
