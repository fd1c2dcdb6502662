//! Position records on their way into the producer, and where the coordinators may look for them.

use prost::Message;
use tidewire_kafka::{Sent, TopicHandle, TransactionalProducer};
use tidewire_node_core::takeover::{PositionEntry, SourcePosition};
use tidewire_proto::convert::ConvertError;
use tidewire_proto::position::v1 as pb;
use tidewire_shared::report::PositionHint;
use tidewire_shared::{Fault, FaultKind, KafkaPosition, NodeName, PgPosition, TaskName};

use crate::clock::now_ms;
use crate::shard::meter::Meter;

/// Longest wait for room in the producer's queue; a position record is small.
const ROOM: std::time::Duration = std::time::Duration::from_secs(20);

/// A position as a record of the positions topic holds it.
pub(crate) trait Recorded: SourcePosition {
    /// Writes it into its field.
    fn put(&self, record: &mut pb::PositionRecord);

    /// Takes it out of its field; none: the record is of a task of another kind.
    fn take(record: &mut pb::PositionRecord) -> Option<Result<Self, ConvertError>>;
}

impl Recorded for PgPosition {
    fn put(&self, record: &mut pb::PositionRecord) {
        record.postgres = Some(self.clone().into());
    }

    fn take(record: &mut pb::PositionRecord) -> Option<Result<Self, ConvertError>> {
        record.postgres.take().map(Self::try_from)
    }
}

impl Recorded for KafkaPosition {
    fn put(&self, record: &mut pb::PositionRecord) {
        record.kafka = Some(self.clone().into());
    }

    fn take(record: &mut pb::PositionRecord) -> Option<Result<Self, ConvertError>> {
        record.kafka.take().map(Self::try_from)
    }
}

/// Has the next heartbeat tell the coordinators a position that they alone keep.
pub(crate) fn report<P: Recorded>(
    entry: &PositionEntry<P>,
    (task, node): (&TaskName, &NodeName),
    meter: &Meter,
) -> PositionHint {
    let at = PositionHint { topic_id: (0, 0), partition: 0, offset: 0, serial: entry.serial };
    let record = record(entry, (task, node), meter.as_of()).encode_to_vec();
    meter.update(|report| {
        report.record = record;
        report.position = Some(at);
    });
    at
}

/// Writes the position records of one shard under one owner.
#[derive(Debug)]
pub(crate) struct PositionWriter {
    pub(crate) topic: TopicHandle,
    pub(crate) topic_id: (i64, i64),
    pub(crate) partition: u32,
    /// `CLUSTER/TASK/SHARD`.
    pub(crate) key: String,
    pub(crate) task: TaskName,
    pub(crate) node: NodeName,
}

impl PositionWriter {
    /// Adds a record to the open transaction; `as_of` as in [`Meter::as_of`].
    pub(crate) fn send<P: Recorded>(
        &self,
        producer: &mut TransactionalProducer,
        entry: &PositionEntry<P>,
        as_of: Option<i64>,
    ) -> Result<(), Fault> {
        let value = record(entry, (&self.task, &self.node), as_of).encode_to_vec();
        let key = Some(self.key.as_bytes());
        while producer.send_marked(&self.topic, self.partition, key, &value)? == Sent::Full {
            if !producer.wait_for_room(ROOM)? {
                return Err(Fault::new(
                    FaultKind::TargetBusy,
                    "producer queue",
                    "has no room for the position record",
                ));
            }
        }
        Ok(())
    }

    /// Where the record with this serial stands, once it is durable.
    pub(crate) fn durable(
        &self,
        producer: &TransactionalProducer,
        serial: u64,
    ) -> Option<PositionHint> {
        let (topic_id, partition) = (self.topic_id, self.partition);
        let offset = producer.marked_offset()?;
        Some(PositionHint { topic_id, partition, offset, serial })
    }
}

/// The record that says how far a shard has come, and as of when.
pub(crate) fn record<P: Recorded>(
    entry: &PositionEntry<P>,
    (task, node): (&TaskName, &NodeName),
    as_of: Option<i64>,
) -> pb::PositionRecord {
    let mut record = pb::PositionRecord {
        serial: entry.serial,
        epoch: entry.epoch.0,
        claim: entry.claim,
        postgres: None,
        topics: entry.topics.iter().map(pin).collect(),
        task_name: task.to_string(),
        written_at_ms: now_ms(),
        node: node.to_string(),
        kafka: None,
        as_of_ms: as_of.unwrap_or_default(),
    };
    entry.position.put(&mut record);
    record
}

fn pin(pin: &tidewire_node_core::takeover::TopicPin) -> pb::TopicPin {
    pb::TopicPin {
        name: pin.name.clone(),
        id_high: pin.id.0,
        id_low: pin.id.1,
        partitions: pin.partitions,
    }
}

/// A record that was read, as the core knows it.
pub(crate) fn entry<P: Recorded>(
    mut record: pb::PositionRecord,
    key: &str,
) -> Result<PositionEntry<P>, Fault> {
    let unreadable = |why: String| {
        Fault::new(FaultKind::TargetHistory, format!("position record {key}"), why)
            .remedy("a later release may have written it: run the same release on all nodes")
    };
    let position = P::take(&mut record).ok_or_else(|| unreadable("has no position".to_owned()))?;
    let topics = record.topics.into_iter().map(|pin| tidewire_node_core::takeover::TopicPin {
        name: pin.name,
        id: (pin.id_high, pin.id_low),
        partitions: pin.partitions,
    });
    Ok(PositionEntry {
        serial: record.serial,
        epoch: tidewire_shared::Epoch(record.epoch),
        claim: record.claim,
        position: position.map_err(|error| unreadable(error.to_string()))?,
        topics: topics.collect(),
    })
}
