//! Generated columns, which PostgreSQL publishes from 18 on where a publication says so.

use tidewire_cluster_tests::kafka;
use tidewire_testbed::servers::{Postgres, PostgresOptions};

use crate::others::{document, json, records, start};
use crate::solo::{LIMIT, cluster};

#[test]
fn stored_ones_stand_in_the_records_where_a_publication_has_them() {
    let version = "18.0.0".to_owned();
    let server =
        Postgres::start(PostgresOptions { version, ..PostgresOptions::default() }).unwrap();
    let address = server.create_database("generated").unwrap();
    let mut client = address.connect().unwrap();
    let table = "CREATE TABLE t (id int PRIMARY KEY, a int, \
                 twice int GENERATED ALWAYS AS (a * 2) STORED, \
                 more int GENERATED ALWAYS AS (a + 1) VIRTUAL)";
    client.batch_execute(table).unwrap();
    for (topic, publishes) in [("generated-with", "stored"), ("generated-without", "none")] {
        kafka().create_topic(topic, 1, &[]).unwrap();
        let name = topic.replace('-', "_");
        let with =
            format!("publish_via_partition_root = true, publish_generated_columns = {publishes}");
        client
            .batch_execute(&format!("CREATE PUBLICATION {name} FOR TABLE t WITH ({with})"))
            .unwrap();
        let source = format!("  publication: {{mode: existing, name: {name}}}\n");
        start(topic, &document(&address, topic, &source), &[]);
    }
    client.batch_execute("INSERT INTO t VALUES (1, 3)").unwrap();
    client.batch_execute("UPDATE t SET a = 5").unwrap();
    for (topic, columns, values) in [
        ("generated-with", vec!["a", "id", "twice"], ["6", "10"]),
        ("generated-without", vec!["a", "id"], ["", ""]),
    ] {
        cluster().wait(topic, "caught-up", LIMIT).unwrap();
        let rows: Vec<_> = records(topic).iter().map(|it| json(it)["data"][0].clone()).collect();
        assert_eq!(rows.len(), 2);
        for (row, value) in rows.iter().zip(values) {
            let mut names: Vec<_> = row.as_object().unwrap().keys().map(String::as_str).collect();
            names.sort_unstable();
            assert_eq!(names, columns, "{row}");
            assert_eq!(row["twice"].as_str().unwrap_or_default(), value, "{row}");
        }
        cluster().done(&["task", "delete", topic]).unwrap();
    }
}
