//! The pipeline of a shard from PostgreSQL: its stages, made of what the steps of the start have found.

use std::time::Duration;

use tidewire_kafka::Idempotence;
use tidewire_node_core::decode::{Decoder, Options};
use tidewire_node_core::encode::{DeadLetterTopic, EncodeConfig, Encoder};
use tidewire_node_core::progress::Progress;
use tidewire_node_core::schema::TaskTables;
use tidewire_node_core::takeover::Start;
use tidewire_node_core::throttle::Throttle;
use tidewire_postgres::heartbeat::Beat;
use tidewire_postgres::{Feedback, Source};
use tidewire_shared::spec::{
    BadRecord, Delivery, FormatKind, HeartbeatMode, PostgresTask, TableName,
};
use tidewire_shared::{Fault, FaultKind, Lsn, PgPosition};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::super::target::{OutletTopic, TargetSide, too_early};
use super::objects::SourceObjects;
use super::policy;
use super::source::OpenStream;
use crate::lease::Lease;
use crate::pipeline::PostgresParts;
use crate::pipeline::delivery::{Delivery as Deliver, Fittings, PostgresCarrier};
use crate::pipeline::kill::KillSwitch;
use crate::pipeline::letters::Letters;
use crate::pipeline::pool::Pool;
use crate::pipeline::watch::{LogEnd, SourceWatch};
use crate::shard::meter::Meter;

/// Fits the stages of a pipeline together.
pub(super) struct Fitter<'a> {
    pub(super) task: &'a PostgresTask,
    pub(super) tables: TaskTables,
    pub(super) start: Start<PgPosition>,
    pub(super) meter: &'a Meter,
}

impl Fitter<'_> {
    /// Everything that the pipeline is built of.
    pub(super) fn parts(
        self,
        mut target: TargetSide,
        stream: OpenStream,
        lease: Lease,
    ) -> Result<PostgresParts, Fault> {
        let (task, start, meter) = (self.task, &self.start, self.meter);
        let (kill, emptied) = (KillSwitch::new(), Pool::new());
        let (source_end, source_ends) = watch::channel(LogEnd::default());
        let (seen, stream_seen) = watch::channel(start.opening.from);
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
        self.headers_fit(&target)?;
        let topics = self.outlet_topics();
        let outlet = {
            let serial = start.claim.serial;
            target.outlet(serial, &topics, task.delivery, (meter, lease, &kill))?
        };
        let timeline = start.opening.timeline;
        let progress = Progress::resume(&start.claim, timeline, confirmed, Duration::ZERO)?
            .publishing(objects.marks());
        let kept = match task.delivery {
            Delivery::ExactlyOnce => progress.confirmable(),
            Delivery::AtLeastOnce => confirmed,
        };
        let beats = Beats { slot: &slot, table: heartbeat.as_ref(), feedback: &feedback };
        let beat = beats.start(&source, task, stream_seen);
        Ok(PostgresParts {
            reader,
            decoder: self.decoder(heartbeat, &objects),
            encoder: self.encoder(server_version)?,
            source_watch: SourceWatch {
                source: source.clone(),
                slot,
                owner,
                budget: task.source.wal_budget,
                feedback: feedback.clone(),
                objects,
                end: source_end,
                meter: meter.clone(),
                kill: kill.clone(),
            },
            target_watch: target.watch(&start.claim, &topics, policy(task), (&kill, ended))?,
            target_watched,
            heartbeat: beat,
            emptied: emptied.clone(),
            delivery: Deliver {
                carrier: PostgresCarrier::new(Fittings {
                    progress,
                    feedback,
                    seen,
                    source_end: source_ends,
                    meter: meter.clone(),
                    emptied,
                    letters: Letters::new(&task.on_bad_record),
                    kept,
                }),
                outlet,
                kill,
                throttle: Throttle::new(&task.limits, 1),
            },
            source,
        })
    }

    fn headers_fit(&self, target: &TargetSide) -> Result<(), Fault> {
        let headers = self.task.format.identity_headers
            || matches!(self.task.on_bad_record, BadRecord::DeadLetter(_));
        if headers && target.idempotence == Idempotence::Off {
            let message = "the brokers are older than 0.11, whose records have no headers";
            return Err(Fault::new(FaultKind::Configuration, "format.headers", message)
                .remedy("write format.headers: none, or upgrade the brokers"));
        }
        Ok(())
    }

    fn outlet_topics(&self) -> Vec<OutletTopic> {
        let topics = self.tables.topics().iter();
        topics.map(|name| OutletTopic { name: name.clone(), compression: None }).collect()
    }

    fn decoder(&self, heartbeat: Option<TableName>, objects: &SourceObjects) -> Decoder {
        let mut options = Options::new(self.tables.clone(), self.start.opening.from);
        options.heartbeat = heartbeat;
        options.names = objects.published();
        options.keys.clone_from(objects.keys());
        options.resume = self.start.claim.position.inside;
        options.hold = self.task.format.kind == FormatKind::ShareplexJson;
        let size = |most: usize, wanted: Option<u64>| {
            wanted.and_then(|wanted| usize::try_from(wanted).ok()).map_or(most, |w| most.min(w))
        };
        let (rows, bytes) = Throttle::new(&self.task.limits, 1).batch();
        options.batch_changes = size(options.batch_changes, rows);
        options.batch_bytes = size(options.batch_bytes, bytes);
        Decoder::new(options)
    }

    fn dead_letters(&self) -> Option<DeadLetterTopic> {
        let BadRecord::DeadLetter(name) = &self.task.on_bad_record else { return None };
        let topic = self.tables.topics().iter().position(|topic| topic == name)?;
        let task = self.task.name.to_string();
        Some(DeadLetterTopic { topic: u16::try_from(topic).ok()?, task })
    }

    fn encoder(&self, server_version: String) -> Result<Encoder, Fault> {
        let task = self.task;
        let partitions = |name: &String| {
            let pin = self.start.claim.topics.iter().find(|pin| pin.name == *name);
            pin.map(|pin| pin.partitions).ok_or_else(too_early)
        };
        let mut format = task.format.clone();
        format.debezium.topic_prefix.get_or_insert_with(|| task.name.to_string());
        Encoder::new(EncodeConfig {
            format,
            database: task.source.database.clone(),
            server_version,
            partition: task.partition,
            key_change: task.key_change,
            partitions: self.tables.topics().iter().map(partitions).collect::<Result<_, _>>()?,
            record_bytes: task.limits.record_bytes.0,
            next_ordinal: self.start.claim.position.next_ordinal,
            dead_letters: self.dead_letters(),
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
        task: &PostgresTask,
        seen: watch::Receiver<Lsn>,
    ) -> Option<AbortOnDropHandle<()>> {
        let asked = &task.source.heartbeat;
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
