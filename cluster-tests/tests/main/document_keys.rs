//! Keys of a task's document that no other test turns, each through a running task: where records go,
//! how fast, and for how long it is tried again.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use postgres::Client;
use tidewire_cluster_tests::{kafka, postgres};
use tidewire_testbed::servers::postgres::PostgresAddress;

use crate::others::{document, json, records, start, until};
use crate::solo::{LIMIT, TABLE, Task, cluster};

/// Type and id of a record.
type Change = (&'static str, u32);

/// The changes that [`change`] makes, as records that no key change splits.
const CHANGES: [Change; 12] = [
    ("INSERT", 1),
    ("INSERT", 2),
    ("INSERT", 3),
    ("INSERT", 4),
    ("INSERT", 5),
    ("INSERT", 6),
    ("INSERT", 7),
    ("INSERT", 8),
    ("UPDATE", 2),
    ("UPDATE", 1),
    ("UPDATE", 101),
    ("DELETE", 3),
];

/// Each statement is a transaction of its own.
fn change(client: &mut Client) {
    for statement in [
        "INSERT INTO t VALUES (1, 'ada'), (2, 'böb'), (3, 'cy'), (4, 'ada'), (5, 'böb'), (6, 'cy'), \
         (7, 'ada'), (8, NULL)",
        "UPDATE t SET note = 'seen' WHERE id = 2",
        "UPDATE t SET customer = 'cy' WHERE id = 1",
        "UPDATE t SET id = 101 WHERE id = 4",
        "DELETE FROM t WHERE id = 3",
    ] {
        client.batch_execute(statement).unwrap();
    }
}

/// A task by its topic: how its document differs from that of the others, and the records of each of the
/// five partitions of the topic.
struct Policy {
    topic: &'static str,
    replaced: Option<(&'static str, &'static str)>,
    records: [Vec<Change>; 5],
}

/// Where they go was asked of Java's `String.hashCode` and of Kafka's own `Utils.murmur2`.
fn policies() -> Vec<Policy> {
    let none = Vec::new;
    let (ins, upd, del) = (|id| ("INSERT", id), |id| ("UPDATE", id), |id| ("DELETE", id));
    let by_key = |from: Vec<Change>, to: Change| {
        [
            vec![ins(2), ins(7), upd(2)],
            vec![ins(3), ins(8), to, del(3)],
            [vec![ins(4)], from].concat(),
            vec![ins(5)],
            vec![ins(1), ins(6), upd(1)],
        ]
    };
    let policy = |topic, replaced, records| Policy { topic, replaced, records };
    vec![
        policy(
            "keys-zero",
            Some(("by_primary_key", "all_to_partition_0")),
            [CHANGES.to_vec(), none(), none(), none(), none()],
        ),
        // h(keys.public.t) mod 5.
        policy(
            "keys-table",
            Some(("by_primary_key", "by_table")),
            [none(), none(), none(), none(), CHANGES.to_vec()],
        ),
        policy("keys-split", None, by_key(vec![del(4)], ins(101))),
        policy(
            "keys-kept",
            Some(("by_primary_key", "by_primary_key\nkeyChange: keep")),
            by_key(none(), upd(101)),
        ),
        policy(
            "keys-column",
            Some(("topic: keys-column", "topic: keys-column\n    partitionBy: [customer]")),
            [
                vec![ins(3), ins(6), ins(8), ins(1), del(3)],
                none(),
                vec![ins(2), ins(5), upd(2)],
                none(),
                vec![ins(1), ins(4), ins(7), del(1), upd(101)],
            ],
        ),
        policy(
            "keys-record",
            Some(("by_primary_key", "by_record_key")),
            [
                none(),
                vec![ins(1), ins(4), ins(5), ins(7), upd(1), del(4)],
                vec![ins(6)],
                vec![ins(2), ins(8), upd(2)],
                vec![ins(3), ins(101), del(3)],
            ],
        ),
    ]
}

/// The records of a topic, partition by partition.
fn placed(topic: &str) -> BTreeMap<u32, Vec<(String, u32)>> {
    let mut placed = BTreeMap::<u32, Vec<_>>::new();
    for record in records(topic) {
        let value = json(&record);
        let id = value["data"][0]["id"].as_str().unwrap().parse().unwrap();
        let kind = value["type"].as_str().unwrap().to_owned();
        placed.entry(record.partition).or_default().push((kind, id));
    }
    placed
}

fn records_go_where_the_document_says() {
    let address = postgres().create_database("keys").unwrap();
    let mut client = address.connect().unwrap();
    let table = "CREATE TABLE t (id int PRIMARY KEY, customer text, note text); \
                 ALTER TABLE t REPLICA IDENTITY FULL";
    client.batch_execute(table).unwrap();
    let policies = policies();
    for Policy { topic, replaced, .. } in &policies {
        kafka().create_topic(topic, 5, &[]).unwrap();
        let mut yaml = document(&address, topic, "");
        if let Some((from, to)) = replaced {
            assert_eq!(yaml.matches(from).count(), 1, "{from} in {yaml}");
            yaml = yaml.replace(from, to);
        }
        start(topic, &yaml, &[]);
    }
    change(&mut client);
    for Policy { topic, records, .. } in policies {
        cluster().wait(topic, "caught-up", LIMIT).unwrap();
        let mut placed = placed(topic);
        for (partition, expected) in (0..).zip(records) {
            let seen = placed.remove(&partition).unwrap_or_default();
            let seen: Vec<_> = seen.iter().map(|(kind, id)| (kind.as_str(), *id)).collect();
            assert_eq!(seen, expected, "{topic}, partition {partition}");
        }
        cluster().done(&["task", "delete", topic]).unwrap();
    }
}

/// Of a backlog that is much larger only so much has arrived as the time allowed; and all of it goes
/// when the bound is lifted.
fn bytes_per_second_hold_a_backlog_back() {
    const BYTES: usize = 20 << 10;
    let limits = format!("limits: {{bytesPerSecond: {}KiB}}\n", BYTES >> 10);
    let mut bounded = String::new();
    let mut task = Task::with("held-back", postgres(), TABLE, |yaml| {
        bounded.clone_from(&yaml);
        yaml + &limits
    });
    let rows = "INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(1, 1000) g";
    let began = Instant::now();
    task.sql(rows);
    let mut arrived = 0;
    until("half a dozen seconds of rows", || {
        arrived = task.read().len();
        let seconds = began.elapsed().as_secs_f64();
        // A second's worth may go at once, and a batch that is under way.
        let most = (BYTES as f64) * (seconds + 2.0) / 1_000.0;
        assert!((arrived as f64) < most, "{arrived} rows in {seconds} s");
        seconds > 6.0 && arrived > 50
    });
    assert!(arrived < 900, "{arrived} of 1000 rows: the bound was never felt");
    let file = cluster().document("held-back", &bounded).unwrap();
    let apply = ["task", "apply", "-f", file.to_str().unwrap(), "--timeout", "60s"];
    cluster().done(&apply).unwrap();
    assert_eq!(task.delivered_inserts_of_the_table(), 1_000);
    assert!(began.elapsed() < Duration::from_secs(40), "it was still held back");
}

/// A task whose role finds the server's door closed, which is trouble other than a broken connection.
fn shut_out() -> Task {
    let create = format!(
        "CREATE ROLE crowded LOGIN REPLICATION PASSWORD 'one'; {TABLE}; \
         ALTER TABLE t OWNER TO crowded; GRANT CREATE ON DATABASE crowded TO crowded"
    );
    let mut task = Task::with("crowded", postgres(), &create, |yaml| {
        let yaml = yaml.replace("user: postgres", "user: crowded");
        yaml.replace("{value: tidewire}", "{value: one}") + "retry: {connection: 10m, other: 1m}\n"
    });
    task.insert(1..=3);
    assert_eq!(task.delivered_inserts_of_the_table(), 3);
    task.sql("ALTER ROLE crowded CONNECTION LIMIT 0");
    task.insert(4..=5);
    task.cut();
    task.shows("Retrying", &["SourceBusy", "53300"]);
    task
}

/// A window of retries that runs out ends in `Failed`, at its end and not before; then a resume is all
/// that it takes.
fn gives_up_at_the_end_of_its_window(mut task: Task) {
    let shown = cluster().task("crowded").unwrap();
    let retry = shown.pointer("/shards/0/retry").unwrap();
    let at = |name: &str| -> Timestamp { retry[name].as_str().unwrap().parse().unwrap() };
    let (since, until_then) = (at("since"), at("until"));
    // The broken connection before it had a window of its own.
    assert!((60..75).contains(&until_then.duration_since(since).as_secs()), "{retry}");
    while cluster().task("crowded").unwrap()["phase"] == "Retrying" {
        thread::sleep(Duration::from_millis(200));
        assert!(Timestamp::now().duration_since(until_then).as_secs() < 30, "it never gives up");
    }
    assert!(Timestamp::now() >= until_then, "given up before {until_then}");
    task.shows("Failed", &["SourceBusy", "53300"]);
    task.sql("ALTER ROLE crowded CONNECTION LIMIT -1");
    task.resume();
    assert_eq!(task.delivered_inserts_of_the_table(), 5);
}

#[test]
fn where_records_go_how_fast_and_for_how_long_it_is_tried() {
    // Its minute passes while the others run.
    let crowded = shut_out();
    records_go_where_the_document_says();
    bytes_per_second_hold_a_backlog_back();
    gives_up_at_the_end_of_its_window(crowded);
}

/// What a failover would cost is shown: the time of a takeover, and of decoding what the slot holds.
#[test]
fn a_failover_is_predicted_from_what_would_be_decoded_again() {
    let mut task = Task::start("predicted", postgres());
    let figures = || {
        let shown = cluster().task("predicted").unwrap();
        let figure = |name: &str| shown[name].as_u64().unwrap_or_else(|| panic!("{name}: {shown}"));
        (figure("predictedFailoverMs"), figure("walRetainedBytes"))
    };
    until("a figure", || figures().0 > 0);
    // An open transaction keeps the place where a decoding would begin.
    let address: PostgresAddress = task.address.clone();
    let mut open = address.connect().unwrap();
    open.batch_execute("BEGIN; INSERT INTO t VALUES (0, 'open')").unwrap();
    for number in 1..=14 {
        task.insert(number..=number);
        task.sql("SELECT pg_switch_wal()");
    }
    until("200 MB held", || figures().1 > 200_000_000);
    let (predicted, held) = figures();
    // 100 MB are decoded in a second (docs/performance.md); a takeover takes two.
    let decoded = held / 100_000;
    assert!(
        (decoded + 1_000..=decoded + 4_000).contains(&predicted),
        "{predicted} for {held} bytes"
    );
    open.batch_execute("COMMIT").unwrap();
    task.insert(20..=20);
    task.sql("CHECKPOINT");
    assert_eq!(task.delivered_inserts_of_the_table(), 16);
    until("less", || figures().0 < predicted);
}
