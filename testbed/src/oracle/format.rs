//! The formats of a task's records: how a document asks for one, and how the proof reads it.

use std::fmt;
use std::str::FromStr;

use anyhow::{Error, Result, anyhow};

use super::dts_avro::{Decoder, Delivered, DtsAvro};
use super::{debezium_json, flat_json};
use crate::reader::Record;

/// A format that a task writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Alibaba's Avro records.
    DtsAvro,
    /// SharePlex's JSON.
    ShareplexJson,
    /// Canal's `FlatMessage`.
    CanalJson,
    /// Debezium's change events.
    DebeziumJson,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::DtsAvro, Self::ShareplexJson, Self::CanalJson, Self::DebeziumJson];

    /// Its name in a document.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DtsAvro => "dts_avro",
            Self::ShareplexJson => "shareplex_json",
            Self::CanalJson => "canal_json",
            Self::DebeziumJson => "debezium_json",
        }
    }

    /// What stands behind `type:` in the document of a task whose records are to be read here.
    #[must_use]
    pub const fn document(self) -> &'static str {
        match self {
            Self::DtsAvro => "dts_avro",
            Self::ShareplexJson => "shareplex_json, headers: identity",
            Self::CanalJson => "canal_json, headers: identity",
            Self::DebeziumJson => {
                "debezium_json, headers: identity, schemas: true, decimal: string"
            }
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|format| format.name() == name);
        found.ok_or_else(|| anyhow!("not one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// Reads the records of one format.
#[derive(Debug)]
pub(super) struct Reading<'s> {
    format: Format,
    avro: Decoder<'s>,
}

impl<'s> Reading<'s> {
    pub(super) fn new(format: Format, avro: &'s DtsAvro) -> Result<Self> {
        Ok(Self { format, avro: avro.decoder()? })
    }

    /// The change that a record tells of; none where the format adds a record of its own.
    pub(super) fn change(&self, record: &Record) -> Result<Option<Delivered>> {
        match self.format {
            Format::DtsAvro => {
                let value = record.value.as_deref().ok_or_else(|| anyhow!("no value"))?;
                self.avro.decode(value).map(Some)
            }
            Format::ShareplexJson => flat_json::shareplex(record).map(Some),
            Format::CanalJson => flat_json::canal(record).map(Some),
            Format::DebeziumJson => debezium_json::change(record),
        }
    }
}
