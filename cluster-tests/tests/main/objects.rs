//! Everything that `objects` can say, in one task: patterns and exclusion, templates, rename, columns,
//! conditions, operations, a table that appears later, a partitioned table through its root.

use std::time::{Duration, Instant};

use postgres::Client;
use serde_json::{Value, json};
use tidewire_cluster_tests::{TASK, kafka, postgres};
use tidewire_testbed::cluster::{Cluster, ClusterOptions};
use tidewire_testbed::reader::Reader;
use tidewire_testbed::servers::postgres::PostgresAddress;

const LIMIT: Duration = Duration::from_secs(60);

const TABLES: &str = r#"
    CREATE TABLE order_a (id int PRIMARY KEY, amount numeric, note text, secret text);
    ALTER TABLE order_a REPLICA IDENTITY FULL;
    CREATE TABLE "Order B" (LIKE order_a INCLUDING ALL);
    ALTER TABLE "Order B" REPLICA IDENTITY FULL;
    CREATE TABLE order_tmp (id int PRIMARY KEY);
    CREATE TABLE events (at int, what text);
    CREATE TABLE measures (id int PRIMARY KEY, v int) PARTITION BY RANGE (id);
    CREATE TABLE measures_1 PARTITION OF measures FOR VALUES FROM (0) TO (100);
    CREATE TABLE measures_2 PARTITION OF measures FOR VALUES FROM (100) TO (200);
"#;

fn document(address: &PostgresAddress, bootstrap: &str) -> String {
    let PostgresAddress { host, port, user, password, database, .. } = address;
    format!(
        r#"
apiVersion: tidewire/v1
kind: postgres_to_kafka
name: {TASK}
source:
  hosts: ["{host}:{port}"]
  database: {database}
  user: {user}
  password: {{value: {password}}}
  tls: {{mode: disable}}
target:
  brokers: ["{bootstrap}"]
  createTopics: {{enabled: true, partitions: 2, replicationFactor: 1}}
format: {{type: canal_json}}
partition: by_primary_key
objects:
  - tables: ["public.order_*", 'public."Order B"']
    exclude: ["public.order_tmp*"]
    topic: "{{database}}.{{schema}}.{{table}}"
    rename: {{database: Shop, schema: sales, columns: {{note: remark}}}}
    columns: {{exclude: [secret]}}
    where: "amount > 10"
    operations: [insert, update, delete, truncate]
  - tables: [public.events]
    topic: objects-events
    rename: {{table: EVENTS}}
    where: "at > 0"
    operations: [insert]
  - tables: ["public.measures*"]
    topic: "objects-{{table}}"
    columns: {{include: [id, v]}}
"#
    )
}

/// Type, table and row of each record of a topic, partition by partition.
fn records(topic: &str) -> Vec<(String, String, Value)> {
    let mut records = Reader::all(kafka(), &[topic]).unwrap();
    records.sort_by_key(|record| (record.partition, record.offset));
    let read = records.into_iter().map(|record| {
        let value: Value = serde_json::from_slice(&record.value.unwrap()).unwrap();
        let text = |key: &str| value[key].as_str().unwrap().to_owned();
        let row = value["data"].get(0).cloned().unwrap_or(Value::Null);
        (text("type"), format!("{}/{}", text("database"), text("table")), row)
    });
    read.collect()
}

fn caught_up(cluster: &Cluster) {
    cluster.wait(TASK, "caught-up", LIMIT).unwrap();
}

fn published(client: &mut Client) -> Vec<String> {
    let query = "SELECT pubname || ' ' || tablename FROM pg_publication_tables ORDER BY 1";
    client.query(query, &[]).unwrap().iter().map(|row| row.get(0)).collect()
}

fn change(client: &mut Client) {
    // Each statement is a transaction of its own.
    let statements = r#"
        INSERT INTO order_a VALUES (1, 5, 'low', 'x'), (2, 50, 'high', 'x'), (3, NULL, 'none', 'x');
        UPDATE order_a SET amount = 60 WHERE id IN (1, 2);
        UPDATE order_a SET amount = 1 WHERE id = 2;
        DELETE FROM order_a;
        INSERT INTO "Order B" VALUES (1, 11, 'b', 'x');
        INSERT INTO order_tmp VALUES (1);
        INSERT INTO events VALUES (0, 'out'), (1, 'in');
        UPDATE events SET what = 'changed';
        DELETE FROM events;
        INSERT INTO measures VALUES (1, 1), (101, 2);
        UPDATE measures SET v = 3 WHERE id = 101;
        TRUNCATE order_a
        "#;
    statements.split(';').for_each(|statement| client.batch_execute(statement).unwrap());
}

#[test]
fn a_task_takes_what_its_objects_say() {
    let address = postgres().create_database("objects").unwrap();
    let mut client = address.connect().unwrap();
    client.batch_execute(TABLES).unwrap();
    let one = ClusterOptions { coordinators: 1, nodes: 1, ..ClusterOptions::default() };
    let cluster = Cluster::start(one).unwrap();
    cluster.apply_and_start(&document(&address, &kafka().bootstrap())).unwrap();
    change(&mut client);
    caught_up(&cluster);

    let order = |kind: &str, id: &str, amount: &str, remark: &str| {
        let row = json!({"id": id, "amount": amount, "remark": remark});
        (kind.to_owned(), "Shop/sales.order_a".to_owned(), row)
    };
    let seen = records("objects.public.order_a");
    for wanted in [
        order("INSERT", "2", "50", "high"),
        order("INSERT", "1", "60", "low"),
        order("UPDATE", "2", "60", "high"),
        order("DELETE", "2", "60", "high"),
        order("DELETE", "1", "60", "low"),
    ] {
        assert!(seen.contains(&wanted), "{wanted:?} is not in {seen:?}");
    }
    let truncates = seen.iter().filter(|(kind, ..)| kind == "TRUNCATE").count();
    assert_eq!((seen.len(), truncates), (7, 2), "a truncate goes to both partitions: {seen:?}");
    assert_eq!(records("objects.public.Order_B").len(), 1, "what Kafka refuses becomes _");
    let row = json!({"at": "1", "what": "in"});
    assert_eq!(records("objects-events"), [("INSERT".into(), "objects/EVENTS".into(), row)]);
    let measures = records("objects-measures");
    assert_eq!(measures.len(), 3);
    assert!(measures.iter().all(|(_, table, _)| table == "objects/measures"), "{measures:?}");

    a_table_that_appears_is_taken(&cluster, &mut client);

    assert_eq!(published(&mut client).len(), 5);
    for arguments in [["task", "terminate", TASK], ["task", "delete", TASK]] {
        cluster.done(&arguments).unwrap();
        if arguments[1] == "terminate" {
            cluster.wait(TASK, "Terminated", LIMIT).unwrap();
        }
    }
    assert_eq!(published(&mut client), Vec::<String>::new(), "both publications are dropped");
}

fn a_table_that_appears_is_taken(cluster: &Cluster, client: &mut Client) {
    client
        .batch_execute(
            "CREATE TABLE order_c (LIKE order_a INCLUDING ALL);
             ALTER TABLE order_c REPLICA IDENTITY FULL;
             CREATE TABLE order_tmp_c (id int);",
        )
        .unwrap();
    let deadline = Instant::now() + LIMIT;
    let name = |table: &&String| table.ends_with(" order_c");
    while !published(client).iter().any(|table| name(&table)) {
        assert!(Instant::now() < deadline, "order_c is not published: {:?}", published(client));
        std::thread::sleep(Duration::from_millis(300));
    }
    // Changes count from here on, whether or not the task streams again already.
    client.batch_execute("INSERT INTO order_c VALUES (1, 20, 'later', 'x')").unwrap();
    client.batch_execute("INSERT INTO order_a VALUES (9, 90, 'goes on', 'x')").unwrap();
    cluster.wait(TASK, "Synchronizing", LIMIT).unwrap();
    caught_up(cluster);
    let row = json!({"id": "1", "amount": "20", "remark": "later"});
    let wanted = ("INSERT".to_owned(), "Shop/sales.order_c".to_owned(), row);
    assert_eq!(records("objects.public.order_c"), [wanted]);
    assert_eq!(records("objects.public.order_a").len(), 8, "nothing is doubled");
}
