//! What a target itself says about tasks, without coordinators.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use prost::Message;
use tidewire_proto::position::v1::PositionRecord;
use tidewire_shared::{Fault, FaultKind};

use super::read::{Log, client, unreachable};
use super::{TOPIC, topic};
use crate::config::{Isolation, Settings};
use crate::topics::Topics;

/// The newest position record under one key.
#[derive(Clone, Debug, PartialEq)]
pub struct ShownPosition {
    /// `CLUSTER/TASK/SHARD`.
    pub key: String,
    /// Where it stands.
    pub partition: u32,
    /// Where it stands.
    pub offset: i64,
    /// The record, or why it cannot be read.
    pub record: Result<PositionRecord, Fault>,
}

/// The newest committed record of each key, in key order; of one task only when `task_name` is given.
/// Reads what a read_committed consumer sees at the moment of the call.
///
/// # Errors
///
/// `TargetState` when there is no positions topic, otherwise why the cluster cannot be read.
pub fn show(
    settings: &Settings,
    task_name: Option<&str>,
    timeout: Duration,
) -> Result<Vec<ShownPosition>, Fault> {
    let deadline = Instant::now() + timeout;
    let facts = topic::look(&Topics::new(settings)?, timeout)?.ok_or_else(|| {
        Fault::new(FaultKind::TargetState, format!("topic {TOPIC}"), "does not exist")
            .remedy("check target.brokers: no exactly_once task ever wrote to this cluster")
    })?;
    let committed = client(settings, Isolation::Committed)?;
    let mut shown: BTreeMap<String, ShownPosition> = BTreeMap::new();
    for partition in 0..facts.partitions {
        let native = i32::try_from(partition).unwrap_or(i32::MAX);
        let left = deadline.saturating_duration_since(Instant::now());
        let (low, end) = committed
            .watermarks(TOPIC, native, left)
            .map_err(|error| unreachable(&committed, &error, partition))?;
        if low >= end {
            continue;
        }
        let log = Log { client: &committed, partition, native };
        log.read_to(low, end, deadline, |offset, key, value| {
            let key = String::from_utf8_lossy(key).into_owned();
            match value {
                None => drop(shown.remove(&key)),
                Some(value) => {
                    let record = decode(&key, value);
                    shown.insert(key.clone(), ShownPosition { key, partition, offset, record });
                }
            }
            Ok(())
        })?;
    }
    let wanted = |position: &ShownPosition| match (task_name, &position.record) {
        (Some(name), Ok(record)) => record.task_name == name,
        _ => true,
    };
    Ok(shown.into_values().filter(wanted).collect())
}

fn decode(key: &str, value: &[u8]) -> Result<PositionRecord, Fault> {
    PositionRecord::decode(value).map_err(|error| {
        Fault::new(
            FaultKind::TargetHistory,
            format!("position {key}"),
            format!("does not decode: {error}"),
        )
    })
}
