//! What the steps of a start mean for a task from PostgreSQL.

mod objects;
mod parts;
mod primary;
mod rewind;
mod source;

use tidewire_kafka::Idempotence;
use tidewire_kafka::topics::Topics;
use tidewire_node_core::encode::DeadLetterTopic;
use tidewire_node_core::facts::TopicFacts;
use tidewire_node_core::schema::TaskTables;
use tidewire_node_core::takeover::{Fact, PinPolicy, Start, TopicPin, accepted_changes};
use tidewire_shared::spec::{BadRecord, PostgresTask, TopicChange};
use tidewire_shared::{ByteSize, ClusterId, Fault, NodeName, PgPosition};

use super::Ends;
use super::target::{CALL, TargetSide, blocking};
use crate::lease::Lease;
use crate::pipeline::Parts;
use crate::shard::Assignment;
use crate::shard::meter::Meter;
use parts::Fitter;
use source::SourceSide;

pub(crate) use objects::SourceObjects;
pub(crate) use rewind::rewind;

/// Both ends of a shard.
pub(super) struct PostgresEnds<'a> {
    task: &'a PostgresTask,
    source: SourceSide,
    target: TargetSide,
    /// The tables that the task has now, and every topic it may write to.
    tables: TaskTables,
    /// What changed at the target, for the log of the task.
    told: Vec<String>,
}

impl<'a> PostgresEnds<'a> {
    pub(super) fn new(
        task: &'a PostgresTask,
        assignment: &Assignment,
        cluster: &ClusterId,
        node: &NodeName,
    ) -> Result<Self, Fault> {
        Ok(Self {
            task,
            source: SourceSide::new(task, assignment, cluster)?,
            target: target(task, assignment, cluster, node)?,
            tables: TaskTables::default(),
            told: Vec::new(),
        })
    }

    /// Whether a topic may be written to that was pinned so.
    fn fits(&self, pin: &TopicPin, topic: &TopicFacts) -> bool {
        let difference = pin.difference((topic.id, topic.partitions));
        difference.is_none_or(|difference| difference.is_accepted(policy(self.task)))
    }
}

/// The target of a shard.
fn target(
    task: &PostgresTask,
    assignment: &Assignment,
    cluster: &ClusterId,
    node: &NodeName,
) -> Result<TargetSide, Fault> {
    // Dead letters may be larger than records that are allowed to be very small only.
    let largest = match task.on_bad_record {
        BadRecord::DeadLetter(_) => {
            task.limits.record_bytes.max(ByteSize(DeadLetterTopic::LEAST_BYTES))
        }
        BadRecord::Stop => task.limits.record_bytes,
    };
    TargetSide::new(assignment, cluster, node, largest)
}

/// Reaches the database once, whatever comes of it.
pub(super) async fn warm(task: &PostgresTask, assignment: &Assignment, cluster: &ClusterId) {
    if let Ok(mut source) = SourceSide::new(task, assignment, cluster) {
        source.connect_ahead();
        source.warm().await;
    }
}

impl Ends for PostgresEnds<'_> {
    type Position = PgPosition;

    fn target(&mut self) -> &mut TargetSide {
        &mut self.target
    }

    fn pin_policy(&self) -> PinPolicy {
        policy(self.task)
    }

    fn connect_ahead(&mut self) {
        self.source.connect_ahead();
    }

    fn stands_at(&mut self, position: &PgPosition) {
        self.source.stands_at(position);
    }

    /// Looks at the topics of the tables that the task has now, and makes those that are missing where
    /// it is to make them.
    async fn verify_topics(
        &mut self,
        _known: Option<PgPosition>,
    ) -> Result<Fact<PgPosition>, Fault> {
        let mut tables = self.source.resolve().await?;
        if let BadRecord::DeadLetter(topic) = &self.task.on_bad_record {
            tables.add_topic(topic)?;
        }
        let needed = tables.topics().to_vec();
        let pinned = self.target.pins.iter().map(|pin| pin.name.clone());
        let mut names = needed.clone();
        names.extend(pinned.filter(|name| !needed.contains(name)));
        let (settings, creation) = (self.target.settings.clone(), self.task.target.create_topics);
        // One that was written to and is gone is told of, and not just made again, unless that is accepted.
        let again = self.task.target.on_topic_change == TopicChange::Accept;
        let is_pinned = |name: &String| self.target.pins.iter().any(|pin| pin.name == *name);
        let wanted = needed.iter().filter(|name| again || !is_pinned(name));
        let wanted: Vec<String> = wanted.cloned().collect();
        let mine = names.clone();
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
                && self.target.pins.iter().any(|pin| pin.name == name && self.fits(pin, &facts))
            {
                // No table goes there now, but changes of one that did may still come.
                tables.add_topic(&name)?;
                seen.push((name, Some(facts)));
            }
        }
        if seen.iter().flat_map(|(_, facts)| facts).any(TopicFacts::is_of_old_brokers) {
            self.target.idempotence = Idempotence::Off;
        }
        self.tables = tables;
        self.told.extend(accepted_changes(&self.target.pins, &seen, policy(self.task)));
        Ok(Fact::TopicsSeen(seen))
    }

    async fn prepare_source(&mut self) -> Result<Fact<PgPosition>, Fault> {
        self.source.ensure_publication().await
    }

    async fn find_start(&mut self) -> Result<Fact<PgPosition>, Fault> {
        self.source.ensure_slot().await
    }

    async fn take_source(&mut self) -> Result<Fact<PgPosition>, Fault> {
        self.source.take_slot().await
    }

    async fn verify_source(&mut self, position: &PgPosition) -> Result<Fact<PgPosition>, Fault> {
        self.source.verify(position).await
    }

    fn told(&mut self) -> Vec<String> {
        let mut told = self.source.told();
        told.append(&mut self.told);
        told
    }

    async fn parts(
        self,
        start: Start<PgPosition>,
        meter: &Meter,
        lease: Lease,
    ) -> Result<Parts, Fault> {
        let Self { task, source, target, tables, told: _ } = self;
        let stream = source.stream(&start).await?;
        let from = start.opening.from;
        let incarnation = start.claim.position.incarnation;
        let parts = Fitter { task, tables, start, meter }.parts(target, stream, lease)?;
        let moved = match incarnation {
            0 => String::new(),
            times => format!(", incarnation {times} of the source: its user has moved it"),
        };
        meter.log().info(format!("streams from {from}{moved}"));
        Ok(Parts::Postgres(Box::new(parts)))
    }
}

/// Which changes of its topics a task goes on with.
fn policy(task: &PostgresTask) -> PinPolicy {
    PinPolicy::Spread(task.target.on_topic_change)
}
