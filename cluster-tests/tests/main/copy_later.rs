//! What comes to a copy later: topics that appear, whose copies may hold something; another name for a
//! copy; a limit that its shards share.

use std::time::{Duration, Instant};

use tidewire_cluster_tests::copy::{COPY, CopyScene};
use tidewire_cluster_tests::subject::Subject as _;
use tidewire_testbed::process::{self, Signal};
use tidewire_testbed::reader::Reader;
use tidewire_testbed::servers::Kafka;
use tidewire_testbed::writer::{Writer, Written};

const LIMIT: Duration = Duration::from_secs(60);

fn write(kafka: &Kafka, topic: &str, word: &str, numbers: std::ops::Range<u32>) -> Vec<String> {
    let values: Vec<_> = numbers.map(|number| format!("{word} {number}")).collect();
    let records: Vec<_> = values.iter().map(|value| Written::value(value.clone())).collect();
    Writer::start(kafka, "none", None).unwrap().send(topic, &records).unwrap();
    values
}

fn values(kafka: &Kafka, topic: &str) -> Vec<String> {
    let records = Reader::all(kafka, &[topic]).unwrap();
    records.into_iter().map(|it| String::from_utf8(it.value.unwrap()).unwrap()).collect()
}

/// Waits until a copy holds these values, and nothing else.
fn holds(scene: &CopyScene, topic: &str, expected: &[String]) {
    let end = Instant::now() + LIMIT;
    while scene.target.end_offsets(topic).is_err() || values(&scene.target, topic) != expected {
        let shown = || scene.cluster.task(COPY).unwrap_or_default().to_string();
        assert!(Instant::now() < end, "{topic}: {}", shown());
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The error of a task that gave up.
fn failed(scene: &CopyScene) -> String {
    scene.cluster.wait(COPY, "Failed", LIMIT).unwrap();
    scene.cluster.task(COPY).unwrap()["error"].to_string()
}

/// The exit code of another document, and all that was said to it.
fn offer(scene: &CopyScene, lines: &str) -> (i32, String) {
    let file = scene.cluster.document("again", &scene.document(lines)).unwrap();
    let said = scene.cluster.cli(&["task", "apply", "-f", file.to_str().unwrap()]).unwrap();
    (said.code, said.stdout + &said.stderr)
}

fn apply(scene: &CopyScene, lines: &str) -> i32 {
    offer(scene, lines).0
}

fn resume(scene: &CopyScene) {
    scene.cluster.done(&["task", "resume", COPY]).unwrap();
}

fn takes(rest: &str) -> String {
    format!("topics: [{{match: [orders, \"clicks-*\"]{rest}}}]")
}

fn later_topics_are_judged(delivery: &str) {
    let scene = CopyScene::start(1, 1).unwrap();
    scene.source.create_topic("orders", 2, &[]).unwrap();
    let orders = write(&scene.source, "orders", "order", 0..10);
    let lines = format!("shards: 2\ndelivery: {delivery}\n{}", takes(""));
    scene.copy(&lines).unwrap();
    holds(&scene, "orders", &orders);

    scene.target.create_topic("clicks-a", 1, &[]).unwrap();
    write(&scene.target, "clicks-a", "of the past", 0..3);
    scene.source.create_topic("clicks-a", 1, &[]).unwrap();
    let clicks = write(&scene.source, "clicks-a", "click", 0..10);
    let error = failed(&scene);
    assert!(error.contains("topic clicks-a") && error.contains("up to 3 records"), "{error}");
    assert_eq!(values(&scene.target, "clicks-a").len(), 3, "nothing follows them");
    let (code, said) = offer(&scene, &format!("{lines}\nlimits: {{recordBytes: 1200KiB}}"));
    assert!(code == 5 && said.contains("clicks-a holds up to 3 records"), "{said}");
    assert!(!said.contains("orders holds"), "{said}");

    assert_eq!(apply(&scene, &format!("{lines}\nexistingData: rewrite")), 0);
    resume(&scene);
    holds(&scene, "clicks-a", &clicks);
    // What the task makes itself is empty, and what was copied is never deleted.
    scene.source.create_topic("clicks-b", 3, &[]).unwrap();
    let more = write(&scene.source, "clicks-b", "click", 0..10);
    holds(&scene, "clicks-b", &more);
    scene.source.set_partitions("clicks-a", 3).unwrap();
    scene.prove(&["orders", "clicks-a", "clicks-b"], str::to_owned).unwrap();
}

#[test]
fn what_the_copy_of_a_later_topic_holds_is_treated_as_the_document_says() {
    later_topics_are_judged("exactly_once");
}

#[test]
fn at_least_once_what_the_copy_of_a_later_topic_holds_is_treated_as_the_document_says() {
    later_topics_are_judged("at_least_once");
}

/// The first records of a topic that came later are at the target, and nobody has noted a place behind
/// them: the next owner does not take them for something that was there before.
fn an_owner_dies_with_the_first_records(delivery: &str, point: &str) {
    let mut scene = CopyScene::start(1, 2).unwrap();
    scene.source.create_topic("orders", 1, &[]).unwrap();
    let orders = write(&scene.source, "orders", "order", 0..10);
    scene.copy(&format!("shards: 1\ndelivery: {delivery}\n{}", takes(""))).unwrap();
    holds(&scene, "orders", &orders);
    scene.points.arm(point).unwrap();
    scene.source.create_topic("clicks-a", 1, &[]).unwrap();
    let clicks = write(&scene.source, "clicks-a", "click", 0..10);
    let pid = scene.points.wait_hit(point, LIMIT).unwrap();
    assert!(scene.target.end_offsets("clicks-a").is_ok());
    let held = scene.cluster.nodes().iter().find(|node| node.pid == pid).cloned().unwrap();
    process::signal(pid, Signal::KILL).unwrap();
    scene.settled(Some(&held.name), LIMIT).unwrap();
    scene.cluster.restart(&held.name).unwrap();
    scene.cluster.wait(COPY, "caught-up", LIMIT).unwrap();
    let mut copied = values(&scene.target, "clicks-a");
    if delivery == "at_least_once" {
        copied.drain(..copied.len() - clicks.len());
    }
    assert_eq!(copied, clicks);
}

#[test]
fn an_owner_that_dies_with_the_first_records_of_a_later_topic_is_followed() {
    an_owner_dies_with_the_first_records("exactly_once", "before_end_txn");
}

#[test]
fn at_least_once_an_owner_that_dies_with_the_first_records_of_a_later_topic_is_followed() {
    an_owner_dies_with_the_first_records("at_least_once", "after_flush");
}

#[test]
fn a_copy_that_is_called_otherwise_is_filled_from_the_beginning_or_not_at_all() {
    let scene = CopyScene::start(1, 1).unwrap();
    scene.source.create_topic("orders", 2, &[]).unwrap();
    let orders = write(&scene.source, "orders", "order", 0..10);
    let lines = |rest: &str| format!("shards: 2\n{}", takes(rest));
    scene.copy(&lines("")).unwrap();
    holds(&scene, "orders", &orders);
    let renamed = lines(", rename: \"dr.{topic}\"");
    assert_eq!(apply(&scene, &renamed), 0);
    let error = failed(&scene);
    assert!(error.contains("was copied to orders so far"), "{error}");
    assert!(error.contains("rewind NAME --to orders=earliest --yes"), "{error}");
    assert!(!scene.target.topics().unwrap().contains(&"dr.orders".to_owned()));
    assert_eq!(apply(&scene, &lines("")), 0);
    resume(&scene);
    scene.prove(&["orders"], str::to_owned).unwrap();

    assert_eq!(apply(&scene, &renamed), 0);
    failed(&scene);
    scene.cluster.done(&["task", "rewind", COPY, "--to", "orders=earliest", "--yes"]).unwrap();
    resume(&scene);
    scene.prove(&["orders"], |topic| format!("dr.{topic}")).unwrap();
    assert_eq!(values(&scene.target, "orders"), orders, "the old copy stays as it was");
}

#[test]
fn the_shards_of_a_copy_keep_its_limit_together() {
    let scene = CopyScene::start(1, 1).unwrap();
    scene.source.create_topic("orders", 6, &[]).unwrap();
    let mut writer = Writer::start(&scene.source, "none", None).unwrap();
    let value = "x".repeat(1 << 10);
    for partition in 0..6 {
        let record = Written { partition, ..Written::value(value.clone()) };
        for _ in 0..4 {
            writer.send("orders", &vec![record.clone(); 1_000]).unwrap();
        }
    }
    // 24 MiB; by a limit for each of six shards it would be two seconds.
    scene.copy("shards: 6\nlimits: {bytesPerSecond: 1536KiB}").unwrap();
    let began = Instant::now();
    scene.cluster.wait(COPY, "caught-up", LIMIT).unwrap();
    assert!(began.elapsed() > Duration::from_secs(8), "took {:?}", began.elapsed());
}
