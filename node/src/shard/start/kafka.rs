//! What the steps of a start mean for a task from Kafka.

mod copies;
mod heritage;
mod parts;
mod rewind;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tidewire_kafka::topics::{At, Topics};
use tidewire_kafka::{Idempotence, Isolation, Settings};
use tidewire_node_core::copy::{
    Appeared, FirstStart, Heritage, Layout, PartitionFacts, SourceTopic, TargetPartition, judge,
    lacks_places, new_topics, same_copies, unlisted,
};
use tidewire_node_core::facts::TopicFacts;
use tidewire_node_core::reconnect::Verdict;
use tidewire_node_core::takeover::{Fact, PinPolicy, Start};
use tidewire_shared::spec::{KafkaStart, KafkaTask};
use tidewire_shared::{Clearing, ClusterId, Fault, FaultKind, KafkaPosition, NodeName};

use super::Ends;
use super::target::{CALL, TargetSide, blocking};
use crate::lease::Lease;
use crate::pipeline::Parts;
use crate::pipeline::watch::SourceIdentity;
use crate::shard::meter::Meter;
use crate::shard::{Assignment, Retired};
use copies::Copies;
use heritage::left;

pub(crate) use copies::ConfigSync;
pub(crate) use heritage::copied_topics;
pub(crate) use rewind::rewind as rewind_copy;

/// Both ends of a shard.
pub(super) struct KafkaEnds<'a> {
    task: &'a KafkaTask,
    shard: (u32, u32),
    /// Shards that this one replaces.
    before: &'a [Vec<Retired>],
    cluster: ClusterId,
    source: Settings,
    target: TargetSide,
    clients: Option<Clients>,
    layout: Layout,
    /// Ends of the shard's partitions, in its order, as they were last seen.
    facts: Vec<PartitionFacts>,
    told: Vec<String>,
}

/// Clients that ask the brokers of both ends.
#[derive(Clone)]
struct Clients {
    source: Arc<Topics>,
    target: Arc<Topics>,
}

impl<'a> KafkaEnds<'a> {
    pub(super) fn new(
        task: &'a KafkaTask,
        assignment: &'a Assignment,
        cluster: &ClusterId,
        node: &NodeName,
    ) -> Result<Self, Fault> {
        Ok(Self {
            task,
            shard: assignment.place,
            before: &assignment.before,
            cluster: cluster.clone(),
            source: source_settings(task)?,
            target: TargetSide::new(assignment, cluster, node, task.limits.record_bytes)?,
            clients: None,
            layout: Layout::default(),
            facts: Vec::new(),
            told: Vec::new(),
        })
    }

    fn clients(&mut self) -> Result<Clients, Fault> {
        if let Some(clients) = &self.clients {
            return Ok(clients.clone());
        }
        let clients = Clients {
            source: Arc::new(Topics::new(&self.source)?),
            target: Arc::new(Topics::new(&self.target.settings)?),
        };
        Ok(self.clients.insert(clients).clone())
    }

    /// Asks where the partitions of the shard begin and end.
    async fn look_at_partitions(&mut self) -> Result<(), Fault> {
        let (topics, layout) = (self.clients()?.source, self.layout.clone());
        self.facts = blocking(move || bounds(&topics, &partitions_of(&layout))).await?;
        Ok(())
    }

    /// Asks about topics that have been copied and that the source does not list.
    async fn look_for_unlisted(&mut self, position: &KafkaPosition) -> Result<(), Fault> {
        let known: Vec<(String, (i64, i64))> =
            unlisted(&self.layout, position).map(|(name, id)| (name.to_owned(), id)).collect();
        let Some((name, _)) = known.first().cloned() else { return Ok(()) };
        let identity = SourceIdentity { topics: self.clients()?.source, known: Arc::new(known) };
        blocking(move || identity.verify()).await?;
        Err(Fault::new(
            FaultKind::SourceBusy,
            format!("source topic {name}"),
            "was not among the topics that a broker listed, and is there all the same",
        ))
    }

    /// What the shards left that this one replaces.
    async fn heritage(&self) -> Result<Heritage, Fault> {
        let mut generations = Vec::with_capacity(self.before.len());
        for shards in self.before {
            let delivery = self.task.delivery;
            generations.push(left(&self.target, shards, delivery, &self.cluster).await?);
        }
        Ok(Heritage::new(generations))
    }

    /// A position with places of what appeared since, as `existingData` has it.
    async fn with_appeared(&mut self, position: KafkaPosition) -> Result<KafkaPosition, Fault> {
        self.look_at_partitions().await?;
        let new: BTreeSet<String> =
            new_topics(&self.layout, &position).map(|it| it.source.name.clone()).collect();
        let target = match new.is_empty() {
            true => Vec::new(),
            false => {
                let (topics, layout) = (self.clients()?.target, self.layout.clone());
                let of_new = move |source: &str, _| new.contains(source);
                blocking(move || target_partitions(&topics, &layout, of_new)).await?
            }
        };
        let appeared = Appeared {
            layout: &self.layout,
            facts: &self.facts,
            position: &position,
            existing: self.task.existing_data,
            target: &target,
        };
        appeared.position()
    }

    /// Deletes what a claim wants deleted; up to a bound that was fixed there, so that doing it
    /// again deletes nothing that was copied.
    async fn clear(&mut self, clearing: Vec<Clearing>) -> Result<(), Fault> {
        let clearing: Vec<_> =
            clearing.into_iter().filter(|clearing| self.layout.clears(clearing)).collect();
        if clearing.is_empty() {
            return Ok(());
        }
        let topics = self.clients()?.target;
        let partitions = clearing.len();
        blocking(move || {
            let bounds: Vec<_> =
                clearing.iter().map(|it| (it.topic.as_str(), it.partition, it.before)).collect();
            topics.delete_records(&bounds, CALL)?.into_iter().try_for_each(|done| done.map(drop))
        })
        .await?;
        self.told.push(format!("deleted the records that {partitions} partitions held before"));
        Ok(())
    }
}

/// How the source of a task is spoken to.
pub(crate) fn source_settings(task: &KafkaTask) -> Result<Settings, Fault> {
    let from = &task.source;
    Settings::source(&from.brokers, &from.security, &from.properties, task.limits.record_bytes)
}

/// The topics that a source lists.
pub(crate) fn listed(topics: &Topics, timeout: Duration) -> Result<Vec<SourceTopic>, Fault> {
    Ok(topics.list(timeout)?.into_iter().map(SourceTopic::from).collect())
}

/// The partitions of a shard, in the order of its layout.
fn partitions_of(layout: &Layout) -> Vec<(&str, u32)> {
    layout.partitions().map(|at| (at.copied.source.name.as_str(), at.partition)).collect()
}

/// Where partitions begin and end, in their order.
fn bounds(topics: &Topics, partitions: &[(&str, u32)]) -> Result<Vec<PartitionFacts>, Fault> {
    let ask = |at| topics.offsets(partitions, at, CALL);
    let low = ask(At::Earliest)?;
    let end = ask(At::Latest(Isolation::Committed))?;
    let high = ask(At::Latest(Isolation::Uncommitted))?;
    let facts = low.into_iter().zip(end).zip(high).map(|((low, end), high)| {
        let (low, end) = (low?.unwrap_or_default(), end?.unwrap_or_default());
        Ok(PartitionFacts { low, end, high: high?.unwrap_or_default() })
    });
    facts.collect()
}

impl Ends for KafkaEnds<'_> {
    type Position = KafkaPosition;

    fn target(&mut self) -> &mut TargetSide {
        &mut self.target
    }

    fn pin_policy(&self) -> PinPolicy {
        PinPolicy::Copied
    }

    /// librdkafka connects by itself, in the background.
    fn connect_ahead(&mut self) {
        // A client that cannot be made is told of by the step that needs it.
        drop(self.clients());
    }

    /// Judged with the rest, once its layout is known.
    fn stands_at(&mut self, _position: &KafkaPosition) {}

    /// Looks at the topics of both ends; makes copies that are missing, and partitions of those that
    /// have too few.
    async fn verify_topics(
        &mut self,
        known: Option<KafkaPosition>,
    ) -> Result<Fact<KafkaPosition>, Fault> {
        let (clients, shard, task) = (self.clients()?, self.shard, self.task);
        let (rules, sync) = (task.topics.clone(), task.sync_configs.clone());
        let pins = self.target.pins.clone();
        let position = known.clone();
        let (layout, seen, told) = blocking(move || {
            let layout = Layout::new(&rules, &listed(&clients.source, CALL)?, shard)?;
            // Before copies are made that the task must not write to.
            position.map_or(Ok(()), |position| same_copies(&layout, &position))?;
            let (source, target) = (&clients.source, &clients.target);
            let copies = Copies { source, target, sync: &sync, pins: &pins, layout: &layout };
            let (seen, told) = copies.ensure(CALL)?;
            Ok((layout, seen, told))
        })
        .await?;
        // A shard without partitions writes nothing, and sees nothing that tells how old the brokers are.
        let old = seen.iter().flat_map(|(_, facts)| facts).any(TopicFacts::is_of_old_brokers);
        if seen.is_empty() || old {
            self.target.idempotence = Idempotence::Off;
        }
        self.layout = layout;
        self.told.extend(told);
        match known {
            Some(position) if lacks_places(&self.layout, &position) => {
                let position = self.with_appeared(position).await?;
                Ok(Fact::TopicsAppeared(seen, position))
            }
            _ => Ok(Fact::TopicsSeen(seen)),
        }
    }

    /// Nothing of ours lives at the source.
    async fn prepare_source(&mut self) -> Result<Fact<KafkaPosition>, Fault> {
        Ok(Fact::SourcePrepared)
    }

    async fn find_start(&mut self) -> Result<Fact<KafkaPosition>, Fault> {
        let heritage = Arc::new(self.heritage().await?);
        self.look_at_partitions().await?;
        let (clients, layout, start) =
            (self.clients()?, self.layout.clone(), self.task.start.clone());
        let known = Arc::clone(&heritage);
        let (at_timestamp, target) = blocking(move || {
            let at_timestamp = match start {
                KafkaStart::Timestamp(ms) => first_at(&clients.source, &layout, ms)?,
                KafkaStart::Earliest | KafkaStart::Latest | KafkaStart::Offsets(_) => Vec::new(),
            };
            let uncovered = |source: &str, number| !known.covers(source, number);
            Ok((at_timestamp, target_partitions(&clients.target, &layout, uncovered)?))
        })
        .await?;
        let first = FirstStart {
            layout: &self.layout,
            facts: &self.facts,
            at_timestamp: &at_timestamp,
            start: &self.task.start,
            existing: self.task.existing_data,
            target: &target,
            heritage: &heritage,
        };
        let position = first.position()?;
        if heritage.is_empty() {
            return Ok(Fact::StartFound(position));
        }
        let partitions: usize = position.topics.values().map(|topic| topic.partitions.len()).sum();
        let (_, shards) = self.shard;
        self.told.push(format!(
            "takes over the places of {partitions} partitions: the task has {shards} shards now"
        ));
        let position = self.with_appeared(position).await?;
        Ok(Fact::StartInherited(position, heritage.pins(&self.layout)))
    }

    async fn take_source(&mut self) -> Result<Fact<KafkaPosition>, Fault> {
        Ok(Fact::SourceTaken)
    }

    async fn verify_source(
        &mut self,
        position: &KafkaPosition,
    ) -> Result<Fact<KafkaPosition>, Fault> {
        self.look_for_unlisted(position).await?;
        self.look_at_partitions().await?;
        let verdict = judge(&self.layout, position, &self.facts);
        if let Verdict::Stream(_) = verdict {
            self.clear(position.clearing.clone()).await?;
        }
        Ok(Fact::SourceJudged(verdict))
    }

    fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }

    async fn parts(
        mut self,
        start: Start<KafkaPosition>,
        meter: &Meter,
        lease: Lease,
    ) -> Result<Parts, Fault> {
        let clients = self.clients()?;
        let parts = parts::Fitter {
            task: self.task,
            source: self.source,
            clients,
            layout: self.layout,
            facts: self.facts,
            start,
            meter,
        };
        parts.parts(self.target, lease).await.map(|parts| Parts::Kafka(Box::new(parts)))
    }
}

fn first_at(topics: &Topics, layout: &Layout, ms: i64) -> Result<Vec<Option<i64>>, Fault> {
    topics.offsets(&partitions_of(layout), At::Timestamp(ms), CALL)?.into_iter().collect()
}

/// The partitions of the copies that fall to the shard and are wanted, by topic of the source and number:
/// also those that the source has not.
fn target_partitions(
    topics: &Topics,
    layout: &Layout,
    wanted: impl Fn(&str, u32) -> bool,
) -> Result<Vec<TargetPartition>, Fault> {
    let names: Vec<&str> = layout.topics().iter().map(|it| it.target.as_str()).collect();
    let mut found = Vec::new();
    for (copied, (_, answer)) in layout.topics().iter().zip(topics.identify(&names, CALL)?) {
        // One of which the shard has no partition may be missing still.
        let partitions = answer?.map_or(0, |topic| topic.partitions);
        let source = copied.source.name.as_str();
        let ours =
            (0..partitions).filter(|number| layout.has(source, *number) && wanted(source, *number));
        found.extend(ours.map(|partition| (copied.target.as_str(), partition)));
    }
    let facts = bounds(topics, &found)?;
    let partitions = found.iter().zip(facts).map(|((topic, partition), facts)| TargetPartition {
        topic: (*topic).to_owned(),
        partition: *partition,
        low: facts.low,
        end: facts.high,
    });
    Ok(partitions.collect())
}
