//! The target of a start, whatever the source: producer, positions, claim. librdkafka's calls block,
//! so each runs on a thread for blocking work.

use std::collections::BTreeSet;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use prost::Message;
use tidewire_kafka::topics::Identity;
use tidewire_kafka::{
    Idempotence, PlainProducer, PositionRead, Positions, Settings, TopicIdentity,
    TransactionalProducer, positions,
};
use tidewire_node_core::takeover::{
    PinPolicy, PositionEntry, PositionHint, SourcePosition, TopicPin,
};
use tidewire_node_core::transaction::{CallOutcome, EndKind, EndVerdict, TransactionEnd};
use tidewire_proto::node::v1::Rewound;
use tidewire_proto::position::v1 as pb;
use tidewire_shared::spec::{Compression, Delivery};
use tidewire_shared::{ByteSize, ClusterId, Fault, FaultKind, NodeName, ShardId, TaskName, report};

use super::super::Assignment;
use super::super::meter::Meter;
use crate::lease::Lease;
use crate::pipeline::kill::KillSwitch;
use crate::pipeline::outlet::{Fenced, Leased, Outlet};
use crate::pipeline::positions::{
    PositionWriter, Recorded, entry, record, report as report_position,
};
use crate::pipeline::watch::TargetWatch;

/// Longest single call; the supervisor tries again after it.
pub(super) const CALL: Duration = Duration::from_secs(30);
/// A foreign open transaction below our record ends by `transaction.timeout.ms` and a sweep at last.
pub(super) const READ: Duration = Duration::from_secs(45);
/// How often it is looked whether the coordinators have what was told them.
const KEPT_LOOK: Duration = Duration::from_millis(50);
/// After so long that is said, each time.
const KEPT_PATIENCE: Duration = Duration::from_secs(10);

/// The target of one shard during a start.
pub(super) struct TargetSide {
    pub(super) settings: Settings,
    transactional_id: String,
    key: String,
    ordinal: u64,
    /// The topics that the newest position pins.
    pub(super) pins: Vec<TopicPin>,
    /// As of when the newest position is, where it says.
    as_of: Option<i64>,
    node: NodeName,
    task: TaskName,
    producer: Option<TransactionalProducer>,
    /// Brokers before 0.11 know neither idempotent producers nor headers.
    pub(super) idempotence: Idempotence,
    pub(super) positions: Option<Positions>,
    read: Option<PositionRead>,
}

/// A topic to write to.
pub(super) struct OutletTopic {
    pub(super) name: String,
    /// Instead of the one that the task asks for.
    pub(super) compression: Option<Compression>,
}

impl TargetSide {
    /// The target of a shard whose records are at most so large.
    pub(super) fn new(
        assignment: &Assignment,
        cluster: &ClusterId,
        node: &NodeName,
        largest: ByteSize,
    ) -> Result<Self, Fault> {
        Ok(Self {
            settings: Settings::new(assignment.spec.target(), largest)?,
            transactional_id: assignment.shard.transactional_id(cluster),
            key: assignment.shard.position_key(cluster),
            ordinal: assignment.ordinal,
            pins: Vec::new(),
            as_of: None,
            node: node.clone(),
            task: assignment.spec.name().clone(),
            producer: None,
            idempotence: Idempotence::On,
            positions: None,
            read: None,
        })
    }

    /// A new producer in place of the old one; its initialisation fences every predecessor.
    pub(super) async fn init_producer(&mut self) -> Result<(), Fault> {
        let (settings, id) = (self.settings.clone(), self.transactional_id.clone());
        let before = self.producer.take();
        let producer = blocking(move || {
            drop(before);
            let mut producer = TransactionalProducer::create(&settings, &id)?;
            producer.init(CALL)?;
            Ok(producer)
        })
        .await?;
        self.producer = Some(producer);
        Ok(())
    }

    /// The newest committed position of the shard.
    pub(super) async fn read_positions<P: Recorded>(
        &mut self,
        hint: Option<PositionHint>,
    ) -> Result<Option<PositionEntry<P>>, Fault> {
        let (settings, key, ordinal) = (self.settings.clone(), self.key.clone(), self.ordinal);
        let known = self.positions.clone();
        let (positions, read) = blocking(move || {
            let positions = match known {
                Some(positions) => positions,
                None => Positions::ensure(&settings, positions::PARTITIONS, CALL)?,
            };
            let partition = positions.partition_of(ordinal);
            let read = positions.read(&key, partition, hint.map(wire_hint).as_ref(), READ)?;
            Ok((positions, read))
        })
        .await?;
        self.as_of = read.record.as_ref().and_then(as_of);
        let newest = read.record.clone().map(|record| entry(record, &self.key)).transpose()?;
        self.positions = Some(positions);
        self.read = Some(read);
        self.pin(newest.as_ref());
        Ok(newest)
    }

    /// The position that the coordinators keep, or that an earlier attempt has reported to them; none
    /// before the first.
    pub(super) fn kept_position<P: Recorded>(
        &mut self,
        record: &[u8],
    ) -> Result<Option<PositionEntry<P>>, Fault> {
        let record = kept_record(record, &self.key)?;
        self.as_of = record.as_ref().and_then(as_of);
        let kept = record.map(|record| entry(record, &self.key)).transpose()?;
        self.pin(kept.as_ref());
        Ok(kept)
    }

    fn pin<P>(&mut self, newest: Option<&PositionEntry<P>>) {
        self.pins = newest.map(|entry| entry.topics.clone()).unwrap_or_default();
    }

    /// Commits the claim alone in a transaction; says how that ended.
    pub(super) async fn commit_claim<P>(
        &mut self,
        claim: PositionEntry<P>,
    ) -> Result<EndVerdict, Fault>
    where
        P: Recorded + Send + 'static,
    {
        let mut producer = self.producer.take().ok_or_else(too_early)?;
        let (writer, as_of) = (self.writer(&mut producer)?, self.as_of);
        let (producer, end) = blocking(move || {
            producer.begin()?;
            writer.send(&mut producer, &claim, as_of)?;
            let end = producer.commit(CALL);
            Ok((producer, end))
        })
        .await?;
        self.producer = Some(producer);
        // Told, and retried with pauses: trying again at once would hide the reason for ever.
        end.outcome?;
        let seen = TransactionEnd {
            kind: EndKind::Commit,
            outcome: CallOutcome::Success,
            end_requests: end.end_requests,
            produced: true,
        };
        Ok(seen.judge())
    }

    /// Waits until the coordinators keep where the shard begins: nothing may be written or deleted before.
    /// An owner of the past waits until it is told to stop.
    pub(super) async fn keep_claim<P: Recorded>(
        &self,
        claim: &PositionEntry<P>,
        meter: &Meter,
    ) -> EndVerdict {
        meter.goes_on_as_of(self.as_of);
        report_position(claim, (&self.task, &self.node), meter);
        let mut since = Instant::now();
        while meter.kept() < claim.serial {
            tokio::time::sleep(KEPT_LOOK).await;
            if since.elapsed() > KEPT_PATIENCE {
                tracing::info!(
                    key = self.key,
                    "waiting for the coordinators to keep where it begins"
                );
                since = Instant::now();
            }
        }
        EndVerdict::Clean
    }

    /// The newest position of a shard that nobody runs.
    pub(super) async fn resting_position<P: Recorded>(
        &mut self,
        delivery: Delivery,
        assignment: &Assignment,
    ) -> Result<Option<PositionEntry<P>>, Fault> {
        match delivery {
            Delivery::ExactlyOnce => {
                self.init_producer().await?;
                self.read_positions(assignment.hint.as_ref().map(core_hint)).await
            }
            Delivery::AtLeastOnce => self.kept_position(&assignment.record),
        }
    }

    /// Has a shard that nobody runs go on from elsewhere. With at_least_once that is for the coordinators
    /// to keep: gives the record.
    pub(super) async fn go_on_from<P>(
        &mut self,
        moved: PositionEntry<P>,
        delivery: Delivery,
        shard: &ShardId,
    ) -> Result<Option<Rewound>, Fault>
    where
        P: Recorded + Send + 'static,
    {
        match delivery {
            Delivery::ExactlyOnce => self.commit_moved(moved, shard).await.map(|()| None),
            Delivery::AtLeastOnce => {
                let serial = moved.serial;
                let record = record(&moved, (&self.task, &self.node), None).encode_to_vec();
                Ok(Some(Rewound { shard: shard.index, serial, record, lsn: 0 }))
            }
        }
    }

    /// Commits the record that has a shard go on from elsewhere. Nobody waits to try again: an end that
    /// is not clean is told.
    async fn commit_moved<P>(
        &mut self,
        moved: PositionEntry<P>,
        shard: &ShardId,
    ) -> Result<(), Fault>
    where
        P: Recorded + Send + 'static,
    {
        // Elsewhere it is as of another time.
        self.as_of = None;
        match self.commit_claim(moved).await? {
            EndVerdict::Clean => Ok(()),
            EndVerdict::DropProducer => Err(Fault::new(
                FaultKind::TargetBusy,
                format!("positions of shard {shard}"),
                "nobody knows whether the record was written",
            )
            .remedy("look at `tidewire positions show`, then rewind again")),
        }
    }

    fn writer(&self, producer: &mut TransactionalProducer) -> Result<PositionWriter, Fault> {
        let read = self.read.as_ref().ok_or_else(too_early)?;
        Ok(PositionWriter {
            topic: producer.topic(positions::TOPIC),
            topic_id: read.topic_id,
            partition: read.partition,
            key: self.key.clone(),
            task: self.task.clone(),
            node: self.node.clone(),
        })
    }

    /// The way out for the records of the claim with this serial, to these topics.
    pub(super) fn outlet(
        &mut self,
        serial: u64,
        topics: &[OutletTopic],
        delivery: Delivery,
        (meter, lease, kill): (&Meter, Lease, &KillSwitch),
    ) -> Result<Outlet, Fault> {
        meter.goes_on_as_of(self.as_of);
        match delivery {
            Delivery::ExactlyOnce => self.fenced(serial, topics, meter).map(Outlet::Fenced),
            Delivery::AtLeastOnce => {
                let producer = self.plain_producer(topics)?;
                let who = (self.task.clone(), self.node.clone());
                let leased = Leased::new(producer, who, meter.clone(), lease, kill.clone());
                Ok(Outlet::Leased(leased))
            }
        }
    }

    /// Watches the topics that are written to, as the claim pins them. Pins outlive what goes there: a
    /// topic to which nothing can go any more may be deleted.
    pub(super) fn watch<P: SourcePosition>(
        &self,
        claim: &PositionEntry<P>,
        written: &[OutletTopic],
        policy: PinPolicy,
        (kill, ended): (&KillSwitch, Receiver<()>),
    ) -> Result<TargetWatch, Fault> {
        let written: BTreeSet<&str> = written.iter().map(|topic| topic.name.as_str()).collect();
        let pins = claim.topics.iter().filter(|pin| written.contains(pin.name.as_str()));
        let identity = |pin: &TopicPin| Identity {
            name: pin.name.clone(),
            id: pin.id,
            partitions: pin.partitions,
        };
        Ok(TargetWatch {
            identity: TopicIdentity::new(&self.settings)?,
            pins: pins.map(identity).collect(),
            policy,
            kill: kill.clone(),
            ended,
        })
    }

    fn fenced(
        &mut self,
        serial: u64,
        topics: &[OutletTopic],
        meter: &Meter,
    ) -> Result<Fenced, Fault> {
        let mut producer = self.producer.take().ok_or_else(too_early)?;
        let positions = self.writer(&mut producer)?;
        let claimed = positions.durable(&producer, serial);
        meter.update(|report| report.position = claimed.or(report.position));
        let topics = topics.iter().map(|topic| match topic.compression {
            Some(compression) => producer.topic_compressed(&topic.name, compression),
            None => producer.topic(&topic.name),
        });
        let topics = topics.collect();
        Ok(Fenced { producer, topics, positions, meter: meter.clone() })
    }

    fn plain_producer(&self, topics: &[OutletTopic]) -> Result<PlainProducer, Fault> {
        let mut producer = PlainProducer::create(&self.settings, &[], self.idempotence)?;
        for topic in topics {
            producer.topic(&topic.name, topic.compression);
        }
        Ok(producer)
    }
}

/// A position record that the coordinators kept.
pub(super) fn kept<P: Recorded>(
    record: &[u8],
    key: &str,
) -> Result<Option<PositionEntry<P>>, Fault> {
    kept_record(record, key)?.map(|record| entry(record, key)).transpose()
}

fn kept_record(record: &[u8], key: &str) -> Result<Option<pb::PositionRecord>, Fault> {
    if record.is_empty() {
        return Ok(None);
    }
    pb::PositionRecord::decode(record).map(Some).map_err(|error| {
        Fault::new(FaultKind::TargetHistory, format!("position {key}"), error)
            .remedy("a later release may have written it: run the same release on all nodes")
    })
}

/// As of when a position is; releases before this was recorded did not say.
fn as_of(record: &pb::PositionRecord) -> Option<i64> {
    (record.as_of_ms > 0).then_some(record.as_of_ms)
}

/// Runs a call that blocks; its panic is a fault, not ours.
pub(crate) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(call).await {
        Ok(outcome) => outcome,
        Err(error) => Err(Fault::new(FaultKind::Internal, "kafka call", error)),
    }
}

pub(super) fn too_early() -> Fault {
    Fault::new(FaultKind::Internal, "start", "took a step before the one it rests on")
}

/// The hint of an assignment as the core knows it.
pub(super) fn core_hint(hint: &report::PositionHint) -> PositionHint {
    let report::PositionHint { topic_id, partition, offset, serial } = *hint;
    PositionHint { topic_id, partition, offset, serial }
}

pub(super) fn wire_hint(hint: PositionHint) -> pb::PositionHint {
    pb::PositionHint {
        topic_id_high: hint.topic_id.0,
        topic_id_low: hint.topic_id.1,
        partition: hint.partition,
        offset: hint.offset,
        serial: hint.serial,
    }
}
