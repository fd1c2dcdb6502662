//! What a fault needs of the scene that it happens in, whatever the scene's task carries.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;
use tidewire_testbed::cluster::{Cluster, Member};
use tidewire_testbed::fault_points::FaultPoints;

/// How long a task may take to stream after a fault, or before it.
pub const SETTLE_LIMIT: Duration = Duration::from_secs(120);

/// A cluster with a running task.
pub trait Subject {
    /// The cluster.
    fn cluster(&self) -> &Cluster;

    /// The cluster, to start members of it again.
    fn cluster_mut(&mut self) -> &mut Cluster;

    /// Places inside the cluster's nodes where they can be held.
    fn points(&self) -> &FaultPoints;

    /// The task's name.
    fn task(&self) -> &str;

    /// How many records a read_committed reader can see in what the task writes.
    ///
    /// # Errors
    /// When the target does not answer.
    fn stable_records(&self) -> Result<u64>;

    /// Waits until every shard of the task streams, none of them on the node `gone`.
    ///
    /// # Errors
    /// When that takes longer than `limit`.
    fn settled(&self, gone: Option<&str>, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            // While coordinators change there may be nobody to ask.
            let task = self.cluster().task(self.task());
            let shards = task.as_ref().ok().and_then(|task| task["shards"].as_array());
            let streams =
                |shard: &Value| shard["phase"] == "Synchronizing" && shard["node"].as_str() != gone;
            if shards.is_some_and(|shards| !shards.is_empty() && shards.iter().all(streams)) {
                return Ok(());
            }
            if Instant::now() > end {
                let shown = task.map_or_else(|failed| format!("{failed:#}"), |it| it.to_string());
                let on = gone.map(|node| format!(" without {node}")).unwrap_or_default();
                bail!("{} does not stream{on} in {limit:?}: {shown}", self.task());
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// The owner of the first shard, once all of them stream.
    ///
    /// # Errors
    /// When the task does not come to stream.
    fn settled_owner(&self) -> Result<Member> {
        self.settled(None, SETTLE_LIMIT)?;
        self.cluster().owner(self.task())
    }
}
