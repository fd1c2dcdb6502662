//! A `kafka_to_kafka` document: read and checked whole, then refused as not in this version.

use super::alerts::alerts;
use super::place::{Keys, Place, Walk};
use super::{postgres_task, source, target};

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

/// Never succeeds: what is wrong with the document, else that its kind is not in this version.
pub(super) fn task<T>(place: &Place<'_>) -> Walk<T> {
    let keys = place.keys(KEYS)?;
    keys.need("name")?.parsed::<tidewire_shared::TaskName>()?;
    keys.get("displayName").map(|at| at.text()).transpose()?;
    for (side, compression) in [("source", false), ("target", true)] {
        cluster(&keys.need(side)?, compression)?;
    }
    start(&keys)?;
    keys.get_or("existingData", (), |at| {
        at.word(&[("stop", ()), ("append", ()), ("rewrite", ())])
    })?;
    topics(&keys.need("topics")?)?;
    keys.get_or("partitions", (), |at| at.word(&[("keep", ())]))?;
    sync_configs(&keys)?;
    if let Some(at) = keys.get("shards")
        && at.as_text() != Some("auto")
    {
        at.whole(1, 1_000)?;
    }
    postgres_task::delivery(&keys)?;
    postgres_task::retry(&keys)?;
    postgres_task::limits(&keys)?;
    alerts(&keys)?;
    keys.need("kind")?.later("kind kafka_to_kafka", "write a postgres_to_kafka task")
}

fn cluster(place: &Place<'_>, compression: bool) -> Walk<()> {
    let known: &[&str] = if compression {
        &["connection", "brokers", "security", "compression", "properties"]
    } else {
        &["connection", "brokers", "security", "properties"]
    };
    let keys = place.keys(known)?;
    if source::connection(&keys, &["brokers", "security"])?.is_none() {
        target::brokers(&keys)?;
        target::security(&keys, &mut Vec::new())?;
    }
    keys.get("properties").map(|at| target::properties(&at)).transpose()?;
    keys.get_or("compression", (), |at| {
        let words =
            [("keep", ()), ("none", ()), ("gzip", ()), ("snappy", ()), ("lz4", ()), ("zstd", ())];
        at.word(&words)
    })
}

fn start(keys: &Keys<'_>) -> Walk<()> {
    let Some(place) = keys.get("start") else { return Ok(()) };
    if place.as_text().is_some() {
        return place.word(&[("earliest", ()), ("latest", ())]);
    }
    let keys = place.keys(&["timestamp", "offsets"])?;
    match (keys.get("timestamp"), keys.get("offsets")) {
        (Some(at), None) => match at.filled_text()?.parse::<jiff::Timestamp>() {
            Ok(_) => Ok(()),
            Err(_) => at.wrong("is no time", "write it as 2026-01-01T00:00:00Z"),
        },
        (None, Some(at)) => {
            for (_, topic) in at.entries()? {
                for (partition, offset) in topic.entries()? {
                    if partition.parse::<u32>().is_err() {
                        return offset.wrong("is no partition", "write PARTITION: OFFSET");
                    }
                    offset.whole(0, i64::MAX)?;
                }
            }
            Ok(())
        }
        _ => place.wrong("names not exactly one start", "keep timestamp or offsets"),
    }
}

fn topics(place: &Place<'_>) -> Walk<()> {
    for place in place.filled_list()? {
        let keys = place.keys(&["match", "all", "exclude", "rename"])?;
        let all = keys.get_or("all", false, Place::truth)?;
        if all == keys.get("match").is_some() {
            return place.wrong("names not exactly one choice", "keep `match` or `all: true`");
        }
        for key in ["match", "exclude"] {
            for name in keys.get(key).map_or_else(|| Ok(Vec::new()), |at| at.list())? {
                name.filled_text()?;
            }
        }
        keys.get("rename").map(|at| at.filled_text()).transpose()?;
    }
    Ok(())
}

fn sync_configs(keys: &Keys<'_>) -> Walk<()> {
    let Some(place) = keys.get("syncConfigs") else { return Ok(()) };
    let keys = place.keys(&["enabled", "exclude"])?;
    keys.get("enabled").map(|at| at.truth()).transpose()?;
    for name in keys.get("exclude").map_or_else(|| Ok(Vec::new()), |at| at.list())? {
        name.filled_text()?;
    }
    Ok(())
}
