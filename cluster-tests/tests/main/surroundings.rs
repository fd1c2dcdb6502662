//! Broken surroundings: each trouble has one clear error with object and remedy, loses nothing, and
//! goes away with its cause.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;
use tidewire_cluster_tests::{Scene, TASK, kafka, postgres};
use tidewire_testbed::cluster::{Cluster, ClusterOptions};
use tidewire_testbed::process::{self, Signal};
use tidewire_testbed::servers::postgres::{PostgresAddress, StopMode};
use tidewire_testbed::servers::{Kafka, KafkaOptions, Postgres, PostgresOptions};
use tidewire_testbed::task::TaskDocument;

const LIMIT: Duration = Duration::from_secs(40);

/// Calls the command line and asserts its exit code and the words on stderr.
fn refused(cluster: &Cluster, arguments: &[&str], code: i32, words: &[&str]) {
    let output = cluster.cli(arguments).unwrap();
    eprintln!("$ tidewire {}\n{}\n→ {}", arguments.join(" "), output.stderr, output.code);
    assert_eq!(output.code, code, "{arguments:?}: {}", output.stderr);
    for word in words {
        assert!(output.stderr.contains(word), "{word:?} is not in {}", output.stderr);
    }
}

/// Waits until the task shows `phase` with an error that holds `words`.
fn in_trouble(cluster: &Cluster, phase: &str, words: &[&str]) {
    let end = Instant::now() + LIMIT;
    loop {
        let task = cluster.task(TASK).unwrap();
        let error = task["error"].to_string();
        let shown = task["phase"] == phase && words.iter().all(|word| error.contains(word));
        if shown {
            eprintln!("{phase}: {error}");
            assert_ne!(task.pointer("/error/remedy"), Some(&Value::from("")), "{error}");
            if phase == "Retrying" {
                shows_its_retry(&task);
            }
            return;
        }
        assert!(Instant::now() < end, "not {phase} with {words:?}: {} {error}", task["phase"]);
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A task that is retried says since when, until when, when next, and why.
fn shows_its_retry(task: &Value) {
    let retry = task.pointer("/shards/0/retry").unwrap();
    let at = |name: &str| -> Timestamp { retry[name].as_str().unwrap().parse().unwrap() };
    let (since, until, next) = (at("since"), at("until"), at("nextAttempt"));
    assert!(since <= next && next <= until, "{retry}");
    let kind = retry["error"]["kind"].as_str().unwrap();
    let minutes = if kind.ends_with("Unreachable") { 720 } else { 10 };
    let window = until.duration_since(since).as_secs();
    assert!(window >= minutes * 60 && window < minutes * 60 + 60, "{retry}");
}

fn document(postgres: &PostgresAddress, table: &str, topic: &str) -> String {
    let bootstrap = kafka().bootstrap();
    TaskDocument {
        name: TASK,
        postgres,
        bootstrap: &bootstrap,
        objects: &[(table, topic)],
        format: "dts_avro",
        partition: "by_primary_key",
    }
    .yaml()
}

/// Prechecks a document and asserts which item fails, with which words.
fn fails_at(cluster: &Cluster, yaml: &str, item: &str, words: &[&str]) {
    let file = cluster.document(item, yaml).unwrap();
    let arguments = ["task", "precheck", "-f", file.to_str().unwrap()];
    let output = cluster.cli(&arguments).unwrap();
    let said = format!("{}{}", output.stdout, output.stderr);
    assert_eq!(output.code, 5, "{said}");
    for word in [words, &[item, "do: "]].concat() {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }
    let output = cluster.cli(&[&arguments[..], &["-o", "json"]].concat()).unwrap();
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    let failed: Vec<_> = report["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|found| found["result"] == "fail")
        .map(|found| found["name"].as_str().unwrap())
        .collect();
    assert_eq!(failed, [item], "one trouble, one item");
    let mut said = output.stderr.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let error = said.next_back().expect("an object on stderr");
    assert!(said.all(|line| line["warning"].is_string()), "{}", output.stderr);
    assert_eq!(error["error"]["code"], "precheck_failed");
}

#[test]
fn a_precheck_names_the_one_item_that_is_wrong_and_its_repair() {
    let source = postgres().create_database("precheck").unwrap();
    let tables = "CREATE TABLE keyed (id int PRIMARY KEY); CREATE TABLE heap (id int)";
    source.connect().unwrap().batch_execute(tables).unwrap();
    kafka().create_topic("precheck", 1, &[]).unwrap();
    kafka().create_topic("narrow", 1, &[("max.message.bytes", "1000")]).unwrap();
    let cluster =
        Cluster::start(ClusterOptions { coordinators: 1, nodes: 1, ..ClusterOptions::default() });
    let cluster = cluster.unwrap();
    let with = |table, topic| document(&source, table, topic);

    let wrong = PostgresAddress { password: "wrong".into(), ..source.clone() };
    let yaml = document(&wrong, "public.keyed", "precheck");
    fails_at(&cluster, &yaml, "source_connect", &["password", "pg_hba.conf"]);
    let gone = PostgresAddress { port: 9, ..source.clone() };
    let yaml = document(&gone, "public.keyed", "precheck");
    fails_at(&cluster, &yaml, "source_connect", &["127.0.0.1:9"]);
    fails_at(&cluster, &with("public.heap", "precheck"), "tables_keyed", &["ALTER TABLE", "heap"]);
    fails_at(&cluster, &with("public.nobody", "precheck"), "tables_exist", &["nobody"]);
    fails_at(&cluster, &with("public.keyed", "nowhere"), "topics_exist", &["nowhere", "--create"]);
    let words = ["narrow", "max.message.bytes", "kafka-configs.sh"];
    fails_at(&cluster, &with("public.keyed", "narrow"), "topic_policy", &words);
    decides(&cluster, &with("public.keyed", "narrow"));
    let brokers = format!("[\"{}\"]", kafka().bootstrap());
    let yaml = with("public.keyed", "precheck").replace(&brokers, "[\"127.0.0.1:9\"]");
    fails_at(&cluster, &yaml, "target_connect", &["127.0.0.1:9", "target.brokers"]);

    let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let settings = vec![setting("wal_level", "replica"), setting("max_replication_slots", "1")];
    let server = Postgres::start(PostgresOptions { settings, ..Default::default() }).unwrap();
    let mut client = server.connect().unwrap();
    let slot = "SELECT pg_create_physical_replication_slot('other')";
    client.batch_execute("CREATE TABLE keyed (id int PRIMARY KEY)").unwrap();
    let yaml = document(server.address(), "public.keyed", "precheck");
    let words = ["replica", "ALTER SYSTEM SET wal_level", "restart"];
    fails_at(&cluster, &yaml, "wal_level", &words);
    drop((client, server));

    let settings = vec![setting("max_replication_slots", "1")];
    let server = Postgres::start(PostgresOptions { settings, ..Default::default() }).unwrap();
    let mut client = server.connect().unwrap();
    client.batch_execute("CREATE TABLE keyed (id int PRIMARY KEY)").unwrap();
    client.batch_execute(slot).unwrap();
    let yaml = document(server.address(), "public.keyed", "precheck");
    fails_at(&cluster, &yaml, "replication_slots", &["1 of 1", "max_replication_slots"]);
}

/// Starts a task at the topic `narrow`, whose only failure may be overridden, and a second one there.
fn decides(cluster: &Cluster, yaml: &str) {
    let file = cluster.document("narrow", yaml).unwrap();
    let path = file.to_str().unwrap();
    let refusal = ["topic_policy failed", "or --override topic_policy"];
    refused(cluster, &["task", "apply", "-f", path, "--start"], 5, &refusal);
    let start = |option: &'static str, item: &'static str| ["task", "start", TASK, option, item];
    let unknown = ["precheck item topic_polcy", "did you mean topic_policy"];
    refused(cluster, &start("--ignore", "topic_polcy"), 2, &unknown);
    let stands = ["precheck item tables_keyed", "cannot be overridden: it would hurt the source"];
    refused(cluster, &start("--override", "tables_keyed"), 4, &stands);
    cluster.done(&["task", "start", TASK, "--override", "topic_policy", "--wait"]).unwrap();
    let task = cluster.task(TASK).unwrap();
    let items = task["precheck"]["items"].as_array().unwrap();
    let item = items.iter().find(|item| item["name"] == "topic_policy").unwrap();
    assert_eq!((&item["result"], &item["waiver"]["kind"]), (&"fail".into(), &"overridden".into()));
    assert!(item["waiver"]["at"].is_string() && item["waiver"]["by"].is_string(), "{item}");
    assert_eq!(task["precheck"]["result"], "passed");

    let second = yaml.replacen(&format!("name: {TASK}"), "name: second", 1);
    let file = cluster.document("second", &second).unwrap();
    let path = file.to_str().unwrap();
    let precheck = ["task", "precheck", "-f", path, "--override", "topic_policy", "-o", "json"];
    let output = cluster.cli(&precheck).unwrap();
    assert_eq!(output.code, 5, "{}", output.stderr);
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    let items = report["items"].as_array().unwrap();
    let blocking = items.iter().find(|item| item["name"] == "topic_collision").unwrap();
    assert_eq!(blocking["found"], format!("task {TASK} writes to narrow too"));
    assert_eq!((&blocking["overridable"], &blocking["waiver"]), (&true.into(), &Value::Null));
    let both = [&precheck[..], &["--override", "topic_collision"]].concat();
    assert_eq!(cluster.cli(&both).unwrap().code, 0);
    cluster.done(&["task", "delete", TASK]).unwrap();
}

/// A scene with one coordinator's worth of patience: one table, two nodes.
fn scene<'k>(name: &str, kafka: &'k Kafka) -> Scene<'k> {
    let create = |client: &mut postgres::Client| {
        Ok(client.batch_execute("CREATE TABLE public.t (id int PRIMARY KEY, note text)")?)
    };
    Scene::on_tables(name, 2, kafka, &["public.t"], create).unwrap()
}

fn insert(scene: &mut Scene<'_>, id: i32) {
    scene.client.execute("INSERT INTO public.t VALUES ($1, 'x')", &[&id]).unwrap();
}

fn slot(scene: &Scene<'_>) -> String {
    format!("tidewire_{}", scene.cluster.task(TASK).unwrap()["id"].as_str().unwrap())
}

fn pause(scene: &Scene<'_>) {
    scene.cluster.done(&["task", "pause", TASK, "--wait", "--timeout", "20s"]).unwrap();
}

const RESUME: [&str; 6] = ["task", "resume", TASK, "--wait", "--timeout", "30s"];

#[test]
fn a_slot_in_use_by_someone_else_is_waited_for() {
    let mut scene = scene("taken", kafka());
    pause(&scene);
    let slot = slot(&scene);
    let mut thief = std::process::Command::new("pg_recvlogical");
    let publication = format!("publication_names={slot}");
    thief.args(["-d", &scene.address.dsn(), "--slot", &slot, "--start", "-f", "/dev/null"]);
    thief.args(["-o", "proto_version=1", "-o", &publication]);
    let Ok(mut thief) = thief.spawn() else { return };
    std::thread::sleep(Duration::from_secs(1));
    scene.cluster.done(&["task", "resume", TASK]).unwrap();
    in_trouble(
        &scene.cluster,
        "Retrying",
        &["SourceBusy", &slot, "another client", "pg_terminate_backend"],
    );
    process::signal(thief.id(), Signal::KILL).unwrap();
    thief.wait().unwrap();
    insert(&mut scene, 2);
    scene.prove().unwrap();
}

#[test]
fn a_slot_that_was_moved_or_dropped_stops_the_task() {
    let mut scene = scene("moved", kafka());
    insert(&mut scene, 1);
    scene.prove().unwrap();
    pause(&scene);
    let slot = slot(&scene);
    insert(&mut scene, 2);
    let advance = format!("SELECT pg_replication_slot_advance('{slot}', pg_current_wal_lsn())");
    scene.client.batch_execute(&advance).unwrap();
    let words = ["was moved ahead", "not delivered", slot.as_str(), "do: "];
    refused(&scene.cluster, &RESUME, 1, &words);
    let gone = format!("SELECT pg_drop_replication_slot('{slot}')");
    scene.client.batch_execute(&gone).unwrap();
    refused(&scene.cluster, &RESUME, 1, &[&slot, "does not exist any more", "do: "]);
}

#[test]
fn a_slot_that_is_dropped_in_mid_run_stops_the_task() {
    let mut scene = scene("dropped", kafka());
    let slot = slot(&scene);
    let steal = format!(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots \
         WHERE slot_name = '{slot}'"
    );
    let gone = format!("SELECT pg_drop_replication_slot('{slot}')");
    let dropped = (0..200).any(|_| {
        scene.client.batch_execute(&steal).unwrap();
        scene.client.batch_execute(&gone).is_ok()
    });
    assert!(dropped, "the task was always quicker");
    in_trouble(&scene.cluster, "Failed", &["SourceState", &slot, "does not exist"]);
    insert(&mut scene, 1);
    refused(&scene.cluster, &RESUME, 1, &[&slot, "rewind NAME --to now --yes"]);
}

#[test]
fn a_publication_that_is_dropped_in_mid_run_stops_the_task() {
    let mut scene = scene("unpublished", kafka());
    insert(&mut scene, 1);
    scene.prove().unwrap();
    let publication = slot(&scene);
    scene.client.batch_execute(&format!("DROP PUBLICATION {publication}")).unwrap();
    in_trouble(&scene.cluster, "Failed", &["SourceState", &publication, "dropped"]);
    let words = [publication.as_str(), "rewind NAME --to now --yes"];
    refused(&scene.cluster, &RESUME, 1, &words);
    scene.cluster.done(&["task", "delete", TASK]).unwrap();
}

#[test]
fn a_topic_that_is_deleted_in_mid_run_stops_the_task_and_so_does_its_successor() {
    let mut scene = scene("lost", kafka());
    insert(&mut scene, 1);
    scene.prove().unwrap();
    kafka().delete_topic("lost").unwrap();
    insert(&mut scene, 2);
    in_trouble(&scene.cluster, "Failed", &["TargetState", "topic lost"]);
    refused(&scene.cluster, &RESUME, 1, &["topic lost", "do: "]);
    kafka().create_topic("lost", 4, &[]).unwrap();
    let way = "onTopicChange: accept;";
    refused(&scene.cluster, &RESUME, 1, &["topic lost", "again", "do: ", way]);
    assert!(kafka().end_offsets("lost").unwrap().stable.values().all(|end| *end == 0));
    let yaml = document(&scene.address, "public.t", "lost");
    let yaml = yaml.replace("target:\n", "target:\n  onTopicChange: accept\n");
    let file = scene.cluster.document("accepting", &yaml).unwrap();
    scene.cluster.done(&["task", "apply", "-f", file.to_str().unwrap()]).unwrap();
    scene.cluster.done(&RESUME).unwrap();
    insert(&mut scene, 3);
    scene.prove().unwrap();
}

#[test]
fn a_record_over_the_limits_stops_the_task_until_they_are_raised() {
    let mut scene = scene("wide", kafka());
    insert(&mut scene, 1);
    let narrow = [("max.message.bytes", Some("2000"))];
    kafka().alter_topic_config("wide", &narrow).unwrap();
    let row = "INSERT INTO public.t SELECT 2, string_agg(md5(g::text), '') FROM generate_series(1, 200) g";
    scene.client.batch_execute(row).unwrap();
    in_trouble(&scene.cluster, "Failed", &["Encode", "wide", "max.message.bytes"]);
    kafka().alter_topic_config("wide", &[("max.message.bytes", None)]).unwrap();
    insert(&mut scene, 3);
    scene.cluster.done(&RESUME).unwrap();
    scene.prove().unwrap();

    scene.client.batch_execute("INSERT INTO public.t VALUES (4, repeat('y', 2000000))").unwrap();
    let words = ["Encode", "public.t", "recordBytes"];
    in_trouble(&scene.cluster, "Failed", &words);
    let task = scene.cluster.task(TASK).unwrap()["error"].to_string();
    assert!(!task.contains("yyyy"), "row values stay out of errors");
}

#[test]
fn a_broker_and_a_database_that_come_back_are_all_that_is_needed() {
    let broker = Kafka::start(KafkaOptions::default()).unwrap();
    let mut source = Postgres::start(PostgresOptions::default()).unwrap();
    let mut client = source.connect().unwrap();
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY)").unwrap();
    broker.create_topic("t", 1, &[]).unwrap();
    let yaml = document(source.address(), "public.t", "t")
        .replace(&kafka().bootstrap(), &broker.bootstrap());
    let cluster = Cluster::start(ClusterOptions::default()).unwrap();
    cluster.apply_and_start(&yaml).unwrap();
    broker.stop_broker(0);
    client.batch_execute("INSERT INTO public.t SELECT generate_series(1, 1000)").unwrap();
    in_trouble(&cluster, "Retrying", &["TargetUnreachable", "target.brokers"]);
    broker.restart_broker(0).unwrap();
    cluster.wait(TASK, "caught-up", LIMIT).unwrap();
    drop(client);
    source.kill();
    in_trouble(&cluster, "Retrying", &["SourceUnreachable"]);
    source.resume().unwrap();
    source
        .connect()
        .unwrap()
        .batch_execute("INSERT INTO public.t SELECT generate_series(1001, 2000)")
        .unwrap();
    source.restart(StopMode::Fast).unwrap();
    source
        .connect()
        .unwrap()
        .batch_execute("INSERT INTO public.t SELECT generate_series(2001, 3000)")
        .unwrap();
    std::thread::sleep(Duration::from_secs(1));
    cluster.wait(TASK, "caught-up", LIMIT).unwrap();
    let records = tidewire_testbed::reader::Reader::all(&broker, &["t"]).unwrap();
    assert_eq!(records.len(), 3000);
}

#[test]
fn coordinators_that_are_away_are_told_and_come_back() {
    let mut scene = scene("away", kafka());
    let members = scene.cluster.coordinators().to_vec();
    let kill = |name: &str| {
        let member = members.iter().find(|member| member.name == name).unwrap();
        process::signal(member.pid, Signal::KILL).unwrap();
    };
    let get = ["task", "get", TASK, "--timeout", "5s"];
    kill("c1");
    std::thread::sleep(Duration::from_secs(4));
    scene.cluster.done(&get).unwrap();
    kill("c2");
    insert(&mut scene, 1);
    refused(&scene.cluster, &["task", "pause", TASK, "--timeout", "5s"], 6, &["do: "]);
    refused(&scene.cluster, &get, 6, &["no leader", "1 of 3", "more than half"]);
    kill("c3");
    refused(&scene.cluster, &get, 6, &["no coordinator listens", "--endpoint"]);
    insert(&mut scene, 2);
    for name in ["c1", "c2", "c3"] {
        scene.cluster.restart(name).unwrap();
    }
    std::thread::sleep(Duration::from_secs(3));
    insert(&mut scene, 3);
    let proof = scene.prove().unwrap();
    assert_eq!(proof.records, 3);
}

/// Starts a server of the cluster by hand and waits for its end: its exit code and what it said.
fn run_alone(arguments: &[&str], limit: Duration) -> (i32, String) {
    let binary = tidewire_testbed::cluster::binary().unwrap();
    let limit = limit.as_secs().to_string();
    let output = std::process::Command::new("timeout")
        .arg(limit)
        .arg(binary)
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap_or(-1), said)
}

#[test]
fn a_damaged_log_is_refused_and_its_coordinator_rejoins() {
    let mut cluster = Cluster::start(ClusterOptions { nodes: 1, ..Default::default() }).unwrap();
    let c1 = cluster.member("c1").unwrap();
    let addresses: Vec<_> = cluster
        .endpoints
        .iter()
        .map(|endpoint| endpoint.trim_start_matches("http://").to_owned())
        .collect();
    process::signal(c1.pid, Signal::KILL).unwrap();
    cluster.restart("c1").unwrap();
    std::thread::sleep(Duration::from_secs(2));
    cluster.done(&["cluster", "status", "--endpoint", &cluster.endpoints[0]]).unwrap();

    let c1 = cluster.member("c1").unwrap();
    process::signal(c1.pid, Signal::KILL).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let data = cluster.folder().join("data/c1");
    let folder = data.to_str().unwrap();
    let log = data.join("log.redb");
    let mut bytes = std::fs::read(&log).unwrap();
    bytes.truncate(bytes.len() / 2);
    std::fs::write(&log, bytes).unwrap();
    let start = ["coordinator", "--name", "c1", "--listen", &addresses[0], "--data-dir", folder];
    let (code, said) = run_alone(&start, Duration::from_secs(10));
    eprintln!("{said}→ {code}");
    assert_eq!(code, 1);
    for word in ["log.redb", "damaged", "--join", "new id"] {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }

    std::fs::rename(&data, cluster.folder().join("data/c1.damaged")).unwrap();
    let join = [&start[..], &["--join", &addresses[1]]].concat();
    let binary = tidewire_testbed::cluster::binary().unwrap();
    let mut again = std::process::Command::new(binary).args(&join).spawn().unwrap();
    let end = Instant::now() + LIMIT;
    let healthy = || {
        let status = cluster.json(&["cluster", "status"]).unwrap();
        let members = status["members"].as_array().unwrap().clone();
        members.iter().filter(|member| member["healthy"] == true).count() == 3
    };
    while !healthy() {
        assert!(Instant::now() < end, "{}", cluster.done(&["cluster", "status"]).unwrap());
        std::thread::sleep(Duration::from_millis(200));
    }
    eprintln!("{}", cluster.done(&["cluster", "status"]).unwrap());
    again.kill().unwrap();
    again.wait().unwrap();
}

#[test]
fn a_second_process_under_a_name_or_on_a_port_is_refused() {
    let cluster =
        Cluster::start(ClusterOptions { coordinators: 1, nodes: 1, ..Default::default() }).unwrap();
    let endpoint = cluster.endpoints[0].clone();
    let address = endpoint.trim_start_matches("http://");
    let second = ["node", "--name", "node-1", "--coordinators", &endpoint];
    let (_, said) = run_alone(&second, Duration::from_secs(3));
    let words = "node-1: another process is running under this name";
    assert_eq!(said.matches(words).count(), 1, "told once: {said}");
    let nodes = cluster.json(&["nodes", "list"]).unwrap();
    assert_eq!(nodes[0]["pid"], cluster.nodes()[0].pid, "the first one stays: {nodes}");

    let folder = cluster.folder().join("other");
    let folder = folder.to_str().unwrap();
    let second =
        ["coordinator", "--name", "x", "--listen", address, "--data-dir", folder, "--bootstrap"];
    let (code, said) = run_alone(&second, Duration::from_secs(5));
    assert_eq!(code, 2, "{said}");
    assert!(said.contains(address) && said.contains("in use") && said.contains("--listen"));
}
