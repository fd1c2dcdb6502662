//! What others made: a slot, a publication, a place to begin at; and how a task beats there.

use std::time::{Duration, Instant};

use postgres::Client;
use serde_json::Value;
use tidewire_cluster_tests::{kafka, postgres};
use tidewire_testbed::reader::{Reader, Record};
use tidewire_testbed::servers::postgres::PostgresAddress;
use tidewire_testbed::task::TaskDocument;

use crate::solo::{LIMIT, PASSWORD, cluster};

pub(crate) fn document(address: &PostgresAddress, name: &str, source: &str) -> String {
    let bootstrap = kafka().bootstrap();
    let document = TaskDocument {
        name,
        postgres: address,
        bootstrap: &bootstrap,
        objects: &[("public.t", name)],
        format: "canal_json",
        partition: "by_primary_key",
    };
    document.yaml().replace("target:\n", &format!("{source}target:\n"))
}

/// Starts a task on `public.t`, into a topic of its name.
pub(crate) fn start(name: &str, yaml: &str, options: &[&str]) {
    let file = cluster().document(name, yaml).unwrap();
    let apply = ["task", "apply", "-f", file.to_str().unwrap(), "--start", "--wait"];
    cluster().done(&[&apply[..], &["--timeout", "60s"], options].concat()).unwrap();
}

pub(crate) fn records(topic: &str) -> Vec<Record> {
    Reader::until_end(kafka(), &[topic]).unwrap().map(Result::unwrap).collect()
}

pub(crate) fn json(record: &Record) -> Value {
    serde_json::from_slice(record.value.as_deref().unwrap()).unwrap()
}

/// The ids that a task delivered, once it has caught up.
fn ids(name: &str) -> Vec<String> {
    cluster().wait(name, "caught-up", LIMIT).unwrap();
    records(name).iter().map(|it| json(it)["data"][0]["id"].as_str().unwrap().to_owned()).collect()
}

fn text(client: &mut Client, query: &str) -> String {
    client.query_one(query, &[]).unwrap().get(0)
}

/// Heartbeat messages since the last look.
fn messages(client: &mut Client) -> i64 {
    let query = "SELECT count(*) FROM pg_logical_slot_get_changes('others_look', NULL, NULL) \
                 WHERE data LIKE 'message:%prefix: tidewire%'";
    client.query_one(query, &[]).unwrap().get(0)
}

pub(crate) fn until(what: &str, mut met: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !met() {
        assert!(Instant::now() < end, "not {what}");
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[test]
fn a_task_uses_what_others_made_begins_where_it_is_told_and_beats_as_it_is_told() {
    let address = postgres().create_database("others").unwrap();
    let mut client = address.connect().unwrap();
    let slots = "SELECT pg_create_logical_replication_slot('others_a', 'pgoutput'), \
         pg_create_logical_replication_slot('others_b', 'pgoutput'), \
         pg_create_logical_replication_slot('others_look', 'test_decoding')";
    for statement in [
        "CREATE TABLE t (id int PRIMARY KEY, note text)",
        "CREATE PUBLICATION theirs FOR TABLE t \
         WITH (publish = 'insert, update, delete', publish_via_partition_root = true)",
        slots,
        "INSERT INTO t SELECT generate_series(1, 3)",
    ] {
        client.batch_execute(statement).unwrap();
    }
    let lsn = text(&mut client, "SELECT pg_current_wal_insert_lsn()::text");
    client.batch_execute("INSERT INTO t SELECT generate_series(4, 6)").unwrap();
    for topic in ["others-now", "others-later", "others-beats", "others-rows"] {
        kafka().create_topic(topic, 1, &[]).unwrap();
    }
    let existing = |slot: &str, mode: &str| {
        format!(
            "  slot: {{mode: existing, name: {slot}}}\n  \
             publication: {{mode: existing, name: theirs}}\n  \
             heartbeat: {{mode: {mode}, interval: 1s}}\n"
        )
    };
    let now = document(&address, "others-now", &existing("others_a", "off"));
    let value = format!("{{value: {}}}", address.password);
    let now = now.replace(&value, &format!("{{env: {PASSWORD}}}"));
    start("others-now", &format!("{now}displayName: Die Läden\n"), &[]);
    assert_eq!(cluster().task("others-now").unwrap()["displayName"], "Die Läden");
    let later = document(&address, "others-later", &existing("others_b", "off"));
    let file = cluster().folder().join("password");
    std::fs::write(&file, format!("{}\n", address.password)).unwrap();
    let later = later.replace(&value, &format!("{{file: {}}}", file.display()));
    start("others-later", &later.replace("start: now", &format!("start: {{lsn: {lsn}}}")), &[]);
    assert_eq!(ids("others-now"), ["1", "2", "3", "4", "5", "6"], "from where its slot stands");
    assert_eq!(ids("others-later"), ["4", "5", "6"]);

    messages(&mut client);
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(messages(&mut client), 0, "mode off");
    let beats = "  heartbeat: {mode: message, interval: 1s}\n";
    start("others-beats", &document(&address, "others-beats", beats), &[]);
    until("a message", || messages(&mut client) > 0);
    cluster().done(&["task", "delete", "others-beats"]).unwrap();
    let rows = "  heartbeat: {mode: table, interval: 1s, table: public.beats}\n";
    start("others-rows", &document(&address, "others-rows", rows), &[]);
    let beaten = "SELECT count(*)::text FROM public.beats WHERE dts_service_time > 0";
    until("a row", || text(&mut client, beaten) == "1");
    messages(&mut client);
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(messages(&mut client), 0, "rows in place of messages");
    assert_eq!(records("others-rows").len(), 0, "and delivered to nobody");

    for task in ["others-now", "others-later", "others-rows"] {
        cluster().done(&["task", "delete", task]).unwrap();
    }
    let left = "SELECT string_agg(slot_name::text, ' ' ORDER BY slot_name) FROM pg_replication_slots \
         WHERE database = 'others'";
    assert_eq!(text(&mut client, left), "others_a others_b others_look", "theirs stay");
    assert_eq!(text(&mut client, "SELECT string_agg(pubname, ' ') FROM pg_publication"), "theirs");
}

#[test]
fn bytes_that_are_no_text_stop_a_task_or_become_dead_letters() {
    let name = "ascii";
    let default = postgres().address().clone();
    let make =
        "CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'";
    default.connect().unwrap().batch_execute(make).unwrap();
    let address = PostgresAddress { database: name.to_owned(), ..default };
    let mut client = address.connect().unwrap();
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY, note text)").unwrap();
    kafka().create_topic(name, 1, &[]).unwrap();
    kafka().create_topic("ascii-dead", 1, &[]).unwrap();
    let yaml = document(&address, name, "");
    let file = cluster().document(name, &yaml).unwrap();
    let apply = ["task", "apply", "-f", file.to_str().unwrap(), "--start"];
    let refused = cluster().cli(&apply).unwrap();
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    assert!(refused.stderr.contains("column_types") && refused.stderr.contains("SQL_ASCII"));
    start(name, &yaml, &["--override", "column_types"]);

    for insert in ["(1, 'first')", "(2, E'caf\\xE9')", "(3, E'na\\xC3\\xAFve')"] {
        client.batch_execute(&format!("INSERT INTO t VALUES {insert}")).unwrap();
    }
    let task = || cluster().task(name).unwrap();
    until("Failed", || task()["phase"] == "Failed");
    let error = task()["error"].clone();
    eprintln!("{error}");
    assert_eq!(error["kind"], "Encode", "{error}");
    for (part, word) in [
        ("object", "table public.t at "),
        ("object", "key hash"),
        ("message", "column note holds bytes that are not UTF-8"),
        ("remedy", "deadLetterTopic"),
    ] {
        assert!(error[part].as_str().unwrap().contains(word), "{word}: {error}");
    }
    assert!(!error.to_string().contains("caf"), "{error}");

    let lines = "onBadRecord: {deadLetterTopic: ascii-dead}\n";
    start(name, &format!("{yaml}{lines}"), &["--override", "column_types"]);
    assert_eq!(ids(name), ["1", "3"]);
    assert_eq!(json(&records(name)[1])["data"][0]["note"], "naïve");
    let letters = records("ascii-dead");
    assert_eq!(letters.len(), 1);
    let row: Value = serde_json::from_str(json(&letters[0])["row"].as_str().unwrap()).unwrap();
    assert_eq!(row["new"], serde_json::json!({"id": "2", "note": "\\x636166e9"}));
    let log = cluster().done(&["task", "logs", name]).unwrap();
    let line = "1 change went to dead-letter topic ascii-dead: table public.t at ";
    assert!(log.contains(line), "{log}");
}
