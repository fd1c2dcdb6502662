//! Nodes come, drain and go.

use tidewire_shared::NodeName;

use super::Verdict;
use crate::command::{DrainCause, NodeRegistration};
use crate::outcome::{Event, Outcome, Rejection, RejectionCode};
use crate::state::{ClusterState, Node};

pub(super) fn register(
    state: &mut ClusterState,
    node: &NodeRegistration,
    at_ms: i64,
    events: &mut Vec<Event>,
) -> Verdict {
    let known = state.nodes.get(&node.name);
    let same_process = known.is_some_and(|known| known.instance == node.instance);
    let registered = Node {
        name: node.name.clone(),
        instance: node.instance,
        capacity: node.capacity,
        version: node.version.clone(),
        host: node.host.clone(),
        pid: node.pid,
        asked_to_drain: known.is_some_and(|known| known.asked_to_drain),
        leaving: same_process && known.is_some_and(|known| known.leaving),
        registered_at_ms: known
            .filter(|_| same_process)
            .map_or(at_ms, |known| known.registered_at_ms),
    };
    if known == Some(&registered) {
        return Ok(Outcome::Unchanged);
    }
    state.nodes.insert(node.name.clone(), registered);
    events.push(Event::NodeChanged { node: node.name.clone() });
    Ok(Outcome::Done)
}

pub(super) fn forget(
    state: &mut ClusterState,
    name: &NodeName,
    events: &mut Vec<Event>,
) -> Verdict {
    if !state.nodes.contains_key(name) {
        return Err(Rejection::no_node(name));
    }
    let owned = state.load_of(name);
    if owned > 0 {
        return Err(Rejection::new(
            RejectionCode::Refused,
            format_args!("node {name}"),
            format_args!("it still owns {owned} shards; drain it first"),
        ));
    }
    state.nodes.remove(name);
    want_nothing_on(state, name);
    events.push(Event::NodeChanged { node: name.clone() });
    Ok(Outcome::Done)
}

pub(super) fn drain(
    state: &mut ClusterState,
    name: &NodeName,
    cause: DrainCause,
    events: &mut Vec<Event>,
) -> Verdict {
    if !state.nodes.contains_key(name) {
        return Err(Rejection::no_node(name));
    }
    want_nothing_on(state, name);
    let node = state.nodes.get_mut(name).ok_or_else(|| Rejection::no_node(name))?;
    let flag = match cause {
        DrainCause::Asked => &mut node.asked_to_drain,
        DrainCause::Leaving => &mut node.leaving,
    };
    set(flag, true, name, events)
}

pub(super) fn resume(
    state: &mut ClusterState,
    name: &NodeName,
    events: &mut Vec<Event>,
) -> Verdict {
    let node = state.nodes.get_mut(name).ok_or_else(|| Rejection::no_node(name))?;
    set(&mut node.asked_to_drain, false, name, events)
}

/// Takes back every wish to move a shard to a node that takes none any more: it would never come true,
/// and nothing is evened out while a shard is on the move.
fn want_nothing_on(state: &mut ClusterState, name: &NodeName) {
    let shards = state.tasks.values_mut().flat_map(|task| task.shards.values_mut());
    for shard in shards.filter(|shard| shard.wanted_on.as_ref() == Some(name)) {
        shard.wanted_on = None;
    }
}

fn set(flag: &mut bool, value: bool, name: &NodeName, events: &mut Vec<Event>) -> Verdict {
    if *flag == value {
        return Ok(Outcome::Unchanged);
    }
    *flag = value;
    events.push(Event::NodeChanged { node: name.clone() });
    Ok(Outcome::Done)
}
