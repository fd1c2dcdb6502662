//! Which message goes out now, and what came of it.
//!
//! One message at a time to each channel, in the order in which they were made. A message is sent by
//! whoever leads, once more only when the leader went away between sending it and noting that it did: it
//! then has the same number, by which a receiver can tell.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidewire_coordinator_core::{ClusterState, Command, CommandKind, Message, Push};
use tidewire_shared::ChannelName;
use tokio::task::JoinSet;

use super::Letter;
use super::send::{Refused, try_channel};
use crate::clock;
use crate::leader::Leader;

/// Waiting times before the attempts of one message: about a minute and a half in all.
const ATTEMPTS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(25),
    Duration::from_secs(60),
];
/// A message that waited for so long in the row of its channel is tried once only.
const STALE_MS: u64 = 600_000;
/// A look at what waits, at least this often.
const PERIOD: Duration = Duration::from_millis(500);

/// Messages under way: to which channel each of these tasks sends.
type UnderWay = BTreeMap<ChannelName, tokio::task::Id>;

impl Leader {
    /// Sends for as long as this coordinator runs; does nothing while it does not lead.
    pub(crate) async fn deliver_alerts(self) {
        let mut states = self.handle().watch_state();
        let mut carriers = JoinSet::new();
        let mut under_way = UnderWay::new();
        loop {
            if !self.leads() {
                // Another leader takes over what waits.
                carriers.abort_all();
            } else {
                let state = Arc::clone(&states.borrow_and_update());
                for (channel, message) in due(&state, &under_way) {
                    let carrier = self.clone().deliver(channel.clone(), message);
                    under_way.insert(channel, carriers.spawn(carrier).id());
                }
            }
            let ended = tokio::select! {
                changed = states.changed() => match changed {
                    Ok(()) => None,
                    Err(_) => return,
                },
                Some(ended) = carriers.join_next_with_id() => Some(ended),
                () = tokio::time::sleep(PERIOD) => None,
            };
            if let Some(ended) = ended {
                let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                under_way.retain(|_, carrier| *carrier != id);
            }
        }
    }

    /// Sends a message until it is taken or given up, and notes what came of it.
    async fn deliver(self, channel: ChannelName, message: Arc<Message>) {
        // A leader that does not know yet that it is none any more must not send.
        if self.handle().read_linearizable().await.is_err() {
            return;
        }
        let push = self.send_alert(&channel, &message).await;
        match &push {
            Push::Failed { why, .. } => {
                tracing::warn!(%channel, message = message.id, why, "a message was not delivered");
            }
            Push::Delivered { .. } | Push::Waiting => {
                tracing::info!(%channel, message = message.id, "a message was delivered");
            }
        }
        let kind = CommandKind::RecordPush { message: message.id, channel, push };
        while self.leads() {
            let command = Command::internal(clock::wall_ms(), kind.clone());
            match self.handle().propose(command).await {
                Ok(_) => return,
                Err(error) => tracing::warn!(%error, "what came of a message was not noted"),
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    async fn send_alert(&self, name: &ChannelName, message: &Message) -> Push {
        let letter = Letter::of(message, &self.handle().identity().cluster);
        let mut why = String::new();
        let mut attempts = 0;
        for pause in ATTEMPTS {
            tokio::time::sleep(pause).await;
            attempts += 1;
            // What was changed meanwhile is tried next.
            let state = self.handle().state();
            let channel = state.alerts().channel(name).map(|it| Arc::clone(it.document()));
            let result = match channel {
                Some(channel) => try_channel(&channel, &letter).await,
                None => Err(Refused::for_good("the channel was deleted")),
            };
            let at_ms = clock::wall_ms();
            let refused = match result {
                Ok(()) => return Push::Delivered { at_ms, attempts },
                Err(refused) => refused,
            };
            why = refused.why;
            if !refused.again || message.at_ms.abs_diff(at_ms) >= STALE_MS {
                break;
            }
        }
        Push::Failed { at_ms: clock::wall_ms(), attempts, why }
    }
}

/// The oldest message that waits for each channel to which none is under way.
fn due(state: &ClusterState, under_way: &UnderWay) -> BTreeMap<ChannelName, Arc<Message>> {
    let mut due = BTreeMap::new();
    for message in state.alerts().outbox() {
        for (channel, push) in &message.pushes {
            if *push == Push::Waiting && !under_way.contains_key(channel) {
                due.entry(channel.clone()).or_insert_with(|| Arc::clone(message));
            }
        }
    }
    due
}

/// The word that clients see.
pub(crate) fn push_word(push: &Push) -> &'static str {
    match push {
        Push::Waiting => "waiting",
        Push::Delivered { .. } => "delivered",
        Push::Failed { .. } => "failed",
    }
}
