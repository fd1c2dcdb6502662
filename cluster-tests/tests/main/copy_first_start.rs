//! First starts of copies whose owner dies or freezes in the middle of them, and is replaced: where a copy
//! begins is said once, and what is there before is deleted once.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use tidewire_cluster_tests::copy::{COPY, CopyScene};
use tidewire_cluster_tests::subject::Subject as _;
use tidewire_testbed::process::{self, Signal};
use tidewire_testbed::reader::Reader;
use tidewire_testbed::servers::Kafka;
use tidewire_testbed::writer::{Writer, Written};

const LIMIT: Duration = Duration::from_secs(60);
/// Longer than a frozen owner is waited for.
const FROZEN: Duration = Duration::from_secs(6);

fn write(kafka: &Kafka, word: &str, numbers: std::ops::Range<u32>) -> Vec<String> {
    let values: Vec<_> = numbers.map(|number| format!("{word} {number}")).collect();
    let records: Vec<_> = values.iter().map(|value| Written::value(value.clone())).collect();
    Writer::start(kafka, "none", None).unwrap().send("orders", &records).unwrap();
    values
}

fn values(kafka: &Kafka) -> Vec<String> {
    let records = Reader::all(kafka, &["orders"]).unwrap();
    records.into_iter().map(|it| String::from_utf8(it.value.unwrap()).unwrap()).collect()
}

#[test]
fn at_least_once_a_first_owner_that_dies_with_its_first_records_leaves_where_it_began() {
    let mut scene = CopyScene::start(1, 2).unwrap();
    scene.source.create_topic("orders", 1, &[]).unwrap();
    write(&scene.source, "before", 0..5);
    let lines = "shards: 1\ndelivery: at_least_once\nstart: latest\nexistingData: append";
    scene.copy(lines).unwrap();
    scene.points.arm("before_flush").unwrap();
    let mut written = write(&scene.source, "first", 0..20);
    let pid = scene.points.wait_hit("before_flush", LIMIT).unwrap();
    let held = scene.cluster.nodes().iter().find(|node| node.pid == pid).cloned().unwrap();
    process::signal(pid, Signal::KILL).unwrap();
    scene.settled(Some(&held.name), LIMIT).unwrap();
    scene.cluster.restart(&held.name).unwrap();
    written.extend(write(&scene.source, "then", 0..20));
    scene.cluster.wait(COPY, "caught-up", LIMIT).unwrap();
    let copied: BTreeSet<_> = values(&scene.target).into_iter().collect();
    assert_eq!(copied, written.into_iter().collect());
}

#[test]
fn at_least_once_a_first_owner_that_wakes_up_late_deletes_nothing_that_was_copied() {
    let scene = CopyScene::start(1, 2).unwrap();
    scene.source.create_topic("orders", 1, &[]).unwrap();
    scene.target.create_topic("orders", 1, &[]).unwrap();
    write(&scene.target, "of the past", 0..5);
    let written = write(&scene.source, "wanted", 0..20);
    scene.points.arm("before_claim").unwrap();
    let lines = "shards: 1\ndelivery: at_least_once\nexistingData: rewrite";
    let file = scene.cluster.document("first", &scene.document(lines)).unwrap();
    scene.cluster.done(&["task", "apply", "-f", file.to_str().unwrap(), "--start"]).unwrap();
    let pid = scene.points.wait_hit("before_claim", LIMIT).unwrap();
    let held = scene.cluster.nodes().iter().find(|node| node.pid == pid).cloned().unwrap();
    process::signal(pid, Signal::STOP).unwrap();
    scene.settled(Some(&held.name), LIMIT).unwrap();
    scene.cluster.wait(COPY, "caught-up", LIMIT).unwrap();
    thread::sleep(FROZEN);
    assert_eq!(process::state_of(pid), Some('T'), "{} was not frozen", held.name);
    scene.points.release("before_claim").unwrap();
    process::signal(pid, Signal::CONT).unwrap();
    // Time enough for it to try what it was about to do.
    thread::sleep(Duration::from_secs(4));
    assert_eq!(values(&scene.target), written);
}
