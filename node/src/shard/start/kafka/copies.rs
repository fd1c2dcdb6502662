//! The copies of topics at the target: made where they are missing, widened where they are too narrow,
//! and configured as their originals are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidewire_kafka::topics::{Config, NewTopic, Topics, patiently};
use tidewire_node_core::copy::{CopiedTopic, Layout, carried, differing};
use tidewire_node_core::facts::TopicFacts;
use tidewire_node_core::takeover::TopicPin;
use tidewire_shared::spec::SyncConfigs;
use tidewire_shared::{Fault, FaultKind};

/// Between two looks for a topic that was just made.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What a copy depends on at both ends.
pub(super) struct Copies<'a> {
    pub(super) source: &'a Topics,
    pub(super) target: &'a Topics,
    pub(super) sync: &'a SyncConfigs,
    /// Copies that the shard has written to: one that is gone is told of, and not just made again.
    pub(super) pins: &'a [TopicPin],
    /// What the shard copies.
    pub(super) layout: &'a Layout,
}

type Seen = Vec<(String, Option<TopicFacts>)>;

impl Copies<'_> {
    /// Has every copy there with as many partitions as its original, but for those that are gone; says
    /// what was made.
    pub(super) fn ensure(&self, timeout: Duration) -> Result<(Seen, Vec<String>), Fault> {
        let deadline = Instant::now() + timeout;
        let topics: Vec<&CopiedTopic> = self.layout.topics_of_shard().collect();
        let topics = topics.as_slice();
        let mut told = Vec::new();
        let seen = patiently(
            || self.describe(topics, timeout),
            |seen| seen.iter().any(|it| self.is_gone(it)),
        )?;
        self.refuse_a_loop(&seen, timeout)?;
        let mut changed = self.make_missing(topics, &seen, timeout, &mut told)?;
        changed |= self.widen(topics, &seen, timeout, &mut told)?;
        if !changed {
            return Ok((seen, told));
        }
        loop {
            let seen = self.describe(topics, timeout)?;
            let late = topics.iter().zip(&seen).find(|(topic, seen)| match &seen.1 {
                Some(facts) => facts.partitions < topic.source.partitions,
                None => !self.is_gone(seen),
            });
            match late {
                None => return Ok((seen, told)),
                Some((topic, _)) if Instant::now() >= deadline => {
                    return Err(not_there_yet(&topic.target));
                }
                Some(_) => std::thread::sleep(LOOK_AGAIN),
            }
        }
    }

    /// An error when a copy is a topic of the source that the shard would copy again: both ends are one
    /// cluster. Copies of other shards are asked for only where they may be.
    fn refuse_a_loop(&self, seen: &Seen, timeout: Duration) -> Result<(), Fault> {
        let ours = seen.iter().flat_map(|(name, facts)| Some((name.as_str(), facts.as_ref()?.id)));
        let ours: BTreeMap<&str, (i64, i64)> = ours.collect();
        let asked: Vec<&str> =
            self.layout.copies_to_read().filter(|copy| !ours.contains_key(copy)).collect();
        let answers = match asked.is_empty() {
            true => Vec::new(),
            false => self.target.identify(&asked, timeout)?,
        };
        let others = answers
            .iter()
            .filter_map(|(name, answer)| Some((name.as_str(), answer.as_ref().ok()?.as_ref()?.id)));
        self.layout.comes_back(ours.into_iter().chain(others))
    }

    fn describe(&self, topics: &[&CopiedTopic], timeout: Duration) -> Result<Seen, Fault> {
        let names: Vec<&str> = topics.iter().map(|topic| topic.target.as_str()).collect();
        let answers = self.target.describe(&names, timeout)?;
        answers.into_iter().map(|(name, answer)| Ok((name, answer?))).collect()
    }

    /// Whether a copy is missing that the shard has written to.
    fn is_gone(&self, (name, facts): &(String, Option<TopicFacts>)) -> bool {
        facts.is_none() && self.pins.iter().any(|pin| pin.name == *name)
    }

    /// Another shard of the task may make them at the same time: one that is there already is as good.
    fn make_missing(
        &self,
        topics: &[&CopiedTopic],
        seen: &Seen,
        timeout: Duration,
        told: &mut Vec<String>,
    ) -> Result<bool, Fault> {
        let missing = topics.iter().zip(seen).filter(|(_, it)| it.1.is_none() && !self.is_gone(it));
        let missing: Vec<&CopiedTopic> = missing.map(|(topic, _)| *topic).collect();
        if missing.is_empty() {
            return Ok(false);
        }
        let names: Vec<&str> = missing.iter().map(|topic| topic.source.name.as_str()).collect();
        let configs = self.source.own_configs(&names, timeout)?;
        let brokers = self.target.count_brokers(timeout)?.max(1);
        let mut plans = Vec::with_capacity(missing.len());
        for (topic, (_, configs)) in missing.iter().zip(configs) {
            plans.push(NewTopic {
                name: topic.target.clone(),
                partitions: topic.source.partitions,
                replicas: Some(topic.source.replicas.clamp(1, brokers)),
                // One that was deleted meanwhile is told of by the next look.
                configs: carried(configs?.unwrap_or_default(), self.sync),
            });
        }
        for (name, made) in self.target.create(&plans, timeout)? {
            if made? {
                told.push(format!("made topic {name} at the target"));
            }
        }
        Ok(true)
    }

    fn widen(
        &self,
        topics: &[&CopiedTopic],
        seen: &Seen,
        timeout: Duration,
        told: &mut Vec<String>,
    ) -> Result<bool, Fault> {
        let narrow: Vec<(&str, u32)> = topics
            .iter()
            .zip(seen)
            .filter(|(topic, (_, facts))| {
                facts.as_ref().is_some_and(|it| it.partitions < topic.source.partitions)
            })
            .map(|(topic, _)| (topic.target.as_str(), topic.source.partitions))
            .collect();
        if narrow.is_empty() {
            return Ok(false);
        }
        for ((_, partitions), (name, widened)) in
            narrow.iter().zip(self.target.add_partitions(&narrow, timeout)?)
        {
            match widened {
                Ok(()) => {
                    told.push(format!(
                        "widened topic {name} at the target to {partitions} partitions"
                    ));
                }
                // Another shard of the task was quicker; if nobody was, the next looks tell.
                Err(fault) if fault.kind == FaultKind::Configuration => {
                    tracing::debug!(%fault, "was widened by another shard");
                }
                Err(fault) => return Err(fault),
            }
        }
        Ok(true)
    }
}

/// The target took longer than a start waits.
fn not_there_yet(topic: &str) -> Fault {
    Fault::new(FaultKind::TargetBusy, format!("topic {topic}"), "was made, but is not there yet")
        .remedy("nothing to do: the task looks again")
}

/// Carries changes of configurations over, for the whole task.
pub(crate) struct ConfigSync {
    pub(crate) source: Arc<Topics>,
    pub(crate) target: Arc<Topics>,
    pub(crate) topics: Vec<CopiedTopic>,
    pub(crate) sync: SyncConfigs,
    /// What each original had at the last look.
    pub(crate) before: BTreeMap<String, Config>,
}

/// Longest single call.
const CALL: Duration = Duration::from_secs(20);

impl ConfigSync {
    /// Compares both ends, and alters what differs. What the source does not set by itself stays at the
    /// target as it is, unless the source had set it so at the last look.
    ///
    /// # Errors
    /// When one end could not be asked, or the target refuses.
    pub(crate) fn carry_over(&mut self) -> Result<(), Fault> {
        let source: Vec<&str> = self.topics.iter().map(|it| it.source.name.as_str()).collect();
        let target: Vec<&str> = self.topics.iter().map(|it| it.target.as_str()).collect();
        let wanted = self.source.own_configs(&source, CALL)?;
        let present = self.target.own_configs(&target, CALL)?;
        let (mut changes, mut seen) = (Vec::new(), BTreeMap::new());
        for ((name, (_, wanted)), (_, present)) in target.iter().zip(wanted).zip(present) {
            // One that is gone is told of elsewhere.
            let (Ok(Some(wanted)), Ok(Some(present))) = (wanted, present) else { continue };
            let wanted = carried(wanted, &self.sync);
            let differing = differing(&wanted, self.before.get(*name), &present);
            if !differing.is_empty() {
                tracing::info!(topic = name, configs = ?differing.keys(), "carries configurations over");
                changes.push((*name, differing));
            }
            seen.insert((*name).to_owned(), wanted);
        }
        let done = match changes.is_empty() {
            true => Vec::new(),
            false => self.target.alter_configs(&changes, CALL)?,
        };
        let mut outcome = Ok(());
        for (name, done) in done {
            if let Err(fault) = done {
                // What could not be taken away is still to be.
                seen.remove(&name);
                outcome = outcome.and(Err(fault));
            }
        }
        self.before.extend(seen);
        outcome
    }
}
