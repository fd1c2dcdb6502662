//! How far a shard has come: places in a log, or in each partition that it copies.

use std::collections::BTreeMap;

use serde::Serialize;
use tidewire_proto::admin::v1 as pb;
use tidewire_proto::task::v1 as wire;
use tidewire_shared::Lsn;

/// A position as scripts read it.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum PositionView {
    /// Log positions as PostgreSQL writes them.
    Log(LogView),
    /// Offsets by topic and partition of the source.
    Topics { partitions: BTreeMap<String, BTreeMap<u32, PartitionView>> },
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct LogView {
    source: Option<String>,
    durable: Option<String>,
    committed: Option<String>,
    confirmed: Option<String>,
}

/// One partition of a copy.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct PartitionView {
    /// Offset behind the newest committed record of the source.
    source: i64,
    /// Offset of the last record, or other entry of its log, that is dealt with for good.
    target: i64,
    /// What is between.
    lag: i64,
}

impl PositionView {
    pub(super) fn new(kind: &str, shard: &pb::Shard) -> Self {
        let report = shard.report.as_ref();
        if kind == "kafka_to_kafka" {
            let partitions = report.map(|report| report.partitions.as_slice()).unwrap_or_default();
            return Self::Topics { partitions: by_topic(partitions) };
        }
        let lsn = |lsn: u64| (lsn != 0).then(|| Lsn(lsn).to_string());
        let said = |of: fn(&wire::ShardReport) -> u64| report.map(of).and_then(lsn);
        Self::Log(LogView {
            source: said(|report| report.source_lsn),
            durable: said(|report| report.durable_lsn),
            committed: lsn(shard.committed_lsn),
            confirmed: said(|report| report.confirmed_lsn),
        })
    }

    /// What is durable, or how much is not.
    pub(super) fn brief(&self) -> String {
        match self {
            Self::Log(log) => log.durable.clone().unwrap_or_else(|| "-".to_owned()),
            Self::Topics { .. } => format!("lag {}", self.lag()),
        }
    }

    /// Partitions that are copied.
    pub(super) fn partitions(&self) -> usize {
        match self {
            Self::Log(_) => 0,
            Self::Topics { partitions } => partitions.values().map(BTreeMap::len).sum(),
        }
    }

    /// Offsets that are not dealt with, over all partitions.
    pub(super) fn lag(&self) -> i64 {
        match self {
            Self::Log(_) => 0,
            Self::Topics { partitions } => {
                partitions.values().flat_map(BTreeMap::values).map(|it| it.lag).sum()
            }
        }
    }
}

fn by_topic(
    partitions: &[wire::PartitionProgress],
) -> BTreeMap<String, BTreeMap<u32, PartitionView>> {
    let mut topics: BTreeMap<String, BTreeMap<u32, PartitionView>> = BTreeMap::new();
    for at in partitions {
        let source = at.source.max(at.durable);
        let view = PartitionView { source, target: at.durable - 1, lag: source - at.durable };
        topics.entry(at.topic.clone()).or_default().insert(at.partition, view);
    }
    topics
}
