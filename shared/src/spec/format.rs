//! How a task writes its records.

use serde::{Deserialize, Serialize};

/// How records are written (docs/formats.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Format {
    /// The family.
    pub kind: FormatKind,
    /// Whether records carry a key.
    pub key: RecordKey,
    /// Whether headers with the identity of the change are added.
    pub identity_headers: bool,
    /// Unit of `sourceTimestamp` in `dts_avro`.
    pub source_timestamp_unit: TimestampUnit,
    /// Options of `debezium_json`.
    #[serde(default)]
    pub debezium: DebeziumOptions,
}

/// `dts_avro`, as the reference service does.
impl Default for Format {
    fn default() -> Self {
        Self {
            kind: FormatKind::DtsAvro,
            key: RecordKey::Json,
            identity_headers: false,
            source_timestamp_unit: TimestampUnit::Milliseconds,
            debezium: DebeziumOptions::default(),
        }
    }
}

/// The families of formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FormatKind {
    /// DTS Avro.
    DtsAvro,
    /// SharePlex JSON as DTS writes it.
    ShareplexJson,
    /// Canal's flat messages.
    CanalJson,
    /// What Debezium's PostgreSQL connector writes with Kafka Connect's JsonConverter.
    DebeziumJson,
}

/// Whether records carry a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordKey {
    /// JSON object of the key columns.
    Json,
    /// No key.
    None,
}

/// Unit of `sourceTimestamp` in `dts_avro`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimestampUnit {
    /// Milliseconds, the default.
    #[serde(rename = "ms")]
    Milliseconds,
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
}

/// Options of `debezium_json`, each named after the connector property whose values it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DebeziumOptions {
    /// `decimal.handling.mode`.
    pub decimal: DecimalMode,
    /// `time.precision.mode`.
    pub time: TimeMode,
    /// `interval.handling.mode`.
    pub interval: IntervalMode,
    /// `binary.handling.mode`.
    pub binary: BinaryMode,
    /// `hstore.handling.mode`.
    pub hstore: HstoreMode,
    /// `include.unknown.datatypes`; unlike the connector's, true unless said otherwise.
    pub unknown_types: bool,
    /// `tombstones.on.delete`.
    pub tombstones: bool,
    /// `key.converter.schemas.enable` and `value.converter.schemas.enable`.
    pub schemas: bool,
    /// `topic.prefix`; the task's name when absent.
    pub topic_prefix: Option<String>,
}

impl Default for DebeziumOptions {
    fn default() -> Self {
        Self {
            decimal: DecimalMode::Precise,
            time: TimeMode::Adaptive,
            interval: IntervalMode::Numeric,
            binary: BinaryMode::Bytes,
            hstore: HstoreMode::Json,
            unknown_types: true,
            tombstones: true,
            schemas: false,
            topic_prefix: None,
        }
    }
}

/// An enum whose variants people write as words.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// Every word and what it stands for.
            pub const WORDS: &'static [(&'static str, Self)] = &[$(($word, Self::$variant)),+];

            /// The word for it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }
    };
}

words! {
    /// `decimal.handling.mode`.
    DecimalMode {
        /// Unscaled bytes in base64.
        Precise = "precise",
        /// Text.
        String = "string",
        /// A JSON number.
        Double = "double",
    }
}

words! {
    /// `time.precision.mode`.
    TimeMode {
        /// By the column's precision.
        Adaptive = "adaptive",
        /// As `Adaptive`, times of day in microseconds.
        AdaptiveTimeMicroseconds = "adaptive_time_microseconds",
        /// Kafka Connect's own types, in milliseconds.
        Connect = "connect",
        /// ISO 8601 text.
        Isostring = "isostring",
    }
}

words! {
    /// `interval.handling.mode`.
    IntervalMode {
        /// Microseconds, months of 365.25 / 12 days.
        Numeric = "numeric",
        /// ISO 8601 text.
        String = "string",
    }
}

words! {
    /// `binary.handling.mode`.
    BinaryMode {
        /// Bytes, which JSON shows in base64.
        Bytes = "bytes",
        /// Base64 text.
        Base64 = "base64",
        /// Base64 text with the alphabet of URLs.
        Base64UrlSafe = "base64-url-safe",
        /// Hexadecimal text.
        Hex = "hex",
    }
}

words! {
    /// `hstore.handling.mode`.
    HstoreMode {
        /// A JSON text.
        Json = "json",
        /// A map.
        Map = "map",
    }
}
