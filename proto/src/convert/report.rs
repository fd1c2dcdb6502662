//! What a running shard tells about itself.

use tidewire_shared::{
    Counters, Epoch, Lsn, PartitionProgress, PositionHint, RetryWindow, ShardId, ShardPhase,
    ShardReport,
};

use super::{ConvertError, each, enumerated, optional, parsed, required, same_variants, text};
use crate::position::v1::PositionHint as WireHint;
use crate::task::v1 as pb;

same_variants!(ShardPhase, pb::ShardPhase, [Initializing, Synchronizing, Retrying, Failed]);

impl From<ShardReport> for pb::ShardReport {
    fn from(report: ShardReport) -> Self {
        let retry =
            report.retry.unwrap_or(RetryWindow { since_ms: 0, until_ms: 0, next_attempt_ms: 0 });
        let position = report.position.map(WireHint::from).unwrap_or_default();
        Self {
            task_id: report.shard.task.to_string(),
            shard: report.shard.index,
            epoch: report.epoch.0,
            phase: pb::ShardPhase::from(report.phase).into(),
            fault: report.fault.map(Into::into),
            retrying_since_ms: retry.since_ms,
            retry_until_ms: retry.until_ms,
            next_attempt_ms: retry.next_attempt_ms,
            source_lsn: report.source_lsn.0,
            durable_lsn: report.durable_lsn.0,
            confirmed_lsn: report.confirmed_lsn.0,
            serial: position.serial,
            caught_up: report.caught_up,
            delay_ms: report.delay_ms,
            counters: Some(report.counters.into()),
            records_per_second: report.records_per_second,
            wal_retained_bytes: report.wal_retained_bytes,
            predicted_failover_ms: report.predicted_failover_ms,
            restarts: report.restarts,
            position_partition: position.partition,
            position_offset: position.offset,
            position_topic_id_high: position.topic_id_high,
            position_topic_id_low: position.topic_id_low,
            record: report.record,
            partitions: report.partitions.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::ShardReport> for ShardReport {
    type Error = ConvertError;

    fn try_from(report: pb::ShardReport) -> Result<Self, Self::Error> {
        let retry = retry_window(&report);
        let position = position(&report)?;
        Ok(Self {
            shard: ShardId { task: parsed("task_id", &report.task_id)?, index: report.shard },
            epoch: epoch(report.epoch)?,
            phase: enumerated::<pb::ShardPhase, _>("phase", report.phase)?,
            fault: optional("fault", report.fault)?,
            retry,
            source_lsn: Lsn(report.source_lsn),
            durable_lsn: Lsn(report.durable_lsn),
            confirmed_lsn: Lsn(report.confirmed_lsn),
            position,
            record: report.record,
            caught_up: report.caught_up,
            delay_ms: report.delay_ms,
            counters: required("counters", report.counters)?,
            records_per_second: rate(report.records_per_second)?,
            wal_retained_bytes: report.wal_retained_bytes,
            predicted_failover_ms: report.predicted_failover_ms,
            restarts: report.restarts,
            partitions: each("partitions", report.partitions)?,
        })
    }
}

impl From<PartitionProgress> for pb::PartitionProgress {
    fn from(progress: PartitionProgress) -> Self {
        let PartitionProgress { topic, partition, source, durable } = progress;
        Self { topic, partition, source, durable }
    }
}

impl TryFrom<pb::PartitionProgress> for PartitionProgress {
    type Error = ConvertError;

    fn try_from(progress: pb::PartitionProgress) -> Result<Self, Self::Error> {
        let pb::PartitionProgress { topic, partition, source, durable } = progress;
        Ok(Self { topic: text("topic", topic)?, partition, source, durable })
    }
}

fn epoch(number: u64) -> Result<Epoch, ConvertError> {
    match number {
        0 => Err(ConvertError::new("epoch", "is 0: never assigned")),
        number => Ok(Epoch(number)),
    }
}

/// JSON has no word for NaN and infinity, so they end here.
fn rate(number: f64) -> Result<f64, ConvertError> {
    if number.is_finite() && number >= 0.0 {
        return Ok(number);
    }
    Err(ConvertError::new("records_per_second", format!("{number} is no rate")))
}

fn retry_window(report: &pb::ShardReport) -> Option<RetryWindow> {
    (report.retrying_since_ms != 0).then_some(RetryWindow {
        since_ms: report.retrying_since_ms,
        until_ms: report.retry_until_ms,
        next_attempt_ms: report.next_attempt_ms,
    })
}

fn position(report: &pb::ShardReport) -> Result<Option<PositionHint>, ConvertError> {
    let hint = (report.serial != 0).then_some(WireHint {
        topic_id_high: report.position_topic_id_high,
        topic_id_low: report.position_topic_id_low,
        partition: report.position_partition,
        offset: report.position_offset,
        serial: report.serial,
    });
    optional("position", hint)
}

impl From<Counters> for pb::Counters {
    fn from(counters: Counters) -> Self {
        Self {
            records: counters.records,
            bytes: counters.bytes,
            insert: counters.insert,
            update: counters.update,
            delete: counters.delete,
            truncate: counters.truncate,
            transactions: counters.transactions,
            filtered: counters.filtered,
            dead_letters: counters.dead_letters,
            restamped: counters.restamped,
        }
    }
}

impl TryFrom<pb::Counters> for Counters {
    type Error = ConvertError;

    fn try_from(counters: pb::Counters) -> Result<Self, Self::Error> {
        Ok(Self {
            records: counters.records,
            bytes: counters.bytes,
            insert: counters.insert,
            update: counters.update,
            delete: counters.delete,
            truncate: counters.truncate,
            transactions: counters.transactions,
            filtered: counters.filtered,
            dead_letters: counters.dead_letters,
            restamped: counters.restamped,
        })
    }
}
