//! The calls about alerts: channels, how alerts stand, what was told.

use std::sync::Arc;

use tidewire_coordinator_core::{
    ClusterState, CommandKind, Message, Outcome, Push, Registered, Task,
};
use tidewire_proto::admin::v1 as pb;
use tidewire_proto::alert::v1 as wire;
use tidewire_proto::convert::{ConvertError, parsed, required};
use tidewire_shared::{AlertRule, Channel, ChannelName, SecretRef, TaskName};
use tonic::Status;

use super::admin::{propose, read, request_id, with_term};
use super::error;
use crate::alert::{Letter, push_word, subject, try_channel};
use crate::clock;
use crate::leader::{Leader, Term};

pub(super) async fn apply(
    leader: Leader,
    request: pb::ApplyChannelRequest,
) -> Result<pb::ApplyChannelResponse, Status> {
    let request_id = request_id(request.request_id)?;
    let channel: Channel = required("channel", request.channel)?;
    let (name, object) = (channel.name.clone(), format!("channel {}", channel.name));
    let kind = CommandKind::ApplyChannel { channel: Arc::new(channel) };
    let outcome = propose(&leader, request_id, kind, &object).await?;
    let state = leader.handle().state();
    let registered = state.alerts().channel(&name).ok_or_else(|| unknown(&name))?;
    let outcome = match outcome {
        Outcome::Unchanged => "unchanged",
        _ if registered.revision() == 1 => "created",
        _ => "changed",
    };
    Ok(pb::ApplyChannelResponse {
        channel: Some(view(&state, registered)),
        outcome: outcome.to_owned(),
    })
}

pub(super) async fn delete(
    leader: Leader,
    request: pb::ChannelRequest,
) -> Result<pb::DeleteChannelResponse, Status> {
    let request_id = request_id(request.request_id)?;
    let name: ChannelName = parsed("name", &request.name)?;
    let object = format!("channel {name}");
    propose(&leader, request_id, CommandKind::DeleteChannel { name }, &object).await?;
    Ok(pb::DeleteChannelResponse {})
}

pub(super) async fn get(
    leader: Leader,
    request: pb::GetChannelRequest,
) -> Result<pb::ChannelResponse, Status> {
    let name: ChannelName = parsed("name", &request.name)?;
    let state = read(&leader).await?;
    let registered = state.alerts().channel(&name).ok_or_else(|| unknown(&name))?;
    Ok(pb::ChannelResponse { channel: Some(view(&state, registered)) })
}

pub(super) async fn list(
    leader: Leader,
    _: pb::ListAlertsRequest,
) -> Result<pb::ListAlertsResponse, Status> {
    let state = read(&leader).await?;
    let channels = state.alerts().channels().map(|it| view(&state, it)).collect();
    let mut alerts: Vec<wire::Alert> = with_term(&leader, |term| {
        state.tasks().flat_map(|task| of_task(&state, task, term)).collect()
    })?;
    let name = |alert: &wire::Alert| {
        (alert.task.clone(), alert.rule.as_ref().map(|rule| rule.name.clone()))
    };
    alerts.sort_by_cached_key(name);
    Ok(pb::ListAlertsResponse { channels, alerts })
}

pub(super) async fn history(
    leader: Leader,
    request: pb::AlertHistoryRequest,
) -> Result<pb::AlertHistoryResponse, Status> {
    let task: Option<TaskName> = match request.task.as_str() {
        "" => None,
        name => Some(parsed("task", name)?),
    };
    let state = read(&leader).await?;
    let mut messages: Vec<wire::Message> = (state.alerts().history())
        .chain(state.alerts().outbox())
        .filter(|message| task.as_ref().is_none_or(|task| message.task == *task))
        .map(|message| view_message(message))
        .collect();
    messages.sort_by_key(|message| message.id);
    Ok(pb::AlertHistoryResponse { messages })
}

/// Sends at once and by itself; nothing of it enters the log.
pub(super) async fn test(
    leader: Leader,
    request: pb::TestChannelRequest,
) -> Result<pb::TestChannelResponse, Status> {
    use pb::test_channel_request::Subject;
    let subject = request.subject.ok_or_else(|| ConvertError::new("subject", "is missing"))?;
    let channel: Arc<Channel> = match subject {
        Subject::Channel(channel) => given(required("channel", Some(channel))?)?,
        Subject::Name(name) => {
            let name: ChannelName = parsed("name", &name)?;
            let state = read(&leader).await?;
            let registered = state.alerts().channel(&name).ok_or_else(|| unknown(&name))?;
            Arc::clone(registered.document())
        }
    };
    let letter =
        Letter::trial(&channel.name, &leader.handle().identity().cluster, clock::wall_ms());
    let result = try_channel(&channel, &letter).await;
    let (at_ms, attempts) = (clock::wall_ms(), 1);
    let push = match result {
        Ok(()) => Push::Delivered { at_ms, attempts },
        Err(refused) => Push::Failed { at_ms, attempts, why: refused.why },
    };
    tracing::info!(channel = %channel.name, ?push, by = leader.caller(), "channel tried");
    Ok(pb::TestChannelResponse { push: Some(view_push(&channel.name, &push)) })
}

/// A document that was shown holds no secrets to try it with.
fn given(mut channel: Channel) -> Result<Arc<Channel>, Status> {
    let hidden = SecretRef::Value(tidewire_shared::connection::HIDDEN.to_owned());
    if channel.secrets_mut().into_iter().flatten().any(|secret| *secret == hidden) {
        let object = format!("channel {}", channel.name);
        return Err(error::invalid(
            &object,
            "a secret is hidden",
            "write the secret itself, or try the registered channel by its name",
        ));
    }
    Ok(Arc::new(channel))
}

fn unknown(name: &ChannelName) -> Status {
    error::not_found(
        &format!("channel {name}"),
        "register it with `tidewire alert apply`, or see `tidewire alert list`",
    )
}

fn view(state: &ClusterState, registered: &Registered<Channel>) -> wire::RegisteredChannel {
    let channel = registered.document().as_ref();
    let tasks = state.tasks_that_tell(&channel.name);
    wire::RegisteredChannel {
        leads_to: channel.leads_to(),
        channel: Some(channel.clone().hidden().into()),
        revision: registered.revision(),
        created_at_ms: registered.created_at_ms(),
        updated_at_ms: registered.updated_at_ms(),
        tasks: tasks.iter().map(TaskName::to_string).collect(),
    }
}

/// The alerts of a task, and how they stand.
pub(super) fn of_task(state: &ClusterState, task: &Task, term: &Term) -> Vec<wire::Alert> {
    let view = |rule: &AlertRule| {
        let standing = state.alerts().standing(task.id(), &rule.name);
        let progress = term.alerts.progress(state, task.id(), &rule.name);
        wire::Alert {
            task: task.name().to_string(),
            rule: Some(rule.clone().into()),
            condition: rule.when.to_string(),
            state: progress.as_str().to_owned(),
            since_ms: standing.and_then(|it| it.since_ms()).unwrap_or(0),
            held_back: standing.map_or(0, |it| it.held_back()),
        }
    };
    task.spec().alerts().iter().map(view).collect()
}

fn view_message(message: &Message) -> wire::Message {
    let seen = message.seen.as_ref();
    wire::Message {
        id: message.id,
        kind: message.kind.as_str().to_owned(),
        at_ms: message.at_ms,
        since_ms: message.since_ms,
        task: message.task.to_string(),
        task_id: message.task_id.to_string(),
        alert: message.alert.to_string(),
        condition: message.condition.clone(),
        phase: seen.map_or_else(String::new, |seen| seen.phase.to_string()),
        delay_ms: seen.and_then(|seen| seen.delay_ms),
        error: seen.and_then(|seen| seen.fault.clone()).map(Into::into),
        held_back: message.held_back,
        pushes: message.pushes.iter().map(|(name, push)| view_push(name, push)).collect(),
        text: subject(message),
    }
}

fn view_push(channel: &ChannelName, push: &Push) -> wire::Push {
    let (at_ms, attempts, why) = match push {
        Push::Waiting => (0, 0, ""),
        Push::Delivered { at_ms, attempts } => (*at_ms, *attempts, ""),
        Push::Failed { at_ms, attempts, why } => (*at_ms, *attempts, why.as_str()),
    };
    wire::Push {
        channel: channel.to_string(),
        result: push_word(push).to_owned(),
        at_ms,
        attempts,
        why: why.to_owned(),
    }
}
