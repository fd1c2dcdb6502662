//! What one node is told at its start.

use serde::{Deserialize, Serialize};
use tidewire_shared::Period;

/// Settings of a node (flags, environment or a file; see docs/operations.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NodeConfig {
    /// Name of the node; one process at a time may use it.
    pub name: tidewire_shared::NodeName,
    /// Where coordinators are, as `http://host:port`; any of them will do.
    pub coordinators: Vec<String>,
    /// Shards this node carries at most.
    #[serde(default = "NodeConfig::default_capacity")]
    pub capacity: u32,
    /// Longest wait for the shards to be handed over when the node is asked to leave.
    #[serde(default = "NodeConfig::default_drain")]
    pub drain: Period,
}

impl NodeConfig {
    /// About what one process carries: each shard has a producer with threads of its own.
    #[must_use]
    pub fn default_capacity() -> u32 {
        100
    }

    /// Long enough for a hand-over of every shard, short enough for a service manager.
    #[must_use]
    pub fn default_drain() -> Period {
        Period::from_secs(20)
    }
}
