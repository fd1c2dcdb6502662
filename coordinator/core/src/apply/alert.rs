//! Alerts begin, go on and end; messages are made, and told or given up.

use std::collections::BTreeSet;

use tidewire_shared::{AlertName, ChannelName, TaskId, TaskName};

use crate::alert::{AlertMove, Message, Notice, Push, Seen, Step, rule};
use crate::outcome::Outcome;
use crate::state::ClusterState;

/// Carries out what a leader found. What is so already, or makes no sense any more, is left out: a
/// leader may propose the same twice.
pub(super) fn advance(state: &mut ClusterState, moves: &[AlertMove], at_ms: i64) -> Outcome {
    for found in moves {
        match found.step {
            Step::Begins | Step::GoesOn => go_on(state, found, at_ms),
            Step::Ends(_) => end(state, found, at_ms),
        }
    }
    forget(state, at_ms);
    Outcome::Done
}

/// Drops what says nothing any more: nothing was told lately, or there is no such alert.
fn forget(state: &mut ClusterState, at_ms: i64) {
    let standings = std::mem::take(&mut state.alerts.standings);
    let kept = standings.into_iter().filter(|((task, alert), standing)| {
        let wanted = !standing.is_quiet(at_ms) && rule(state, task, alert).is_some();
        standing.open.is_some() || wanted
    });
    state.alerts.standings = kept.collect();
}

fn go_on(state: &mut ClusterState, found: &AlertMove, at_ms: i64) {
    let Some(rule) = rule(state, &found.task, &found.alert) else { return };
    let Some(task) = state.task(&found.task).map(|task| task.name().clone()) else { return };
    let (repeat, condition) = (rule.repeat, rule.when.to_string());
    let to: BTreeSet<ChannelName> = rule.to.iter().cloned().collect();
    let key = (found.task.clone(), found.alert.clone());
    let standing = match found.step {
        Step::Begins => state.alerts.standings.entry(key).or_default(),
        Step::GoesOn | Step::Ends(_) => match state.alerts.standings.get_mut(&key) {
            Some(standing) => standing,
            None => return,
        },
    };
    let notice = match found.step {
        Step::Begins => standing.fire(&task, condition.clone(), at_ms),
        Step::GoesOn | Step::Ends(_) => standing.tell(repeat, at_ms),
    };
    let (Some(notice), Some(open)) = (notice, standing.open.as_mut()) else { return };
    open.heard.extend(to.iter().cloned());
    let since_ms = open.since_ms;
    let about = About { task, condition, since_ms, to };
    send(state, found, about, notice, at_ms);
}

fn end(state: &mut ClusterState, found: &AlertMove, at_ms: i64) {
    let Step::Ends(ending) = found.step else { return };
    let key = (found.task.clone(), found.alert.clone());
    let Some(standing) = state.alerts.standings.get_mut(&key) else { return };
    let Some((open, notice)) = standing.resolve(ending, at_ms) else { return };
    let about = About {
        task: open.task,
        condition: open.condition,
        since_ms: open.since_ms,
        to: open.heard,
    };
    send(state, found, about, notice, at_ms);
}

/// What a message is about, and who hears of it.
struct About {
    task: TaskName,
    condition: String,
    since_ms: i64,
    to: BTreeSet<ChannelName>,
}

fn send(state: &mut ClusterState, found: &AlertMove, about: About, notice: Notice, at_ms: i64) {
    state.alerts.made = state.alerts.made.saturating_add(1);
    let (task_id, alert): (TaskId, AlertName) = (found.task.clone(), found.alert.clone());
    let seen: Option<Seen> = found.seen.clone();
    let message = Message {
        id: state.alerts.made,
        kind: notice.kind,
        at_ms,
        since_ms: about.since_ms,
        task: about.task,
        task_id,
        alert,
        condition: about.condition,
        seen,
        held_back: notice.held_back,
        pushes: about.to.into_iter().map(|channel| (channel, Push::Waiting)).collect(),
    };
    state.alerts.send(message, at_ms);
}

/// Notes what came of a message at a channel.
pub(super) fn record_push(
    state: &mut ClusterState,
    message: u64,
    channel: &ChannelName,
    push: &Push,
) -> Outcome {
    if state.alerts.record(message, channel, push) { Outcome::Done } else { Outcome::Unchanged }
}
