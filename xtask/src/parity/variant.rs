//! The sets of options that are compared: each as a connector and as a task is given it.

use super::scene::TABLES;

/// One set of options.
pub(super) struct Variant {
    /// Name of connector and task, and so the prefix of both.
    pub(super) name: &'static str,
    /// What stands in `format: {…}` beside the type.
    options: &'static str,
    /// Properties of the connector.
    properties: &'static [(&'static str, &'static str)],
}

pub(super) const VARIANTS: &[Variant] = &[
    Variant { name: "defaults", options: "", properties: &[("include.unknown.datatypes", "true")] },
    Variant {
        name: "texts",
        options: ", decimal: string, time: isostring, interval: string, binary: hex, hstore: map",
        properties: &[
            ("include.unknown.datatypes", "true"),
            ("decimal.handling.mode", "string"),
            ("time.precision.mode", "isostring"),
            ("interval.handling.mode", "string"),
            ("binary.handling.mode", "hex"),
            ("hstore.handling.mode", "map"),
            ("value.converter.replace.null.with.default", "false"),
        ],
    },
    Variant {
        name: "doubles",
        options: ", decimal: double, time: connect, binary: base64, unknownTypes: false",
        properties: &[
            ("decimal.handling.mode", "double"),
            ("time.precision.mode", "connect"),
            ("binary.handling.mode", "base64"),
        ],
    },
    Variant {
        name: "micros",
        options: ", time: adaptive_time_microseconds, binary: base64-url-safe, tombstones: false",
        properties: &[
            ("include.unknown.datatypes", "true"),
            ("time.precision.mode", "adaptive_time_microseconds"),
            ("binary.handling.mode", "base64-url-safe"),
            ("tombstones.on.delete", "false"),
        ],
    },
];

impl Variant {
    /// The topic of a table as the connector names it.
    pub(super) fn their_topic(&self, table: &str) -> String {
        format!("{}.{table}", self.name)
    }

    /// The topic of a table of the task.
    pub(super) fn our_topic(&self, table: &str) -> String {
        format!("ours.{}.{table}", self.name)
    }

    /// What a task has as its format.
    pub(super) fn format(&self, schemas: bool) -> String {
        format!("debezium_json, schemas: {schemas}{}", self.options)
    }

    /// The task's tables, each with its topic.
    pub(super) fn objects(&self) -> Vec<(&'static str, String)> {
        TABLES.iter().map(|table| (*table, self.our_topic(table))).collect()
    }

    /// What the connector is given.
    pub(super) fn properties<'a>(&self, schemas: &'a str) -> Vec<(&'a str, &'a str)> {
        let json = "org.apache.kafka.connect.json.JsonConverter";
        let mut properties = vec![
            ("key.converter", json),
            ("value.converter", json),
            ("key.converter.schemas.enable", schemas),
            ("value.converter.schemas.enable", schemas),
        ];
        properties.extend(self.properties.iter().copied());
        properties
    }
}
