//! The pipeline of a shard that copies topics, made of what the steps of the start have found.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidewire_kafka::{
    Apart, Consumer, Idempotence, Settings, SourceLimits, SourcePartition, codec,
};
use tidewire_node_core::copy::{CopyProgress, Layout, PartitionFacts};
use tidewire_node_core::takeover::{PinPolicy, Start};
use tidewire_node_core::throttle::Throttle;
use tidewire_shared::spec::{Compression, KafkaTask};
use tidewire_shared::{Fault, KafkaPosition};

use super::super::target::{CALL, OutletTopic, TargetSide, blocking, too_early};
use super::{Clients, ConfigSync};
use crate::fault_point;
use crate::lease::Lease;
use crate::pipeline::CopyParts;
use crate::pipeline::delivery::{CopyCarrier, Delivery, Slot};
use crate::pipeline::kill::KillSwitch;
use crate::pipeline::read::Reader;
use crate::pipeline::watch::{SourceIdentity, TopicsWatch};
use crate::shard::meter::Meter;

/// Fits reader, delivery and watchers together.
pub(super) struct Fitter<'a> {
    pub(super) task: &'a KafkaTask,
    pub(super) source: Settings,
    pub(super) clients: Clients,
    pub(super) layout: Layout,
    pub(super) facts: Vec<PartitionFacts>,
    pub(super) start: Start<KafkaPosition>,
    pub(super) meter: &'a Meter,
}

impl Fitter<'_> {
    /// Everything that the pipeline is built of; the consumer is open.
    pub(super) async fn parts(
        self,
        mut target: TargetSide,
        lease: Lease,
    ) -> Result<CopyParts, Fault> {
        let kill = KillSwitch::new();
        let codecs = self.codecs().await?;
        let topics = self.outlet_topics(&codecs);
        let serial = self.start.claim.serial;
        let outlet =
            target.outlet(serial, &topics, self.task.delivery, (self.meter, lease, &kill))?;
        let slots = self.slots(&topics)?;
        let consumer = self.open().await?;
        let identity = self.identity();
        let progress = CopyProgress::resume(&self.start.claim, &self.layout, &self.start.opening);
        let count = slots.len();
        self.meter.log().info(format!("copies {count} partitions of {} topics", topics.len()));
        let holds_headers = target.idempotence == Idempotence::On;
        let meter = self.meter.clone();
        let carrier = CopyCarrier::new(progress, slots, identity.clone(), meter, holds_headers);
        let (target_watched, target_ended) = std::sync::mpsc::sync_channel(1);
        let (source_watched, source_ended) = std::sync::mpsc::sync_channel(1);
        Ok(CopyParts {
            reader: Reader {
                consumer,
                slots: count,
                identity: identity.clone(),
                kill: kill.clone(),
            },
            delivery: Delivery {
                carrier,
                outlet,
                kill: kill.clone(),
                throttle: Throttle::new(&self.task.limits, self.layout.working_shards()),
            },
            target_watch: target.watch(
                &self.start.claim,
                &topics,
                PinPolicy::Copied,
                (&kill, target_ended),
            )?,
            source_watch: TopicsWatch {
                identity,
                configs: self.configs(),
                configs_refused: None,
                meter: self.meter.clone(),
                layout: self.layout,
                kill,
                ended: source_ended,
            },
            watched: [target_watched, source_watched],
        })
    }

    /// The codec of each topic of the shard, where its records are to keep it.
    async fn codecs(&self) -> Result<BTreeMap<String, Compression>, Fault> {
        if self.task.target.compression != Compression::Keep {
            return Ok(BTreeMap::new());
        }
        let settings = self.source.clone();
        let names: Vec<String> =
            self.layout.topics_of_shard().map(|it| it.source.name.clone()).collect();
        blocking(move || {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            codec::codec_of(&settings, &names, CALL)
        })
        .await
    }

    /// The copies that the shard writes to.
    fn outlet_topics(&self, codecs: &BTreeMap<String, Compression>) -> Vec<OutletTopic> {
        let topics = self.layout.topics_of_shard().map(|copied| OutletTopic {
            name: copied.target.clone(),
            compression: codecs.get(&copied.source.name).copied(),
        });
        topics.collect()
    }

    fn slots(&self, topics: &[OutletTopic]) -> Result<Vec<Slot>, Fault> {
        let numbers: BTreeMap<&str, usize> =
            topics.iter().enumerate().map(|(number, it)| (it.name.as_str(), number)).collect();
        let starts = self.start.opening.iter().zip(&self.facts);
        let slots = starts.map(|(start, facts)| {
            let copied = self.layout.of(&start.topic).ok_or_else(too_early)?;
            let target = numbers.get(copied.target.as_str()).ok_or_else(too_early)?;
            Ok(Slot::new(&start.topic, start.partition, *target, facts.end))
        });
        slots.collect()
    }

    async fn open(&self) -> Result<Consumer, Fault> {
        let settings = self.source.clone();
        let partitions: Vec<SourcePartition> = self
            .start
            .opening
            .iter()
            .map(|start| SourcePartition {
                topic: start.topic.clone(),
                partition: start.partition,
                offset: start.offset,
                leader_epoch: start.leader_epoch,
            })
            .collect();
        blocking(move || {
            let mut consumer = Consumer::open(&settings, limits(partitions.len()))?;
            if !partitions.is_empty() {
                consumer.assign(&partitions, CALL)?;
            }
            Ok(consumer)
        })
        .await
    }

    fn identity(&self) -> SourceIdentity {
        let known = self.layout.topics_of_shard();
        let known = known.map(|it| (it.source.name.clone(), it.source.id)).collect();
        SourceIdentity { topics: Arc::clone(&self.clients.source), known: Arc::new(known) }
    }

    /// One shard carries configurations over for all.
    fn configs(&self) -> Option<ConfigSync> {
        let first = self.layout.is_first() && self.task.sync_configs.enabled;
        first.then(|| ConfigSync {
            source: Arc::clone(&self.clients.source),
            target: Arc::clone(&self.clients.target),
            topics: self.layout.topics().to_vec(),
            sync: self.task.sync_configs.clone(),
            before: BTreeMap::new(),
        })
    }
}

/// How so many partitions are read. A test may wish that few are read as many are, and go from client to
/// client all the time.
fn limits(partitions: usize) -> SourceLimits {
    if !fault_point::is_wished("read_apart") {
        return SourceLimits::for_partitions(partitions);
    }
    let apart = Apart { busy_bytes: 8 << 10, quiet: Duration::from_secs(2) };
    SourceLimits { busy_apart: Some(apart), ..SourceLimits::for_many() }
}
