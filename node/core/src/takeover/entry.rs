//! What a record of the positions topic says, without its wire format (`tidewire.position.v1`).

use std::fmt::Debug;
use std::hash::Hash;

use tidewire_shared::{Epoch, KafkaPosition, PgPosition};

use super::pins::TopicPin;

/// How far a shard has come in its source.
pub trait SourcePosition: Clone + Debug + PartialEq + Eq + Hash {
    /// With what a source is opened that was judged fit to go on from a position.
    type Opening: Clone + Debug + PartialEq + Eq + Hash;
}

impl SourcePosition for PgPosition {
    type Opening = crate::reconnect::Opening;
}

impl SourcePosition for KafkaPosition {
    type Opening = Vec<crate::copy::PartitionStart>;
}

/// One committed record of a shard in the positions topic: the truth about how far it has come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PositionEntry<P> {
    /// Strictly increasing per shard, from 1.
    pub serial: u64,
    /// Epoch of the owner that wrote it.
    pub epoch: Epoch,
    /// An owner took the shard over with this record; no output goes with a claim.
    pub claim: bool,
    /// How far the shard has come.
    pub position: P,
    /// The target topics as this shard has known them since it first wrote there.
    pub topics: Vec<TopicPin>,
}

/// Where the coordinators last knew a record of this shard to stand: a lagging copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PositionHint {
    /// Kafka's id of the positions topic, as two halves.
    pub topic_id: (i64, i64),
    /// Partition of the positions topic.
    pub partition: u32,
    /// Offset of the record.
    pub offset: i64,
    /// Serial of the record.
    pub serial: u64,
}
