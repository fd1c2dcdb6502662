//! Copies that go on from elsewhere: over a gap, back, and in a topic that was made again.

use std::thread;
use std::time::Duration;

use tidewire_cluster_tests::copy::{COPY, CopyScene};
use tidewire_testbed::cluster::CliOutput;
use tidewire_testbed::process::{self, Signal};
use tidewire_testbed::reader::Reader;
use tidewire_testbed::writer::{Writer, Written};

const LIMIT: Duration = Duration::from_secs(60);

fn numbered(partition: u32, numbers: std::ops::Range<u32>) -> Vec<Written> {
    let record = |number: u32| Written { partition, ..Written::value(number.to_string()) };
    numbers.map(record).collect()
}

/// What a partition of the copy holds, in its order.
fn copied(scene: &CopyScene, partition: u32) -> Vec<u32> {
    scene.cluster.wait(COPY, "caught-up", LIMIT).unwrap();
    let records = Reader::all(&scene.target, &["orders"]).unwrap();
    let records = records.into_iter().filter(|record| record.partition == partition);
    let number =
        |value: Option<Vec<u8>>| String::from_utf8(value.unwrap()).unwrap().parse().unwrap();
    records.map(|record| number(record.value)).collect()
}

fn rewind(scene: &CopyScene, to: &str) -> CliOutput {
    scene.cluster.cli(&["task", "rewind", COPY, "--to", to, "--yes"]).unwrap()
}

fn pause(scene: &CopyScene) {
    scene.cluster.done(&["task", "pause", COPY]).unwrap();
    scene.cluster.wait(COPY, "Paused", LIMIT).unwrap();
}

fn resume(scene: &CopyScene) {
    scene.cluster.done(&["task", "resume", COPY]).unwrap();
}

/// The error of a task that gave up.
fn failed(scene: &CopyScene) -> String {
    scene.cluster.wait(COPY, "Failed", LIMIT).unwrap();
    scene.cluster.task(COPY).unwrap()["error"].to_string()
}

fn goes_on_as_its_user_says(delivery: &str) -> CopyScene {
    let scene = CopyScene::start(1, 1).unwrap();
    scene.source.create_topic("orders", 2, &[]).unwrap();
    let mut writer = Writer::start(&scene.source, "none", None).unwrap();
    writer.send("orders", &numbered(0, 0..10)).unwrap();
    writer.send("orders", &numbered(1, 0..10)).unwrap();
    scene.copy(&format!("shards: 2\ndelivery: {delivery}")).unwrap();
    assert_eq!(copied(&scene, 0), (0..10).collect::<Vec<_>>());

    let running = rewind(&scene, "orders/0=0");
    assert_eq!(running.code, 4, "{}", running.stderr);
    pause(&scene);
    writer.send("orders", &numbered(0, 10..30)).unwrap();
    scene.source.delete_records("orders", 0, 20).unwrap();
    resume(&scene);
    let error = failed(&scene);
    assert!(error.contains("10 to 19 were not copied yet"), "{error}");
    assert!(error.contains("tidewire task rewind NAME --to orders/0=earliest --yes"), "{error}");
    assert_eq!(
        scene.cluster.cli(&["task", "rewind", COPY, "--to", "orders/0=earliest"]).unwrap().code,
        2
    );
    let nowhere = rewind(&scene, "orders/0=5");
    assert!(nowhere.stderr.contains("has the offsets 20 to 30, not 5"), "{}", nowhere.stderr);
    let moved = rewind(&scene, "orders/0=earliest,orders/1=7");
    assert_eq!(moved.code, 0, "{}", moved.stderr);
    assert!(
        moved.stderr.contains("orders/0: 10 → 20, 10 offsets are never copied"),
        "{}",
        moved.stderr
    );
    assert!(
        moved.stderr.contains("orders/1: 10 → 7, 3 offsets are copied again"),
        "{}",
        moved.stderr
    );
    resume(&scene);
    assert_eq!(copied(&scene, 0), (0..10).chain(20..30).collect::<Vec<_>>());
    assert_eq!(copied(&scene, 1), (0..10).chain(7..10).collect::<Vec<_>>());
    let history = scene.cluster.done(&["task", "history", COPY]).unwrap();
    assert!(history.contains("10 offsets are never copied"), "{history}");

    scene.source.delete_topic("orders").unwrap();
    scene.source.create_topic("orders", 2, &[]).unwrap();
    writer.send("orders", &numbered(0, 50..55)).unwrap();
    let error = failed(&scene);
    assert!(error.contains("source topic orders"), "{error}");
    let part = rewind(&scene, "orders/0=earliest");
    assert!(part.stderr.contains("--to orders=earliest"), "{}", part.stderr);
    let moved = rewind(&scene, "orders=earliest");
    assert_eq!(moved.code, 0, "{}", moved.stderr);
    resume(&scene);
    assert_eq!(copied(&scene, 0), (0..10).chain(20..30).chain(50..55).collect::<Vec<_>>());
    scene
}

/// Applies the document again with other lines, to a task that rests.
fn apply(scene: &CopyScene, lines: &str) {
    let file = scene.cluster.document("again", &scene.document(lines)).unwrap();
    scene.cluster.done(&["task", "apply", "-f", file.to_str().unwrap()]).unwrap();
}

#[test]
fn a_topic_that_goes_while_nobody_looks_is_missed_at_either_end() {
    let scene = CopyScene::start(1, 1).unwrap();
    let mut writer = Writer::start(&scene.source, "none", None).unwrap();
    for topic in ["orders", "clicks"] {
        scene.source.create_topic(topic, 2, &[]).unwrap();
        writer.send(topic, &numbered(0, 0..10)).unwrap();
    }
    let lines = "shards: 2";
    scene.copy(lines).unwrap();
    assert_eq!(copied(&scene, 0), (0..10).collect::<Vec<_>>());
    pause(&scene);
    scene.source.delete_topic("clicks").unwrap();
    resume(&scene);
    let error = failed(&scene);
    assert!(error.contains("source topic clicks") && error.contains("was deleted"), "{error}");
    apply(&scene, &format!("{lines}\ntopics: [{{all: true, exclude: [clicks]}}]"));
    resume(&scene);
    writer.send("orders", &numbered(0, 10..15)).unwrap();
    assert_eq!(copied(&scene, 0), (0..15).collect::<Vec<_>>());

    pause(&scene);
    scene.target.delete_topic("orders").unwrap();
    resume(&scene);
    let error = failed(&scene);
    assert!(error.contains("topic orders") && error.contains("does not exist any more"), "{error}");
    assert!(error.contains("tidewire task rewind NAME --to TOPIC=earliest --yes"), "{error}");
    let moved = rewind(&scene, "orders=earliest");
    assert_eq!(moved.code, 0, "{}", moved.stderr);
    resume(&scene);
    assert_eq!(copied(&scene, 0), (0..15).collect::<Vec<_>>());
}

#[test]
fn an_exactly_once_copy_goes_on_as_its_user_says() {
    let scene = goes_on_as_its_user_says("exactly_once");
    // Its minutes outlive whoever leads.
    let minutes = || scene.cluster.json(&["task", "indicators", COPY]).unwrap()["minutes"].clone();
    let told = (0..90).find_map(|_| {
        thread::sleep(Duration::from_secs(1));
        minutes().as_array().filter(|minutes| !minutes.is_empty()).cloned()
    });
    let told = told.unwrap();
    assert!(told[0]["at"].is_string() && told[0]["delayMs"].is_u64(), "{told:?}");
    let leader = scene.cluster.leader().unwrap();
    process::signal(leader.pid, Signal::KILL).unwrap();
    let again = (0..30).find_map(|_| {
        thread::sleep(Duration::from_secs(1));
        let asked = scene.cluster.json(&["task", "indicators", COPY]).ok()?;
        asked["minutes"].as_array().cloned()
    });
    assert_eq!(again.unwrap()[..told.len()], told[..]);
}

#[test]
fn an_at_least_once_copy_goes_on_as_its_user_says() {
    drop(goes_on_as_its_user_says("at_least_once"));
}
