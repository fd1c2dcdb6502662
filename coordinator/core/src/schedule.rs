//! Where a shard goes: sticky, least loaded, within capacity, the same on every run.
//!
//! Shards with a living owner are never looked at here, which is what makes placement sticky. Among
//! equally loaded nodes a rendezvous hash decides, so that no node is everybody's first choice.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeSet;

use tidewire_shared::{NodeName, ShardId};

use crate::liveness::Standing;
use crate::observed::Observed;
use crate::state::ClusterState;

/// A node that takes shards, with what it will carry once everything decided so far has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The node.
    pub node: NodeName,
    /// Its process.
    pub instance: u64,
    /// Shards it carries at most.
    pub capacity: u32,
    /// Shards it carries, and those on their way to it.
    pub load: u32,
}

impl Candidate {
    /// Load in relation to capacity, compared without division.
    fn by_fullness(&self, other: &Self) -> Ordering {
        let left = u64::from(self.load) * u64::from(other.capacity);
        let right = u64::from(other.load) * u64::from(self.capacity);
        left.cmp(&right)
    }
}

/// The nodes that take shards now: live, the process that registered, and not draining.
#[must_use]
pub fn candidates(state: &ClusterState, observed: &Observed, now_ms: u64) -> Vec<Candidate> {
    state
        .nodes()
        .filter(|node| !node.is_draining())
        .filter(|node| observed.standing(node.name(), now_ms) == Standing::Live)
        .filter(|node| {
            observed.session(node.name()).is_some_and(|it| it.instance == node.instance())
        })
        .map(|node| Candidate {
            node: node.name().clone(),
            instance: node.instance(),
            capacity: node.capacity(),
            load: state.load_of(node.name()),
        })
        .collect()
}

/// The best node for a shard; none if all are full or to be avoided.
#[must_use]
pub fn choose<'c>(
    candidates: &'c [Candidate],
    shard: &ShardId,
    avoid: &BTreeSet<NodeName>,
) -> Option<&'c Candidate> {
    candidates
        .iter()
        .filter(|candidate| candidate.load < candidate.capacity && !avoid.contains(&candidate.node))
        .min_by(|a, b| {
            let weight = |candidate: &Candidate| Reverse(weight(shard, &candidate.node));
            a.by_fullness(b)
                .then_with(|| weight(a).cmp(&weight(b)))
                .then_with(|| a.node.cmp(&b.node))
        })
}

/// Rendezvous weight: FNV-1a over both names, then mixed, because FNV spreads its last bytes badly.
fn weight(shard: &ShardId, node: &NodeName) -> u64 {
    const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let index = shard.index.to_be_bytes();
    let bytes = shard.task.as_str().bytes().chain(index).chain(node.as_str().bytes());
    let hash = bytes.fold(OFFSET_BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(name: &str, load: u32, capacity: u32) -> Candidate {
        Candidate { node: name.parse().expect("name"), instance: 1, capacity, load }
    }

    fn shard(index: u32) -> ShardId {
        ShardId { task: "k3v9".parse().expect("id"), index }
    }

    #[test]
    fn the_emptier_node_wins_in_relation_to_its_capacity() {
        let nodes = [candidate("small", 2, 4), candidate("large", 10, 100)];
        let chosen = choose(&nodes, &shard(0), &BTreeSet::new()).expect("a place");
        assert_eq!(chosen.node.as_str(), "large");
    }

    #[test]
    fn full_and_avoided_nodes_get_nothing() {
        let nodes = [candidate("full", 4, 4), candidate("crashed", 0, 4)];
        let avoid = BTreeSet::from(["crashed".parse().expect("name")]);
        assert_eq!(choose(&nodes, &shard(0), &avoid), None);
        assert_eq!(choose(&[candidate("none", 0, 0)], &shard(0), &BTreeSet::new()), None);
    }

    #[test]
    fn ties_spread_over_all_nodes_and_do_not_depend_on_order() {
        let nodes = ["a", "b", "c"].map(|name| candidate(name, 0, 100));
        let mut reversed = nodes.clone();
        reversed.reverse();
        let mut chosen = std::collections::BTreeMap::<NodeName, u32>::new();
        for index in 0..300 {
            let place = choose(&nodes, &shard(index), &BTreeSet::new()).expect("a place");
            let again = choose(&reversed, &shard(index), &BTreeSet::new()).expect("a place");
            assert_eq!(place.node, again.node);
            *chosen.entry(place.node.clone()).or_default() += 1;
        }
        assert_eq!(chosen.len(), 3);
        assert!(chosen.values().all(|count| (60..=140).contains(count)), "{chosen:?}");
    }
}
