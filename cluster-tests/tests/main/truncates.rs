//! TRUNCATE, as far as it reaches: over foreign keys, of a partitioned table, of one partition alone.

use tidewire_cluster_tests::{kafka, postgres};
use tidewire_testbed::reader::Reader;
use tidewire_testbed::task::TaskDocument;

use crate::others::{json, start};
use crate::solo::{LIMIT, cluster};

const TABLES: &str = "
    CREATE TABLE parent (id int PRIMARY KEY);
    CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent);
    CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id);
    CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (10);
    CREATE TABLE other PARTITION OF root FOR VALUES FROM (10) TO (20)";

/// Type, table and id of each record of a topic, in the order of its partitions.
fn seen(topic: &str) -> Vec<String> {
    let mut records = Reader::all(kafka(), &[topic]).unwrap();
    records.sort_by_key(|record| (record.partition, record.offset));
    let line = |record| {
        let value = json(record);
        let id = value["data"][0]["id"].as_str().unwrap_or("-").to_owned();
        format!("{} {} {id}", value["type"].as_str().unwrap(), value["table"].as_str().unwrap())
    };
    records.iter().map(line).collect()
}

#[test]
fn a_truncate_goes_out_for_every_table_that_it_empties_and_for_a_partition_alone_not_at_all() {
    let address = postgres().create_database("truncates").unwrap();
    let mut client = address.connect().unwrap();
    client.batch_execute(TABLES).unwrap();
    let objects = [
        ("public.parent", "truncates-parent"),
        ("public.child", "truncates-child"),
        ("public.root", "truncates-root"),
    ];
    for ((_, topic), partitions) in objects.iter().zip([2, 1, 1]) {
        kafka().create_topic(topic, partitions, &[]).unwrap();
    }
    let document = TaskDocument {
        name: "truncates",
        postgres: &address,
        bootstrap: &kafka().bootstrap(),
        objects: &objects,
        format: "canal_json",
        partition: "all_to_partition_0",
    };
    let operations = "\n    operations: [insert, update, delete, truncate]\n";
    let yaml = objects.iter().fold(document.yaml(), |yaml, (_, topic)| {
        yaml.replace(&format!("topic: {topic}\n"), &format!("topic: {topic}{operations}"))
    });
    start("truncates", &yaml, &[]);
    for statement in [
        "INSERT INTO parent VALUES (1)",
        "INSERT INTO child VALUES (1, 1)",
        "INSERT INTO root VALUES (1), (11)",
        "TRUNCATE parent CASCADE",
        "TRUNCATE leaf",
        "INSERT INTO root VALUES (2)",
        "TRUNCATE root",
        "BEGIN; INSERT INTO parent VALUES (2); TRUNCATE parent, child, root; \
         INSERT INTO parent VALUES (3); COMMIT",
    ] {
        client.batch_execute(statement).unwrap();
    }
    cluster().wait("truncates", "caught-up", LIMIT).unwrap();
    assert_eq!(
        seen("truncates-parent"),
        [
            "INSERT parent 1",
            "TRUNCATE parent -",
            "INSERT parent 2",
            "TRUNCATE parent -",
            "INSERT parent 3",
            // Every partition of the topic hears of it.
            "TRUNCATE parent -",
            "TRUNCATE parent -",
        ]
    );
    assert_eq!(
        seen("truncates-child"),
        ["INSERT child 1", "TRUNCATE child -", "TRUNCATE child -"],
        "by CASCADE, then by name"
    );
    assert_eq!(
        seen("truncates-root"),
        [
            "INSERT root 1",
            "INSERT root 11",
            // Of the leaf alone nothing is said: the row 1 is gone in silence, as the precheck warns.
            "INSERT root 2",
            "TRUNCATE root -",
            "TRUNCATE root -",
        ]
    );
    cluster().done(&["task", "delete", "truncates"]).unwrap();
}
