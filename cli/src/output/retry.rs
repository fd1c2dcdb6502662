//! A shard that is retried: since when, until when, when next, and why.

use serde::Serialize;
use tidewire_proto::convert::{ConvertError, optional};
use tidewire_proto::task::v1 as wire;
use tidewire_shared::Fault;

use super::time;

/// `retry` of a shard in the JSON of a task.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RetryView {
    since: Option<String>,
    /// The task fails then, unless the trouble ends before.
    until: Option<String>,
    next_attempt: Option<String>,
    /// The newest trouble.
    error: Option<Fault>,
}

impl RetryView {
    /// None while the shard is not retried.
    pub(super) fn of(report: &wire::ShardReport) -> Result<Option<Self>, ConvertError> {
        if report.phase() != wire::ShardPhase::Retrying || report.retrying_since_ms == 0 {
            return Ok(None);
        }
        Ok(Some(Self {
            since: time(report.retrying_since_ms),
            until: time(report.retry_until_ms),
            next_attempt: time(report.next_attempt_ms),
            error: optional("shard.fault", report.fault.clone())?,
        }))
    }

    /// For people.
    pub(super) fn lines(&self, shard: &str) -> String {
        let at = |time: &Option<String>| time.clone().unwrap_or_else(|| "-".to_owned());
        let (since, until, next) = (at(&self.since), at(&self.until), at(&self.next_attempt));
        let why = self.error.as_ref().map_or_else(String::new, |fault| format!("\n  why: {fault}"));
        format!("retrying: shard {shard} since {since}, next attempt {next}, fails at {until}{why}")
    }
}
