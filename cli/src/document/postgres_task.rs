//! A `postgres_to_kafka` document as a whole.

use tidewire_shared::spec::{
    BadRecord, Delivery, KeyChange, Limits, ObjectRule, PartitionPolicy, PostgresTask, Retry,
    StartAt,
};
use tidewire_shared::{ByteSize, Lsn, Period};

use super::alerts::{OF_POSTGRES, alerts};
use super::place::{Keys, Place, Walk};
use super::source::{period, source};
use super::{format, objects, target};

const KEYS: &[&str] = &[
    "apiVersion",
    "kind",
    "name",
    "displayName",
    "source",
    "target",
    "objects",
    "format",
    "partition",
    "keyChange",
    "delivery",
    "start",
    "retry",
    "limits",
    "onBadRecord",
    "alerts",
];

pub(super) const POLICIES: [(&str, PartitionPolicy); 4] = [
    ("all_to_partition_0", PartitionPolicy::AllToPartition0),
    ("by_table", PartitionPolicy::ByTable),
    ("by_primary_key", PartitionPolicy::ByPrimaryKey),
    ("by_record_key", PartitionPolicy::ByRecordKey),
];

pub(super) fn task(place: &Place<'_>, warnings: &mut Vec<String>) -> Walk<PostgresTask> {
    let keys = place.keys(KEYS)?;
    let name = keys.need("name")?.parsed()?;
    let display_name = keys.get_or("displayName", "", Place::text)?.to_owned();
    let partition =
        keys.get_or("partition", PartitionPolicy::ByPrimaryKey, |at| at.word(&POLICIES))?;
    let objects = objects::objects(&keys.need("objects")?, partition)?;
    let on_bad_record = bad_records(&keys, &objects)?;
    let spec = PostgresTask {
        name,
        display_name,
        source: source(&keys.need("source")?, warnings)?,
        target: target::target(&keys.need("target")?, warnings)?,
        objects,
        format: format::format(keys.get("format").as_ref())?,
        partition,
        key_change: keys.get_or("keyChange", KeyChange::Split, |at| {
            at.word(&[("split", KeyChange::Split), ("keep", KeyChange::Keep)])
        })?,
        delivery: delivery(&keys)?,
        start: start(&keys)?,
        on_bad_record,
        retry: retry(&keys)?,
        limits: limits(&keys)?,
        alerts: alerts(&keys, OF_POSTGRES)?,
    };
    Ok(spec)
}

pub(super) fn retry(keys: &Keys<'_>) -> Walk<Retry> {
    let Retry { connection, other } = Retry::default();
    let Some(place) = keys.get("retry") else { return Ok(Retry { connection, other }) };
    let keys = place.keys(&["connection", "other"])?;
    Ok(Retry {
        connection: keys
            .get_or("connection", connection, |at| bounded(at, Retry::CONNECTION_BOUNDS))?,
        other: keys.get_or("other", other, |at| bounded(at, Retry::OTHER_BOUNDS))?,
    })
}

fn bounded(place: &Place<'_>, (least, most): (Period, Period)) -> Walk<Period> {
    period(place, least, most)
}

pub(super) fn limits(keys: &Keys<'_>) -> Walk<Limits> {
    let default = Limits::default();
    let Some(place) = keys.get("limits") else { return Ok(default) };
    let keys = place.keys(&["bytesPerSecond", "rowsPerSecond", "recordBytes"])?;
    let bytes_per_second =
        keys.get_or("bytesPerSecond", default.bytes_per_second, Place::parsed)?;
    let rows_per_second = keys
        .get_or("rowsPerSecond", 0, |at| Ok(u64::try_from(at.whole(0, i64::MAX)?).unwrap_or(0)))?;
    let record_bytes = keys.get_or("recordBytes", default.record_bytes, |at| {
        let size: ByteSize = at.parsed()?;
        if size.0 == 0 || size > Limits::LARGEST_RECORD {
            return at.wrong(
                format_args!("is {size}, out of bounds"),
                format!("write a size from 1B to {}", Limits::LARGEST_RECORD),
            );
        }
        Ok(size)
    })?;
    Ok(Limits { record_bytes, bytes_per_second, rows_per_second })
}

pub(super) const DELIVERIES: [(&str, Delivery); 2] =
    [("exactly_once", Delivery::ExactlyOnce), ("at_least_once", Delivery::AtLeastOnce)];

pub(super) fn delivery(keys: &Keys<'_>) -> Walk<Delivery> {
    keys.get_or("delivery", Delivery::default(), |at| at.word(&DELIVERIES))
}

fn start(keys: &Keys<'_>) -> Walk<StartAt> {
    let Some(place) = keys.get("start") else { return Ok(StartAt::Now) };
    if place.as_text().is_some() {
        return place.word(&[("now", StartAt::Now)]);
    }
    let lsn = place.keys(&["lsn"])?.need("lsn")?;
    let start: Lsn = lsn.parsed()?;
    let slot = keys.need("source")?.heading()?.get("slot");
    let named = slot.map(|slot| slot.heading()).transpose()?.and_then(|slot| slot.get("name"));
    if named.is_none() {
        return lsn.wrong("needs a slot that exists", "add slot: {mode: existing, name: …}");
    }
    Ok(StartAt::Lsn(start))
}

fn bad_records(keys: &Keys<'_>, objects: &[ObjectRule]) -> Walk<BadRecord> {
    let Some(place) = keys.get("onBadRecord") else { return Ok(BadRecord::Stop) };
    if place.as_text().is_some() {
        return place.word(&[("stop", ())]).map(|()| BadRecord::Stop);
    }
    let topic = place.keys(&["deadLetterTopic"])?.need("deadLetterTopic")?;
    let name = objects::topic_name(&topic)?;
    if objects.iter().any(|rule| rule.topic == name) {
        return topic.wrong("is also a topic of tables", "name a topic of its own");
    }
    Ok(BadRecord::DeadLetter(name))
}
