//! What a publication left out and got back while nobody looked: at the next start, on whatever node,
//! the task stops, names it and goes on when its user resumes it. What the task did itself is no alarm.

use tidewire_cluster_tests::{kafka, postgres};
use tidewire_testbed::cluster::{Cluster, ClusterOptions};
use tidewire_testbed::process::{self, Signal};
use tidewire_testbed::task::TaskDocument;

use crate::solo::{LIMIT, TABLE, Task, cluster};

/// The ids that were delivered, in order.
fn ids(task: &Task) -> Vec<String> {
    task.delivered().into_iter().map(|(_, id)| id).collect()
}

/// While the task is paused: a change that the publication does not publish, between two statements.
fn gap(task: &mut Task, off: &str, lost: i32, on: &str) {
    task.pause();
    task.sql(off);
    task.insert(lost..=lost);
    task.sql(on);
}

fn a_table_is_taken_out_and_put_back(name: &'static str, delivery: &str) {
    let chosen = |yaml: String| yaml.replace("delivery: exactly_once", delivery);
    let mut task = Task::with(name, postgres(), TABLE, chosen);
    task.insert(1..=3);
    assert_eq!(task.delivered_inserts_of_the_table(), 3);
    let publication = task.slot.clone();
    let off = format!("ALTER PUBLICATION {publication} DROP TABLE t");
    let on = format!("ALTER PUBLICATION {publication} ADD TABLE t");
    gap(&mut task, &off, 4, &on);
    let remedy = format!("tidewire task resume {name}");
    let told = "table public.t was taken out and put back by transaction";
    task.refuses_to_resume(&[&publication, told, "changes between 0/", &remedy]);
    // Once more before its user answers: that is another gap.
    task.sql(&format!("{off}; {on}"));
    task.refuses_to_resume(&[told]);
    task.resume();
    task.insert(5..=5);
    assert_eq!(ids(&task), ["1", "2", "3", "5"], "its user went on behind the gap");

    task.pause();
    task.resume();
    let filtered = format!("ALTER PUBLICATION {publication} SET TABLE t WHERE (id > 100)");
    gap(&mut task, &filtered, 6, &format!("ALTER PUBLICATION {publication} SET TABLE t"));
    task.refuses_to_resume(&[&publication, told, &remedy]);
    task.resume();
    let columns = format!("ALTER PUBLICATION {publication} SET TABLE t (id)");
    gap(&mut task, &columns, 7, &format!("ALTER PUBLICATION {publication} SET TABLE t"));
    task.refuses_to_resume(&[&publication, told, &remedy]);
    task.resume();
    task.insert(8..=8);
    assert!(ids(&task).ends_with(&["8".to_owned()]));
}

#[test]
fn a_table_that_was_unpublished_while_the_task_was_paused_stops_it() {
    a_table_is_taken_out_and_put_back("gap-paused", "delivery: exactly_once");
}

#[test]
fn a_table_that_was_unpublished_while_the_task_was_paused_stops_it_at_least_once() {
    a_table_is_taken_out_and_put_back("gap-leased", "delivery: at_least_once");
}

#[test]
fn a_publication_of_someone_else_that_was_changed_back_stops_the_task() {
    let theirs = |yaml: String| {
        yaml.replace("target:\n", "  publication: {mode: existing, name: theirs}\ntarget:\n")
    };
    let tables = format!(
        "{TABLE}; CREATE TABLE other (id int PRIMARY KEY); \
         CREATE PUBLICATION theirs FOR TABLE t, other WITH (publish_via_partition_root = true)"
    );
    let mut task = Task::with("gap-theirs", postgres(), &tables, theirs);
    task.insert(1..=3);
    assert_eq!(task.delivered_inserts_of_the_table(), 3);
    // What is not the task's may come and go.
    let unrelated =
        "ALTER PUBLICATION theirs DROP TABLE other; ALTER PUBLICATION theirs ADD TABLE other";
    task.pause();
    task.sql(unrelated);
    task.resume();
    let off = "ALTER PUBLICATION theirs SET (publish = 'update')";
    let on = "ALTER PUBLICATION theirs SET (publish = 'insert, update, delete')";
    gap(&mut task, off, 4, on);
    let altered = "was altered, if only for a moment, by transaction";
    task.refuses_to_resume(&["publication theirs", altered, "tidewire task resume gap-theirs"]);
    task.resume();
    task.insert(5..=5);
    assert_eq!(ids(&task), ["1", "2", "3", "5"]);
    task.pause();
    task.sql("DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, note text)");
    task.insert(6..=6);
    task.sql("ALTER PUBLICATION theirs ADD TABLE t");
    task.refuses_to_resume(&["table public.t was dropped and made again by transaction"]);

    let schema = format!(
        "{TABLE}; CREATE PUBLICATION theirs FOR TABLES IN SCHEMA public \
         WITH (publish_via_partition_root = true)"
    );
    let mut task = Task::with("gap-schema", postgres(), &schema, theirs);
    task.insert(1..=3);
    assert_eq!(task.delivered_inserts_of_the_table(), 3);
    let off = "ALTER PUBLICATION theirs DROP TABLES IN SCHEMA public";
    let on = "ALTER PUBLICATION theirs ADD TABLES IN SCHEMA public";
    gap(&mut task, off, 4, on);
    task.refuses_to_resume(&["schema public was taken out and put back by transaction"]);
    task.resume();
    task.insert(5..=5);
    assert_eq!(ids(&task), ["1", "2", "3", "5"]);
}

#[test]
fn what_the_task_does_to_its_publication_is_no_alarm() {
    let mut task = Task::start("gap-ours", postgres());
    task.insert(1..=2);
    assert_eq!(task.delivered_inserts_of_the_table(), 2);
    task.sql("CREATE TABLE public.more (id int PRIMARY KEY, note text)");
    let bootstrap = kafka().bootstrap();
    let apply = |objects: &[(&str, &str)], of_the_last: &str| {
        let document = TaskDocument {
            name: task.name,
            postgres: &task.address,
            bootstrap: &bootstrap,
            objects,
            format: "dts_avro",
            partition: "by_primary_key",
        };
        let file = cluster().document("gap-ours", &(document.yaml() + of_the_last)).unwrap();
        let apply = ["task", "apply", "-f", file.to_str().unwrap(), "--timeout", "60s"];
        cluster().done(&apply).unwrap();
    };
    let one = [("public.t", task.name)];
    let both = [("public.t", task.name), ("public.more", task.name)];
    // Each change is made at the next start, and nothing else has the position written before the next.
    let changes: [(&[_], &str); 5] = [
        (&both, ""),
        (&both, "    where: \"id > 0\"\n"),
        (&one, "    operations: [insert, update, delete, truncate]\n"),
        (&one, "    operations: [insert]\n"),
        (&both, ""),
    ];
    for (objects, of_the_last) in changes {
        task.pause();
        apply(objects, of_the_last);
        task.resume();
    }
    task.pause();
    // Freezing and rewriting the catalog keep what tells.
    task.sql("VACUUM FREEZE pg_publication_rel");
    task.sql("VACUUM (FREEZE, FULL) pg_publication");
    task.sql("VACUUM (FREEZE, FULL) pg_publication_rel");
    task.sql("VACUUM (FREEZE, FULL) pg_description");
    task.resume();
    task.insert(3..=3);
    task.sql("INSERT INTO more VALUES (4, 'x')");
    assert_eq!(ids(&task), ["1", "2", "3", "4"]);
}

#[test]
fn a_node_that_was_down_sees_what_was_unpublished_and_a_restart_of_all_is_no_alarm() {
    let name = "gap-killed";
    let address = postgres().create_database(name).unwrap();
    let mut client = address.connect().unwrap();
    client.batch_execute(TABLE).unwrap();
    kafka().create_topic(name, 1, &[]).unwrap();
    let document = TaskDocument {
        name,
        postgres: &address,
        bootstrap: &kafka().bootstrap(),
        objects: &[("public.t", name)],
        format: "dts_avro",
        partition: "by_primary_key",
    };
    let one = ClusterOptions { coordinators: 1, nodes: 1, ..ClusterOptions::default() };
    let mut cluster = Cluster::start(one).unwrap();
    cluster.apply_and_start(&document.yaml()).unwrap();
    let id = cluster.task(name).unwrap()["id"].as_str().unwrap().to_owned();
    let kill = |cluster: &Cluster, name: &str| {
        process::signal(cluster.member(name).unwrap().pid, Signal::KILL).unwrap();
    };
    let (node, leader) = (cluster.nodes()[0].name.clone(), cluster.coordinators()[0].name.clone());

    client.batch_execute("INSERT INTO t VALUES (1, 'x')").unwrap();
    cluster.wait(name, "caught-up", LIMIT).unwrap();
    kill(&cluster, &node);
    kill(&cluster, &leader);
    cluster.restart(&leader).unwrap();
    cluster.restart(&node).unwrap();
    client.batch_execute("INSERT INTO t VALUES (2, 'x')").unwrap();
    cluster.wait(name, "caught-up", LIMIT).unwrap();

    kill(&cluster, &node);
    for statement in [
        format!("ALTER PUBLICATION tidewire_{id} DROP TABLE t"),
        "INSERT INTO t VALUES (3, 'x')".to_owned(),
        format!("ALTER PUBLICATION tidewire_{id} ADD TABLE t"),
    ] {
        client.batch_execute(&statement).unwrap();
    }
    cluster.restart(&node).unwrap();
    cluster.wait(name, "Failed", LIMIT).unwrap();
    let error = cluster.task(name).unwrap()["error"].to_string();
    assert!(error.contains("table public.t was taken out and put back by transaction"), "{error}");
    cluster.done(&["task", "resume", name, "--wait", "--timeout", "60s"]).unwrap();
    // The answer holds, also where the process that was given it dies.
    kill(&cluster, &node);
    cluster.restart(&node).unwrap();
    client.batch_execute("INSERT INTO t VALUES (4, 'x')").unwrap();
    cluster.wait(name, "caught-up", LIMIT).unwrap();
}
