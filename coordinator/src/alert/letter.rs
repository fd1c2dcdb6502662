//! What a message says: a line and a text for people, fields for programs.

use jiff::Timestamp;
use serde_json::{Value, json};
use tidewire_coordinator_core::alert::{Ending, Seen};
use tidewire_coordinator_core::{Message, MessageKind};
use tidewire_shared::{ByteSize, ChannelName, ClusterId, Fault, Period};

/// Characters of a fault that are told; the whole of it is in `task get`.
const FAULT_MAX: usize = 700;

/// A message, written down.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    /// The same whenever it is sent.
    pub(super) id: String,
    /// One line.
    pub(super) subject: String,
    /// All of it, as lines.
    pub(super) text: String,
    /// All of it, as documented fields.
    pub(super) fields: Value,
    /// When it was made, milliseconds since 1970.
    pub(super) at_ms: i64,
}

impl Letter {
    /// What is told of an alert.
    pub(crate) fn of(message: &Message, cluster: &ClusterId) -> Self {
        let subject = subject(message);
        let mut lines = vec![subject.clone(), format!("since: {}", time(message.since_ms))];
        if let Some(seen) = &message.seen {
            lines.extend(of_task(seen));
        }
        if message.held_back > 0 {
            let times = message.held_back;
            lines.push(format!(
                "not told before: it fired and ended {times} more times since the last message"
            ));
        }
        lines.push(format!("cluster: {cluster}, message {}", message.id));
        let id = format!("{cluster}-{}", message.id);
        let text = lines.join("\n");
        let seen = message.seen.as_ref();
        let fields = json!({
            "version": 1,
            "id": id,
            "kind": message.kind.as_str(),
            "cluster": cluster.as_str(),
            "task": message.task.as_str(),
            "taskId": message.task_id.as_str(),
            "alert": message.alert.as_str(),
            "condition": message.condition,
            "at": time(message.at_ms),
            "since": time(message.since_ms),
            "ending": ending_word(message.kind),
            "phase": seen.map(|seen| seen.phase.as_str()),
            "delayMs": seen.and_then(|seen| seen.delay_ms),
            "walRetainedBytes": seen.and_then(|seen| seen.wal_bytes),
            "error": seen.and_then(|seen| seen.fault.as_ref()).map(error),
            "heldBack": message.held_back,
            "text": text,
        });
        Self { id, subject, text, fields, at_ms: message.at_ms }
    }

    /// What tries a channel.
    pub(crate) fn trial(channel: &ChannelName, cluster: &ClusterId, at_ms: i64) -> Self {
        let subject = format!("[TEST] channel {channel} of tidewire");
        let text = format!(
            "{subject}\nsomebody tries the channel; no alert fires\ncluster: {cluster}, {}",
            time(at_ms)
        );
        let id = format!("{cluster}-test-{at_ms}");
        let fields = json!({
            "version": 1, "id": id, "kind": "test", "cluster": cluster.as_str(),
            "task": null, "taskId": null, "alert": null, "condition": null,
            "at": time(at_ms), "since": null, "ending": null, "phase": null, "delayMs": null,
            "walRetainedBytes": null, "error": null, "heldBack": 0, "text": text,
        });
        Self { id, subject, text, fields, at_ms }
    }
}

/// `[FIRED] task orders: late (delay above 30s for 1m)`.
pub(crate) fn subject(message: &Message) -> String {
    let word = match message.kind {
        MessageKind::Fired => "FIRED",
        MessageKind::Repeated => "STILL FIRING",
        MessageKind::Resolved(_) => "RESOLVED",
    };
    let why = match message.kind {
        MessageKind::Resolved(Ending::RuleGone) => "; the task has this alert no more",
        MessageKind::Resolved(Ending::TaskGone) => "; the task was deleted",
        _ => "",
    };
    let Message { task, alert, condition, .. } = message;
    format!("[{word}] task {task}: {alert} ({condition}){why}")
}

fn ending_word(kind: MessageKind) -> Option<&'static str> {
    match kind {
        MessageKind::Fired | MessageKind::Repeated => None,
        MessageKind::Resolved(Ending::Over) => Some("over"),
        MessageKind::Resolved(Ending::RuleGone) => Some("alert_removed"),
        MessageKind::Resolved(Ending::TaskGone) => Some("task_deleted"),
    }
}

fn of_task(seen: &Seen) -> Vec<String> {
    let mut lines = vec![format!("phase: {}", seen.phase)];
    if let Some(delay_ms) = seen.delay_ms {
        // Parts of a second say nothing about an alert.
        let delay = if delay_ms < 1_000 { delay_ms } else { delay_ms / 1_000 * 1_000 };
        lines.push(format!("delay: {}", Period(delay)));
    }
    if let Some(bytes) = seen.wal_bytes {
        lines.push(format!("WAL held at the source: {}", ByteSize(bytes).rounded()));
    }
    if let Some(fault) = &seen.fault {
        lines.push(format!("error: {}", clipped(&fault.to_string())));
        if !fault.remedy.is_empty() {
            lines.push(format!("do: {}", clipped(&fault.remedy)));
        }
    }
    lines
}

fn error(fault: &Fault) -> Value {
    json!({
        "object": clipped(&fault.object),
        "message": clipped(&fault.message),
        "remedy": clipped(&fault.remedy),
    })
}

/// One line of bounded length.
fn clipped(text: &str) -> String {
    let line = |letter: char| if letter.is_control() { ' ' } else { letter };
    let mut clipped: String = text.chars().take(FAULT_MAX).map(line).collect();
    if text.chars().nth(FAULT_MAX).is_some() {
        clipped.push('…');
    }
    clipped
}

/// RFC 3339 in UTC, with milliseconds.
fn time(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| format!("{at:.3}"))
}

#[cfg(test)]
pub(super) mod tests {
    use tidewire_shared::{FaultKind, Phase};

    use super::*;

    pub(in super::super) fn message(kind: MessageKind) -> Message {
        let fault =
            Fault::new(FaultKind::SourceState, "slot tidewire_k3v9", "it is lost\n<at all>")
                .remedy("drop it & start again");
        Message {
            id: 42,
            kind,
            at_ms: 1_790_000_060_000,
            since_ms: 1_790_000_000_000,
            task: "orders".parse().expect("a name"),
            task_id: "k3v9".parse().expect("an id"),
            alert: "late".parse().expect("a name"),
            condition: "delay above 30s for 1m".to_owned(),
            seen: Some(Seen {
                phase: Phase::Failed,
                delay_ms: Some(41_234),
                wal_bytes: None,
                fault: Some(fault),
            }),
            held_back: 3,
            pushes: [].into(),
        }
    }

    pub(in super::super) fn letter() -> Letter {
        Letter::of(&message(MessageKind::Fired), &"c1".parse().expect("an id"))
    }

    #[test]
    fn a_letter_says_all_that_a_person_needs() {
        let expected = "[FIRED] task orders: late (delay above 30s for 1m)\n\
                        since: 2026-09-21T14:13:20.000Z\n\
                        phase: Failed\n\
                        delay: 41s\n\
                        error: slot tidewire_k3v9: it is lost <at all>\n\
                        do: drop it & start again\n\
                        not told before: it fired and ended 3 more times since the last message\n\
                        cluster: c1, message 42";
        assert_eq!(letter().text, expected);
        let over = Letter::of(
            &Message { seen: None, ..message(MessageKind::Resolved(Ending::TaskGone)) },
            &"c1".parse().expect("an id"),
        );
        let subject = "[RESOLVED] task orders: late (delay above 30s for 1m); the task was deleted";
        assert_eq!(over.subject, subject);
        assert_eq!(over.fields["ending"], "task_deleted");
    }

    #[test]
    fn the_fields_are_those_of_the_manual() {
        let letter = letter();
        let manual = include_str!("../../../docs/operations.md");
        let trial = Letter::trial(&"ops".parse().expect("a name"), &"c1".parse().expect("id"), 5);
        for (letter, kind) in [(&letter, "fired"), (&trial, "test")] {
            let fields = letter.fields.as_object().expect("fields");
            assert_eq!(fields.len(), 17);
            for name in fields.keys() {
                assert!(manual.contains(&format!("`{name}`")), "{name} is not in the manual");
            }
            assert_eq!(fields["kind"], kind);
        }
        assert_eq!(letter.fields["delayMs"], 41_234);
        assert_eq!(letter.fields["error"]["object"], "slot tidewire_k3v9");
        assert_eq!(letter.fields["id"], "c1-42");
    }
}
