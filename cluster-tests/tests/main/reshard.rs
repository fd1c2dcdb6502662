//! A copy gets another number of shards while records flow: every partition changes hands, and each
//! record is copied once.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidewire_cluster_tests::copy::{COPY, CopyScene};
use tidewire_cluster_tests::subject::Subject as _;
use tidewire_testbed::copy_load::CopyLoad;
use tidewire_testbed::process::{self, Signal};
use tidewire_testbed::reader::{Reader, Record};

const TOPICS: [(&str, u32); 3] = [("orders", 6), ("clicks", 5), ("payments", 3)];
const PATIENCE: Duration = Duration::from_secs(90);
/// Longer than a frozen owner is waited for.
const FROZEN: Duration = Duration::from_secs(6);

/// A copy of several topics, in two shards, with records flowing into all partitions.
struct Flowing {
    scene: CopyScene,
    /// The lines of its document, but for the number of shards.
    lines: &'static str,
    loads: Vec<CopyLoad>,
}

impl Flowing {
    fn start(lines: &'static str) -> Result<Self> {
        let scene = CopyScene::start(1, 3)?;
        for (topic, partitions) in TOPICS {
            scene.source.create_topic(topic, partitions, &[])?;
        }
        scene.copy(&format!("{lines}\nshards: 2"))?;
        scene.settled(None, PATIENCE)?;
        let load = |(topic, partitions)| CopyLoad::start(&scene.source, topic, partitions, 300);
        let loads = TOPICS.into_iter().map(load).collect::<Result<_>>()?;
        thread::sleep(Duration::from_secs(2));
        Ok(Self { scene, lines, loads })
    }

    /// Applies the document with so many shards and waits for nothing.
    fn apply(&self, shards: u32) -> Result<()> {
        let lines = format!("{}\nshards: {shards}", self.lines);
        let file = self.scene.cluster.document("divided", &self.scene.document(&lines))?;
        let file = file.to_str().context("a path")?;
        self.scene.cluster.done(&["task", "apply", "-f", file]).map(drop)
    }

    /// Waits until the task has shards of these numbers, and returns them.
    fn has(&self, numbers: std::ops::Range<u32>) -> Result<Value> {
        let end = Instant::now() + PATIENCE;
        let wanted: Vec<String> = numbers.map(|number| format!("{COPY}/{number}")).collect();
        loop {
            let task = self.scene.cluster.task(COPY)?;
            let shards = task["shards"].as_array().context("no shards")?;
            if shards
                .iter()
                .map(|shard| shard["id"].as_str())
                .eq(wanted.iter().map(|id| Some(id.as_str())))
            {
                return Ok(task);
            }
            ensure!(Instant::now() < end, "never had {wanted:?}: {task}");
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until shards of these numbers copy, none of them on the node `gone`.
    fn copies_in(&self, numbers: std::ops::Range<u32>, gone: Option<&str>) -> Result<()> {
        self.has(numbers)?;
        self.scene.settled(gone, PATIENCE)?;
        let shards = self.scene.shards()?;
        let partitions: usize = shards.iter().map(|shard| shard.partitions.len()).sum();
        let all: u32 = TOPICS.iter().map(|(_, partitions)| partitions).sum();
        ensure!(partitions == usize::try_from(all)?, "{partitions} partitions in {shards:?}");
        thread::sleep(Duration::from_secs(2));
        Ok(())
    }

    /// Changes the number of shards while an owner is frozen at `point`, one of an old shard or the first
    /// one of a new shard, and wakes it up when the new shards copy.
    fn divide_past_frozen(
        &self,
        point: &str,
        shards: u32,
        numbers: std::ops::Range<u32>,
    ) -> Result<()> {
        let scene = &self.scene;
        scene.points.arm(point)?;
        // The first claims are those of the new shards.
        let is_new = point == "before_claim";
        if is_new {
            self.apply(shards)?;
        }
        let pid = scene.points.wait_hit(point, PATIENCE)?;
        let nodes = scene.cluster.nodes();
        let held = nodes.iter().find(|node| node.pid == pid).context("who is held is no node")?;
        process::signal(pid, Signal::STOP)?;
        let since = Instant::now();
        if !is_new {
            self.apply(shards)?;
        }
        self.copies_in(numbers.clone(), Some(&held.name))?;
        thread::sleep(FROZEN.saturating_sub(since.elapsed()));
        ensure!(process::state_of(pid) == Some('T'), "{} was not frozen", held.name);
        scene.points.release(point)?;
        process::signal(pid, Signal::CONT)?;
        // Time enough for it to try what it was about to do.
        thread::sleep(Duration::from_secs(4));
        self.copies_in(numbers, None)
    }

    fn finish_loads(&mut self) -> Result<u64> {
        self.loads.drain(..).map(CopyLoad::finish).sum()
    }

    /// Both ends are equal, partition by partition.
    fn prove(&mut self) -> Result<()> {
        let written = self.finish_loads()?;
        let copied = self.scene.prove(&TOPICS.map(|(topic, _)| topic), str::to_owned)?;
        ensure!(copied == written, "{copied} of {written} records");
        Ok(())
    }

    /// What was done to the task, by its history.
    fn deeds(&self) -> Result<Vec<String>> {
        let history = self.scene.cluster.json(&["task", "history", COPY])?;
        let done = history["actions"].as_array().context("no actions")?.iter();
        let what = done.filter_map(|it| it["action"].as_str());
        Ok(what.filter(|it| it.starts_with("reshard")).map(str::to_owned).collect())
    }
}

#[test]
fn records_are_copied_once_while_the_number_of_shards_changes_past_frozen_owners() {
    let mut copy = Flowing::start("existingData: stop").unwrap();
    copy.divide_past_frozen("before_end_txn", 5, 2..7).unwrap();
    copy.divide_past_frozen("after_end_txn", 3, 7..10).unwrap();
    copy.divide_past_frozen("before_claim", 4, 10..14).unwrap();
    copy.prove().unwrap();
    let deeds = copy.deeds().unwrap();
    assert_eq!(deeds, ["reshard from 2 to 5", "reshard from 5 to 3", "reshard from 3 to 4"]);
    let log = copy.scene.cluster.done(&["task", "logs", COPY]).unwrap();
    assert!(log.contains("takes over the places of"), "{log}");

    // What all generations wrote about themselves goes with the task.
    let cluster = &copy.scene.cluster;
    let bootstrap = copy.scene.target.bootstrap();
    let positions = || cluster.json(&["positions", "show", "--brokers", &bootstrap]).unwrap();
    let records = |shown: &Value| shown.as_array().map(Vec::len);
    assert_eq!(records(&positions()), Some(14));
    cluster.done(&["task", "delete", COPY, "--yes"]).unwrap();
    assert_eq!(records(&positions()), Some(0));
}

#[test]
fn a_paused_copy_goes_on_in_other_shards_where_it_was() {
    let mut copy = Flowing::start("existingData: stop").unwrap();
    let cluster = |copy: &Flowing, command| {
        copy.scene.cluster.done(&["task", command, COPY]).unwrap();
    };
    cluster(&copy, "pause");
    copy.scene.cluster.wait(COPY, "Paused", PATIENCE).unwrap();
    copy.apply(5).unwrap();
    let paused = copy.has(2..7).unwrap();
    assert_eq!(paused["phase"], "Paused", "{paused}");
    copy.apply(3).unwrap();
    copy.has(7..10).unwrap();
    cluster(&copy, "resume");
    copy.copies_in(7..10, None).unwrap();

    // One of several shards moves by its number, which is told to whoever names none.
    let moved =
        |what: &str| copy.scene.cluster.cli(&["task", "move", what, "--to", "node-2"]).unwrap();
    let unnamed = moved(COPY);
    assert!(unnamed.code != 0 && unnamed.stderr.contains(&format!("{COPY}/7")), "{unnamed:?}");
    let named = moved(&format!("{COPY}/7"));
    assert_eq!(named.code, 0, "{named:?}");
    let arrived = (0..PATIENCE.as_secs()).any(|_| {
        thread::sleep(Duration::from_secs(1));
        copy.scene.shards().unwrap()[0].node == "node-2"
    });
    assert!(arrived, "{:?}", copy.scene.shards());
    copy.scene.settled(None, PATIENCE).unwrap();
    copy.prove().unwrap();

    // A copy that was made again meanwhile holds nothing of what the old shards wrote: no way on.
    cluster(&copy, "pause");
    copy.scene.cluster.wait(COPY, "Paused", PATIENCE).unwrap();
    copy.scene.target.delete_topic("clicks").unwrap();
    copy.scene.target.create_topic("clicks", 5, &[]).unwrap();
    copy.apply(2).unwrap();
    copy.has(10..12).unwrap();
    cluster(&copy, "resume");
    copy.scene.cluster.wait(COPY, "Failed", PATIENCE).unwrap();
    let error = copy.scene.cluster.task(COPY).unwrap()["error"].to_string();
    assert!(error.contains("topic clicks") && error.contains("created again"), "{error}");
}

/// Place and value, which tells one record from another.
fn places(records: Vec<Record>) -> BTreeSet<(String, u32, Vec<u8>)> {
    let place = |it: Record| (it.topic, it.partition, it.value.unwrap_or_default());
    records.into_iter().map(place).collect()
}

#[test]
fn at_least_once_nothing_is_lost_when_an_owner_dies_while_the_number_of_shards_changes() {
    let mut copy = Flowing::start("delivery: at_least_once").unwrap();
    let victim = copy.scene.shards().unwrap()[0].node.clone();
    copy.apply(5).unwrap();
    process::signal(copy.scene.cluster.member(&victim).unwrap().pid, Signal::KILL).unwrap();
    copy.copies_in(2..7, Some(&victim)).unwrap();
    copy.apply(3).unwrap();
    copy.copies_in(7..10, Some(&victim)).unwrap();
    let written = copy.finish_loads().unwrap();
    copy.scene.cluster.wait(COPY, "caught-up", PATIENCE).unwrap();
    let topics = TOPICS.map(|(topic, _)| topic);
    let source = places(Reader::all(&copy.scene.source, &topics).unwrap());
    let target = places(Reader::all(&copy.scene.target, &topics).unwrap());
    assert_eq!(u64::try_from(source.len()).unwrap(), written);
    assert!(source == target, "{} records, {} copies", source.len(), target.len());
}
