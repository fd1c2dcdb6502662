//! The demo of copies of topics: two Kafka clusters, a topic that is being filled, and its copy.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use serde_json::Value;
use tidewire_cluster_tests::copy::{COPY, CopyScene};
use tidewire_testbed::cluster::{Cluster, ClusterOptions, Member};
use tidewire_testbed::copy_load::CopyLoad;
use tidewire_testbed::live::Live;
use tidewire_testbed::servers::{Kafka, KafkaOptions};

use super::Play;
use super::report::Proven;
use crate::servers::Left;
use crate::{cargo, checks, screen};

const TOPIC: &str = "clicks";
const PARTITIONS: u32 = 12;
const RECORDS_PER_SECOND: u32 = 500;

/// Everything that runs.
pub(super) struct Copies {
    // Stands first: it ends before the servers.
    load: Option<CopyLoad>,
    live: Live,
    scene: CopyScene,
    /// Partitions that whoever is killed copies.
    moved: BTreeSet<u32>,
}

impl Play for Copies {
    const KIND: &'static str = "kafka";

    fn begin() -> Result<Self> {
        screen::step("fetch Kafka (once)", checks::fetch_servers)?;
        let binary = screen::step("build tidewire", || cargo::build_binary(cargo::Profile::Debug))?;
        let (source, target) = screen::step("start two Kafka clusters", || {
            let source = thread::spawn(|| Kafka::start(KafkaOptions::default()));
            let target = Kafka::start(KafkaOptions::default())?;
            let source = source.join().map_err(|_| anyhow!("the start of Kafka panicked"))??;
            Ok((source, target))
        })?;
        let scene = screen::step("start 3 coordinators and 2 nodes", || {
            let options = ClusterOptions { binary: Some(binary), ..ClusterOptions::default() };
            CopyScene::between(source, target, options)
        })?;
        screen::step("create topic and task", || {
            scene.source.create_topic(TOPIC, PARTITIONS, &[])?;
            scene.copy("topics: [{match: [clicks]}]")
        })?;
        let live = Live::start_copies(&scene.target, &[TOPIC])?;
        let load = CopyLoad::start(&scene.source, TOPIC, PARTITIONS, RECORDS_PER_SECOND)?;
        Ok(Self { load: Some(load), live, scene, moved: BTreeSet::new() })
    }

    fn cluster(&self) -> &Cluster {
        &self.scene.cluster
    }

    fn task(&self) -> &'static str {
        COPY
    }

    fn live(&self) -> &Live {
        &self.live
    }

    fn title(&self) -> String {
        format!("topic {TOPIC}, {PARTITIONS} partitions → its copy in another Kafka cluster")
    }

    fn written(&self) -> (&'static str, u64) {
        ("records", self.load.as_ref().map_or(0, CopyLoad::written))
    }

    /// The owner of the shard that has copied most.
    fn victim(&mut self) -> Result<Member> {
        let task = self.cluster().task(COPY)?;
        let shards = task.get("shards").and_then(Value::as_array).context("no shards")?;
        let records = |shard: &&Value| shard.get("records").and_then(Value::as_u64);
        let busiest = shards.iter().max_by_key(records).context("no shards")?;
        let node = busiest.get("node").and_then(Value::as_str).context("no owner")?;
        let of_node = self.scene.shards()?.into_iter().filter(|shard| shard.node == node);
        self.moved = of_node.flat_map(|shard| shard.partitions).map(|(_, number)| number).collect();
        self.cluster().member(node)
    }

    fn takeover(&self, kill: i64) -> Option<Duration> {
        self.live.takeover_of(kill, &self.moved)
    }

    fn end_load(&mut self) -> Result<String> {
        let load = self.load.take().context("no load runs")?;
        Ok(format!("records acknowledged    {:>10}", load.finish()?))
    }

    fn prove(&mut self) -> Result<Proven> {
        self.scene.compare(&[TOPIC], str::to_owned).map(Proven::from)
    }

    fn keep(self) -> Result<()> {
        let CopyScene { cluster, source, target, .. } = self.scene;
        let endpoints = cluster.endpoints.join(",");
        let (pid, folder) = cluster.detach().context("leave the cluster running")?;
        let mut left = Left::copies(source, target);
        left.precede(pid, folder);
        left.announce(&endpoints)
    }
}
