//! A task, as the JSON of the contract and as tables.

use serde::Serialize;
use tidewire_proto::admin::v1 as pb;
use tidewire_proto::convert::{ConvertError, optional};
use tidewire_proto::task::v1 as wire;
use tidewire_shared::precheck::PrecheckReport;
use tidewire_shared::spec::{WalBudget, WalState};
use tidewire_shared::{ByteSize, Fault, Phase, TaskSpec};

mod position;

use std::collections::BTreeSet;

use super::alert::AlertView;
use super::precheck::{PrecheckView, precheck_table};
use super::retry::RetryView;
use super::{drawn, table, time};
use position::PositionView;

/// A task as scripts read it: stable names, times in RFC 3339, durations in milliseconds.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TaskView {
    name: String,
    id: String,
    kind: String,
    display_name: String,
    phase: String,
    desired: String,
    revision: u64,
    /// Null while nobody knows.
    delay_ms: Option<u64>,
    caught_up: bool,
    created_at: Option<String>,
    updated_at: Option<String>,
    shards: Vec<ShardView>,
    counters: CountersView,
    wal_retained_bytes: u64,
    wal: WalView,
    predicted_failover_ms: u64,
    error: Option<Fault>,
    precheck: Option<PrecheckView>,
    /// Null unless another document is looked at, or was refused.
    modification: Option<ModificationView>,
    alerts: Vec<AlertView>,
}

/// A document that is to replace the present one.
#[derive(Clone, Debug, Serialize)]
struct ModificationView {
    revision: u64,
    /// Why it was refused; null while a node looks.
    refused: Option<PrecheckView>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShardView {
    id: String,
    /// Null when no node has it.
    node: Option<String>,
    epoch: u64,
    phase: Option<&'static str>,
    position: PositionView,
    delay_ms: Option<u64>,
    records: u64,
    bytes: u64,
    records_per_second: f64,
    restarts: u32,
    /// Null while it is not retried.
    retry: Option<RetryView>,
}

/// The log that the slot holds back at the source, against the budget of the task.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct WalView {
    retained_bytes: u64,
    warn_bytes: u64,
    limit_bytes: u64,
    state: &'static str,
}

impl WalView {
    fn new(budget: &WalBudget, retained_bytes: u64) -> Self {
        Self {
            retained_bytes,
            warn_bytes: budget.warn.0,
            limit_bytes: budget.limit.0,
            state: budget.state(retained_bytes).as_str(),
        }
    }

    /// For people, when there is something to tell.
    fn line(&self) -> Option<String> {
        let size = |bytes: u64| ByteSize(bytes);
        (self.state != WalState::Ok.as_str()).then(|| {
            format!(
                "wal: the slot holds {} at the source (walBudget: warn {}, limit {})",
                size(self.retained_bytes).rounded(),
                size(self.warn_bytes),
                size(self.limit_bytes)
            )
        })
    }
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
struct CountersView {
    insert: u64,
    update: u64,
    delete: u64,
    truncate: u64,
    transactions: u64,
    filtered: u64,
    #[serde(rename = "deadLetters")]
    dead_letters: u64,
    /// Records with the timestamp 0, which became the time of the copy.
    #[serde(skip_serializing_if = "is_zero")]
    restamped: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Whether everything that the source had at the last look is durable at the target.
pub(crate) fn caught_up(task: &pb::Task) -> bool {
    let caught_up =
        |shard: &pb::Shard| shard.report.as_ref().is_some_and(|report| report.caught_up);
    task.phase == Phase::Synchronizing.as_str()
        && !task.shards.is_empty()
        && task.shards.iter().all(caught_up)
}

impl TryFrom<pb::Task> for TaskView {
    type Error = ConvertError;

    fn try_from(task: pb::Task) -> Result<Self, Self::Error> {
        let caught_up = caught_up(&task);
        let reports = || task.shards.iter().filter_map(|shard| shard.report.as_ref());
        let error: Option<Fault> = optional("task.error", task.error.clone())?;
        let spec: Option<TaskSpec> = optional("task.spec", task.spec.clone())?;
        let budget =
            spec.as_ref().and_then(TaskSpec::as_postgres).map(|task| task.source.wal_budget);
        let budget = budget.unwrap_or_default();
        // While nothing streams, a node that was asked has looked, and what the stream saw last is old.
        let retained = match task.idle_wal_bytes {
            0 => reports().map(|report| report.wal_retained_bytes).sum(),
            bytes => bytes,
        };
        let precheck: Option<PrecheckReport> = optional("task.precheck", task.precheck.clone())?;
        let modification = task.modification.clone().map(|it| {
            let refused: Option<PrecheckReport> = optional("task.modification", it.refused)?;
            let refused = refused.map(Into::into);
            Ok::<_, ConvertError>(ModificationView { revision: it.revision, refused })
        });
        let modification = modification.transpose()?;
        let alerts = task.alerts.iter().cloned().map(AlertView::try_from);
        Ok(Self {
            delay_ms: reports().map(|report| report.delay_ms).max(),
            wal_retained_bytes: retained,
            wal: WalView::new(&budget, retained),
            predicted_failover_ms: reports()
                .map(|report| report.predicted_failover_ms)
                .max()
                .unwrap_or_default(),
            counters: counters(reports()),
            shards: task
                .shards
                .iter()
                .map(|shard| ShardView::new(&task, shard))
                .collect::<Result<_, _>>()?,
            caught_up,
            created_at: time(task.created_at_ms),
            updated_at: time(task.updated_at_ms),
            error,
            precheck: precheck.map(Into::into),
            name: task.name,
            id: task.id,
            kind: task.kind,
            display_name: task.display_name,
            phase: task.phase,
            desired: task.desired,
            revision: task.revision,
            modification,
            alerts: alerts.collect::<Result<_, _>>()?,
        })
    }
}

fn counters<'a>(reports: impl Iterator<Item = &'a wire::ShardReport>) -> CountersView {
    reports.filter_map(|report| report.counters).fold(CountersView::default(), |sum, shard| {
        CountersView {
            insert: sum.insert.saturating_add(shard.insert),
            update: sum.update.saturating_add(shard.update),
            delete: sum.delete.saturating_add(shard.delete),
            truncate: sum.truncate.saturating_add(shard.truncate),
            transactions: sum.transactions.saturating_add(shard.transactions),
            filtered: sum.filtered.saturating_add(shard.filtered),
            dead_letters: sum.dead_letters.saturating_add(shard.dead_letters),
            restamped: sum.restamped.saturating_add(shard.restamped),
        }
    })
}

impl ShardView {
    fn new(task: &pb::Task, shard: &pb::Shard) -> Result<Self, ConvertError> {
        let report = shard.report.as_ref();
        let counters = report.and_then(|report| report.counters).unwrap_or_default();
        Ok(Self {
            id: format!("{}/{}", task.name, shard.index),
            node: (!shard.node.is_empty()).then(|| shard.node.clone()),
            epoch: shard.epoch,
            phase: report.map(|report| phase(report.phase())),
            position: PositionView::new(&task.kind, shard),
            delay_ms: report.map(|report| report.delay_ms),
            records: counters.records,
            bytes: counters.bytes,
            records_per_second: report.map_or(0.0, |report| report.records_per_second),
            restarts: report.map_or(0, |report| report.restarts),
            retry: report.map(RetryView::of).transpose()?.flatten(),
        })
    }
}

fn phase(phase: wire::ShardPhase) -> &'static str {
    match phase {
        wire::ShardPhase::Unspecified => "Unknown",
        wire::ShardPhase::Initializing => "Initializing",
        wire::ShardPhase::Synchronizing => "Synchronizing",
        wire::ShardPhase::Retrying => "Retrying",
        wire::ShardPhase::Failed => "Failed",
    }
}

/// All tasks, one line each.
pub(crate) fn task_list(tasks: &[TaskView], wide: bool) -> String {
    if tasks.is_empty() {
        return "no tasks".to_owned();
    }
    let mut header = vec!["NAME", "PHASE", "NODE", "DELAY", "RECORDS", "RECORDS/S"];
    if wide {
        header.extend(["ID", "DESIRED", "EPOCH", "DURABLE", "WAL KEPT", "CREATED"]);
    }
    let mut table = table(&header);
    for task in tasks {
        let mut row = task.cells();
        if wide {
            row.extend(task.wide_cells());
        }
        table.add_row(row);
    }
    drawn(&table)
}

/// One task: its line, its error, its last precheck where that failed.
pub(crate) fn task_table(task: &TaskView, wide: bool) -> String {
    let mut text = task_list(std::slice::from_ref(task), wide);
    if let Some(fault) = &task.error {
        text.push_str(&format!(
            "\n\nerror: {}\n  why: {}\n  do:  {}",
            fault.object, fault.message, fault.remedy
        ));
    }
    if task.shards.len() > 1 {
        text.push_str(&format!("\n\n{}", shard_table(&task.shards)));
    }
    for shard in &task.shards {
        if let Some(retry) = &shard.retry {
            text.push_str(&format!("\n\n{}", retry.lines(&shard.id)));
        }
    }
    for line in task.alerts.iter().filter_map(AlertView::line) {
        text.push_str(&format!("\n\n{line}"));
    }
    if let Some(line) = task.wal.line() {
        text.push_str(&format!("\n\n{line}"));
    }
    if let Some(ModificationView { revision, refused }) = &task.modification {
        text.push_str(&match refused {
            None => format!("\n\na node looks at revision {revision}"),
            Some(report) => format!(
                "\n\nrevision {revision} was refused, revision {} stays:\n{}",
                task.revision,
                precheck_table(report, wide)
            ),
        });
    }
    if let Some(precheck) = &task.precheck
        && (wide || task.phase == Phase::PrecheckFailed.as_str())
    {
        text.push_str(&format!("\n\n{}", precheck_table(precheck, wide)));
    }
    text
}

/// The shards of a task that several nodes share.
fn shard_table(shards: &[ShardView]) -> String {
    let mut table =
        table(&["SHARD", "NODE", "EPOCH", "PHASE", "PARTITIONS", "LAG", "RECORDS", "RECORDS/S"]);
    for shard in shards {
        table.add_row([
            shard.id.clone(),
            shard.node.clone().unwrap_or_else(|| "-".to_owned()),
            shard.epoch.to_string(),
            shard.phase.unwrap_or("-").to_owned(),
            shard.position.partitions().to_string(),
            shard.position.lag().to_string(),
            shard.records.to_string(),
            format!("{:.0}", shard.records_per_second),
        ]);
    }
    drawn(&table)
}

impl TaskView {
    fn cells(&self) -> Vec<String> {
        let nodes: BTreeSet<_> =
            self.shards.iter().filter_map(|shard| shard.node.as_deref()).collect();
        let nodes: Vec<_> = nodes.into_iter().collect();
        let records: u64 = self.shards.iter().map(|shard| shard.records).sum();
        let rate: f64 = self.shards.iter().map(|shard| shard.records_per_second).sum();
        vec![
            self.name.clone(),
            self.phase.clone(),
            or_dash(nodes.join(",")),
            self.delay_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms}ms")),
            records.to_string(),
            format!("{rate:.0}"),
        ]
    }

    fn wide_cells(&self) -> Vec<String> {
        let each = |of: fn(&ShardView) -> String| {
            or_dash(self.shards.iter().map(of).collect::<Vec<_>>().join(","))
        };
        vec![
            self.id.clone(),
            self.desired.clone(),
            each(|shard| shard.epoch.to_string()),
            each(|shard| shard.position.brief()),
            format!("{}KiB {}", self.wal_retained_bytes / 1024, self.wal.state),
            self.created_at.clone().unwrap_or_default(),
        ]
    }
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

#[cfg(test)]
mod tests;
