//! A running task gets another document: a table comes, a table goes, and its owner dies over it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tidewire_cluster_tests::{Scene, Subject as _, TASK, kafka};
use tidewire_testbed::cluster::CliOutput;
use tidewire_testbed::process::{self, Signal};
use tidewire_testbed::reader::Reader;
use tidewire_testbed::task::TaskDocument;
use tidewire_testbed::workload::TABLES;

const NAME: &str = "change_over";
const CAME: &str = "change_over_came";
const LIMIT: Duration = Duration::from_secs(60);

/// The task on the workload's tables and one more, which writes to a topic of its own.
fn document(scene: &Scene<'_>, more: Option<(&str, &str)>, partition: &str) -> Result<PathBuf> {
    let tables = TABLES.iter().map(|table| (*table, NAME)).chain(more);
    let document = TaskDocument {
        name: TASK,
        postgres: &scene.address,
        bootstrap: &scene.kafka.bootstrap(),
        objects: &tables.collect::<Vec<_>>(),
        format: "dts_avro",
        partition,
    };
    scene.cluster.document("changed", &document.yaml())
}

fn apply(scene: &Scene<'_>, more: Option<(&str, &str)>, partition: &str) -> Result<CliOutput> {
    let file = document(scene, more, partition)?;
    let file = file.to_str().context("a path")?;
    scene.cluster.cli(&["task", "apply", "-f", file, "--timeout", "60s"])
}

/// Gives the task another document and kills the owner when it has claimed the shard with it.
fn change_and_kill(scene: &mut Scene<'_>) -> Result<()> {
    let owner = scene.settled_owner()?;
    scene.points.arm("after_claim")?;
    let applied = apply(scene, Some(("public.came", CAME)), "by_primary_key")?;
    ensure!(applied.code == 0, "{}", applied.stderr);
    let held = scene.points.wait_hit("after_claim", LIMIT)?;
    ensure!(held == owner.pid, "the owner changes over itself, not {held}");
    process::signal(owner.pid, Signal::KILL)?;
    scene.points.release("after_claim")?;
    scene.settled(Some(&owner.name), LIMIT)?;
    scene.cluster.restart(&owner.name)
}

/// Writes the rows `from..to`, each in a transaction of its own.
fn write(scene: &mut Scene<'_>, table: &str, from: i64, to: i64) -> Result<()> {
    for id in from..to {
        scene.client.execute(&format!("INSERT INTO {table} VALUES ($1)"), &[&id])?;
    }
    Ok(())
}

/// The keys that stand in a topic, each with how often.
fn keys(scene: &Scene<'_>, topic: &str) -> Result<Vec<String>> {
    let records = Reader::all(scene.kafka, &[topic])?;
    Ok(records
        .iter()
        .map(|it| String::from_utf8_lossy(&it.key.clone().unwrap_or_default()).into_owned())
        .collect())
}

fn history(scene: &Scene<'_>) -> Result<Value> {
    scene.cluster.json(&["task", "history", TASK])
}

fn revision(scene: &Scene<'_>) -> Result<u64> {
    scene.cluster.task(TASK)?["revision"].as_u64().context("a revision")
}

#[test]
fn a_table_comes_and_one_goes_under_load_while_the_owner_is_killed_over_it() {
    let mut scene = Scene::start(NAME, 2, kafka()).unwrap();
    scene.client.batch_execute("CREATE TABLE public.came (id bigint PRIMARY KEY)").unwrap();
    scene.client.batch_execute("CREATE TABLE public.gone (id bigint PRIMARY KEY)").unwrap();
    for topic in [CAME, "change_over_gone"] {
        scene.kafka.create_topic(topic, 2, &[]).unwrap();
    }
    let gone = Some(("public.gone", "change_over_gone"));
    let added = apply(&scene, gone, "by_primary_key").unwrap();
    assert_eq!(added.code, 0, "{}", added.stderr);
    scene.cluster.wait(TASK, "Synchronizing", LIMIT).unwrap();
    write(&mut scene, "public.came", 0, 5).unwrap();
    write(&mut scene, "public.gone", 0, 5).unwrap();

    scene.prove_under_load(change_and_kill).unwrap();
    assert_eq!(revision(&scene).unwrap(), 3);
    write(&mut scene, "public.came", 5, 15).unwrap();
    write(&mut scene, "public.gone", 5, 15).unwrap();
    scene.cluster.wait(TASK, "caught-up", LIMIT).unwrap();
    let came = keys(&scene, CAME).unwrap();
    let wanted: BTreeSet<String> = (5..15).map(|id| format!("{{\"id\":\"{id}\"}}")).collect();
    assert_eq!(came.iter().cloned().collect::<BTreeSet<_>>(), wanted, "from its addition on");
    assert_eq!(came.len(), wanted.len(), "once");
    assert_eq!(keys(&scene, "change_over_gone").unwrap().len(), 5, "none after it was taken out");

    refusals(&scene).unwrap();
    tells_what_happened(&scene).unwrap();
    rewinds_within_bounds(&mut scene).unwrap();
}

/// What cannot be taken leaves the task as it is.
fn refusals(scene: &Scene<'_>) -> Result<()> {
    let missing = apply(scene, Some(("public.nowhere", CAME)), "by_primary_key")?;
    ensure!(missing.code == 5, "{missing:?}");
    ensure!(missing.stderr.contains("revision 4"), "{}", missing.stderr);
    ensure!(missing.stderr.contains("tables_exist"), "{}", missing.stderr);
    let fixed = apply(scene, Some(("public.came", CAME)), "by_table")?;
    ensure!(fixed.code == 4 && fixed.stderr.contains("`partition`"), "{fixed:?}");
    ensure!(revision(scene)? == 3, "nothing was taken");
    scene.cluster.wait(TASK, "Synchronizing", LIMIT)
}

fn tells_what_happened(scene: &Scene<'_>) -> Result<()> {
    let told = history(scene)?;
    let verdicts: Vec<_> = told["revisions"].as_array().context("revisions")?.iter().collect();
    let verdict = |at: usize| verdicts.get(at).and_then(|it| it["verdict"].as_str());
    let seen: Vec<_> = (0..4).filter_map(verdict).collect();
    ensure!(seen == ["taken", "taken", "taken", "refused"], "{told}");
    let text = told.to_string();
    for part in ["public.came", "public.gone", "@", "\"action\":\"start\"", "tables_exist"] {
        ensure!(text.contains(part), "no {part} in {told}");
    }
    ensure!(!text.contains(&scene.address.password), "a secret is shown");
    let log = scene.cluster.done(&["task", "logs", TASK])?;
    for part in ["public.came is published", "public.gone is not published", "streams from"] {
        ensure!(log.contains(part), "no `{part}` in\n{log}");
    }
    Ok(())
}

fn rewinds_within_bounds(scene: &mut Scene<'_>) -> Result<()> {
    let rewind = |scene: &Scene<'_>, to: &str| {
        scene.cluster.cli(&["task", "rewind", TASK, "--to", to, "--yes"])
    };
    let running = rewind(scene, "0/1")?;
    ensure!(
        running.code == 4 && running.stderr.contains("only a paused or failed task"),
        "{running:?}"
    );
    scene.cluster.done(&["task", "pause", TASK, "--wait"])?;
    let early = rewind(scene, "0/1")?;
    ensure!(early.code == 4 && early.stderr.contains("or a position from"), "{early:?}");
    // Tasks of other clusters have the same name there.
    let positions = scene.cluster.json(&["positions", "show", TASK])?;
    let task = scene.cluster.task(TASK)?;
    let ours = format!("/{}/0", task["id"].as_str().context("an id")?);
    let is_ours = |shown: &&Value| shown["key"].as_str().is_some_and(|key| key.ends_with(&ours));
    let position = positions.as_array().context("a list")?.iter().find(is_ours);
    let durable = position.and_then(|it| it.pointer("/record/position/lsn")?.as_str());
    let durable = durable.with_context(|| format!("no position in {positions}"))?;
    let back = rewind(scene, durable)?;
    ensure!(back.code == 0 && back.stderr.contains("as before"), "{durable}: {back:?}");
    scene.cluster.done(&["task", "resume", TASK, "--wait"])?;
    write(scene, "public.came", 15, 20)?;
    thread::sleep(Duration::from_secs(1));
    scene.cluster.wait(TASK, "caught-up", LIMIT)?;
    ensure!(keys(scene, CAME)?.len() == 15, "the durable end doubles nothing");
    Ok(())
}
