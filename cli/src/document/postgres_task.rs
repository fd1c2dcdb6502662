//! A `postgres_to_kafka` document as a whole.

use tidewire_shared::spec::{KeyChange, Limits, PartitionPolicy, Retry, TaskSpec};
use tidewire_shared::{ByteSize, Lsn, Period};

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

/// Largest record that fits into one Kafka transaction of ours beside others.
const LARGEST_RECORD: ByteSize = ByteSize(256 << 20);

pub(super) fn task(place: &Place<'_>, warnings: &mut Vec<String>) -> Walk<TaskSpec> {
    let keys = place.keys(KEYS)?;
    let name = keys.need("name")?.parsed()?;
    let display_name = keys.get_or("displayName", "", Place::text)?.to_owned();
    let partition =
        keys.get_or("partition", PartitionPolicy::ByPrimaryKey, |at| at.word(&POLICIES))?;
    let spec = TaskSpec {
        name,
        display_name,
        source: source(&keys.need("source")?, warnings)?,
        target: target::target(&keys.need("target")?)?,
        objects: objects::objects(&keys.need("objects")?, partition)?,
        format: format::format(keys.get("format").as_ref())?,
        partition,
        key_change: keys.get_or("keyChange", KeyChange::Split, |at| {
            at.word(&[("split", KeyChange::Split), ("keep", KeyChange::Keep)])
        })?,
        retry: retry(&keys)?,
        limits: limits(&keys)?,
    };
    delivery(&keys)?;
    start(&keys)?;
    bad_records(&keys)?;
    alerts(&keys)?;
    Ok(spec)
}

pub(super) fn retry(keys: &Keys<'_>) -> Walk<Retry> {
    let (connection, other) = (Period::from_mins(720), Period::from_mins(10));
    let Some(place) = keys.get("retry") else { return Ok(Retry { connection, other }) };
    let keys = place.keys(&["connection", "other"])?;
    let most = Period::from_mins(1440);
    Ok(Retry {
        connection: keys
            .get_or("connection", connection, |at| period(at, Period::from_mins(10), most))?,
        other: keys.get_or("other", other, |at| period(at, Period::from_mins(1), most))?,
    })
}

pub(super) fn limits(keys: &Keys<'_>) -> Walk<Limits> {
    let record_bytes = ByteSize(1 << 20);
    let Some(place) = keys.get("limits") else { return Ok(Limits { record_bytes }) };
    let keys = place.keys(&["bytesPerSecond", "rowsPerSecond", "recordBytes"])?;
    keys.only("bytesPerSecond", &ByteSize(0), Place::parsed)?;
    keys.only("rowsPerSecond", &0, |at| at.whole(0, i64::MAX))?;
    let record_bytes = keys.get_or("recordBytes", record_bytes, |at| {
        let size: ByteSize = at.parsed()?;
        if size.0 == 0 || size > LARGEST_RECORD {
            return at.wrong(
                format_args!("is {size}, out of bounds"),
                format!("write a size from 1B to {LARGEST_RECORD}"),
            );
        }
        Ok(size)
    })?;
    Ok(Limits { record_bytes })
}

pub(super) fn delivery(keys: &Keys<'_>) -> Walk<()> {
    let Some(place) = keys.get("delivery") else { return Ok(()) };
    match place.word(&[("exactly_once", true), ("at_least_once", false)])? {
        true => Ok(()),
        false => place.later("delivery at_least_once", "write exactly_once"),
    }
}

fn start(keys: &Keys<'_>) -> Walk<()> {
    let Some(place) = keys.get("start") else { return Ok(()) };
    if place.as_text().is_some() {
        return place.word(&[("now", ())]);
    }
    let lsn = place.keys(&["lsn"])?.need("lsn")?;
    lsn.parsed::<Lsn>()?;
    let slot = keys.need("source")?.heading()?.get("slot");
    let named = slot.map(|slot| slot.heading()).transpose()?.and_then(|slot| slot.get("name"));
    if named.is_none() {
        return lsn.wrong("needs a slot that exists", "add slot: {mode: existing, name: …}");
    }
    lsn.later("a start at a log position", "write start: now")
}

fn bad_records(keys: &Keys<'_>) -> Walk<()> {
    let Some(place) = keys.get("onBadRecord") else { return Ok(()) };
    if place.as_text().is_some() {
        return place.word(&[("stop", ())]);
    }
    let topic = place.keys(&["deadLetterTopic"])?.need("deadLetterTopic")?;
    topic.filled_text()?;
    topic.later("a dead letter topic", "write onBadRecord: stop")
}

pub(super) fn alerts(keys: &Keys<'_>) -> Walk<()> {
    let Some(place) = keys.get("alerts") else { return Ok(()) };
    for alert in place.list()? {
        let alert = alert.keys(&["name", "when", "to"])?;
        alert.need("name")?.filled_text()?;
        let when = alert.need("when")?.keys(&["delayAbove", "for", "phase"])?;
        for key in ["delayAbove", "for"] {
            when.get(key).map(|at| at.parsed::<Period>()).transpose()?;
        }
        let phases = tidewire_shared::Phase::ALL.map(|phase| (phase.as_str(), ()));
        when.get("phase").map(|at| at.word(&phases)).transpose()?;
        for channel in alert.need("to")?.filled_list()? {
            channel.filled_text()?;
        }
    }
    match place.list()?.first() {
        Some(_) => place.later("an alert", "leave `alerts` out"),
        None => Ok(()),
    }
}
