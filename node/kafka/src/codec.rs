//! How the records of a topic are compressed where they are: what `compression: keep` keeps.
//!
//! A topic's own `compression.type` decides where it names a codec: brokers then store everything so.
//! The default, `producer`, leaves it to who writes, and nothing but the batches themselves tells; a
//! look at the last ones is taken. librdkafka does not hand a batch's codec out, but names it in a line
//! for developers, which a short-lived reader is made to say (seen with librdkafka 2.12).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidewire_shared::Fault;
use tidewire_shared::spec::Compression;

use crate::config::Settings;
use crate::ffi::{Asked, Client, Inbox, Kind, ToldTopic, Topic, TopicOptions};
use crate::topics::Topics;

/// What librdkafka calls its line about what it read.
pub(crate) const FETCHED_LINE: &str = "CONSUME";

/// Offsets before the end at which the look begins: enough to reach behind the markers of a few
/// transactions.
const LAST: i64 = 64;

/// librdkafka's offset for `n` before the end is this less `n`.
const TAIL: i64 = -2000;

/// Partitions of a topic that are looked at.
const PARTITIONS: usize = 64;

/// Messages taken out at once.
const TAKEN: usize = 1_000;

/// The codec of each topic that has records (or a codec in its configuration); others are left out.
///
/// # Errors
///
/// `SourceUnreachable`, `SourceLogin` or `Configuration` when nothing can be asked at all.
pub fn codec_of(
    settings: &Settings,
    topics: &[&str],
    timeout: Duration,
) -> Result<BTreeMap<String, Compression>, Fault> {
    let deadline = Instant::now() + timeout;
    let mut known = configured(settings, topics, timeout)?;
    let open: BTreeSet<&str> =
        topics.iter().copied().filter(|topic| !known.contains_key(*topic)).collect();
    if !open.is_empty() {
        known.extend(found(settings, &open, deadline)?);
    }
    Ok(known)
}

/// Codecs that topics' configurations name. One that may not be seen names none.
fn configured(
    settings: &Settings,
    topics: &[&str],
    timeout: Duration,
) -> Result<BTreeMap<String, Compression>, Fault> {
    let answers = Topics::new(settings)?.all_configs(topics, timeout)?;
    let named = answers.into_iter().filter_map(|(name, answer)| {
        let config = answer.ok()??;
        Some((name, codec(config.get("compression.type")?)?))
    });
    Ok(named.collect())
}

/// Codecs of the last batches.
fn found(
    settings: &Settings,
    topics: &BTreeSet<&str>,
    deadline: Instant,
) -> Result<BTreeMap<String, Compression>, Fault> {
    let side = settings.side();
    let client = Client::new(Kind::Consumer, &settings.codec_reader())
        .map_err(|error| error.fault_at(side, format!("{}.properties", side.as_str())))?;
    let client = Arc::new(client);
    let mut inbox = Inbox::new(&client);
    let handles = topics
        .iter()
        .zip(0..)
        .map(|(name, index)| {
            let options = TopicOptions { index: Some(index), ..TopicOptions::default() };
            Topic::with(&client, name, options)
                .map_err(|error| error.fault_at(side, format!("topic {name}")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let left = deadline.saturating_duration_since(Instant::now());
    let told = client
        .told_topics(Asked::Known, left)
        .map_err(|error| error.fault_at(side, format!("brokers {}", settings.brokers())))?;
    let mut readers: Vec<_> =
        topics.iter().zip(&handles).map(|(name, handle)| Reader::of(name, handle, &told)).collect();
    for reader in &readers {
        for partition in &reader.open {
            drop(inbox.start(reader.handle, *partition, TAIL - LAST));
        }
    }
    while readers.iter().any(|reader| !reader.open.is_empty()) && Instant::now() < deadline {
        inbox.take(TAKEN, Duration::from_millis(50), |message| {
            // Anything but a record says that no record comes: the end, or an error.
            if message.news().is_some()
                && let Some(reader) = message.topic_index().and_then(|index| readers.get_mut(index))
            {
                reader.open.remove(&message.partition());
                reader.read.insert(message.partition());
            }
        });
        let codecs = client.codecs();
        for reader in readers.iter_mut().filter(|reader| codecs.contains_key(reader.name)) {
            reader.read.append(&mut reader.open);
        }
        readers.iter_mut().for_each(|reader| reader.stop(&inbox));
    }
    readers.iter_mut().for_each(|reader| {
        reader.read.append(&mut reader.open);
        reader.stop(&inbox);
    });
    let mut codecs = client.codecs();
    codecs.retain(|name, _| topics.contains(name.as_str()));
    Ok(codecs)
}

/// One topic that is looked at.
struct Reader<'a> {
    name: &'a str,
    handle: &'a Topic,
    /// Partitions of which something may come.
    open: BTreeSet<i32>,
    /// Partitions that need not be read any more.
    read: BTreeSet<i32>,
}

impl<'a> Reader<'a> {
    fn of(name: &'a str, handle: &'a Topic, told: &[ToldTopic]) -> Self {
        let told = told.iter().find(|topic| topic.name == name && topic.error.is_none());
        let count = told.map_or(0, |topic| topic.partitions.min(PARTITIONS));
        let open = (0..i32::try_from(count).unwrap_or(0)).collect();
        Self { name, handle, open, read: BTreeSet::new() }
    }

    fn stop(&mut self, inbox: &Inbox) {
        while let Some(partition) = self.read.pop_first() {
            inbox.stop(self.handle, partition);
        }
    }
}

/// Codecs that a handle's lines named.
#[derive(Debug, Default)]
pub(crate) struct Codecs(BTreeMap<String, Compression>);

impl Codecs {
    /// Takes what a line of [`FETCHED_LINE`] says; any other line is left alone.
    pub(crate) fn note(&mut self, line: &str) {
        if let Some((topic, codec)) = told_by(line) {
            self.0.insert(topic.to_owned(), codec);
        }
    }

    pub(crate) fn all(&self) -> BTreeMap<String, Compression> {
        self.0.clone()
    }
}

/// Topic and codec of `…: Enqueue 5 message(s) (81 bytes, 5 ops) on TOPIC [0] fetch queue (qlen 0, v2,
/// last_offset 4, 0 ctrl msgs, 0 aborted msgsets, lz4)`; nothing where no record was read.
fn told_by(line: &str) -> Option<(&str, Compression)> {
    let (_, rest) = line.split_once("Enqueue ")?;
    // Old formats have a line for what was inside a compressed message too; it calls that uncompressed.
    let (count, rest) = rest.split_once(" message(s) ")?;
    let (_, rest) = rest.split_once(" on ")?;
    let (topic, rest) = rest.split_once(" [")?;
    let (rest, word) = rest.strip_suffix(')')?.rsplit_once(", ")?;
    if word != "uncompressed" {
        return Some((topic, codec(word)?));
    }
    let count: u64 = count.parse().ok()?;
    let (_, rest) = rest.rsplit_once("last_offset ")?;
    let markers: u64 = rest.split(", ").nth(1)?.split(' ').next()?.parse().ok()?;
    (count > markers).then_some((topic, Compression::None))
}

/// Kafka's and librdkafka's words; `producer` is none.
fn codec(word: &str) -> Option<Compression> {
    match word {
        "none" | "uncompressed" => Some(Compression::None),
        "gzip" => Some(Compression::Gzip),
        "snappy" => Some(Compression::Snappy),
        "lz4" => Some(Compression::Lz4),
        "zstd" => Some(Compression::Zstd),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "[thrd:127.0.0.1:9092/0]: 127.0.0.1:9092/0: Enqueue ";

    #[test]
    fn a_line_names_topic_and_codec() {
        let told = |rest: &str| told_by(&format!("{LINE}{rest}")).map(|(_, codec)| codec);
        let whole = "5 message(s) (81 bytes, 5 ops) on a.b-c_d [0] fetch queue (qlen 0, v2, \
                     last_offset 4, 0 ctrl msgs, 0 aborted msgsets, lz4)";
        let line = format!("{LINE}{whole}");
        assert_eq!(told_by(&line), Some(("a.b-c_d", Compression::Lz4)));
        assert_eq!(told(&whole.replace("lz4", "zstd")), Some(Compression::Zstd));
        assert_eq!(told(&whole.replace("lz4", "uncompressed")), Some(Compression::None));
        // Markers are never compressed, and tell nothing of the records.
        let marker = "1 message(s) (0 bytes, 1 ops) on a [0] fetch queue (qlen 0, v2, last_offset 4, \
                      1 ctrl msgs, 0 aborted msgsets, uncompressed)";
        assert_eq!(told(marker), None);
        let inner = whole.replace("message(s)", "compressed message(s)");
        assert_eq!(told(&inner.replace("lz4", "uncompressed")), None);
    }

    #[test]
    fn other_lines_are_left_alone() {
        for line in
            ["", "Topic a [0]: Increasing max fetch bytes to 131072", "Enqueue ", "Enqueue )"]
        {
            assert_eq!(told_by(line), None, "{line}");
        }
    }
}
