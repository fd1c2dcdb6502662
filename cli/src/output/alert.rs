//! Channels, alerts and what was told: as JSON and as tables.

use serde::Serialize;
use tidewire_proto::admin::v1 as pb;
use tidewire_proto::alert::v1 as wire;
use tidewire_proto::convert::{ConvertError, required};
use tidewire_shared::{AlertRule, Channel};

use super::{drawn, table, time};
use crate::document::ExplainedChannel;
use crate::failure::{Exit, Failure};

/// A channel as scripts read it.
#[derive(Clone, Debug)]
pub(crate) struct ChannelView {
    channel: Channel,
    leads_to: String,
    revision: u64,
    created_at: Option<String>,
    updated_at: Option<String>,
    tasks: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    name: &'a str,
    kind: &'static str,
    leads_to: &'a str,
    revision: u64,
    created_at: &'a Option<String>,
    updated_at: &'a Option<String>,
    tasks: &'a [String],
    document: ExplainedChannel<'a>,
}

impl Serialize for ChannelView {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Shown {
            name: self.channel.name.as_str(),
            kind: self.channel.kind(),
            leads_to: &self.leads_to,
            revision: self.revision,
            created_at: &self.created_at,
            updated_at: &self.updated_at,
            tasks: &self.tasks,
            document: ExplainedChannel::new(&self.channel),
        }
        .serialize(serializer)
    }
}

impl TryFrom<wire::RegisteredChannel> for ChannelView {
    type Error = ConvertError;

    fn try_from(registered: wire::RegisteredChannel) -> Result<Self, ConvertError> {
        Ok(Self {
            channel: required("channel", registered.channel)?,
            leads_to: registered.leads_to,
            revision: registered.revision,
            created_at: time(registered.created_at_ms),
            updated_at: time(registered.updated_at_ms),
            tasks: registered.tasks,
        })
    }
}

impl ChannelView {
    /// The document of the channel.
    pub(crate) fn yaml(&self) -> Result<String, Failure> {
        serde_saphyr::to_string(&ExplainedChannel::new(&self.channel)).map_err(|error| {
            Failure::new(Exit::Failed, "failed", "output", error).remedy("try another -o")
        })
    }
}

pub(crate) fn channel_table(views: &[ChannelView], wide: bool) -> String {
    if views.is_empty() {
        return "no channels".to_owned();
    }
    let mut header = vec!["CHANNEL", "KIND", "LEADS TO", "TASKS"];
    if wide {
        header.extend(["REVISION", "UPDATED"]);
    }
    let mut table = table(&header);
    for view in views {
        let mut row = vec![
            view.channel.name.to_string(),
            view.channel.kind().to_owned(),
            view.leads_to.clone(),
            if wide { view.tasks.join(",") } else { view.tasks.len().to_string() },
        ];
        if wide {
            row.push(view.revision.to_string());
            row.push(view.updated_at.clone().unwrap_or_default());
        }
        table.add_row(row);
    }
    drawn(&table)
}

/// Channels, and the alerts of all tasks.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct AlertsView {
    channels: Vec<ChannelView>,
    alerts: Vec<AlertView>,
}

/// An alert, and how it stands.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AlertView {
    task: String,
    alert: String,
    condition: String,
    state: String,
    since: Option<String>,
    held_back: u32,
    to: Vec<String>,
    repeat_ms: u64,
}

impl TryFrom<wire::Alert> for AlertView {
    type Error = ConvertError;

    fn try_from(alert: wire::Alert) -> Result<Self, ConvertError> {
        let rule: AlertRule = required("rule", alert.rule)?;
        Ok(Self {
            task: alert.task,
            alert: rule.name.into(),
            condition: alert.condition,
            state: alert.state,
            since: time(alert.since_ms),
            held_back: alert.held_back,
            to: rule.to.into_iter().map(Into::into).collect(),
            repeat_ms: rule.repeat.0,
        })
    }
}

impl AlertView {
    /// For people, when it fires.
    pub(crate) fn line(&self) -> Option<String> {
        let since = self.since.as_ref()?;
        Some(format!("alert {} fires since {since}: {}", self.alert, self.condition))
    }
}

impl TryFrom<pb::ListAlertsResponse> for AlertsView {
    type Error = ConvertError;

    fn try_from(answer: pb::ListAlertsResponse) -> Result<Self, ConvertError> {
        let channels = answer.channels.into_iter().map(ChannelView::try_from);
        let alerts = answer.alerts.into_iter().map(AlertView::try_from);
        Ok(Self {
            channels: channels.collect::<Result<_, _>>()?,
            alerts: alerts.collect::<Result<_, _>>()?,
        })
    }
}

pub(crate) fn alerts_table(view: &AlertsView, wide: bool) -> String {
    let channels = channel_table(&view.channels, wide);
    if view.alerts.is_empty() {
        return format!("{channels}\n\nno alerts");
    }
    let mut header = vec!["TASK", "ALERT", "CONDITION", "STATE", "SINCE", "TO"];
    if wide {
        header.push("HELD BACK");
    }
    let mut alerts = table(&header);
    for alert in &view.alerts {
        let state = if alert.state == "firing" { "FIRING" } else { &alert.state };
        let mut row = vec![
            alert.task.clone(),
            alert.alert.clone(),
            alert.condition.clone(),
            state.to_owned(),
            alert.since.clone().unwrap_or_default(),
            alert.to.join(","),
        ];
        if wide {
            row.push(alert.held_back.to_string());
        }
        alerts.add_row(row);
    }
    format!("{channels}\n\n{}", drawn(&alerts))
}

/// What was told of an alert.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessageView {
    id: u64,
    kind: String,
    at: Option<String>,
    since: Option<String>,
    task: String,
    task_id: String,
    alert: String,
    condition: String,
    phase: Option<String>,
    delay_ms: Option<u64>,
    error: Option<ErrorView>,
    held_back: u32,
    text: String,
    pushes: Vec<PushView>,
}

#[derive(Clone, Debug, Serialize)]
struct ErrorView {
    object: String,
    message: String,
    remedy: String,
}

/// What came of a message at a channel.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PushView {
    channel: String,
    result: String,
    at: Option<String>,
    attempts: u32,
    pub(crate) why: Option<String>,
}

impl From<wire::Push> for PushView {
    fn from(push: wire::Push) -> Self {
        Self {
            channel: push.channel,
            result: push.result,
            at: time(push.at_ms),
            attempts: push.attempts,
            why: (!push.why.is_empty()).then_some(push.why),
        }
    }
}

impl PushView {
    pub(crate) fn is_delivered(&self) -> bool {
        self.result == "delivered"
    }

    /// `channel ops: delivered`.
    pub(crate) fn line(&self) -> String {
        let why = self.why.as_ref().map_or_else(String::new, |why| format!(", {why}"));
        format!("channel {}: {}{why}", self.channel, self.result)
    }

    fn cell(&self) -> String {
        match (&self.why, self.attempts) {
            (Some(why), _) => format!("{}: {} ({why})", self.channel, self.result.to_uppercase()),
            (None, 0 | 1) => format!("{}: {}", self.channel, self.result),
            (None, attempts) => format!("{}: {}, attempt {attempts}", self.channel, self.result),
        }
    }
}

impl From<wire::Message> for MessageView {
    fn from(message: wire::Message) -> Self {
        Self {
            id: message.id,
            kind: message.kind,
            at: time(message.at_ms),
            since: time(message.since_ms),
            task: message.task,
            task_id: message.task_id,
            alert: message.alert,
            condition: message.condition,
            phase: (!message.phase.is_empty()).then_some(message.phase),
            delay_ms: message.delay_ms,
            error: message.error.map(|error| ErrorView {
                object: error.object,
                message: error.message,
                remedy: error.remedy,
            }),
            held_back: message.held_back,
            text: message.text,
            pushes: message.pushes.into_iter().map(PushView::from).collect(),
        }
    }
}

pub(crate) fn history_table(views: &[MessageView], wide: bool) -> String {
    if views.is_empty() {
        return "nothing was told yet".to_owned();
    }
    let mut header = vec!["AT", "KIND", "TASK", "ALERT", "PHASE", "PUSHED"];
    if wide {
        header.extend(["CONDITION", "SINCE", "HELD BACK"]);
    }
    let mut rows = table(&header);
    for view in views {
        let pushes: Vec<String> = view.pushes.iter().map(PushView::cell).collect();
        let mut row = vec![
            view.at.clone().unwrap_or_default(),
            view.kind.clone(),
            view.task.clone(),
            view.alert.clone(),
            view.phase.clone().unwrap_or_default(),
            pushes.join("\n"),
        ];
        if wide {
            row.push(view.condition.clone());
            row.push(view.since.clone().unwrap_or_default());
            row.push(view.held_back.to_string());
        }
        rows.add_row(row);
    }
    drawn(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(result: &str, attempts: u32, why: &str) -> wire::Push {
        wire::Push {
            channel: "ops".to_owned(),
            result: result.to_owned(),
            at_ms: 1_000,
            attempts,
            why: why.to_owned(),
        }
    }

    #[test]
    fn a_push_says_what_came_of_it() {
        let view = PushView::from(push("failed", 5, "answered 500"));
        assert_eq!(view.line(), "channel ops: failed, answered 500");
        assert!(!view.is_delivered());
        assert_eq!(PushView::from(push("delivered", 1, "")).line(), "channel ops: delivered");
    }

    #[test]
    fn the_history_has_stable_names() {
        let message = wire::Message {
            id: 1,
            kind: "fired".to_owned(),
            at_ms: 1_000,
            since_ms: 1_000,
            task: "orders".to_owned(),
            task_id: "k3v9".to_owned(),
            alert: "late".to_owned(),
            condition: "delay above 30s".to_owned(),
            delay_ms: Some(41_000),
            pushes: vec![push("delivered", 2, ""), push("waiting", 0, "")],
            ..wire::Message::default()
        };
        let view = MessageView::from(message);
        let json = serde_json::to_value(&view).expect("JSON");
        assert_eq!(json["pushes"][0]["result"], "delivered");
        assert_eq!(
            (&json["phase"], &json["error"]),
            (&serde_json::Value::Null, &serde_json::Value::Null)
        );
        assert_eq!(json["delayMs"], 41_000);
        let table = history_table(&[view], false);
        assert!(table.contains("ops: delivered, attempt 2"), "{table}");
        assert!(table.contains("ops: waiting"), "{table}");
    }
}
