//! `target:` of a document: brokers, their security, and what may be said to librdkafka.

use std::collections::BTreeMap;

use tidewire_kafka::config::ALLOWED_PROPERTIES;
use tidewire_shared::spec::{Compression, KafkaTarget};

use super::place::{Keys, Place, Walk};
use super::source::addresses;

/// Kafka's port, used where a broker names none.
const PORT: u16 = 9092;

pub(super) const COMPRESSIONS: [(&str, Compression); 5] = [
    ("none", Compression::None),
    ("gzip", Compression::Gzip),
    ("snappy", Compression::Snappy),
    ("lz4", Compression::Lz4),
    ("zstd", Compression::Zstd),
];

pub(super) fn target(place: &Place<'_>) -> Walk<KafkaTarget> {
    let keys = place.keys(&[
        "connection",
        "brokers",
        "security",
        "compression",
        "properties",
        "createTopics",
    ])?;
    super::source::connection_is_inline(&keys)?;
    security(&keys)?;
    create_topics(&keys)?;
    Ok(KafkaTarget {
        brokers: brokers(&keys)?,
        compression: keys.get_or("compression", Compression::Lz4, |at| at.word(&COMPRESSIONS))?,
        properties: keys.get_or("properties", BTreeMap::new(), properties)?,
    })
}

pub(super) fn brokers(keys: &Keys<'_>) -> Walk<Vec<String>> {
    addresses(&keys.need("brokers")?, PORT)
}

pub(super) fn security(keys: &Keys<'_>) -> Walk<()> {
    let Some(place) = keys.get("security") else { return Ok(()) };
    let keys = place.keys(&["protocol", "mechanism", "user", "password", "ca", "cert", "key"])?;
    let protocol = keys.get_or("protocol", "plaintext", |at| {
        at.word(&[
            ("plaintext", "plaintext"),
            ("ssl", "ssl"),
            ("sasl_plaintext", "sasl_plaintext"),
            ("sasl_ssl", "sasl_ssl"),
        ])
    })?;
    if protocol != "plaintext" {
        return place.later(format_args!("security {protocol}"), "use a plaintext listener");
    }
    let useless = ["mechanism", "user", "password", "ca", "cert", "key"];
    match useless.into_iter().find_map(|key| keys.get(key)) {
        Some(at) => at.wrong("has no use with plaintext", "leave it out"),
        None => Ok(()),
    }
}

fn create_topics(keys: &Keys<'_>) -> Walk<()> {
    let Some(place) = keys.get("createTopics") else { return Ok(()) };
    let keys = place.keys(&["enabled", "partitions", "replicationFactor"])?;
    keys.only("enabled", &false, Place::truth)?;
    keys.only("partitions", &4, |at| at.whole(1, 10_000))?;
    keys.only("replicationFactor", &3, |at| at.whole(1, 100))
}

pub(super) fn properties(place: &Place<'_>) -> Walk<BTreeMap<String, String>> {
    let mut properties = BTreeMap::new();
    for (name, at) in place.entries()? {
        if !ALLOWED_PROPERTIES.contains(&name) {
            return at
                .wrong("may not be set", format!("these may: {}", ALLOWED_PROPERTIES.join(", ")));
        }
        properties.insert(name.to_owned(), at.as_property()?);
    }
    Ok(properties)
}
