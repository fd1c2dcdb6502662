//! The shards of a copy as the command line shows them, and what a reader sees of their partitions.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::reader::Record;

/// A shard as the command line shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardSeen {
    /// `TASK/NUMBER`.
    pub id: String,
    /// Its owner.
    pub node: String,
    /// The epoch of its owner.
    pub epoch: u64,
    /// Pipelines built beyond the first.
    pub restarts: u64,
    /// The partitions that it copies, with their topics.
    pub partitions: Vec<(String, u32)>,
}

/// The shards of a task.
///
/// # Errors
/// When the task cannot be shown, or a shard has no owner.
pub fn shards_of(cluster: &Cluster, task: &str) -> Result<Vec<ShardSeen>> {
    let task = cluster.task(task)?;
    let shards = task["shards"].as_array().context("no shards")?;
    shards.iter().map(shard_seen).collect()
}

fn shard_seen(shard: &Value) -> Result<ShardSeen> {
    let topics = shard["position"]["partitions"].as_object().context("no partitions")?;
    let partitions = topics.iter().flat_map(|(topic, partitions)| {
        let numbers = partitions.as_object().into_iter().flatten();
        numbers.filter_map(|(number, _)| Some((topic.clone(), number.parse().ok()?)))
    });
    Ok(ShardSeen {
        id: shard["id"].as_str().context("no id")?.to_owned(),
        node: shard["node"].as_str().context("no owner")?.to_owned(),
        epoch: shard["epoch"].as_u64().context("no epoch")?,
        restarts: shard["restarts"].as_u64().context("no restarts")?,
        partitions: partitions.collect(),
    })
}

/// The longest time without a record, over these partitions, between two moments (µs since 1970).
#[must_use]
pub fn longest_gap(
    records: &[Record],
    partitions: &[(String, u32)],
    (from, to): (i64, i64),
) -> Duration {
    let mut last: BTreeMap<(&str, u32), i64> =
        partitions.iter().map(|(topic, number)| ((topic.as_str(), *number), from)).collect();
    let mut longest = 0;
    let between = |record: &&Record| (from..to).contains(&record.received_at_micros);
    for record in records.iter().filter(between) {
        if let Some(before) = last.get_mut(&(record.topic.as_str(), record.partition)) {
            longest = longest.max(record.received_at_micros - *before);
            *before = record.received_at_micros;
        }
    }
    let still = last.values().map(|before| to - before).max().unwrap_or_default();
    Duration::from_micros(u64::try_from(longest.max(still)).unwrap_or_default())
}
