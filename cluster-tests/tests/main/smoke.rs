//! A task from its first start to its deletion, through the command line.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use tidewire_cluster_tests::{Scene, TASK, kafka};

const LIMIT: Duration = Duration::from_secs(60);

fn code(scene: &Scene<'_>, arguments: &[&str]) -> i32 {
    let output = scene.cluster.cli(arguments).unwrap();
    assert!(output.code == 0 || !output.stderr.is_empty(), "{arguments:?} fails without a word");
    output.code
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("{pointer}: {value}"))
}

fn change_everything(scene: &mut Scene<'_>) -> Result<()> {
    // Each statement is a transaction of its own.
    let statements = r#"
        INSERT INTO public.orders (id, customer, amount, note) VALUES (1, 7, 1.50, 'first'), (2, 8, NULL, '');
        UPDATE public.orders SET amount = 2.25 WHERE id = 1;
        UPDATE public.orders SET id = 3 WHERE id = 2;
        DELETE FROM public.orders WHERE id = 1;
        INSERT INTO public.lines VALUES (3, 1, 'hat', 0.1), (3, 2, 'höt', 'NaN');
        INSERT INTO public."Mixed Case" VALUES ('a', '{"x": [1, null]}', '2026-02-28');
        UPDATE public."Mixed Case" SET "a value" = NULL;
        DELETE FROM public."Mixed Case";
        "#;
    for statement in statements.split(';') {
        scene.client.batch_execute(statement)?;
    }
    scene
        .client
        .batch_execute("BEGIN; INSERT INTO public.lines VALUES (9, 9, 'never', 1); ROLLBACK")?;
    Ok(())
}

#[test]
fn a_task_carries_every_kind_of_change_and_obeys_its_commands() {
    let mut scene = Scene::start("smoke", 2, kafka()).unwrap();
    change_everything(&mut scene).unwrap();
    let proof = scene.prove().unwrap();
    assert_eq!(proof.rows, 10);
    assert_eq!(proof.records, proof.rows + 1, "one update changes a key");

    let task = scene.cluster.task(TASK).unwrap();
    assert_eq!(text(&task, "/name"), TASK);
    assert_eq!(text(&task, "/kind"), "postgres_to_kafka");
    assert_eq!(text(&task, "/phase"), "Synchronizing");
    assert_eq!(text(&task, "/desired"), "running");
    // The shared server's log grows by other databases' changes too: it may be behind for a moment.
    let caught_up = || scene.cluster.task(TASK).unwrap()["caughtUp"] == Value::Bool(true);
    assert!((0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        caught_up()
    }));
    assert_eq!(task["error"], Value::Null);
    assert!(text(&task, "/shards/0/position/durable").contains('/'));
    assert_eq!(text(&task, "/precheck/result"), "passed");
    assert!(scene.cluster.done(&["task", "list"]).unwrap().contains(TASK));
    let listed = scene.cluster.json(&["task", "list"]).unwrap();
    assert!(listed.to_string().contains("\"orders\""), "{listed}");

    scene.cluster.done(&["task", "pause", TASK]).unwrap();
    scene.cluster.wait(TASK, "Paused", LIMIT).unwrap();
    scene.client.batch_execute("INSERT INTO public.lines VALUES (4, 1, 'late', 2)").unwrap();
    assert_eq!(text(&scene.cluster.task(TASK).unwrap(), "/phase"), "Paused");
    scene.cluster.done(&["task", "resume", TASK]).unwrap();
    scene.cluster.wait(TASK, "Synchronizing", LIMIT).unwrap();
    scene.client.batch_execute("DELETE FROM public.lines").unwrap();
    // The truth of the first half was taken: what follows is counted in Kafka.
    scene.cluster.wait(TASK, "caught-up", LIMIT).unwrap();
    let records = tidewire_testbed::reader::Reader::all(scene.kafka, &["smoke"]).unwrap();
    assert_eq!(u64::try_from(records.len()).unwrap(), proof.records + 4);

    scene.cluster.done(&["task", "terminate", TASK]).unwrap();
    scene.cluster.wait(TASK, "Terminated", LIMIT).unwrap();
    assert_eq!(code(&scene, &["task", "resume", TASK]), 4);
    scene.cluster.done(&["task", "delete", TASK]).unwrap();
    let slots = "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'tidewire_%' \
                 AND database = current_database()";
    let left: i64 = scene.client.query_one(slots, &[]).unwrap().get(0);
    assert_eq!(left, 0, "delete drops the slot");
    assert_eq!(code(&scene, &["task", "get", TASK]), 3);
}

#[test]
fn exit_codes_tell_what_is_wrong() {
    let scene = Scene::start("codes", 1, kafka()).unwrap();
    assert_eq!(code(&scene, &["task", "get", "nobody"]), 3);
    assert_eq!(code(&scene, &["task", "pause", "nobody"]), 3);
    assert_eq!(code(&scene, &["task", "no-such-command"]), 2);
    let file = scene
        .cluster
        .document("wrong", "apiVersion: tidewire/v1\nkind: postgres_to_kafka\nnmae: x\n");
    let file = file.unwrap();
    let file = file.to_str().unwrap();
    let output = scene.cluster.cli(&["task", "apply", "-f", file]).unwrap();
    assert_eq!(output.code, 2);
    assert!(output.stderr.contains("nmae") && output.stderr.contains("name"), "{}", output.stderr);
    let unreachable = ["task", "list", "--endpoint", "http://127.0.0.1:9", "--timeout", "5s"];
    assert_eq!(code(&scene, &unreachable), 6);
    let output = scene.cluster.cli(&["task", "get", "nobody", "-o", "json"]).unwrap();
    let error: Value = serde_json::from_str(output.stderr.trim()).unwrap();
    assert!(error.pointer("/error/message").is_some(), "{error}");
}
