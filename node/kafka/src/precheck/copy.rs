//! What a precheck wants to know of both ends of a copy, in few requests: a thousand topics cost about
//! as many as one.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Instant;

use tidewire_node_core::copy::{CopiedTopic, PartitionFacts, SourceTopic, carried, taken};
use tidewire_node_core::facts::{
    ClusterFacts, CopyPrecheck, EndLook, Release, TopicFacts, TopicLook, TopicSettings,
};
use tidewire_shared::spec::{Delivery, KafkaStart, KafkaTask, NamePattern};
use tidewire_shared::{Fault, FaultKind};

use super::{TIMEOUT, left, transactions};
use crate::config::{Isolation, Settings};
use crate::ffi::DescribedTopic;
use crate::positions;
use crate::topics::{Answers, At, ListedTopic, NewTopic, Topics, count};

/// Most topics that are looked for to tell two clusters of one id apart.
const NAMESAKES: usize = 20;

/// Looks at both ends of a task. Takes at most [`TIMEOUT`]; what cannot be seen carries its fault, one
/// of the settings, too.
#[must_use]
pub fn look(
    source: Result<Settings, Fault>,
    target: Result<Settings, Fault>,
    task: &KafkaTask,
) -> CopyPrecheck {
    let deadline = Instant::now() + TIMEOUT;
    let (source, mut target) = thread::scope(|scope| {
        let source = scope.spawn(|| Source::look(source, task, deadline));
        let target = Target::connect(target, task, deadline);
        (source.join().unwrap_or_else(|_| Source::blind(&panicked())), target)
    });
    let copies = taken(&task.topics, source.listed.as_deref().unwrap_or_default());
    let topics = target.topics(&copies, deadline);
    target.ask_for_changes(&copies, &topics, &source.look, task, deadline);
    let namesakes = target.namesakes(&copies, &source.look, deadline);
    CopyPrecheck {
        namesakes,
        source: source.look,
        listed: source.listed,
        target: EndLook { cluster: target.cluster, ..topics },
        makeable: target.makeable,
        widenable: target.widenable,
        transactions: target.transactions,
        positions_topic: target.positions_topic,
    }
}

fn panicked() -> Fault {
    Fault::new(FaultKind::Internal, "precheck", "the look at the source broke off")
}

/// The cluster that is copied from.
struct Source {
    look: EndLook,
    listed: Result<Vec<SourceTopic>, Fault>,
}

impl Source {
    fn blind(fault: &Fault) -> Self {
        let look = EndLook { cluster: Err(fault.clone()), ..unknown() };
        Self { look, listed: Err(fault.clone()) }
    }

    fn look(settings: Result<Settings, Fault>, task: &KafkaTask, deadline: Instant) -> Self {
        let seen = settings.and_then(|settings| {
            let topics = Topics::telling(&settings)?;
            let cluster = topics.cluster(left(deadline))?;
            Ok((topics, cluster))
        });
        let (topics, cluster) = match seen {
            Ok(seen) => seen,
            Err(fault) => return Self::blind(&fault),
        };
        let listed = topics.list(left(deadline));
        let listed = listed.map(|it| it.into_iter().map(ListedTopic::into).collect::<Vec<_>>());
        let names = wanted(task, listed.as_deref().unwrap_or_default());
        let at = match task.start {
            KafkaStart::Timestamp(ms) => Some(ms),
            KafkaStart::Earliest | KafkaStart::Latest | KafkaStart::Offsets(_) => None,
        };
        let look = look_at(&topics, &names, (Isolation::Committed, at), deadline);
        Self { look: EndLook { cluster: Ok(cluster), ..look }, listed }
    }
}

/// The topics that the task copies, and those that it names and that are not listed.
fn wanted(task: &KafkaTask, listed: &[SourceTopic]) -> BTreeSet<String> {
    let mut names: BTreeSet<String> =
        taken(&task.topics, listed).into_iter().map(|copied| copied.source.name).collect();
    let named = task.topics.iter().flat_map(|rule| {
        let excluded = |name: &str| rule.exclude.iter().any(|it| it.fits(name));
        rule.topics.iter().filter_map(move |pattern| match pattern {
            NamePattern::Exact(name) => (!excluded(name)).then_some(name),
            NamePattern::Glob(_) => None,
        })
    });
    names.extend(named.cloned());
    names
}

impl From<ListedTopic> for SourceTopic {
    fn from(listed: ListedTopic) -> Self {
        let ListedTopic { name, id, partitions, replicas, internal, operations: _ } = listed;
        Self { name, id, partitions, replicas, internal }
    }
}

/// The cluster that is copied to.
struct Target {
    client: Option<Topics>,
    cluster: Result<ClusterFacts, Fault>,
    transactions: Result<(), Fault>,
    positions_topic: Result<Option<TopicFacts>, Fault>,
    makeable: Vec<(String, Result<(), Fault>)>,
    widenable: Vec<(String, Result<(), Fault>)>,
}

impl Target {
    /// What does not depend on the topics of the source.
    fn connect(settings: Result<Settings, Fault>, task: &KafkaTask, deadline: Instant) -> Self {
        let mut target = Self {
            client: None,
            cluster: Ok(ClusterFacts::default()),
            transactions: Ok(()),
            positions_topic: Ok(None),
            makeable: Vec::new(),
            widenable: Vec::new(),
        };
        let seen = settings.and_then(|settings| {
            let topics = Topics::telling(&settings)?;
            target.cluster = Ok(topics.cluster(left(deadline))?);
            Ok((settings, topics))
        });
        match seen {
            Err(fault) => target.cluster = Err(fault),
            Ok((settings, topics)) => {
                if task.delivery == Delivery::ExactlyOnce {
                    target.positions_topic = positions::probe(&topics, left(deadline));
                    target.transactions = transactions(&settings, left(deadline));
                }
                target.client = Some(topics);
            }
        }
        target
    }

    /// The copies as they are.
    fn topics(&self, copies: &[CopiedTopic], deadline: Instant) -> EndLook {
        let names = copies.iter().map(|copied| copied.target.clone()).collect();
        match &self.client {
            None => unknown(),
            Some(topics) => look_at(topics, &names, (Isolation::Uncommitted, None), deadline),
        }
    }

    /// Topics that are called as those of the source, where the ids of both clusters do not tell them
    /// apart.
    fn namesakes(
        &self,
        copies: &[CopiedTopic],
        source: &EndLook,
        deadline: Instant,
    ) -> Vec<(String, Option<(i64, i64)>)> {
        let id = |cluster: &Result<ClusterFacts, Fault>| cluster.as_ref().ok()?.id.clone();
        let (Some(topics), Some(there)) = (&self.client, id(&source.cluster)) else {
            return Vec::new();
        };
        if id(&self.cluster) != Some(there) {
            return Vec::new();
        }
        let names = copies.iter().take(NAMESAKES).map(|copied| copied.source.name.as_str());
        let answers = topics.described(&names.collect::<Vec<_>>(), left(deadline));
        let answers = answers.unwrap_or_default().into_iter();
        answers.filter_map(|(name, answer)| Some((name, answer.ok()?.map(|it| it.id)))).collect()
    }

    /// What brokers say to the copies that have to be made or widened.
    fn ask_for_changes(
        &mut self,
        copies: &[CopiedTopic],
        seen: &EndLook,
        source: &EndLook,
        task: &KafkaTask,
        deadline: Instant,
    ) {
        let Some(topics) = &self.client else { return };
        let brokers = self.cluster.as_ref().map_or(0, |cluster| count(cluster.addresses.len()));
        let plans: Vec<NewTopic> = copies
            .iter()
            .filter(|copied| seen.lacks(&copied.target))
            .map(|copied| plan(copied, source.topic(&copied.source.name), brokers.max(1), task))
            .collect();
        let names = plans.iter().map(|plan| plan.name.clone());
        self.makeable = match topics.try_create(&plans, left(deadline)) {
            Ok(answers) => answers.into_iter().map(|(name, it)| (name, it.map(drop))).collect(),
            Err(fault) => names.map(|name| (name, Err(fault.clone()))).collect(),
        };
        let narrow: Vec<(&str, u32)> = copies
            .iter()
            .filter(|copied| {
                let copy = seen.topic(&copied.target);
                copy.is_some_and(|copy| copy.partitions() < copied.source.partitions)
            })
            .map(|copied| (copied.target.as_str(), copied.source.partitions))
            .collect();
        self.widenable = match topics.try_add_partitions(&narrow, left(deadline)) {
            Ok(answers) => answers,
            Err(fault) => {
                narrow.iter().map(|(name, _)| ((*name).to_owned(), Err(fault.clone()))).collect()
            }
        };
    }
}

/// The copy as the start would make it.
fn plan(
    copied: &CopiedTopic,
    original: Option<&TopicLook>,
    brokers: u32,
    task: &KafkaTask,
) -> NewTopic {
    let settings = original.and_then(|it| it.settings.as_ref().ok());
    let own = settings.into_iter().flatten().filter(|(_, setting)| setting.own);
    let own = own.map(|(name, setting)| (name.clone(), setting.value.clone())).collect();
    NewTopic {
        name: copied.target.clone(),
        partitions: copied.source.partitions,
        replicas: Some(copied.source.replicas.clamp(1, brokers)),
        configs: carried(own, &task.sync_configs),
    }
}

/// An end whose topics nobody asked for.
fn unknown() -> EndLook {
    EndLook { cluster: Ok(ClusterFacts::default()), topics: BTreeMap::new(), release: None }
}

/// Looks at topics of one end: what they are, what may be done with them, their settings, and where
/// their partitions begin and end.
fn look_at(
    topics: &Topics,
    names: &BTreeSet<String>,
    (isolation, at): (Isolation, Option<i64>),
    deadline: Instant,
) -> EndLook {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let seen = topics.described(&names, left(deadline)).and_then(|described| {
        let settings = topics.settings_of(&names, left(deadline))?;
        Ok((described, settings))
    });
    let (described, settings) = match seen {
        Ok(seen) => seen,
        Err(fault) => {
            let blind = |name: &&str| ((*name).to_owned(), Err(fault.clone()));
            return EndLook { topics: names.iter().map(blind).collect(), ..unknown() };
        }
    };
    // Brokers that know the question say of a topic that is not there that it is not.
    let told_none = |answer: &Result<Option<TopicSettings>, Fault>| {
        answer.as_ref().is_ok_and(|it| it.as_ref().is_some_and(TopicSettings::is_empty))
    };
    let tells_none = settings.iter().any(|(_, answer)| told_none(answer));
    let release = topics.release().or_else(|| tells_none.then_some(Release::V0_10));
    let mut ends = ends(topics, &described, (isolation, at), deadline);
    let mut settings: BTreeMap<String, _> = settings.into_iter().collect();
    let seen = described.into_iter().map(|(name, answer)| {
        let seen = answer.map(|topic| {
            let settings = settings.remove(&name).unwrap_or(Ok(None));
            // One that vanished between two requests is told of as one without settings.
            topic.map(|topic| topic_look(topic, settings.map(Option::unwrap_or_default), &mut ends))
        });
        (name, seen)
    });
    EndLook { topics: seen.collect(), release, ..unknown() }
}

/// Ends of the partitions, one after the other in the order of topics and numbers.
struct Ends {
    ends: std::vec::IntoIter<Result<PartitionFacts, Fault>>,
    at_timestamp: Option<std::vec::IntoIter<Option<i64>>>,
}

fn ends(
    topics: &Topics,
    described: &Answers<DescribedTopic>,
    (isolation, at): (Isolation, Option<i64>),
    deadline: Instant,
) -> Ends {
    let there = described.iter().filter_map(|(_, answer)| answer.as_ref().ok()?.as_ref());
    let partitions: Vec<(&str, u32)> = there
        .flat_map(|topic| (0..count(topic.partitions)).map(|number| (topic.name.as_str(), number)))
        .collect();
    let ask = |at| match topics.offsets(&partitions, at, left(deadline)) {
        Ok(answers) => answers,
        Err(fault) => partitions.iter().map(|_| Err(fault.clone())).collect(),
    };
    let low = ask(At::Earliest);
    let end = ask(At::Latest(isolation));
    let facts = low.into_iter().zip(end).map(|(low, end)| {
        let (low, end) = (low?.unwrap_or_default(), end?.unwrap_or_default());
        Ok(PartitionFacts { low, end, high: end })
    });
    let mut ends: Vec<_> = facts.collect();
    let at_timestamp = at.map(|ms| {
        let answers = ask(At::Timestamp(ms)).into_iter().zip(&mut ends);
        let places = answers.map(|(answer, ends)| match answer {
            Ok(place) => place,
            Err(fault) => {
                *ends = Err(fault);
                None
            }
        });
        places.collect::<Vec<_>>().into_iter()
    });
    Ends { ends: ends.into_iter(), at_timestamp }
}

fn topic_look(
    topic: DescribedTopic,
    settings: Result<TopicSettings, Fault>,
    ends: &mut Ends,
) -> TopicLook {
    let partitions = topic.partitions;
    let at_timestamp = ends.at_timestamp.as_mut().into_iter();
    TopicLook {
        id: topic.id,
        replicas: count(topic.replicas_of_first),
        health: topic.health(),
        operations: (!topic.operations.is_empty()).then_some(topic.operations),
        settings,
        ends: ends.ends.by_ref().take(partitions).collect(),
        at_timestamp: at_timestamp.flat_map(|it| it.by_ref().take(partitions)).collect(),
    }
}
