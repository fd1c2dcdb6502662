//! Position records of a target, as JSON and as a table.

use std::collections::BTreeMap;

use serde::Serialize;
use tidewire_kafka::positions::ShownPosition;
use tidewire_proto::position::v1::{KafkaPosition, PgPosition, PositionRecord, TopicPosition};
use tidewire_shared::{Fault, Lsn};

use super::{drawn, table, time};

/// The newest record of one shard as scripts read it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PositionView {
    /// `CLUSTER/TASK/SHARD`, identities.
    key: String,
    partition: u32,
    offset: i64,
    record: Option<RecordView>,
    error: Option<Fault>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RecordView {
    task: String,
    node: String,
    serial: u64,
    epoch: u64,
    claim: bool,
    written_at: Option<String>,
    position: Option<PgView>,
    /// Of a task from Kafka, the next offset by topic and partition of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    partitions: Option<BTreeMap<String, BTreeMap<u32, i64>>>,
    topics: Vec<TopicView>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PgView {
    system_id: String,
    timeline: u32,
    lsn: String,
    inside: Option<InsideView>,
    incarnation: u32,
    next_ordinal: u64,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct InsideView {
    final_lsn: String,
    xid: u32,
    sequence: u64,
}

#[derive(Clone, Debug, Serialize)]
struct TopicView {
    name: String,
    partitions: u32,
}

impl From<ShownPosition> for PositionView {
    fn from(shown: ShownPosition) -> Self {
        let (record, error) = match shown.record {
            Ok(record) => (Some(RecordView::from(record)), None),
            Err(fault) => (None, Some(fault)),
        };
        Self { key: shown.key, partition: shown.partition, offset: shown.offset, record, error }
    }
}

impl From<PositionRecord> for RecordView {
    fn from(record: PositionRecord) -> Self {
        let topics = record.topics.into_iter();
        Self {
            task: record.task_name,
            node: record.node,
            serial: record.serial,
            epoch: record.epoch,
            claim: record.claim,
            written_at: time(record.written_at_ms),
            position: record.postgres.map(PgView::from),
            partitions: record.kafka.map(by_topic),
            topics: topics
                .map(|pin| TopicView { name: pin.name, partitions: pin.partitions })
                .collect(),
        }
    }
}

fn by_topic(position: KafkaPosition) -> BTreeMap<String, BTreeMap<u32, i64>> {
    let partitions = |topic: TopicPosition| {
        let next = topic.partitions.into_iter().map(|at| (at.partition, at.next)).collect();
        (topic.name, next)
    };
    position.topics.into_iter().map(partitions).collect()
}

impl From<PgPosition> for PgView {
    fn from(position: PgPosition) -> Self {
        let inside = position.inside.map(|inside| InsideView {
            final_lsn: Lsn(inside.final_lsn).to_string(),
            xid: inside.xid,
            sequence: inside.sequence,
        });
        Self {
            system_id: position.system_id.to_string(),
            timeline: position.timeline,
            lsn: Lsn(position.lsn).to_string(),
            inside,
            incarnation: position.incarnation,
            next_ordinal: position.next_ordinal,
        }
    }
}

pub(crate) fn position_table(views: &[PositionView], wide: bool) -> String {
    if views.is_empty() {
        return "no positions".to_owned();
    }
    let mut header = vec!["TASK", "KEY", "POSITION", "EPOCH", "SERIAL", "NODE", "WRITTEN"];
    if wide {
        header.extend(["AT", "INSIDE", "ORDINAL"]);
    }
    let mut table = table(&header);
    for view in views {
        table.add_row(match &view.record {
            Some(record) => cells(view, record, wide),
            None => {
                let why = view.error.as_ref().map(ToString::to_string).unwrap_or_default();
                vec!["?".to_owned(), view.key.clone(), why]
            }
        });
    }
    drawn(&table)
}

fn cells(view: &PositionView, record: &RecordView, wide: bool) -> Vec<String> {
    let position = record.position.as_ref();
    let place = match (position, &record.partitions) {
        (Some(position), _) => position.lsn.clone(),
        (None, Some(topics)) => {
            let partitions: usize = topics.values().map(BTreeMap::len).sum();
            format!("{partitions} partitions")
        }
        (None, None) => "-".to_owned(),
    };
    let mut row = vec![
        record.task.clone(),
        view.key.clone(),
        place,
        record.epoch.to_string(),
        format!("{}{}", record.serial, if record.claim { " (claim)" } else { "" }),
        record.node.clone(),
        record.written_at.clone().unwrap_or_default(),
    ];
    if wide {
        let inside = position.and_then(|position| position.inside.as_ref());
        row.extend([
            format!("{}:{}", view.partition, view.offset),
            inside.map_or_else(|| "-".to_owned(), |at| format!("{}+{}", at.final_lsn, at.sequence)),
            position.map_or_else(|| "-".to_owned(), |at| at.next_ordinal.to_string()),
        ]);
    }
    row
}
