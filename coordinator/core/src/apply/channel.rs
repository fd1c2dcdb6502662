//! Registered channels of alerts: made, changed, dropped.

use tidewire_shared::connection::HIDDEN;
use tidewire_shared::{Channel, ChannelName, SecretRef};

use super::Verdict;
use super::connection::named_tasks;
use super::secrets::keep_hidden;
use crate::connection::Registered;
use crate::outcome::{Outcome, Rejection, RejectionCode};
use crate::state::ClusterState;

/// Makes a channel or changes the one of that name; messages on their way take the new one.
pub(super) fn apply(state: &mut ClusterState, wanted: &Channel, at_ms: i64) -> Verdict {
    let present = state.alerts.channels.get(&wanted.name);
    let channel = with_kept_secrets(wanted, present.map(|it| it.document.as_ref()))?;
    let Some(changed) = Registered::after(present, channel, at_ms) else {
        return Ok(Outcome::Unchanged);
    };
    state.alerts.channels.insert(wanted.name.clone(), changed);
    Ok(Outcome::Done)
}

pub(super) fn delete(state: &mut ClusterState, name: &ChannelName) -> Verdict {
    if !state.alerts.channels.contains_key(name) {
        return Err(Rejection::no_channel(name));
    }
    let tasks = state.tasks_that_tell(name);
    if !tasks.is_empty() {
        let message = format!("alerts of {} name it", named_tasks(&tasks));
        return Err(Rejection::new(RejectionCode::InUse, object(name), message)
            .advise("give these alerts another channel first"));
    }
    state.alerts.channels.remove(name);
    Ok(Outcome::Done)
}

fn object(name: &ChannelName) -> String {
    format!("channel {name}")
}

/// Secrets of the channel that stay as they are: for the same receiver only. Of a webhook the address
/// is a secret itself; hidden, it is the same.
fn with_kept_secrets(wanted: &Channel, present: Option<&Channel>) -> Result<Channel, Rejection> {
    let mut channel = wanted.clone();
    let mut present = present.filter(|it| it.kind() == wanted.kind()).cloned();
    let place = wanted.leads_to();
    let hidden =
        matches!(channel.secrets_mut(), [Some(SecretRef::Value(url)), ..] if url == HIDDEN);
    let same = present.as_ref().is_some_and(|it| it.leads_to() == place);
    let stays = same || (hidden && channel.kind() == "webhook");
    let elsewhere = (!stays).then_some(place);
    let kept = present.as_mut().map(Channel::secrets_mut);
    keep_hidden(&object(&wanted.name), channel.secrets_mut(), kept, elsewhere.as_deref())?;
    Ok(channel)
}
