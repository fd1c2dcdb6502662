//! A `kafka_to_kafka` document as a whole.

use std::collections::BTreeMap;

use tidewire_shared::spec::{
    Compression, ExistingData, KafkaSource, KafkaStart, KafkaTarget, KafkaTask, NamePattern,
    Shards, StartOffset, SyncConfigs, TopicRule,
};

use super::alerts::{OF_TASKS, alerts};
use super::place::{Keys, Place, Walk};
use super::{objects, postgres_task, source, target};

const KEYS: &[&str] = &[
    "apiVersion",
    "kind",
    "name",
    "displayName",
    "source",
    "target",
    "start",
    "existingData",
    "topics",
    "partitions",
    "syncConfigs",
    "shards",
    "delivery",
    "retry",
    "limits",
    "alerts",
];

pub(super) const EXISTING_DATA: [(&str, ExistingData); 3] = [
    ("stop", ExistingData::Stop),
    ("append", ExistingData::Append),
    ("rewrite", ExistingData::Rewrite),
];

pub(super) const COMPRESSIONS: [(&str, Compression); 6] = [
    ("keep", Compression::Keep),
    ("none", Compression::None),
    ("gzip", Compression::Gzip),
    ("snappy", Compression::Snappy),
    ("lz4", Compression::Lz4),
    ("zstd", Compression::Zstd),
];

pub(super) fn task(place: &Place<'_>, warnings: &mut Vec<String>) -> Walk<KafkaTask> {
    let keys = place.keys(KEYS)?;
    keys.get_or("partitions", (), |at| at.word(&[("keep", ())]))?;
    Ok(KafkaTask {
        name: keys.need("name")?.parsed()?,
        display_name: keys.get_or("displayName", "", Place::text)?.to_owned(),
        source: from(&keys.need("source")?, warnings)?,
        target: to(&keys.need("target")?, warnings)?,
        start: start(&keys)?,
        existing_data: keys
            .get_or("existingData", ExistingData::Stop, |at| at.word(&EXISTING_DATA))?,
        topics: topics(&keys.need("topics")?)?,
        sync_configs: sync_configs(&keys)?,
        shards: shards(&keys)?,
        delivery: postgres_task::delivery(&keys)?,
        retry: postgres_task::retry(&keys)?,
        limits: postgres_task::limits(&keys)?,
        alerts: alerts(&keys, OF_TASKS)?,
    })
}

fn from(place: &Place<'_>, warnings: &mut Vec<String>) -> Walk<KafkaSource> {
    let keys = place.keys(&["connection", "brokers", "security", "properties"])?;
    let properties = keys.get_or("properties", BTreeMap::new(), target::source_properties)?;
    let connection = source::connection(&keys, &["brokers", "security"])?;
    if connection.is_some() {
        return Ok(KafkaSource { connection, properties, ..KafkaSource::default() });
    }
    let mut source = KafkaSource { properties, ..KafkaSource::default() };
    target::endpoint(&keys, warnings)?.fill_source(&mut source);
    Ok(source)
}

fn to(place: &Place<'_>, warnings: &mut Vec<String>) -> Walk<KafkaTarget> {
    let keys = place.keys(&["connection", "brokers", "security", "compression", "properties"])?;
    let connection = source::connection(&keys, &["brokers", "security"])?;
    let mut target = KafkaTarget {
        compression: keys.get_or("compression", Compression::Keep, |at| at.word(&COMPRESSIONS))?,
        properties: keys.get_or("properties", BTreeMap::new(), target::properties)?,
        ..KafkaTarget::default()
    };
    if connection.is_some() {
        target.connection = connection;
    } else {
        target::endpoint(&keys, warnings)?.fill(&mut target);
    }
    Ok(target)
}

fn start(keys: &Keys<'_>) -> Walk<KafkaStart> {
    let Some(place) = keys.get("start") else { return Ok(KafkaStart::Earliest) };
    if place.as_text().is_some() {
        let latest = place.word(&[("earliest", false), ("latest", true)])?;
        return Ok(if latest { KafkaStart::Latest } else { KafkaStart::Earliest });
    }
    let keys = place.keys(&["timestamp", "offsets"])?;
    match (keys.get("timestamp"), keys.get("offsets")) {
        (Some(at), None) => match at.filled_text()?.parse::<jiff::Timestamp>() {
            Ok(time) => Ok(KafkaStart::Timestamp(time.as_millisecond())),
            Err(_) => at.wrong("is no time", "write it as 2026-01-01T00:00:00Z"),
        },
        (None, Some(at)) => offsets(&at).map(KafkaStart::Offsets),
        _ => place.wrong("names not exactly one start", "keep timestamp or offsets"),
    }
}

fn offsets(place: &Place<'_>) -> Walk<Vec<StartOffset>> {
    let mut starts = Vec::new();
    for (topic, partitions) in place.entries()? {
        for (partition, at) in partitions.entries()? {
            let Ok(partition) = partition.parse::<u32>() else {
                return at.wrong("is no partition", "write PARTITION: OFFSET");
            };
            let offset = at.whole(0, i64::MAX)?;
            starts.push(StartOffset { topic: topic.to_owned(), partition, offset });
        }
    }
    starts.sort();
    Ok(starts)
}

fn topics(place: &Place<'_>) -> Walk<Vec<TopicRule>> {
    place.filled_list()?.iter().map(rule).collect()
}

fn rule(place: &Place<'_>) -> Walk<TopicRule> {
    let keys = place.keys(&["match", "all", "exclude", "rename"])?;
    let all = keys.get_or("all", false, Place::truth)?;
    if all == keys.get("match").is_some() {
        return place.wrong("names not exactly one choice", "keep `match` or `all: true`");
    }
    let topics = match keys.get("match") {
        Some(at) => at.filled_list()?.iter().map(pattern).collect::<Walk<Vec<_>>>()?,
        None => Vec::new(),
    };
    let exclude = match keys.get("exclude") {
        Some(at) => at.list()?.iter().map(pattern).collect::<Walk<Vec<_>>>()?,
        None => Vec::new(),
    };
    let rename = keys.get_or("rename", TopicRule::SAME_NAME.to_owned(), renamed)?;
    if let Some(at) = keys.get("rename")
        && !rename.contains(TopicRule::SAME_NAME)
        && !matches!(topics.as_slice(), [NamePattern::Exact(_)])
    {
        return at.wrong(
            "is one name for many topics",
            "write a template with `{topic}`, or an entry of its own for each topic",
        );
    }
    Ok(TopicRule { topics, exclude, rename })
}

/// A topic by its name, or by a pattern with `*` and `?`.
fn pattern(place: &Place<'_>) -> Walk<NamePattern> {
    let text = place.filled_text()?;
    let plain = text.replace(['*', '?'], "x");
    objects::legal_name(place, text, &plain)?;
    Ok(match text.contains(['*', '?']) {
        true => NamePattern::Glob(text.to_owned()),
        false => NamePattern::Exact(text.to_owned()),
    })
}

/// The name of a copy, or a template of it.
fn renamed(place: &Place<'_>) -> Walk<String> {
    let text = place.filled_text()?;
    objects::legal_topic(place, text, &text.replace(TopicRule::SAME_NAME, "x"))
}

fn sync_configs(keys: &Keys<'_>) -> Walk<SyncConfigs> {
    let mut sync = SyncConfigs::default();
    let Some(place) = keys.get("syncConfigs") else { return Ok(sync) };
    let keys = place.keys(&["enabled", "exclude"])?;
    sync.enabled = keys.get_or("enabled", sync.enabled, Place::truth)?;
    if let Some(at) = keys.get("exclude") {
        let names = at.list()?;
        let names = names.iter().map(|name| Ok(name.filled_text()?.to_owned()));
        sync.exclude = names.collect::<Walk<_>>()?;
    }
    Ok(sync)
}

fn shards(keys: &Keys<'_>) -> Walk<Shards> {
    match keys.get("shards") {
        None => Ok(Shards::Auto),
        Some(at) if at.as_text() == Some("auto") => Ok(Shards::Auto),
        Some(at) => {
            let count = at.whole(1, i64::from(Shards::MOST))?;
            Ok(Shards::Count(u32::try_from(count).unwrap_or(Shards::MOST)))
        }
    }
}
