//! What delivery does with records of topics: each goes as it is to the partition of the same number.

use std::time::{Duration, Instant};

use tidewire_kafka::{Fetched, Headers, Item, Record, SourceRecord, Timestamp};
use tidewire_node_core::copy::CopyProgress;
use tidewire_node_core::pacing::Backlog;
use tidewire_node_core::takeover::PositionEntry;
use tidewire_shared::report::{Counters, PartitionProgress, PositionHint};
use tidewire_shared::{Fault, FaultKind, KafkaPosition};

use super::{Carrier, Taken, Writer};
use crate::clock::now_ms;
use crate::pipeline::outlet::Outgoing;
use crate::pipeline::watch::SourceIdentity;
use crate::shard::meter::{Durable, Meter};

/// Behind the end of its partitions for longer, a copy works off a backlog.
const CATCHING_UP: Duration = Duration::from_millis(250);
/// How far a producer's clock may be ahead of ours. A later timestamp is no time of writing, and says
/// nothing about how late the copy is.
const CLOCKS_APART_MS: i64 = 60_000;
/// How often at most it is told where all partitions stand.
const TOLD_PERIOD: Duration = Duration::from_millis(400);

/// What the reading thread hands over.
pub(crate) struct Read {
    pub(crate) fetched: Fetched,
    /// Metadata requests that the reader had sent when it had this: by their answers it learns that a
    /// topic was made again, and goes on in the new one.
    pub(crate) metadata_requests: u64,
    /// Newest ends of partitions that the reader knows, by slot; told from time to time.
    pub(crate) ends: Vec<(usize, i64)>,
}

/// Carries records of topics.
pub(crate) struct CopyCarrier {
    progress: CopyProgress,
    slots: Vec<Slot>,
    /// Slots that have not reached the end of their partition.
    behind: usize,
    behind_since: Option<Instant>,
    source: SourceIdentity,
    /// Metadata requests of the reader up to which the source's topics are known to be the same ones.
    verified: u64,
    /// Newest count that a batch came with.
    requests: u64,
    meter: Meter,
    /// Whether the target's brokers hold headers; librdkafka leaves them out in silence for others.
    holds_headers: bool,
    pending: Pending,
    /// Newest timestamp that can be a time of writing.
    believable_ms: i64,
    /// Whether any partition stands elsewhere than it was told, and when that was.
    moved: bool,
    told: Instant,
}

/// A partition that is being copied.
pub(crate) struct Slot {
    pub(crate) topic: String,
    pub(crate) partition: u32,
    /// Number of its copy at the outlet.
    pub(crate) target: usize,
    /// Whether everything that the source had was taken.
    at_end: bool,
    /// Newest end that is known.
    end: i64,
}

impl Slot {
    pub(crate) fn new(topic: &str, partition: u32, target: usize, end: i64) -> Self {
        Self { topic: topic.to_owned(), partition, target, at_end: false, end }
    }
}

#[derive(Default)]
struct Pending {
    counters: Counters,
    /// Newest time of writing among the records, milliseconds since 1970.
    newest_ms: i64,
}

impl CopyCarrier {
    pub(crate) fn new(
        progress: CopyProgress,
        slots: Vec<Slot>,
        source: SourceIdentity,
        meter: Meter,
        holds_headers: bool,
    ) -> Self {
        let behind = slots.len();
        let behind_since = (behind > 0).then(Instant::now);
        let pending = Pending::default();
        let carrier = Self {
            progress,
            slots,
            behind,
            behind_since,
            source,
            verified: 0,
            requests: 0,
            meter,
            holds_headers,
            pending,
            believable_ms: 0,
            moved: false,
            told: Instant::now(),
        };
        carrier.tell_partitions();
        carrier
    }

    fn copy(&mut self, record: &SourceRecord<'_>, to: &mut Writer) -> Result<u64, Fault> {
        // Refused before it is sent: without transactions nothing takes it back.
        self.progress.admit(record.slot, record.offset)?;
        let slot = self.slots.get_mut(record.slot).ok_or_else(unknown_slot)?;
        if !self.holds_headers && !record.headers.is_empty() {
            return Err(headers_would_go(slot, record.offset));
        }
        if std::mem::replace(&mut slot.at_end, false) {
            self.behind += 1;
            self.behind_since.get_or_insert_with(Instant::now);
        }
        slot.end = slot.end.max(record.offset + 1);
        self.moved = true;
        let stamp = record.timestamp.millis();
        let outgoing = Outgoing {
            topic: slot.target,
            record: Record {
                partition: slot.partition,
                key: record.key,
                value: record.value,
                headers: Headers::Of(record.headers),
                timestamp: Some(stamp),
            },
        };
        to.send(&outgoing)?;
        self.progress.accept(record.slot, record.offset + 1, record.leader_epoch)?;
        if !matches!(record.timestamp, Timestamp::None) && stamp <= self.believable_ms {
            self.pending.newest_ms = self.pending.newest_ms.max(stamp);
        }
        let bytes = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let counters = &mut self.pending.counters;
        counters.records += 1;
        counters.bytes += bytes;
        counters.restamped += u64::from(stamp == 0);
        Ok(bytes)
    }

    fn reached(&mut self, slot: usize, offset: i64) -> Result<(), Fault> {
        self.progress.accept(slot, offset, None)?;
        let slot = self.slots.get_mut(slot).ok_or_else(unknown_slot)?;
        self.moved |= offset > slot.end;
        slot.end = slot.end.max(offset);
        if !std::mem::replace(&mut slot.at_end, true) {
            self.behind -= 1;
        }
        if self.behind == 0 {
            self.behind_since = None;
        }
        Ok(())
    }

    fn look_around(&self, writer: &Writer) {
        let caught_up = self.behind == 0 && writer.is_settled();
        if caught_up {
            self.meter.complete_until(now_ms());
        }
        self.meter.update(|report| report.caught_up = caught_up);
    }

    /// Tells where the partitions stand, now and then: there may be thousands of them.
    fn look_at_partitions(&mut self) {
        if self.moved && self.told.elapsed() >= TOLD_PERIOD {
            self.tell_partitions();
            (self.moved, self.told) = (false, Instant::now());
        }
    }

    fn tell_partitions(&self) {
        let partitions = self.slots.iter().enumerate().map(|(number, slot)| PartitionProgress {
            topic: slot.topic.clone(),
            partition: slot.partition,
            source: slot.end,
            durable: self.progress.durable(number).unwrap_or_default(),
        });
        let partitions = partitions.collect();
        self.meter.update(|report| report.partitions = partitions);
    }
}

impl Carrier for CopyCarrier {
    type Batch = Read;
    type Position = KafkaPosition;

    fn take(&mut self, batch: Read, to: &mut Writer) -> Result<Taken, Fault> {
        let mut taken = Taken::default();
        self.requests = self.requests.max(batch.metadata_requests);
        self.believable_ms = now_ms() + CLOCKS_APART_MS;
        for (slot, end) in batch.ends {
            if let Some(slot) = self.slots.get_mut(slot) {
                self.moved |= end > slot.end;
                slot.end = slot.end.max(end);
            }
        }
        for item in batch.fetched.items() {
            match item {
                Item::Record(record) => {
                    taken.bytes += self.copy(&record, to)?;
                    taken.rows += 1;
                }
                Item::Reached { slot, offset } => self.reached(slot, offset)?,
            }
        }
        self.look_around(to);
        Ok(taken)
    }

    fn backlog(&self) -> Backlog {
        match self.behind_since {
            Some(since) if since.elapsed() > CATCHING_UP => Backlog::CatchUp,
            _ => Backlog::Near,
        }
    }

    fn seal(&mut self) -> Result<Option<PositionEntry<KafkaPosition>>, Fault> {
        // Records of a topic that was made again must not become durable as those of the old one.
        if self.requests > self.verified {
            self.source.verify()?;
            self.verified = self.requests;
        }
        self.progress.seal()
    }

    fn committed(&mut self, at: Option<PositionHint>, writer: &Writer) -> Result<(), Fault> {
        let pending = std::mem::take(&mut self.pending);
        self.progress.committed()?;
        let last_commit_ms = (pending.newest_ms > 0).then_some(pending.newest_ms);
        let durable = Durable { position: at, last_commit_ms, counters: pending.counters };
        self.meter.durable(&durable, |_| ());
        self.moved = true;
        self.look_at_partitions();
        self.look_around(writer);
        Ok(())
    }

    /// Offsets that hold nothing to copy move the position, too: what was aborted or compacted away
    /// must not be read again for ever.
    fn idle(&mut self, writer: &Writer) -> Result<bool, Fault> {
        self.look_at_partitions();
        self.look_around(writer);
        Ok(writer.is_settled() && self.progress.has_moved())
    }
}

fn unknown_slot() -> Fault {
    Fault::new(FaultKind::Internal, "reader", "gave records of a partition that nobody opened")
}

fn headers_would_go(slot: &Slot, offset: i64) -> Fault {
    let object =
        format!("record at offset {offset} of topic {}, partition {}", slot.topic, slot.partition);
    Fault::new(
        FaultKind::Encode,
        object,
        "has headers, which brokers before 0.11 cannot hold: its copy would be without them",
    )
    .remedy(
        "upgrade the target's brokers to 0.11 or later; or leave the topic out (topics.exclude) with \
         `tidewire task apply -f FILE`",
    )
}
