//! `target:` of a document: brokers, their security, and what may be said to librdkafka.

use std::collections::{BTreeMap, BTreeSet};

use tidewire_shared::SecretRef;
use tidewire_shared::connection::KafkaEndpoint;
use tidewire_shared::spec::{
    Compression, CreateTopics, KafkaSecurity, KafkaSource, KafkaTarget, Sasl, SaslMechanism,
    SecurityProtocol, TopicChange,
};

use super::place::{Keys, Place, Walk};
use super::secret::{pem, secret};
use super::source::{addresses, connection};

/// Kafka's port, used where a broker names none.
const PORT: u16 = 9092;

pub(super) const COMPRESSIONS: [(&str, Compression); 5] = [
    ("none", Compression::None),
    ("gzip", Compression::Gzip),
    ("snappy", Compression::Snappy),
    ("lz4", Compression::Lz4),
    ("zstd", Compression::Zstd),
];

pub(super) const TOPIC_CHANGES: [(&str, TopicChange); 3] = [
    ("stop", TopicChange::Stop),
    ("accept_growth", TopicChange::AcceptGrowth),
    ("accept", TopicChange::Accept),
];

pub(super) const PROTOCOLS: [(&str, SecurityProtocol); 4] = [
    ("plaintext", SecurityProtocol::Plaintext),
    ("ssl", SecurityProtocol::Ssl),
    ("sasl_plaintext", SecurityProtocol::SaslPlaintext),
    ("sasl_ssl", SecurityProtocol::SaslSsl),
];

pub(super) const MECHANISMS: [(&str, SaslMechanism); 3] = [
    ("PLAIN", SaslMechanism::Plain),
    ("SCRAM-SHA-256", SaslMechanism::ScramSha256),
    ("SCRAM-SHA-512", SaslMechanism::ScramSha512),
];

pub(super) fn target(place: &Place<'_>, warnings: &mut Vec<String>) -> Walk<KafkaTarget> {
    let keys = place.keys(&[
        "connection",
        "brokers",
        "security",
        "compression",
        "properties",
        "createTopics",
        "onTopicChange",
    ])?;
    let connection = connection(&keys, &["brokers", "security"])?;
    let mut target = KafkaTarget {
        create_topics: create_topics(&keys)?,
        on_topic_change: keys
            .get_or("onTopicChange", TopicChange::Stop, |at| at.word(&TOPIC_CHANGES))?,
        compression: keys.get_or("compression", Compression::Lz4, |at| at.word(&COMPRESSIONS))?,
        properties: keys.get_or("properties", BTreeMap::new(), properties)?,
        ..KafkaTarget::default()
    };
    if connection.is_some() {
        target.connection = connection;
    } else {
        endpoint(&keys, warnings)?.fill(&mut target);
    }
    Ok(target)
}

/// Where a Kafka cluster is and who we are there: inline, or in a connection of its own.
pub(super) fn endpoint(keys: &Keys<'_>, warnings: &mut Vec<String>) -> Walk<KafkaEndpoint> {
    Ok(KafkaEndpoint {
        brokers: brokers(keys)?,
        security: security(keys, warnings)?,
        properties: keys.get_or("properties", BTreeMap::new(), of_either_end)?,
    })
}

pub(super) fn brokers(keys: &Keys<'_>) -> Walk<Vec<String>> {
    addresses(&keys.need("brokers")?, PORT)
}

pub(super) fn security(keys: &Keys<'_>, warnings: &mut Vec<String>) -> Walk<KafkaSecurity> {
    let Some(place) = keys.get("security") else { return Ok(KafkaSecurity::default()) };
    let keys = place.keys(&["protocol", "mechanism", "user", "password", "ca", "cert", "key"])?;
    let protocol =
        keys.get_or("protocol", SecurityProtocol::Plaintext, |at| at.word(&PROTOCOLS))?;
    let logs_in = matches!(protocol, SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl);
    let encrypts = matches!(protocol, SecurityProtocol::Ssl | SecurityProtocol::SaslSsl);
    let word = PROTOCOLS.iter().find(|(_, known)| *known == protocol).map_or("", |(word, _)| word);
    for (needed, options) in
        [(logs_in, ["mechanism", "user", "password"]), (encrypts, ["ca", "cert", "key"])]
    {
        if !needed && let Some(at) = options.into_iter().find_map(|key| keys.get(key)) {
            return at.wrong(format_args!("has no use with {word}"), "leave it out");
        }
    }
    let sasl = if logs_in {
        Some(Sasl {
            mechanism: keys.need("mechanism")?.word(&MECHANISMS)?,
            user: keys.need("user")?.filled_text()?.to_owned(),
            password: secret(&keys.need("password")?, warnings)?,
        })
    } else {
        None
    };
    let file = |key| keys.get(key).map(|at| pem(&at)).transpose();
    let security =
        KafkaSecurity { protocol, sasl, ca: file("ca")?, cert: file("cert")?, key: file("key")? };
    match (keys.get("cert"), keys.get("key")) {
        (Some(at), None) => return at.wrong("has no key", "add `key`"),
        (None, Some(at)) => return at.wrong("has no certificate", "add `cert`"),
        _ => {}
    }
    if let Some(at) = keys.get("key")
        && matches!(security.key, Some(SecretRef::Value(_)))
    {
        secret(&at, warnings)?;
    }
    Ok(security)
}

fn create_topics(keys: &Keys<'_>) -> Walk<Option<CreateTopics>> {
    let Some(place) = keys.get("createTopics") else { return Ok(None) };
    let keys = place.keys(&["enabled", "partitions", "replicationFactor"])?;
    let enabled = keys.get_or("enabled", false, Place::truth)?;
    let partitions = keys.get_or("partitions", 4, |at| at.whole(1, 10_000))?;
    let replicas = keys.get_or("replicationFactor", 3, |at| at.whole(1, 100))?;
    Ok(enabled.then(|| CreateTopics {
        partitions: u32::try_from(partitions).unwrap_or(1),
        replication_factor: u16::try_from(replicas).unwrap_or(1),
    }))
}

/// What may be said to a writer.
pub(super) fn properties(place: &Place<'_>) -> Walk<BTreeMap<String, String>> {
    listed(place, KafkaTarget::ALLOWED_PROPERTIES)
}

/// What may be said to a reader.
pub(super) fn source_properties(place: &Place<'_>) -> Walk<BTreeMap<String, String>> {
    listed(place, KafkaSource::ALLOWED_PROPERTIES)
}

/// What stands in a connection is left out where it means nothing.
fn of_either_end(place: &Place<'_>) -> Walk<BTreeMap<String, String>> {
    let both = [KafkaSource::ALLOWED_PROPERTIES, KafkaTarget::ALLOWED_PROPERTIES].concat();
    let both: Vec<&str> = both.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    listed(place, &both)
}

fn listed(place: &Place<'_>, allowed: &[&str]) -> Walk<BTreeMap<String, String>> {
    let mut properties = BTreeMap::new();
    for (name, at) in place.entries()? {
        if !allowed.contains(&name) {
            let these = format!("these may: {}", allowed.join(", "));
            return at.wrong("may not be set", these);
        }
        properties.insert(name.to_owned(), at.as_property()?);
    }
    Ok(properties)
}
