//! The pipeline of one shard.
//!
//! ```text
//! source ─RawBatch─► decode ─ChangeBatch─► encode ─EncodedBatch─► produce ─► delivery thread ═► Kafka
//!   ▲                                                                              │
//!   └───────────── Feedback ◄── confirm ◄── Progress (durable positions) ◄─────────┘
//! ```
//!
//! Built from the sink up, stopped from the source down, and it dies whole: the first failure trips
//! one switch, and the shard is started over from the position that the target holds. No queue holds
//! more than two batches of about 1 MiB; the producer's own queue is bounded in bytes.

mod decode;
pub(crate) mod delivery;
mod encode;
pub(crate) mod kill;
pub(crate) mod letters;
pub(crate) mod outlet;
pub(crate) mod pool;
pub(crate) mod positions;
mod produce;
pub(crate) mod read;
mod source;
mod stage;
pub(crate) mod watch;

use actix::prelude::ArbiterHandle;
use tidewire_node_core::decode::Decoder;
use tidewire_node_core::encode::{EncodedBatch, Encoder};
use tidewire_postgres::{Source, StreamReader};
use tidewire_shared::{Fault, FaultKind};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use decode::DecodeStage;
use delivery::{Carrier, CopyCarrier, Delivery, PostgresCarrier};
use encode::EncodeStage;
use kill::KillSwitch;
use pool::Pool;
use produce::ProduceStage;
use read::Reader;
use source::SourceActor;
use stage::StageActor;
use watch::{SourceWatch, TargetWatch, TopicsWatch};

/// Everything that a pipeline is built of; made by the order of a start.
pub(crate) enum Parts {
    Postgres(Box<PostgresParts>),
    Kafka(Box<CopyParts>),
}

/// What a pipeline from PostgreSQL is built of.
pub(crate) struct PostgresParts {
    pub(crate) source: Source,
    pub(crate) reader: StreamReader,
    pub(crate) decoder: Decoder,
    pub(crate) encoder: Encoder,
    pub(crate) delivery: Delivery<PostgresCarrier>,
    /// Where emptied batches of records go round.
    pub(crate) emptied: Pool<Box<EncodedBatch>>,
    pub(crate) source_watch: SourceWatch,
    pub(crate) target_watch: TargetWatch,
    /// Keeps the target's watcher looking; dropped with the pipeline.
    pub(crate) target_watched: std::sync::mpsc::SyncSender<()>,
    /// Writes heartbeats into the source, until it is dropped.
    pub(crate) heartbeat: Option<AbortOnDropHandle<()>>,
}

/// What a pipeline from Kafka is built of.
pub(crate) struct CopyParts {
    pub(crate) reader: Reader,
    pub(crate) delivery: Delivery<CopyCarrier>,
    pub(crate) source_watch: TopicsWatch,
    pub(crate) target_watch: TargetWatch,
    /// Keep the watchers looking; dropped with the pipeline.
    pub(crate) watched: [std::sync::mpsc::SyncSender<()>; 2],
}

/// A pipeline that runs.
pub(crate) struct Pipeline {
    pub(crate) kill: KillSwitch,
    delivered: oneshot::Receiver<()>,
    _heartbeat: Option<AbortOnDropHandle<()>>,
    _watched: Vec<std::sync::mpsc::SyncSender<()>>,
}

/// Builds the pipeline and lets it run.
pub(crate) fn build(
    parts: Parts,
    source: &ArbiterHandle,
    codec: &ArbiterHandle,
) -> Result<Pipeline, Fault> {
    match parts {
        Parts::Postgres(parts) => build_postgres(*parts, source, codec),
        Parts::Kafka(parts) => build_copy(*parts),
    }
}

fn build_postgres(
    parts: PostgresParts,
    source: &ArbiterHandle,
    codec: &ArbiterHandle,
) -> Result<Pipeline, Fault> {
    let kill = parts.delivery.kill.clone();
    let changes = Pool::new();
    let (hand_over, batches) = mpsc::channel(produce::HAND_OVER);
    let delivered = deliver(parts.delivery, batches)?;
    thread("watch-target", move || parts.target_watch.run())?;
    actix_rt::spawn(parts.source_watch.run());
    let produce = StageActor::start("produce", source, &kill, ProduceStage::new(hand_over));
    let encode = EncodeStage::new(parts.encoder, changes.clone(), parts.emptied, produce);
    let encode = StageActor::start("encode", codec, &kill, encode);
    let decode = DecodeStage::new(parts.decoder, parts.source, changes, encode);
    let decode = StageActor::start("decode", codec, &kill, decode);
    SourceActor::start(source, &kill, parts.reader, decode);
    let _heartbeat = parts.heartbeat;
    Ok(Pipeline { kill, delivered, _heartbeat, _watched: vec![parts.target_watched] })
}

/// Records of topics are neither decoded nor encoded: what reads hands them to what writes. Both ends
/// are librdkafka's, whose calls block, so both are threads.
fn build_copy(parts: CopyParts) -> Result<Pipeline, Fault> {
    let kill = parts.delivery.kill.clone();
    let (hand_over, batches) = mpsc::channel(produce::HAND_OVER);
    let delivered = deliver(parts.delivery, batches)?;
    thread("watch-target", move || parts.target_watch.run())?;
    thread("watch-source", move || parts.source_watch.run())?;
    thread("read", move || parts.reader.run(&hand_over))?;
    Ok(Pipeline { kill, delivered, _heartbeat: None, _watched: parts.watched.into() })
}

/// Lets the delivery run; what is given resolves when it has ended.
fn deliver<C: Carrier>(
    delivery: Delivery<C>,
    batches: mpsc::Receiver<C::Batch>,
) -> Result<oneshot::Receiver<()>, Fault> {
    let (done, delivered) = oneshot::channel();
    thread("deliver", move || {
        delivery.run(batches);
        drop(done);
    })?;
    Ok(delivered)
}

impl Pipeline {
    /// Waits until nothing of the pipeline can write any more; gives what stopped it.
    pub(crate) async fn ended(self) -> Option<Fault> {
        // An error is the sign: the thread has dropped its end.
        let _closed = self.delivered.await;
        self.kill.fault()
    }
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Fault> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map(drop)
        .map_err(|error| Fault::new(FaultKind::Internal, format!("thread {name}"), error))
}
