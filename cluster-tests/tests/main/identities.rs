//! Replica identities that change, or are missing, beside a running task: the application's UPDATE and
//! DELETE go on, and the task tells.

use std::time::{Duration, Instant};

use tidewire_cluster_tests::{TASK, kafka, postgres};
use tidewire_testbed::cluster::{Cluster, ClusterOptions};
use tidewire_testbed::fault_points::FaultPoints;
use tidewire_testbed::oracle::Operation;
use tidewire_testbed::task::TaskDocument;

use crate::solo::{LIMIT, TABLE, Task, cluster};

/// Tries a statement until the server takes it, as an application would.
fn insist(task: &mut Task, statement: &str) {
    let end = Instant::now() + Duration::from_secs(20);
    while let Err(error) = task.client.batch_execute(statement) {
        assert!(Instant::now() < end, "`{statement}` still fails: {error:?}");
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// Waits until the log of the task holds these words.
fn tells(name: &str, words: &[&str]) {
    let end = Instant::now() + LIMIT;
    loop {
        let log = cluster().done(&["task", "logs", name]).unwrap();
        if words.iter().all(|word| log.contains(word)) {
            return;
        }
        assert!(Instant::now() < end, "not {words:?} in {log}");
        std::thread::sleep(Duration::from_millis(300));
    }
}

/// Adds lines to the entry of `objects`.
fn with_lines(yaml: String, lines: &str) -> String {
    yaml.trim_end().to_owned() + "\n" + lines
}

#[test]
fn a_partition_that_is_made_later_does_not_inherit_full_and_goes_out_all_the_same() {
    let create = "CREATE TABLE public.t (id int PRIMARY KEY, note text, n int NOT NULL DEFAULT 7) \
         PARTITION BY RANGE (id); ALTER TABLE t REPLICA IDENTITY FULL; \
         CREATE TABLE p1 PARTITION OF t FOR VALUES FROM (0) TO (10); \
         ALTER TABLE p1 REPLICA IDENTITY FULL";
    let mut task = Task::with("later-partition", postgres(), create, |yaml| yaml);
    task.sql("CREATE TABLE p2 PARTITION OF t FOR VALUES FROM (10) TO (20)");
    task.sql("INSERT INTO t VALUES (1, 'x'), (11, 'x')");
    task.sql("UPDATE t SET note = 'y' WHERE id = 1");
    task.sql("UPDATE t SET note = 'y' WHERE id = 11");
    task.sql("UPDATE t SET id = 12 WHERE id = 11");
    task.sql("DELETE FROM t WHERE id = 12");
    use Operation::{Delete, Insert, Update};
    let expected = [
        (Insert, "1"),
        (Insert, "11"),
        (Update, "1"),
        (Update, "11"),
        (Delete, "11"),
        (Insert, "12"),
        (Delete, "12"),
    ];
    let expected: Vec<_> = expected.map(|(what, id)| (what, id.to_owned())).into();
    assert_eq!(task.delivered(), expected);
    tells(
        task.name,
        &["partition public.p2", "ALTER TABLE \"public\".\"p2\" REPLICA IDENTITY FULL"],
    );
}

#[test]
fn what_the_server_filters_follows_the_replica_identity() {
    let columns = |yaml| with_lines(yaml, "    columns: {include: [id, note]}\n");
    let mut task = Task::with("listed", postgres(), TABLE, columns);
    task.insert(1..=1);
    task.sql("ALTER TABLE t REPLICA IDENTITY FULL");
    insist(&mut task, "UPDATE t SET note = 'y' WHERE id = 1");
    tells(task.name, &["publishes other rows or columns of table public.t"]);
    cluster().wait(task.name, "Synchronizing", LIMIT).unwrap();
    let expected = [(Operation::Insert, "1".to_owned()), (Operation::Update, "1".to_owned())];
    assert_eq!(task.delivered(), expected);

    let create = format!("{TABLE}; ALTER TABLE t REPLICA IDENTITY FULL");
    let mut plain = String::new();
    let mut task = Task::with("filtered", postgres(), &create, |yaml| {
        plain.clone_from(&yaml);
        with_lines(yaml, "    where: \"note <> 'hidden'\"\n")
    });
    task.insert(1..=2);
    task.sql("INSERT INTO t VALUES (3, 'hidden')");
    let inserts = [(Operation::Insert, "1".to_owned()), (Operation::Insert, "2".to_owned())];
    assert_eq!(task.delivered(), inserts);
    task.sql("ALTER TABLE t REPLICA IDENTITY DEFAULT");
    insist(&mut task, "UPDATE t SET note = 'y' WHERE id = 1");
    task.shows("Failed", &["SourceState", "`where` needs column note", "REPLICA IDENTITY FULL"]);
    // Whoever goes on without a remedy comes as far as can be told, and is told the one that is left.
    task.tries_to_resume();
    task.shows("Failed", &["old value of column note", "take `where` of the table out"]);
    let file = cluster().document("filtered-plain", &plain).unwrap();
    cluster().done(&["task", "apply", "-f", file.to_str().unwrap()]).unwrap();
    task.resume();
    let updated = [&inserts[..], &[(Operation::Update, "1".to_owned())]].concat();
    assert_eq!(task.delivered(), updated);
}

#[test]
fn a_first_start_that_waited_publishes_no_table_that_lost_its_key_meanwhile() {
    let address = postgres().create_database("waited").unwrap();
    let mut client = address.connect().unwrap();
    client.batch_execute(TABLE).unwrap();
    kafka().create_topic("waited", 1, &[]).unwrap();
    let points = FaultPoints::new().unwrap();
    let env = vec![points.variable()];
    let one = ClusterOptions { coordinators: 1, nodes: 1, env, ..ClusterOptions::default() };
    let cluster = Cluster::start(one).unwrap();
    let document = TaskDocument {
        name: TASK,
        postgres: &address,
        bootstrap: &kafka().bootstrap(),
        objects: &[("public.t", "waited")],
        format: "dts_avro",
        partition: "by_primary_key",
    };
    points.arm("before_init_producer").unwrap();
    let file = cluster.document("waited", &document.yaml()).unwrap();
    cluster.done(&["task", "apply", "-f", file.to_str().unwrap(), "--start"]).unwrap();
    points.wait_hit("before_init_producer", LIMIT).unwrap();
    client
        .batch_execute("ALTER TABLE t DROP CONSTRAINT t_pkey; INSERT INTO t VALUES (1, 'x')")
        .unwrap();
    points.release("before_init_producer").unwrap();
    let end = Instant::now() + LIMIT;
    let error = loop {
        let task = cluster.task(TASK).unwrap();
        if task["phase"] == "Failed" {
            break task["error"].to_string();
        }
        assert_ne!(task["phase"], "Synchronizing", "it publishes what it must not");
        assert!(Instant::now() < end, "{task}");
        std::thread::sleep(Duration::from_millis(200));
    };
    assert!(error.contains("public.t") && error.contains("no usable replica identity"), "{error}");
    client.batch_execute("UPDATE t SET note = 'y'").expect("the application goes on");
    client.batch_execute("ALTER TABLE t ADD PRIMARY KEY (id)").unwrap();
    cluster.done(&["task", "resume", TASK, "--wait", "--timeout", "30s"]).unwrap();
}
