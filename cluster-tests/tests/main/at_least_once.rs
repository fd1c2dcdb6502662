//! at_least_once: nothing is lost, and what comes twice is a stretch that is repeated as it was.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use tidewire_cluster_tests::{TASK, kafka, postgres};
use tidewire_testbed::cluster::{Cluster, ClusterOptions};
use tidewire_testbed::oracle::truth::keys;
use tidewire_testbed::oracle::{Format, TruthSlot, prove};
use tidewire_testbed::process::{self, Signal};
use tidewire_testbed::reader::{Reader, Record};
use tidewire_testbed::servers::postgres::StopMode;
use tidewire_testbed::servers::{Postgres, PostgresOptions};
use tidewire_testbed::task::TaskDocument;
use tidewire_testbed::workload::{self, TABLES, Workload, WorkloadOptions};

use crate::solo::{self, TABLE, Task};

const LIMIT: Duration = Duration::from_secs(120);
const NAME: &str = "at_least_once";

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

#[test]
fn nothing_is_lost_and_only_stretches_are_repeated_when_the_owner_is_killed() {
    let address = postgres().create_database(NAME).unwrap();
    let mut client = address.connect().unwrap();
    workload::create_tables(&mut client).unwrap();
    let mut truth = TruthSlot::create(&mut client, "truth_at_least_once", &TABLES).unwrap();
    kafka().create_topic(NAME, 4, &[]).unwrap();
    let cluster = Cluster::start(ClusterOptions::default()).unwrap();
    let objects: Vec<_> = TABLES.iter().map(|table| (*table, NAME)).collect();
    let document = TaskDocument {
        name: TASK,
        postgres: &address,
        bootstrap: &kafka().bootstrap(),
        objects: &objects,
        format: "dts_avro",
        partition: "by_primary_key",
    };
    let yaml = document.yaml().replace("delivery: exactly_once", "delivery: at_least_once");
    cluster.apply_and_start(&yaml).unwrap();
    let load = Workload::start(&address, &WorkloadOptions::default()).unwrap();
    thread::sleep(Duration::from_secs(3));
    cluster.wait(TASK, "Synchronizing", LIMIT).unwrap();
    let owner = cluster.owner(TASK).unwrap();
    process::signal(owner.pid, Signal::KILL).unwrap();
    let taken_over = (0..600).any(|_| {
        thread::sleep(Duration::from_millis(100));
        cluster.owner(TASK).is_ok_and(|next| next.name != owner.name)
    });
    assert!(taken_over, "nobody took over: {}", cluster.task(TASK).unwrap());
    cluster.wait(TASK, "Synchronizing", LIMIT).unwrap();
    thread::sleep(Duration::from_secs(3));
    let written = load.stop().unwrap();
    assert!(written.rows > 100, "no load: {written:?}");
    cluster.wait(TASK, "caught-up", LIMIT).unwrap();

    let (changes, keys) = (truth.take(&mut client).unwrap(), keys(&mut client, &TABLES).unwrap());
    let all = Reader::all(kafka(), &[NAME]).unwrap();
    let (first, repeats) = without_repeats(all);
    eprintln!("{NAME}: {} records, {repeats} of them repeated", first.len());
    let records = first.into_iter().map(Ok);
    let proof = prove(&changes, &keys, Format::DtsAvro, 4, records).unwrap();
    assert!(proof.holds(), "{proof}");
    truth.drop(&mut client).unwrap();
}

/// The bounds that a refused rewind names: from what the slot has confirmed to what is delivered.
fn bounds(task: &Task) -> (String, String) {
    let early = ["task", "rewind", task.name, "--to", "0/1", "--yes"];
    let refused = solo::cluster().cli(&early).unwrap();
    assert_eq!(refused.code, 4, "{}", refused.stderr);
    let named = refused.stderr.split("name a position from ").nth(1).unwrap();
    let (from, rest) = named.split_once(" to ").unwrap();
    (from.to_owned(), rest.split(';').next().unwrap().to_owned())
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
        let (from, to) = bounds(&task);
        if from != to {
            return Some(from);
        }
        task.resume();
        None
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
    assert!(history.contains(&format!("rewind shard 0 to {from}")), "{history}");
}
