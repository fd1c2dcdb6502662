//! Whether the copy would feed itself: what it writes comes back to it, by its own rules or by way of
//! other tasks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tidewire_shared::spec::{NamePattern, TopicRule};

use super::{Finding, Judged, listed};
use crate::copy::rule_of;
use crate::facts::EndLook;

/// Most tasks that a way is followed through: names that every round makes longer have no end.
const HOPS: usize = 16;

/// A task from Kafka, as a way from one cluster to another.
struct Way<'a> {
    /// None: our own.
    task: Option<&'a str>,
    from: usize,
    to: usize,
    rules: &'a [TopicRule],
}

/// A topic that holds records of ours, and how they came there.
struct Reached {
    cluster: usize,
    topic: String,
    way: Vec<String>,
}

/// Nothing that the task writes reaches a topic that it reads.
pub(super) fn judge(judged: &Judged<'_>) -> Finding {
    let ways = ways(judged);
    let Some((ours, _)) = ways.split_first() else { return Finding::pass("no way back") };
    let found = |topics: &mut dyn Iterator<Item = (String, String)>| -> Vec<String> {
        let way = |(topic, copy): (String, String)| {
            Some(format!("{topic} to {}", back(&ways, ours.to, &copy)?.join(" to ")))
        };
        topics.filter_map(way).collect()
    };
    let there = judged.copies.iter().map(|it| (it.source.name.clone(), it.target.clone()));
    let mut loops = found(&mut { there });
    // What is there says more than what may come.
    if loops.is_empty() {
        let appearing = appearing(judged, &ways).into_iter();
        let told = |(name, copy)| (format!("{name} (not there yet)"), copy);
        loops = found(&mut appearing.map(told));
    }
    if loops.is_empty() {
        return Finding::pass("nothing that is copied comes back");
    }
    let others = loops.iter().any(|it| it.contains(" (task "));
    let message = "the task would copy its own copies, without end";
    let remedy = match others {
        true => {
            "exclude on one of these ways what comes from the other, like rename: \"west.{topic}\" and \
             exclude: [\"west.*\"]"
        }
        false => {
            "exclude the copies, like rename: \"dr.{topic}\" and exclude: [\"dr.*\"], or name another \
             target"
        }
    };
    let found = listed(&loops, "; ");
    match sameness(judged) {
        // Clusters that were set up after the same example have one id.
        Sameness::Id(id) => Finding::fail(
            format!("{found}; both clusters have the id {id}"),
            message,
            format!("{remedy}; override this item if they are two clusters all the same"),
        )
        .overridable(),
        Sameness::Proven | Sameness::No => Finding::fail(found, message, remedy),
    }
}

/// Topics that the task would take if they appeared, with the names of their copies: what rules name, ours
/// and those of other tasks, which may make it, and for each pattern a name that fits.
fn appearing(judged: &Judged<'_>, ways: &[Way<'_>]) -> BTreeMap<String, String> {
    let rules = ways.iter().flat_map(|way| way.rules);
    let names = rules.flat_map(|rule| match rule.topics.as_slice() {
        [] => vec!["any".to_owned()],
        patterns => patterns.iter().map(example).collect(),
    });
    let there = |name: &String| judged.copies.iter().any(|it| it.source.name == *name);
    let taken = names.filter(|name| !there(name)).filter_map(|name| {
        let copy = rule_of(&judged.task.topics, &name, name.starts_with("__"))?.renamed(&name);
        Some((name, copy))
    });
    taken.collect()
}

/// A name that fits a pattern.
fn example(pattern: &NamePattern) -> String {
    match pattern {
        NamePattern::Exact(name) => name.clone(),
        NamePattern::Glob(glob) => glob.replace('*', "any").replace('?', "x"),
    }
}

/// Whether both ends are one cluster.
enum Sameness {
    /// A broker or a topic is.
    Proven,
    /// They have the same id, and nothing else tells.
    Id(String),
    No,
}

fn sameness(judged: &Judged<'_>) -> Sameness {
    let seen = judged.seen;
    let (Ok(source), Ok(target)) = (&seen.source.cluster, &seen.target.cluster) else {
        return Sameness::No;
    };
    if source.addresses.iter().any(|address| target.addresses.contains(address)) {
        return Sameness::Proven;
    }
    match (same_topics(judged), &source.id) {
        (Some(true), _) => Sameness::Proven,
        (None, Some(id)) if target.id.as_ref() == Some(id) => Sameness::Id(id.clone()),
        (None | Some(false), _) => Sameness::No,
    }
}

/// Whether a name stands for one topic at both ends: no two topics have the same id.
fn same_topics(judged: &Judged<'_>) -> Option<bool> {
    let listed = judged.seen.listed.as_deref().unwrap_or_default();
    let at_source = |name: &str| listed.iter().find(|it| it.name == name).map(|it| it.id);
    let positions = judged.seen.positions_topic.as_ref().ok().and_then(Option::as_ref);
    let positions = positions.map(|topic| (topic.name.as_str(), Some(topic.id)));
    let copies = judged.copies.iter().filter_map(|copied| {
        let look = judged.seen.target.topics.get(&copied.target)?.as_ref().ok()?;
        Some((copied.target.as_str(), look.as_ref().map(|copy| copy.id)))
    });
    let asked = judged.seen.namesakes.iter().map(|(name, id)| (name.as_str(), *id));
    copies.chain(positions).chain(asked).find_map(|(name, here)| match (at_source(name)?, here) {
        (there, None) => (there != (0, 0)).then_some(false),
        ((0, 0), _) | (_, Some((0, 0))) => None,
        (there, Some(here)) => Some(there == here),
    })
}

/// All ways, ours first; the clusters by number.
fn ways<'a>(judged: &'a Judged<'_>) -> Vec<Way<'a>> {
    let (seen, task) = (judged.seen, judged.task);
    let mut clusters = Clusters::default();
    let one = match sameness(judged) {
        Sameness::Proven | Sameness::Id(_) => Some("one cluster".to_owned()),
        Sameness::No => None,
    };
    let known = |end: &EndLook, named: &[String]| {
        let addresses = end.cluster.iter().flat_map(|cluster| &cluster.addresses);
        let names = named.iter().chain(addresses).map(|it| it.to_ascii_lowercase());
        names.chain(one.clone()).collect()
    };
    let from = clusters.number(known(&seen.source, &task.source.brokers));
    let to = clusters.number(known(&seen.target, &task.target.brokers));
    let mut named = |brokers: &[String]| {
        clusters.number(brokers.iter().map(|it| it.to_ascii_lowercase()).collect())
    };
    let mut numbered = vec![(None, from, to, task.topics.as_slice())];
    for other in judged.neighbours.iter().filter(|it| !it.rules.is_empty()) {
        let (from, to) = (named(&other.source_brokers), named(&other.brokers));
        numbered.push((Some(other.task.as_str()), from, to, other.rules.as_slice()));
    }
    let ways = numbered.into_iter().map(|(task, from, to, rules)| {
        // Only now all names of a cluster are known.
        Way { task, from: clusters.same(from), to: clusters.same(to), rules }
    });
    ways.collect()
}

/// The way on which records of a copy come back to us, if there is one.
fn back(ways: &[Way<'_>], cluster: usize, copy: &str) -> Option<Vec<String>> {
    let mut open =
        VecDeque::from([Reached { cluster, topic: copy.to_owned(), way: vec![copy.to_owned()] }]);
    let mut seen = BTreeSet::new();
    while let Some(at) = open.pop_front() {
        if at.way.len() > HOPS || !seen.insert((at.cluster, at.topic.clone())) {
            continue;
        }
        for way in ways.iter().filter(|way| way.from == at.cluster) {
            let internal = at.topic.starts_with("__");
            let Some(rule) = rule_of(way.rules, &at.topic, internal) else { continue };
            let topic = rule.renamed(&at.topic);
            let mut path = at.way.clone();
            match way.task {
                None => {
                    path.push(topic);
                    return Some(path);
                }
                Some(task) => path.push(format!("{topic} (task {task})")),
            }
            open.push_back(Reached { cluster: way.to, topic, way: path });
        }
    }
    None
}

/// Clusters by the names of their brokers: those that share one are the same.
#[derive(Default)]
struct Clusters {
    names: Vec<BTreeSet<String>>,
    /// The cluster that one turned out to be.
    same: Vec<usize>,
}

impl Clusters {
    /// The number of a cluster of these names.
    fn number(&mut self, names: BTreeSet<String>) -> usize {
        let number = self.names.len();
        for (other, known) in self.names.iter().enumerate() {
            if !known.is_disjoint(&names) {
                let (from, to) = (self.same(other), number);
                for same in &mut self.same {
                    if *same == from {
                        *same = to;
                    }
                }
            }
        }
        self.names.push(names);
        self.same.push(number);
        number
    }

    fn same(&self, number: usize) -> usize {
        self.same.get(number).copied().unwrap_or(number)
    }
}
