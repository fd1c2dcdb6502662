//! Topics of one Kafka cluster into another: which partitions a shard copies, from where, and how far
//! it has come.
//!
//! A partition of the source goes to the partition of the same number of the topic's copy, so each
//! record keeps its place among its neighbours. Everything here is decided from facts; the shell asks
//! brokers and obeys.

mod appeared;
mod configs;
mod heritage;
mod layout;
mod open;
mod progress;
mod rewind;
mod start;

pub use appeared::{Appeared, lacks_places, new_topics};
pub use configs::{carried, differing, is_carried};
pub use heritage::{Heritage, Left};
pub use layout::{CopiedPartition, CopiedTopic, Layout, SourceTopic, rule_of, shard_of, taken};
pub use open::{PartitionFacts, PartitionStart, judge, same_copies, same_topic, unlisted};
pub use progress::CopyProgress;
pub use rewind::{MoveFacts, PartitionMove, moves, rewound};
pub use start::{FirstStart, TargetPartition};

#[cfg(test)]
mod tests;
