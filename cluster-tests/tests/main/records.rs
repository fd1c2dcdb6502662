//! Records that a task cannot or must not write at once: dead letters, and limits.

use std::time::{Duration, Instant};

use postgres::Client;
use serde_json::Value;
use tidewire_cluster_tests::{Scene, kafka};
use tidewire_testbed::reader::{Reader, Record};
use tidewire_testbed::task::TaskDocument;

const LIMIT: Duration = Duration::from_secs(60);
const TABLE: &str = "public.notes";

fn create(client: &mut Client) -> anyhow::Result<()> {
    Ok(client.batch_execute("CREATE TABLE notes (id int PRIMARY KEY, note text)")?)
}

/// Starts a second task on the table, with lines of its own.
fn start_task(scene: &Scene<'_>, name: &str, lines: &str) {
    scene.kafka.create_topic(name, 1, &[]).unwrap();
    let document = TaskDocument {
        name,
        postgres: &scene.address,
        bootstrap: &scene.kafka.bootstrap(),
        objects: &[(TABLE, name)],
        format: "canal_json",
        partition: "by_primary_key",
    };
    scene.cluster.apply_and_start(&format!("{}{lines}", document.yaml())).unwrap();
    scene.cluster.wait(name, "Synchronizing", LIMIT).unwrap();
}

fn records(scene: &Scene<'_>, topic: &str) -> Vec<Record> {
    Reader::until_end(scene.kafka, &[topic]).unwrap().map(Result::unwrap).collect()
}

fn json(record: &Record) -> Value {
    serde_json::from_slice(record.value.as_deref().unwrap()).unwrap()
}

#[test]
fn a_record_that_is_too_large_goes_to_the_dead_letter_topic_and_the_limits_are_kept() {
    let mut scene = Scene::on_tables("records", 1, kafka(), &[TABLE], create).unwrap();
    let dead = "records-dead";
    let lines =
        format!("onBadRecord: {{deadLetterTopic: {dead}}}\nlimits: {{recordBytes: 20KiB}}\n");

    // The topic has to be there before.
    let missing = scene.cluster.document("dead", &document(&scene, &lines)).unwrap();
    let checked =
        scene.cluster.cli(&["task", "apply", "-f", missing.to_str().unwrap(), "--start", "--wait"]);
    let checked = checked.unwrap();
    assert_eq!(checked.code, 5, "{}", checked.stderr);
    assert!(checked.stderr.contains(dead) || checked.stdout.contains(dead), "{}", checked.stderr);
    scene.cluster.done(&["task", "delete", "records-b"]).unwrap();

    scene.kafka.create_topic(dead, 1, &[]).unwrap();
    start_task(&scene, "records-c", &lines);
    start_task(&scene, "records-slow", "limits: {rowsPerSecond: 200}\n");
    let insert = "INSERT INTO notes SELECT n, CASE n WHEN 7 THEN repeat('ä\"', 30000) ELSE 'n' END \
                  FROM generate_series(1, 700) AS n";
    let began = Instant::now();
    scene.client.batch_execute(insert).unwrap();

    // A second's worth goes at once, the rest at 200 rows a second.
    scene.cluster.wait("records-slow", "caught-up", LIMIT).unwrap();
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(2_400), "700 rows in {took:?}");
    assert!(took < Duration::from_secs(15), "700 rows in {took:?}");
    assert_eq!(records(&scene, "records-slow").len(), 700);

    scene.cluster.wait("records-c", "caught-up", LIMIT).unwrap();
    assert_eq!(records(&scene, "records-c").len(), 699);
    let letters = records(&scene, dead);
    assert_eq!(json(&letters[0])["parts"], letters.len());
    let row: String = letters.iter().map(|l| json(l)["row"].as_str().unwrap().to_owned()).collect();
    let row: Value = serde_json::from_str(&row).unwrap();
    assert_eq!(row["new"]["note"].as_str().unwrap(), "ä\"".repeat(30_000), "the row is not lost");
    let (first, letter) = (&letters[0], json(&letters[0]));
    assert_eq!((&letter["task"], &letter["table"]), (&"records-c".into(), &TABLE.into()));
    assert_eq!(first.key.as_deref(), Some(&b"{\"id\":\"7\"}"[..]));
    let header = |name: &str| first.headers.iter().any(|(header, _)| header == name);
    assert!(header("tw.lsn") && header("tw.seq") && header("tw.xid"), "{:?}", first.headers);
    let task = scene.cluster.task("records-c").unwrap();
    assert_eq!(task["counters"]["deadLetters"], 1, "{task}");
    assert_eq!(task["counters"]["insert"], 700, "{task}");
    let log = scene.cluster.done(&["task", "logs", "records-c"]).unwrap();
    let line = format!("1 change went to dead-letter topic {dead}: table {TABLE} at ");
    assert!(log.contains(&line) && log.contains("is over the limit of 20480"), "{log}");
}

fn document(scene: &Scene<'_>, lines: &str) -> String {
    let document = TaskDocument {
        name: "records-b",
        postgres: &scene.address,
        bootstrap: &scene.kafka.bootstrap(),
        objects: &[(TABLE, &scene.topic)],
        format: "canal_json",
        partition: "by_primary_key",
    };
    format!("{}{lines}", document.yaml())
}
