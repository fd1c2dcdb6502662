//! Reads the newest position record of one shard.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message;
use rdkafka::types::RDKafkaErrorCode as Code;
use tidewire_node_core::facts::TopicFacts;
use tidewire_node_core::takeover::WITHOUT_POSITIONS;
use tidewire_proto::position::v1::{PositionHint, PositionRecord};
use tidewire_shared::{Fault, FaultKind};

use super::TOPIC;
use crate::config::{Isolation, Settings};
use crate::fault::KafkaError;
use crate::ffi::{Client, Entry, Kind, PartitionReader};

/// Longest time in which nothing is looked at but the partition.
const SLICE: Duration = Duration::from_millis(200);

/// Between two questions for the ends of a partition without a leader.
const LEADER_PAUSE: Duration = Duration::from_millis(50);

/// The newest position of a shard, and where it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct PositionRead {
    /// The newest committed record; `None` where the shard never wrote one, or it was erased.
    pub record: Option<PositionRecord>,
    /// Offset of `record`.
    pub offset: Option<i64>,
    /// Id of the positions topic, as two halves.
    pub topic_id: (i64, i64),
    /// The partition that was read.
    pub partition: u32,
    /// The end up to which every transaction is decided and was read.
    pub end: i64,
    /// Whether a record with a serial at least the hint's was seen; true without a hint.
    pub saw_serial_at_least_hint: bool,
}

impl PositionRead {
    /// What the coordinators keep about this read, for the next start.
    #[must_use]
    pub fn hint(&self) -> Option<PositionHint> {
        Some(PositionHint {
            topic_id_high: self.topic_id.0,
            topic_id_low: self.topic_id.1,
            partition: self.partition,
            offset: self.offset?,
            serial: self.record.as_ref()?.serial,
        })
    }
}

pub(super) fn read(
    settings: &Settings,
    topic: &TopicFacts,
    key: &str,
    partition: u32,
    hint: Option<&PositionHint>,
    timeout: Duration,
) -> Result<PositionRead, Fault> {
    let deadline = Instant::now() + timeout;
    let native = i32::try_from(partition)
        .map_err(|_| history(partition, "is not a partition that Kafka can number"))?;
    // Both clients connect while the first is asked.
    let committed = client(settings, Isolation::Committed)?;
    let uncommitted = client(settings, Isolation::Uncommitted)?;
    let (low, end) = ends(&uncommitted, native, partition, deadline)?;
    drop(uncommitted);
    let start = match hint {
        Some(hint) => start_at(hint, topic, partition, end)?.max(low),
        None => low,
    };
    let mut newest = Newest::default();
    if start < end {
        let log = Log { client: &committed, partition, native };
        log.read_to(start, end, deadline, |offset, record_key, value| {
            if record_key == key.as_bytes() {
                newest.take(offset, value, partition)
            } else {
                Ok(())
            }
        })?;
    }
    let saw = hint.is_none_or(|hint| newest.highest >= hint.serial);
    if !saw {
        return Err(lost(partition, hint));
    }
    Ok(PositionRead {
        offset: newest.record.is_some().then_some(newest.offset),
        record: newest.record,
        topic_id: topic.id,
        partition,
        end,
        saw_serial_at_least_hint: saw,
    })
}

/// Lowest offset and end of the partition. The topic is known to be there: brokers that do not know
/// its leader yet, as right after it was made, are asked again.
fn ends(
    client: &Arc<Client>,
    native: i32,
    partition: u32,
    deadline: Instant,
) -> Result<(i64, i64), Fault> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match client.watermarks(TOPIC, native, left) {
            Err(error) if awaits_leader(error.code) && Instant::now() < deadline => {
                std::thread::sleep(LEADER_PAUSE);
            }
            answer => return answer.map_err(|error| unreachable(client, &error, partition)),
        }
    }
}

fn awaits_leader(code: Code) -> bool {
    matches!(
        code,
        Code::NotLeaderForPartition
            | Code::LeaderNotAvailable
            | Code::UnknownTopicOrPartition
            | Code::UnknownTopic
            | Code::UnknownPartition
    )
}

/// Where to begin, when the hint still speaks of this topic and this partition.
fn start_at(
    hint: &PositionHint,
    topic: &TopicFacts,
    partition: u32,
    end: i64,
) -> Result<i64, Fault> {
    let id = (hint.topic_id_high, hint.topic_id_low);
    if id != (0, 0) && topic.id != (0, 0) && id != topic.id {
        return Err(history(
            partition,
            "belongs to a topic that was made again: the positions of the old one are gone",
        ));
    }
    if hint.partition != partition {
        return Err(history(
            partition,
            format!("is asked for, the coordinators saw the shard in partition {}", hint.partition),
        ));
    }
    if hint.offset >= end || hint.offset < 0 {
        return Err(lost(partition, Some(hint)));
    }
    Ok(hint.offset)
}

/// The newest record of our key.
#[derive(Debug, Default)]
struct Newest {
    record: Option<PositionRecord>,
    offset: i64,
    highest: u64,
}

impl Newest {
    fn take(&mut self, offset: i64, value: Option<&[u8]>, partition: u32) -> Result<(), Fault> {
        self.offset = offset;
        let Some(value) = value else {
            self.record = None;
            return Ok(());
        };
        let record = PositionRecord::decode(value).map_err(|error| {
            history(
                partition,
                format!("holds a record at offset {offset} that does not decode: {error}"),
            )
        })?;
        if self.record.as_ref().is_some_and(|before| record.serial <= before.serial) {
            return Err(history(
                partition,
                format!("holds serial {} at offset {offset} after a higher one", record.serial),
            ));
        }
        self.highest = self.highest.max(record.serial);
        self.record = Some(record);
        Ok(())
    }
}

/// One partition of the positions topic, read through a client of committed records.
pub(super) struct Log<'a> {
    pub(super) client: &'a Arc<Client>,
    pub(super) partition: u32,
    pub(super) native: i32,
}

impl Log<'_> {
    /// Hands out every committed record from `start` on until the reader stands at `end` or past
    /// it. Records without a key are none of ours and are left out.
    pub(super) fn read_to(
        &self,
        start: i64,
        end: i64,
        deadline: Instant,
        mut each: impl FnMut(i64, &[u8], Option<&[u8]>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let reader = PartitionReader::start(self.client, TOPIC, self.native, start)
            .map_err(|error| unreachable(self.client, &error, self.partition))?;
        let mut reached = start;
        while reached < end {
            match reader.next(SLICE) {
                Ok(Some(Entry::Record { offset, key, value })) => {
                    if let Some(key) = key {
                        each(offset, &key, value.as_deref())?;
                    }
                    reached = offset + 1;
                }
                Ok(Some(Entry::End { offset })) => reached = offset,
                Ok(None) => {}
                Err(error) => return Err(self.broken(&error)),
            }
            self.client.poll(Duration::ZERO);
            if let Err(error) = self.client.refused() {
                return Err(error.fault(object(self.partition)));
            }
            if reached < end && Instant::now() >= deadline {
                return Err(self.late(reached, end));
            }
        }
        Ok(())
    }

    fn broken(&self, error: &KafkaError) -> Fault {
        match error.code {
            Code::OffsetOutOfRange | Code::AutoOffsetReset | Code::LogTruncation => {
                history(self.partition, format!("was cut while it was read: {}", error.text))
            }
            _ => error.fault(object(self.partition)),
        }
    }

    fn late(&self, reached: i64, end: i64) -> Fault {
        let message =
            format!("a transaction in it stays open: offset {reached} of {end} was reached");
        match self.client.trouble() {
            Some(trouble) => trouble.fault(object(self.partition)),
            None => Fault::new(FaultKind::TargetBusy, object(self.partition), message),
        }
    }
}

pub(super) fn client(settings: &Settings, isolation: Isolation) -> Result<Arc<Client>, Fault> {
    Client::new(Kind::Consumer, &settings.reader(isolation))
        .map(Arc::new)
        .map_err(|error| error.fault("target.properties"))
}

/// The fault of a request that got no answer, explained by what the connection reported.
pub(super) fn unreachable(client: &Client, error: &KafkaError, partition: u32) -> Fault {
    client.poll(Duration::ZERO);
    let late = matches!(error.code, Code::OperationTimedOut | Code::RequestTimedOut);
    match client.trouble() {
        Some(trouble) if late => trouble.fault(object(partition)),
        _ => error.fault(object(partition)),
    }
}

fn object(partition: u32) -> String {
    format!("topic {TOPIC}, partition {partition}")
}

fn history(partition: u32, message: impl std::fmt::Display) -> Fault {
    Fault::new(FaultKind::TargetHistory, object(partition), message).remedy(WITHOUT_POSITIONS)
}

fn lost(partition: u32, hint: Option<&PositionHint>) -> Fault {
    let seen = hint.map_or_else(String::new, |hint| {
        format!(
            ": serial {} was seen at offset {}, and nothing as new is left",
            hint.serial, hint.offset
        )
    });
    history(partition, format!("has lost positions{seen}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(serial: u64) -> Vec<u8> {
        PositionRecord { serial, ..Default::default() }.encode_to_vec()
    }

    #[test]
    fn the_newest_record_is_the_last_and_a_tombstone_erases_it() {
        let mut newest = Newest::default();
        newest.take(3, Some(&record(1)), 0).expect("decodes");
        newest.take(5, Some(&record(2)), 0).expect("decodes");
        assert_eq!((newest.offset, newest.highest), (5, 2));
        newest.take(7, None, 0).expect("tombstone");
        assert!(newest.record.is_none());
    }

    #[test]
    fn a_serial_that_does_not_rise_contradicts_us() {
        let mut newest = Newest::default();
        newest.take(3, Some(&record(2)), 0).expect("decodes");
        let fault = newest.take(4, Some(&record(2)), 0).expect_err("same serial");
        assert_eq!(fault.kind, FaultKind::TargetHistory);
    }

    #[test]
    fn a_partition_without_a_leader_is_asked_again_and_a_refusal_is_not() {
        assert!(awaits_leader(Code::NotLeaderForPartition));
        assert!(awaits_leader(Code::UnknownTopicOrPartition));
        assert!(!awaits_leader(Code::TopicAuthorizationFailed));
        assert!(!awaits_leader(Code::OperationTimedOut));
    }

    #[test]
    fn a_record_that_does_not_decode_stops_the_task() {
        let fault = Newest::default().take(3, Some(&[0xff]), 0).expect_err("rubbish");
        assert_eq!(fault.kind, FaultKind::TargetHistory);
        assert!(!fault.remedy.is_empty());
    }
}
