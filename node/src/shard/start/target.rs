//! The Kafka side of a start. librdkafka's calls block, so each runs on a thread for blocking work.

use std::collections::BTreeSet;
use std::time::Duration;

use prost::Message;
use tidewire_kafka::topics::{Identity, Topics};
use tidewire_kafka::{
    Idempotence, PlainProducer, PositionRead, Positions, Settings, TopicIdentity,
    TransactionalProducer, positions,
};
use tidewire_node_core::decode::{Decoder, Options};
use tidewire_node_core::encode::{DeadLetterTopic, EncodeConfig, Encoder};
use tidewire_node_core::facts::TopicFacts;
use tidewire_node_core::progress::Progress;
use tidewire_node_core::schema::TaskTables;
use tidewire_node_core::takeover::{Fact, PositionEntry, PositionHint, Start, TopicPin};
use tidewire_node_core::throttle::Throttle;
use tidewire_node_core::transaction::{CallOutcome, EndKind, TransactionEnd};
use tidewire_postgres::heartbeat::Beat;
use tidewire_postgres::{Feedback, Source};
use tidewire_proto::position::v1 as pb;
use tidewire_shared::spec::{
    BadRecord, CreateTopics, Delivery, FormatKind, HeartbeatMode, TableName,
};
use tidewire_shared::{ByteSize, ClusterId, Fault, FaultKind, Lsn, NodeName, TaskSpec, report};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::super::Assignment;
use super::super::meter::Meter;
use super::objects::SourceObjects;
use super::source::OpenStream;
use crate::lease::Lease;
use crate::pipeline::Parts;
use crate::pipeline::delivery;
use crate::pipeline::kill::KillSwitch;
use crate::pipeline::letters::Letters;
use crate::pipeline::outlet::{Fenced, Leased, Outlet};
use crate::pipeline::pool::Pool;
use crate::pipeline::positions::{PositionWriter, entry};
use crate::pipeline::watch::{LogEnd, SourceWatch, TargetWatch};

/// Longest single call; the supervisor tries again after it.
const CALL: Duration = Duration::from_secs(30);
/// A foreign open transaction below our record ends by `transaction.timeout.ms` and a sweep at last.
const READ: Duration = Duration::from_secs(45);

/// The target of one shard during a start.
pub(super) struct TargetSide {
    settings: Settings,
    transactional_id: String,
    key: String,
    ordinal: u64,
    /// Whether records carry headers.
    headers: bool,
    /// The tables that the task has now, and every topic it may write to.
    tables: TaskTables,
    /// The topics that the newest position pins.
    pins: Vec<TopicPin>,
    create_topics: Option<CreateTopics>,
    node: NodeName,
    task: tidewire_shared::TaskName,
    producer: Option<TransactionalProducer>,
    /// Brokers before 0.11 know neither idempotent producers nor headers.
    idempotence: Idempotence,
    positions: Option<Positions>,
    read: Option<PositionRead>,
}

impl TargetSide {
    pub(super) fn new(
        assignment: &Assignment,
        cluster: &ClusterId,
        node: &NodeName,
    ) -> Result<Self, Fault> {
        let spec = &assignment.spec;
        // Dead letters may be larger than records that are allowed to be very small only.
        let largest = match spec.on_bad_record {
            BadRecord::DeadLetter(_) => {
                spec.limits.record_bytes.max(ByteSize(DeadLetterTopic::LEAST_BYTES))
            }
            BadRecord::Stop => spec.limits.record_bytes,
        };
        Ok(Self {
            settings: Settings::new(&spec.target, largest)?,
            transactional_id: assignment.shard.transactional_id(cluster),
            key: assignment.shard.position_key(cluster),
            ordinal: assignment.ordinal,
            headers: spec.format.identity_headers
                || matches!(spec.on_bad_record, BadRecord::DeadLetter(_)),
            tables: TaskTables::default(),
            pins: Vec::new(),
            create_topics: spec.target.create_topics,
            node: node.clone(),
            task: spec.name.clone(),
            producer: None,
            idempotence: Idempotence::On,
            positions: None,
            read: None,
        })
    }

    /// A new producer in place of the old one; its initialisation fences every predecessor.
    pub(super) async fn init_producer(&mut self) -> Result<Fact, Fault> {
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
        Ok(Fact::ProducerInitialised)
    }

    pub(super) async fn read_positions(
        &mut self,
        hint: Option<PositionHint>,
    ) -> Result<Fact, Fault> {
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
        let newest = read.record.clone().map(|record| entry(record, &self.key)).transpose()?;
        self.positions = Some(positions);
        self.read = Some(read);
        self.pins = newest.as_ref().map(|entry| entry.topics.clone()).unwrap_or_default();
        Ok(Fact::PositionsRead(newest))
    }

    /// The position that the coordinators keep, or that an earlier attempt has reported to them; none
    /// before the first.
    pub(super) fn kept_position(&mut self, record: &[u8]) -> Result<Option<PositionEntry>, Fault> {
        if record.is_empty() {
            return Ok(None);
        }
        let record = pb::PositionRecord::decode(record).map_err(|error| {
            Fault::new(FaultKind::TargetHistory, format!("position {}", self.key), error)
                .remedy("a later release may have written it: run the same release on all nodes")
        })?;
        let kept = entry(record, &self.key)?;
        self.pins.clone_from(&kept.topics);
        Ok(Some(kept))
    }

    /// Looks at the topics of the tables that the task has now, and makes those that are missing where
    /// it is to make them.
    pub(super) async fn verify_topics(
        &mut self,
        mut tables: TaskTables,
        bad_record: &BadRecord,
    ) -> Result<Fact, Fault> {
        if let BadRecord::DeadLetter(topic) = bad_record {
            tables.add_topic(topic)?;
        }
        let needed = tables.topics().to_vec();
        let pinned = self.pins.iter().map(|pin| pin.name.clone());
        let mut names = needed.clone();
        names.extend(pinned.filter(|name| !needed.contains(name)));
        let (settings, creation) = (self.settings.clone(), self.create_topics);
        let (mine, wanted) = (names.clone(), needed.clone());
        let answers = blocking(move || {
            let names: Vec<&str> = mine.iter().map(String::as_str).collect();
            let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
            let topics = Topics::new(&settings)?;
            match creation {
                Some(form) => topics.describe_made(&settings, &names, &wanted, form, CALL),
                None => topics.describe(&names, CALL),
            }
        })
        .await?;
        let mut seen = Vec::with_capacity(answers.len());
        for (name, answer) in answers {
            if needed.contains(&name) {
                seen.push((name, answer?));
            } else if let Ok(Some(facts)) = answer
                && self.pins.iter().any(|pin| pin.name == name && same(pin, &facts))
            {
                // No table goes there now, but changes of one that did may still come.
                tables.add_topic(&name)?;
                seen.push((name, Some(facts)));
            }
        }
        if seen.iter().flat_map(|(_, facts)| facts).any(TopicFacts::is_of_old_brokers) {
            self.idempotence = Idempotence::Off;
        }
        self.tables = tables;
        Ok(Fact::TopicsSeen(seen))
    }

    pub(super) async fn commit_claim(&mut self, claim: PositionEntry) -> Result<Fact, Fault> {
        let mut producer = self.producer.take().ok_or_else(too_early)?;
        let writer = self.writer(&mut producer)?;
        let (producer, end) = blocking(move || {
            producer.begin()?;
            writer.send(&mut producer, &claim)?;
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
        Ok(Fact::ClaimEnded(seen.judge()))
    }

    fn writer(&self, producer: &mut TransactionalProducer) -> Result<PositionWriter, Fault> {
        let read = self.read.as_ref().ok_or_else(too_early)?;
        Ok(PositionWriter {
            topic: producer.topic(positions::TOPIC)?,
            topic_id: read.topic_id,
            partition: read.partition,
            key: self.key.clone(),
            task: self.task.clone(),
            node: self.node.clone(),
        })
    }

    fn fenced(&mut self, start: &Start, meter: &Meter) -> Result<Fenced, Fault> {
        let mut producer = self.producer.take().ok_or_else(too_early)?;
        let positions = self.writer(&mut producer)?;
        let claimed = positions.durable(&producer, start.claim.serial);
        meter.update(|report| report.position = claimed.or(report.position));
        let topics = self.tables.topics().iter().map(|name| producer.topic(name));
        let topics = topics.collect::<Result<Vec<_>, _>>()?;
        Ok(Fenced { producer, topics, positions })
    }

    fn plain_producer(&self) -> Result<PlainProducer, Fault> {
        if self.headers && self.idempotence == Idempotence::Off {
            let message = "the brokers are older than 0.11, whose records have no headers";
            return Err(Fault::new(FaultKind::Configuration, "format.headers", message)
                .remedy("write format.headers: none, or upgrade the brokers"));
        }
        PlainProducer::create(&self.settings, self.tables.topics(), self.idempotence)
    }

    /// Everything that the pipeline is built of.
    pub(super) fn parts(
        mut self,
        start: Start,
        stream: OpenStream,
        assignment: &Assignment,
        meter: &Meter,
        lease: Lease,
    ) -> Result<Box<Parts>, Fault> {
        let (kill, emptied) = (KillSwitch::new(), Pool::new());
        let (source_end, source_ends) = watch::channel(LogEnd::default());
        let (seen, stream_seen) = watch::channel(start.from);
        let (target_watched, ended) = std::sync::mpsc::sync_channel(1);
        let OpenStream {
            source,
            reader,
            feedback,
            confirmed,
            objects,
            slot,
            owner,
            heartbeat,
            server_version,
        } = stream;
        let outlet = match assignment.spec.delivery {
            Delivery::ExactlyOnce => Outlet::Fenced(self.fenced(&start, meter)?),
            Delivery::AtLeastOnce => {
                let producer = self.plain_producer()?;
                let who = (self.task.clone(), self.node.clone());
                let (meter, kill) = (meter.clone(), kill.clone());
                Outlet::Leased(Leased::new(producer, who, meter, lease, kill, confirmed))
            }
        };
        let progress = Progress::resume(&start.claim, start.timeline, confirmed, Duration::ZERO)?;
        let beats = Beats { slot: &slot, table: heartbeat.as_ref(), feedback: &feedback };
        let beat = beats.start(&source, assignment, stream_seen);
        // Pins outlive their tables: a topic that nothing can go to any more may be deleted.
        let written: BTreeSet<&str> = self.tables.topics().iter().map(String::as_str).collect();
        let pins = start.claim.topics.iter().filter(|pin| written.contains(pin.name.as_str()));
        let pins = pins.map(identity).collect();
        Ok(Box::new(Parts {
            reader,
            decoder: self.decoder(assignment, &start, heartbeat, &objects),
            encoder: self.encoder(assignment, &start, server_version)?,
            source_watch: SourceWatch {
                source: source.clone(),
                slot,
                owner,
                budget: assignment.spec.source.wal_budget,
                feedback: feedback.clone(),
                objects,
                end: source_end,
                meter: meter.clone(),
                kill: kill.clone(),
            },
            target_watch: TargetWatch {
                identity: TopicIdentity::new(&self.settings)?,
                pins,
                kill: kill.clone(),
                ended,
            },
            target_watched,
            heartbeat: beat,
            delivery: delivery::Delivery {
                outlet,
                progress,
                feedback,
                seen,
                source_end: source_ends,
                meter: meter.clone(),
                kill,
                emptied,
                throttle: Throttle::new(&assignment.spec.limits),
                letters: Letters::new(&assignment.spec.on_bad_record),
            },
            source,
        }))
    }

    fn decoder(
        &self,
        assignment: &Assignment,
        start: &Start,
        heartbeat: Option<TableName>,
        objects: &SourceObjects,
    ) -> Decoder {
        let mut options = Options::new(self.tables.clone(), start.from);
        options.heartbeat = heartbeat;
        options.names = objects.published();
        options.resume = start.claim.position.inside;
        options.hold = assignment.spec.format.kind == FormatKind::ShareplexJson;
        let size = |most: usize, wanted: Option<u64>| {
            wanted.and_then(|wanted| usize::try_from(wanted).ok()).map_or(most, |w| most.min(w))
        };
        let (rows, bytes) = Throttle::new(&assignment.spec.limits).batch();
        options.batch_changes = size(options.batch_changes, rows);
        options.batch_bytes = size(options.batch_bytes, bytes);
        Decoder::new(options)
    }

    fn dead_letters(&self, spec: &TaskSpec) -> Option<DeadLetterTopic> {
        let BadRecord::DeadLetter(name) = &spec.on_bad_record else { return None };
        let topic = self.tables.topics().iter().position(|topic| topic == name)?;
        Some(DeadLetterTopic { topic: u16::try_from(topic).ok()?, task: spec.name.to_string() })
    }

    fn encoder(
        &self,
        assignment: &Assignment,
        start: &Start,
        server_version: String,
    ) -> Result<Encoder, Fault> {
        let spec = &assignment.spec;
        let partitions = |name: &String| {
            let pin = start.claim.topics.iter().find(|pin| pin.name == *name);
            pin.map(|pin| pin.partitions).ok_or_else(too_early)
        };
        let mut format = spec.format.clone();
        format.debezium.topic_prefix.get_or_insert_with(|| spec.name.to_string());
        Encoder::new(EncodeConfig {
            format,
            database: spec.source.database.clone(),
            server_version,
            partition: spec.partition,
            key_change: spec.key_change,
            partitions: self.tables.topics().iter().map(partitions).collect::<Result<_, _>>()?,
            record_bytes: spec.limits.record_bytes.0,
            next_ordinal: start.claim.position.next_ordinal,
            dead_letters: self.dead_letters(spec),
        })
    }
}

/// What the heartbeat of a stream needs.
struct Beats<'a> {
    slot: &'a str,
    table: Option<&'a TableName>,
    feedback: &'a Feedback,
}

impl Beats<'_> {
    fn start(
        &self,
        source: &Source,
        assignment: &Assignment,
        seen: watch::Receiver<Lsn>,
    ) -> Option<AbortOnDropHandle<()>> {
        let asked = &assignment.spec.source.heartbeat;
        let beat = match (asked.mode, self.table) {
            (HeartbeatMode::Off, _) => return None,
            (_, Some(table)) => Beat::Table { table: table.clone(), slot: self.slot.to_owned() },
            (_, None) => Beat::Message,
        };
        let (source, every, feedback) =
            (source.clone(), asked.interval.duration(), self.feedback.clone());
        let beats = tidewire_postgres::heartbeat::run(source, every, beat, seen, feedback);
        Some(AbortOnDropHandle::new(actix_rt::spawn(beats)))
    }
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

fn same(pin: &TopicPin, topic: &TopicFacts) -> bool {
    pin.id == topic.id && pin.partitions == topic.partitions
}

fn too_early() -> Fault {
    Fault::new(FaultKind::Internal, "start", "took a step before the one it rests on")
}

fn identity(pin: &TopicPin) -> Identity {
    Identity { name: pin.name.clone(), id: pin.id, partitions: pin.partitions }
}

/// The hint of an assignment as the core knows it.
pub(super) fn core_hint(hint: &report::PositionHint) -> PositionHint {
    let report::PositionHint { topic_id, partition, offset, serial } = *hint;
    PositionHint { topic_id, partition, offset, serial }
}

fn wire_hint(hint: PositionHint) -> pb::PositionHint {
    pb::PositionHint {
        topic_id_high: hint.topic_id.0,
        topic_id_low: hint.topic_id.1,
        partition: hint.partition,
        offset: hint.offset,
        serial: hint.serial,
    }
}
