//! What is replicated of alerts: channels, how each alert stands, messages and what came of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidewire_shared::{AlertName, Channel, ChannelName, TaskId, TaskName, TaskSpec};

use super::message::{Message, Push};
use super::standing::Standing;
use crate::connection::Registered;
use crate::outcome::{Rejection, RejectionCode};
use crate::ring::Ring;
use crate::state::ClusterState;

/// Messages that are remembered after they were told, or given up.
pub const HISTORY_KEPT: usize = 1_000;

/// Messages on their way; beyond, the oldest is given up.
pub const OUTBOX_KEPT: usize = 5_000;

/// Everything about alerts that is replicated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alerts {
    pub(crate) channels: BTreeMap<ChannelName, Registered<Channel>>,
    pub(crate) standings: BTreeMap<(TaskId, AlertName), Standing>,
    /// Shared, because every coordinator copies the state with every command.
    outbox: BTreeMap<u64, Arc<Message>>,
    history: Ring<Arc<Message>>,
    /// Messages made so far.
    pub(crate) made: u64,
}

impl Alerts {
    /// All channels by name.
    pub fn channels(&self) -> impl Iterator<Item = &Registered<Channel>> {
        self.channels.values()
    }

    /// One channel.
    #[must_use]
    pub fn channel(&self, name: &ChannelName) -> Option<&Registered<Channel>> {
        self.channels.get(name)
    }

    /// How an alert stands; none: nothing was told of it lately.
    #[must_use]
    pub fn standing(&self, task: &TaskId, alert: &AlertName) -> Option<&Standing> {
        self.standings.get(&(task.clone(), alert.clone()))
    }

    /// Alerts that fire.
    pub fn firing(&self) -> impl Iterator<Item = (&TaskId, &AlertName)> {
        let firing = self.standings.iter().filter(|(_, standing)| standing.open.is_some());
        firing.map(|((task, alert), _)| (task, alert))
    }

    /// Messages on their way, oldest first.
    pub fn outbox(&self) -> impl Iterator<Item = &Arc<Message>> {
        self.outbox.values()
    }

    /// A message on its way.
    #[must_use]
    pub fn waiting(&self, id: u64) -> Option<&Arc<Message>> {
        self.outbox.get(&id)
    }

    /// Messages that were told or given up, in the order in which that was known.
    pub fn history(&self) -> impl DoubleEndedIterator<Item = &Arc<Message>> {
        self.history.iter()
    }

    /// Puts a message on its way.
    pub(crate) fn send(&mut self, message: Message, at_ms: i64) {
        self.outbox.insert(message.id, Arc::new(message));
        if self.outbox.len() > OUTBOX_KEPT
            && let Some((_, oldest)) = self.outbox.pop_first()
        {
            let mut given_up = oldest.as_ref().clone();
            for push in given_up.pushes.values_mut().filter(|push| **push == Push::Waiting) {
                let why = format!("{OUTBOX_KEPT} newer messages wait");
                *push = Push::Failed { at_ms, attempts: 0, why };
            }
            self.history.push(Arc::new(given_up), HISTORY_KEPT);
        }
    }

    /// Notes what came of a message at a channel; `false`: that is known already.
    pub(crate) fn record(&mut self, id: u64, channel: &ChannelName, result: &Push) -> bool {
        let Some(message) = self.outbox.get_mut(&id) else { return false };
        if message.pushes.get(channel) != Some(&Push::Waiting) || *result == Push::Waiting {
            return false;
        }
        Arc::make_mut(message).pushes.insert(channel.clone(), result.clone());
        if !message.is_waiting()
            && let Some(told) = self.outbox.remove(&id)
        {
            self.history.push(told, HISTORY_KEPT);
        }
        true
    }

    pub(crate) fn keeps_its_bounds(&self) -> bool {
        self.outbox.len() <= OUTBOX_KEPT
            && self.history.len() <= HISTORY_KEPT
            && self.outbox.values().all(|message| message.is_waiting())
            && self.history.iter().all(|message| !message.is_waiting())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.standings.is_empty() && self.outbox.is_empty()
    }
}

impl ClusterState {
    /// Channels, and what was told through them.
    #[must_use]
    pub fn alerts(&self) -> &Alerts {
        &self.alerts
    }

    /// Tasks with an alert that names the channel, also in a draft of them, by name.
    #[must_use]
    pub fn tasks_that_tell(&self, name: &ChannelName) -> Vec<TaskName> {
        let mut tasks: Vec<TaskName> = self
            .task_documents()
            .filter(|spec| channels_of(spec).any(|channel| channel == name))
            .map(|spec| spec.name().clone())
            .collect();
        tasks.sort();
        tasks.dedup();
        tasks
    }

    /// Whether every channel that a document names is registered.
    ///
    /// # Errors
    /// `not_found` with the first that is not.
    pub(crate) fn knows_channels_of(&self, spec: &TaskSpec) -> Result<(), Rejection> {
        match channels_of(spec).find(|name| !self.alerts.channels.contains_key(name)) {
            None => Ok(()),
            Some(name) => Err(Rejection::no_channel(name)),
        }
    }
}

/// Channels that the alerts of a document name.
fn channels_of(spec: &TaskSpec) -> impl Iterator<Item = &ChannelName> {
    spec.alerts().iter().flat_map(|rule| &rule.to)
}

impl Rejection {
    pub(crate) fn no_channel(name: &ChannelName) -> Self {
        let object = format_args!("channel {name}").to_string();
        Self::new(RejectionCode::NotFound, object, "there is no such channel")
            .advise("register it with `tidewire alert apply`, or see `tidewire alert list`")
    }
}
