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
mod source;
mod stage;
pub(crate) mod watch;

use actix::prelude::ArbiterHandle;
use tidewire_node_core::decode::Decoder;
use tidewire_node_core::encode::Encoder;
use tidewire_postgres::{Source, StreamReader};
use tidewire_shared::{Fault, FaultKind};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use decode::DecodeStage;
use delivery::Delivery;
use encode::EncodeStage;
use kill::KillSwitch;
use pool::Pool;
use produce::ProduceStage;
use source::SourceActor;
use stage::StageActor;
use watch::{SourceWatch, TargetWatch};

/// Everything that a pipeline is built of; made by the order of a start.
pub(crate) struct Parts {
    pub(crate) source: Source,
    pub(crate) reader: StreamReader,
    pub(crate) decoder: Decoder,
    pub(crate) encoder: Encoder,
    pub(crate) delivery: Delivery,
    pub(crate) source_watch: SourceWatch,
    pub(crate) target_watch: TargetWatch,
    /// Keeps the target's watcher looking; dropped with the pipeline.
    pub(crate) target_watched: std::sync::mpsc::SyncSender<()>,
    /// Writes heartbeats into the source, until it is dropped.
    pub(crate) heartbeat: Option<AbortOnDropHandle<()>>,
}

/// A pipeline that runs.
pub(crate) struct Pipeline {
    pub(crate) kill: KillSwitch,
    delivered: oneshot::Receiver<()>,
    _heartbeat: Option<AbortOnDropHandle<()>>,
    _target_watched: std::sync::mpsc::SyncSender<()>,
}

/// Builds the pipeline and lets it run.
pub(crate) fn build(
    parts: Parts,
    source: &ArbiterHandle,
    codec: &ArbiterHandle,
) -> Result<Pipeline, Fault> {
    let kill = parts.delivery.kill.clone();
    let changes = Pool::new();
    let records = parts.delivery.emptied.clone();
    let (hand_over, batches) = mpsc::channel(produce::HAND_OVER);
    let (done, delivered) = oneshot::channel();
    let delivery = parts.delivery;
    thread("deliver", move || {
        delivery.run(batches);
        drop(done);
    })?;
    thread("watch-target", move || parts.target_watch.run())?;
    actix_rt::spawn(parts.source_watch.run());
    let produce = StageActor::start("produce", source, &kill, ProduceStage::new(hand_over));
    let encode = EncodeStage::new(parts.encoder, changes.clone(), records, produce);
    let encode = StageActor::start("encode", codec, &kill, encode);
    let decode = DecodeStage::new(parts.decoder, parts.source, changes, encode);
    let decode = StageActor::start("decode", codec, &kill, decode);
    SourceActor::start(source, &kill, parts.reader, decode);
    Ok(Pipeline {
        kill,
        delivered,
        _heartbeat: parts.heartbeat,
        _target_watched: parts.target_watched,
    })
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
