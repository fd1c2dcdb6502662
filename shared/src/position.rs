//! How far a shard has come in its source.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::lsn::Lsn;
use crate::publication_mark::PublicationMark;

/// The position of a PostgreSQL shard: everything before it is durable at the target.
///
/// The resume point is always a `Commit.end_lsn`; a `final_lsn` would deliver that transaction again,
/// and the header LSN of a row message means nothing for a restart (docs/delivery.md).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PgPosition {
    /// `system_identifier` of the source cluster.
    pub system_id: u64,
    /// Timeline that `lsn` belongs to.
    pub timeline: u32,
    /// End of the last transaction that is wholly durable, or a keepalive position past it.
    pub lsn: Lsn,
    /// Set while a transaction is partly durable.
    pub inside: Option<InTransaction>,
    /// Raised when history was rewritten under us and the user chose to go on.
    pub incarnation: u32,
    /// Identity of what the server was asked to decode; a resume inside a transaction demands the same.
    pub fingerprint: u64,
    /// Ordinal of the next record of the task, counted from 1 over all restarts.
    pub next_ordinal: u64,
    /// The publications as they were when this was written; empty in positions of earlier releases.
    pub publications: Arc<Vec<PublicationMark>>,
}

/// The durable part of a transaction that is not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InTransaction {
    /// `Begin.final_lsn` of the transaction.
    pub final_lsn: Lsn,
    /// Transaction id.
    pub xid: u32,
    /// Place of the last durable row message in the transaction, from 1.
    pub sequence: u64,
}

/// The position of a shard that copies topics: of every partition that it ever copied, everything
/// before it is durable at the target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KafkaPosition {
    /// Topics of the source by name.
    pub topics: BTreeMap<String, TopicPosition>,
    /// Records of the target that the first claim wants deleted and that may still be there.
    pub clearing: Vec<Clearing>,
}

/// How far the partitions of one topic have come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TopicPosition {
    /// Kafka's topic id as two halves; (0, 0) where the brokers have none (before 2.8).
    pub id: (i64, i64),
    /// Name of its copy; none where it was not recorded.
    #[serde(default)]
    pub target: Option<String>,
    /// By partition.
    pub partitions: BTreeMap<u32, PartitionPosition>,
}

/// How far one partition has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PartitionPosition {
    /// Offset of the next record to copy.
    pub next: i64,
    /// Epoch of the leader that took the record in front of it; absent where that is none, or brokers tell none.
    pub leader_epoch: Option<i32>,
}

/// Records of one partition of the target that the task deletes once, before it copies.
///
/// The bound is fixed in the first claim: deleting up to it again deletes nothing that was copied.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Clearing {
    /// Topic of the target.
    pub topic: String,
    /// Its partition.
    pub partition: u32,
    /// Everything below this offset goes.
    pub before: i64,
}

impl PartitionPosition {
    /// The place of somebody who went on to `later`. An epoch goes with the record that has it and no
    /// further: a later leader may have written the markers behind it, and with the older epoch a place
    /// behind the end of that epoch would look as if the log had taken back what was read.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        let same = self.leader_epoch.filter(|_| later.next == self.next);
        Self { next: later.next, leader_epoch: later.leader_epoch.or(same) }
    }
}

impl KafkaPosition {
    /// How far a partition has come; none: it was never copied.
    #[must_use]
    pub fn of(&self, topic: &str, partition: u32) -> Option<PartitionPosition> {
        self.topics.get(topic)?.partitions.get(&partition).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_goes_with_the_record_that_has_it_and_no_further() {
        let at = |next, leader_epoch| PartitionPosition { next, leader_epoch };
        let record = at(100, Some(3));
        assert_eq!(record.then(at(100, None)), record, "the end, where the record stands");
        assert_eq!(
            record.then(at(102, None)),
            at(102, None),
            "markers of a leader that nobody named"
        );
        assert_eq!(record.then(at(103, Some(5))), at(103, Some(5)));
        assert_eq!(record.then(at(100, Some(5))), at(100, Some(5)));
    }
}
