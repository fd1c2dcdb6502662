//! at_least_once: nothing is lost, and what comes twice is a stretch that is repeated as it was.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use postgres::Client;
use serde_json::Value;
use tidewire_cluster_tests::{TASK, kafka, postgres};
use tidewire_testbed::cluster::{Cluster, ClusterOptions};
use tidewire_testbed::fault_points::FaultPoints;
use tidewire_testbed::oracle::truth::keys;
use tidewire_testbed::oracle::{Format, TruthSlot, prove};
use tidewire_testbed::process::{self, Signal};
use tidewire_testbed::reader::{Reader, Record};
use tidewire_testbed::servers::old_kafka::{OldKafka, V0_10, V1_0};
use tidewire_testbed::servers::postgres::StopMode;
use tidewire_testbed::servers::{Postgres, PostgresOptions};
use tidewire_testbed::task::TaskDocument;
use tidewire_testbed::workload::{self, TABLES, Workload, WorkloadOptions};

use crate::solo::{self, TABLE, Task};

const LIMIT: Duration = Duration::from_secs(120);

/// Bytes of the last field of a record: when it was written, milliseconds as Avro writes a long.
const WRITTEN_AT: usize = 6;

/// The first copy of every record; fails where a repeated one does not go on like the stretch that it
/// repeats. Values hold the record's number, so that those which are
/// equal but for the time of writing are the same record.
fn without_repeats(records: Vec<Record>) -> (Vec<Record>, usize) {
    let mut partitions: HashMap<u32, Partition> = HashMap::new();
    let (mut first, mut repeats) = (Vec::new(), 0);
    for record in records {
        let seen = partitions.entry(record.partition).or_default();
        let mut value = record.value.clone().unwrap();
        value.truncate(value.len() - WRITTEN_AT);
        match seen.places.get(&value) {
            Some(place) => {
                let goes_on = seen.next == Some(*place);
                let begins = seen.next.is_none_or(|next| next == seen.places.len());
                assert!(goes_on || begins, "a repeat that is no stretch: offset {}", record.offset);
                seen.next = Some(place + 1);
                repeats += 1;
            }
            None => {
                let whole = seen.next.is_none_or(|next| next == seen.places.len());
                assert!(whole, "a repeat that breaks off: offset {}", record.offset);
                let place = seen.places.len();
                seen.places.insert(value, place);
                seen.next = Some(place + 1);
                first.push(record);
            }
        }
    }
    (first, repeats)
}

/// What was seen of one partition: each record's place, and the one that would come next.
#[derive(Default)]
struct Partition {
    places: HashMap<Vec<u8>, usize>,
    next: Option<usize>,
}

/// A task under load, and the truth of its source.
struct Run {
    name: &'static str,
    cluster: Cluster,
    client: Client,
    truth: TruthSlot,
    load: Workload,
}

impl Run {
    /// Starts a task of this name into a topic of this name. `lines` go to the end of its document.
    fn start(name: &'static str, bootstrap: &str, options: ClusterOptions, lines: &str) -> Self {
        let address = postgres().create_database(name).unwrap();
        let mut client = address.connect().unwrap();
        workload::create_tables(&mut client).unwrap();
        let truth = TruthSlot::create(&mut client, &format!("truth_{name}"), &TABLES).unwrap();
        let cluster = Cluster::start(options).unwrap();
        let objects: Vec<_> = TABLES.iter().map(|table| (*table, name)).collect();
        let document = TaskDocument {
            name: TASK,
            postgres: &address,
            bootstrap,
            objects: &objects,
            format: "dts_avro",
            partition: "by_primary_key",
        };
        let yaml = document.yaml().replace("delivery: exactly_once", "delivery: at_least_once");
        cluster.apply_and_start(&format!("{yaml}{lines}")).unwrap();
        let load = Workload::start(&address, &WorkloadOptions::default()).unwrap();
        thread::sleep(Duration::from_secs(3));
        cluster.wait(TASK, "Synchronizing", LIMIT).unwrap();
        Self { name, cluster, client, truth, load }
    }

    /// Kills the owner and waits until another node goes on.
    fn kill_owner(&self) {
        let owner = self.cluster.owner(TASK).unwrap();
        process::signal(owner.pid, Signal::KILL).unwrap();
        let taken_over = (0..600).any(|_| {
            thread::sleep(Duration::from_millis(100));
            self.cluster.owner(TASK).is_ok_and(|next| next.name != owner.name)
        });
        assert!(taken_over, "nobody took over: {}", self.cluster.task(TASK).unwrap());
        self.cluster.wait(TASK, "Synchronizing", LIMIT).unwrap();
        thread::sleep(Duration::from_secs(3));
    }

    /// Ends the load, waits until all of it has arrived, and proves that the first copies of what `read`
    /// gives are the changes of the source, once and in order.
    fn prove(mut self, read: impl FnOnce() -> Vec<Record>) {
        let written = self.load.stop().unwrap();
        assert!(written.rows > 100, "no load: {written:?}");
        self.cluster.wait(TASK, "caught-up", LIMIT).unwrap();
        let changes = self.truth.take(&mut self.client).unwrap();
        let keys = keys(&mut self.client, &TABLES).unwrap();
        let (first, repeats) = without_repeats(read());
        eprintln!("{}: {} records, {repeats} of them repeated", self.name, first.len());
        let proof = prove(&changes, &keys, Format::DtsAvro, 4, first.into_iter().map(Ok)).unwrap();
        assert!(proof.holds(), "{proof}");
        self.truth.drop(&mut self.client).unwrap();
    }
}

#[test]
fn nothing_is_lost_and_only_stretches_are_repeated_when_the_owner_is_killed() {
    let name = "at_least_once";
    kafka().create_topic(name, 4, &[]).unwrap();
    let run = Run::start(name, &kafka().bootstrap(), ClusterOptions::default(), "");
    run.kill_owner();
    run.prove(|| Reader::all(kafka(), &[name]).unwrap());
}

/// Brokers of the past go away and come back, and so does an owner.
fn old_brokers_get_everything(name: &'static str, version: &str) {
    let mut old = OldKafka::start(version).unwrap();
    old.create_topic(name, 4).unwrap();
    let few = ClusterOptions { coordinators: 1, ..ClusterOptions::default() };
    // They take a little less than a MiB.
    let run = Run::start(name, &old.bootstrap(), few, "limits: {recordBytes: 800KiB}\n");
    old.kill();
    old.restart().unwrap();
    run.cluster.wait(TASK, "Synchronizing", LIMIT).unwrap();
    run.kill_owner();
    run.prove(|| old.records(&[name]).unwrap());
}

#[test]
fn brokers_of_1_0_get_everything_from_a_database() {
    old_brokers_get_everything("at_least_once_1_0", V1_0);
}

#[test]
fn brokers_of_0_10_get_everything_from_a_database() {
    old_brokers_get_everything("at_least_once_0_10", V0_10);
}

/// The note and the place of each record, in the order of the topic.
fn notes(topic: &str) -> Vec<String> {
    let value = |record: &Record| -> Value {
        serde_json::from_slice(record.value.as_deref().unwrap()).unwrap()
    };
    let records = Reader::all(kafka(), &[topic]).unwrap();
    records.iter().map(|it| value(it)["data"][0]["note"].as_str().unwrap().to_owned()).collect()
}

/// The hazard that docs/delivery.md names: rows that the library of a frozen node had queued land behind
/// newer ones of the next owner. Nothing is lost by it, and the frozen node adds nothing of its own.
#[test]
fn what_a_frozen_owner_had_queued_lands_late_behind_newer_rows_and_nothing_else_does() {
    let name = "late_rows";
    let address = postgres().create_database(name).unwrap();
    let mut client = address.connect().unwrap();
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY, note text)").unwrap();
    kafka().create_topic(name, 1, &[]).unwrap();
    let points = FaultPoints::new().unwrap();
    let env = vec![points.variable()];
    let few = ClusterOptions { coordinators: 1, env, ..ClusterOptions::default() };
    let cluster = Cluster::start(few).unwrap();
    let document = TaskDocument {
        name: TASK,
        postgres: &address,
        bootstrap: &kafka().bootstrap(),
        objects: &[("public.t", name)],
        format: "canal_json",
        partition: "by_primary_key",
    };
    // What is not flushed stays in the library's queue, long enough to be frozen there.
    let yaml = document
        .yaml()
        .replace("delivery: exactly_once", "delivery: at_least_once")
        .replace("target:\n", "target:\n  properties: {linger.ms: 5000}\n");
    cluster.apply_and_start(&yaml).unwrap();
    client.batch_execute("INSERT INTO t VALUES (1, 'first')").unwrap();
    cluster.wait(TASK, "caught-up", LIMIT).unwrap();

    let owner = cluster.owner(TASK).unwrap();
    points.arm("before_flush").unwrap();
    client.batch_execute("UPDATE t SET note = 'queued'").unwrap();
    let held = points.wait_hit("before_flush", LIMIT).unwrap();
    process::signal(held, Signal::STOP).unwrap();
    assert_eq!(held, owner.pid);
    assert_eq!(notes(name), ["first"], "it is in the queue of the frozen owner");
    client.batch_execute("UPDATE t SET note = 'newer'").unwrap();
    let next = (0..600).find_map(|_| {
        thread::sleep(Duration::from_millis(100));
        cluster.owner(TASK).ok().filter(|next| next.name != owner.name)
    });
    let next = next.expect("another owner");
    cluster.wait(TASK, "caught-up", LIMIT).unwrap();
    assert_eq!(notes(name), ["first", "queued", "newer"], "all of it by the next owner");

    process::signal(owner.pid, Signal::CONT).unwrap();
    let late = (0..100).any(|_| {
        thread::sleep(Duration::from_millis(100));
        notes(name).len() == 4
    });
    assert!(late, "the queue of the frozen owner was never sent: {:?}", notes(name));
    points.release("before_flush").unwrap();
    client.batch_execute("UPDATE t SET note = 'last'").unwrap();
    cluster.wait(TASK, "caught-up", LIMIT).unwrap();
    thread::sleep(Duration::from_secs(2));
    assert_eq!(notes(name), ["first", "queued", "newer", "queued", "last"]);
    assert_eq!(cluster.owner(TASK).unwrap(), next, "who took over has it still");
}

/// Where the slot of a task at rest stands, where that is behind the task, as a refused rewind tells it.
fn slot_behind(task: &mut Task) -> Option<String> {
    let early = ["task", "rewind", task.name, "--to", "0/1", "--yes"];
    let refused = solo::cluster().cli(&early).unwrap();
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    let named = refused.stderr.split("a position from ").nth(1).unwrap();
    let (from, _) = named.split_once(" to ").unwrap();
    let shown = solo::cluster().task(task.name).unwrap();
    let stands = shown.pointer("/shards/0/position/committed").unwrap().as_str().unwrap();
    let behind = "SELECT $1::text::pg_lsn < $2::text::pg_lsn";
    let behind: bool = task.client.query_one(behind, &[&from, &stands]).unwrap().get(0);
    behind.then(|| from.to_owned())
}

#[test]
fn a_task_goes_back_within_what_its_slot_has() {
    let mut server = Postgres::start(PostgresOptions::default()).unwrap();
    let mut task = Task::with("back", &server, TABLE, |yaml| {
        yaml.replace("delivery: exactly_once", "delivery: at_least_once")
    });
    // A server that crashes has its slots as they were saved last, now and then: that is the way back.
    let from = (0..5).find_map(|round| {
        task.insert(round * 5 + 1..=round * 5 + 5);
        assert_eq!(task.delivered().len(), usize::try_from(round).unwrap() * 5 + 5);
        task.pause();
        server.restart(StopMode::Immediate).unwrap();
        task.reconnect(server.address());
        let behind = slot_behind(&mut task);
        if behind.is_none() {
            task.resume();
        }
        behind
    });
    let from = from.expect("a slot that stands behind the task");
    let before = task.read();
    solo::cluster().done(&["task", "rewind", "back", "--to", &from, "--yes"]).unwrap();
    task.insert(101..=103);
    task.resume();
    let after = task.delivered();
    let (old, new) = after.split_at(before.len());
    assert_eq!(old, before);
    let (again, fresh) = new.split_at(new.len() - 3);
    assert!(!again.is_empty() && before.ends_with(again), "a stretch comes again: {new:?}");
    let fresh: Vec<_> = fresh.iter().map(|(_, id)| id.as_str()).collect();
    assert_eq!(fresh, ["101", "102", "103"]);
    let history = solo::cluster().done(&["task", "history", "back"]).unwrap();
    assert!(history.contains(&format!("→ {from}")), "{history}");
}
