//! Topics of one Kafka cluster into another: faithful in everything that a record has.

use std::collections::BTreeMap;
use std::sync::mpsc::{SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use jiff::Timestamp;
use tidewire_cluster_tests::Subject as _;
use tidewire_cluster_tests::copy::{COPY, CopyScene, QUICK_CLEANER, topic_with_gaps};
use tidewire_cluster_tests::faults::{freeze_at, kill_owner, restart_broker};
use tidewire_testbed::cluster::ClusterOptions;
use tidewire_testbed::copy_load::CopyLoad;
use tidewire_testbed::fault_points::FaultPoints;
use tidewire_testbed::process::{self, Signal};
use tidewire_testbed::reader::{Reader, Record};
use tidewire_testbed::servers::{Kafka, KafkaOptions};
use tidewire_testbed::shards::longest_gap;
use tidewire_testbed::writer::{Writer, Written};

/// Records that copies are known to get wrong.
fn nasty(partition: u32) -> Vec<Written> {
    let header = |name: &str, value: Option<&str>| {
        (name.to_owned(), value.map(|value| value.as_bytes().to_vec()))
    };
    let plain = Written { partition, ..Written::default() };
    vec![
        Written { key: Some(b"k".to_vec()), value: Some(b"v".to_vec()), ..plain.clone() },
        Written { key: Some(Vec::new()), value: Some(Vec::new()), ..plain.clone() },
        Written { key: None, value: Some(b"no key".to_vec()), ..plain.clone() },
        Written { key: Some(b"tombstone".to_vec()), value: None, ..plain.clone() },
        Written { key: None, value: None, ..plain.clone() },
        Written {
            key: Some(vec![0, 255, 10]),
            value: Some((0..=255).collect()),
            headers: vec![
                header("b", Some("1")),
                header("a", None),
                header("b", Some("2")),
                header("", Some("")),
                header("höt", Some("ä")),
            ],
            timestamp: Some(1),
            ..plain.clone()
        },
        Written { value: Some(b"long ago".to_vec()), timestamp: Some(86_400_000), ..plain.clone() },
        Written { value: Some(b"at zero".to_vec()), timestamp: Some(0), ..plain.clone() },
        Written { value: Some(vec![7; 900_000]), ..plain },
    ]
}

#[test]
fn records_arrive_as_they_are_in_every_codec_and_without_what_was_aborted() {
    let scene = CopyScene::start(1, 2).unwrap();
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    let mut topics = codecs.to_vec();
    for codec in codecs {
        scene.source.create_topic(codec, 3, &[]).unwrap();
        let mut writer = Writer::start(&scene.source, codec, None).unwrap();
        for partition in 0..3 {
            writer.send(codec, &nasty(partition)).unwrap();
        }
    }
    topics.push("transactional");
    scene.source.create_topic("transactional", 2, &[]).unwrap();
    let mut writer = Writer::start(&scene.source, "lz4", Some("writer")).unwrap();
    for round in 0..4 {
        writer.begin().unwrap();
        let record = |partition| Written {
            partition,
            ..Written::value(format!("{round}: {}", if round % 2 == 0 { "kept" } else { "not" }))
        };
        writer.send("transactional", &[record(0), record(1)]).unwrap();
        if round % 2 == 0 { writer.commit().unwrap() } else { writer.abort().unwrap() }
    }
    scene.copy("topics: [{all: true, rename: \"dr.{topic}\"}]").unwrap();
    let copied = scene.prove(&topics, |topic| format!("dr.{topic}")).unwrap();
    assert_eq!(copied, 5 * 3 * 9 + 4);

    let task = scene.cluster.task(COPY).unwrap();
    assert_eq!((task["delayMs"].as_u64(), task["caughtUp"].as_bool()), (Some(0), Some(true)));
    assert_eq!(task["kind"], "kafka_to_kafka");
    // What comes later comes, too: into topics and partitions that were not there before.
    scene.source.create_topic("later", 1, &[]).unwrap();
    let mut writer = Writer::start(&scene.source, "none", None).unwrap();
    writer.send("later", &nasty(0)).unwrap();
    writer.send("lz4", &nasty(1)).unwrap();
    topics.push("later");
    scene.prove(&topics, |topic| format!("dr.{topic}")).unwrap();
}

/// A broker whose cleaner is quick, and one that is as usual.
fn with_quick_cleaner() -> CopyScene {
    let (name, value) = QUICK_CLEANER;
    let settings = vec![(name.to_owned(), value.to_owned())];
    let source = Kafka::start(KafkaOptions { settings, ..KafkaOptions::default() }).unwrap();
    let target = Kafka::start(KafkaOptions::default()).unwrap();
    CopyScene::between(source, target, ClusterOptions::default()).unwrap()
}

#[test]
fn gaps_and_records_above_a_mebibyte_are_copied_where_limits_allow_them() {
    let scene = with_quick_cleaner();
    topic_with_gaps(&scene.source, "gaps", 2).unwrap();
    let size = 5 << 20;
    let allowed = (size + (1 << 20)).to_string();
    scene.source.create_topic("large", 2, &[("max.message.bytes", &allowed)]).unwrap();
    let mut writer = Writer::start(&scene.source, "none", None).unwrap();
    let large =
        Written { partition: 1, key: Some(vec![7; 1_000]), ..Written::value(vec![9; size]) };
    writer.send("large", &[Written::value("small"), large.clone(), large]).unwrap();
    // Under the usual limit the precheck says what would stop it.
    let file = scene.cluster.document("task", &scene.document("")).unwrap();
    let refused =
        scene.cluster.cli(&["task", "apply", "-f", file.to_str().unwrap(), "--start"]).unwrap();
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(refused.code == 5 && said.contains("write limits.recordBytes: 6MiB"), "{said}");

    scene.copy("limits: {recordBytes: 6MiB}").unwrap();
    let copied = scene.prove(&["gaps", "large"], str::to_owned).unwrap();
    writer.send("gaps", &nasty(1)).unwrap();
    assert_eq!(scene.prove(&["gaps", "large"], str::to_owned).unwrap(), copied + 9);
    let task = scene.cluster.task(COPY).unwrap();
    let end = task["shards"]
        .as_array()
        .unwrap()
        .iter()
        .find_map(|shard| shard["position"]["partitions"]["gaps"]["1"]["source"].as_u64());
    let copies = Reader::all(&scene.target, &["gaps"]).unwrap();
    let copies = copies.iter().filter(|copy| copy.partition == 1).count();
    let copies = u64::try_from(copies).unwrap();
    assert!(end.unwrap() > copies, "{end:?} is past {copies} by the gaps");
}

#[test]
fn settings_of_a_topic_reach_its_copy_within_a_minute_but_not_those_that_are_excluded() {
    let scene = CopyScene::start(1, 1).unwrap();
    let at_first = [("segment.ms", "777000"), ("retention.ms", "700000000")];
    scene.source.create_topic("orders", 1, &at_first).unwrap();
    scene
        .copy("syncConfigs: {exclude: [retention.ms, message.timestamp.type, segment.bytes]}")
        .unwrap();
    let own = || scene.target.own_configs("orders").unwrap();
    let settings = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    assert_eq!(own(), settings(&[("segment.ms", "777000")]), "as it was made");

    // Set at the copy alone: nobody's affair but theirs who did it.
    scene.target.alter_topic_config("orders", &[("flush.messages", Some("1000"))]).unwrap();
    let changed = [
        ("segment.ms", Some("888000")),
        ("max.message.bytes", Some("2000000")),
        ("retention.ms", Some("800000000")),
        ("segment.bytes", Some("99000000")),
    ];
    scene.source.alter_topic_config("orders", &changed).unwrap();
    let wanted = settings(&[
        ("flush.messages", "1000"),
        ("max.message.bytes", "2000000"),
        ("segment.ms", "888000"),
    ]);
    // A minute, and what a busy machine takes for it.
    let arrived = (0..180).any(|_| {
        thread::sleep(Duration::from_millis(500));
        own() == wanted
    });
    assert!(arrived, "{:?}", own());

    // What the source drops goes, and nothing else.
    scene.source.alter_topic_config("orders", &[("segment.ms", None)]).unwrap();
    let wanted = settings(&[("flush.messages", "1000"), ("max.message.bytes", "2000000")]);
    let gone = (0..180).any(|_| {
        thread::sleep(Duration::from_millis(500));
        own() == wanted
    });
    assert!(gone, "{:?}", own());
    let writer = Writer::start(&scene.source, "none", None);
    writer.unwrap().send("orders", &nasty(0)).unwrap();
    scene.prove(&["orders"], str::to_owned).unwrap();
    assert_eq!(own(), wanted);
}

fn now_micros() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_micros()).unwrap()
}

/// Records that arrive, until the thread is asked for them.
fn following(mut reader: Reader) -> (SyncSender<()>, thread::JoinHandle<Vec<Record>>) {
    let (stop, stopped) = sync_channel(1);
    let follow = thread::spawn(move || {
        let mut records = Vec::new();
        while stopped.try_recv() == Err(TryRecvError::Empty) {
            records.extend(reader.next_within(Duration::from_millis(100)).unwrap());
        }
        records
    });
    (stop, follow)
}

/// Times are told and judged by nobody here: the machine is busy with other things, too.
#[expect(clippy::print_stdout, reason = "the times of a test are for whoever runs it")]
fn told(line: &str) {
    println!("{line}");
}

const PARTITIONS: u32 = 64;

#[test]
fn a_node_that_dies_moves_its_partitions_and_interrupts_no_other() {
    let mut scene = CopyScene::start(1, 3).unwrap();
    scene.source.create_topic("many", PARTITIONS, &[]).unwrap();
    scene.copy("existingData: stop").unwrap();
    scene.settled(None, Duration::from_secs(30)).unwrap();
    let before = scene.shards().unwrap();
    let (stop, follow) = following(Reader::follow(&scene.target, &["many"]).unwrap());
    let load = CopyLoad::start(&scene.source, "many", PARTITIONS, 1_300).unwrap();
    thread::sleep(Duration::from_secs(5));

    let victim = before[0].node.clone();
    let killed_at = now_micros();
    process::signal(scene.cluster.member(&victim).unwrap().pid, Signal::KILL).unwrap();
    scene.settled(Some(&victim), Duration::from_secs(30)).unwrap();
    let after = scene.shards().unwrap();
    thread::sleep(Duration::from_secs(3));
    let seen_until = now_micros();
    scene.cluster.restart(&victim).unwrap();
    let written = load.finish().unwrap();
    assert_eq!(scene.prove(&["many"], str::to_owned).unwrap(), written);
    stop.send(()).unwrap();
    let records = follow.join().unwrap();

    let nodes: std::collections::BTreeSet<_> = before.iter().map(|shard| &shard.node).collect();
    assert_eq!(nodes.len(), 3, "all nodes share the task: {before:?}");
    for (old, new) in before.iter().zip(&after) {
        let gap = longest_gap(&records, &old.partitions, (killed_at, seen_until));
        let moved = old.node == victim;
        told(&format!(
            "{}: {} partitions {} {}: longest time without a record {} ms",
            old.id,
            old.partitions.len(),
            if moved { "moved from" } else { "stay on" },
            old.node,
            gap.as_millis()
        ));
        assert_eq!(moved, new.epoch > old.epoch, "{old:?} became {new:?}");
        assert!(moved || (new.node == old.node && new.restarts == old.restarts), "{new:?}");
    }
}

/// A copy under load goes through `faults`; then both ends are compared.
fn survives(nodes: usize, faults: impl FnOnce(&mut CopyScene) -> Result<()>) {
    survives_in(CopyScene::start(1, nodes).unwrap(), faults);
}

fn survives_in(mut scene: CopyScene, faults: impl FnOnce(&mut CopyScene) -> Result<()>) {
    scene.source.create_topic("orders", 6, &[]).unwrap();
    scene.copy("shards: 2").unwrap();
    scene.settled(None, Duration::from_secs(30)).unwrap();
    let load = CopyLoad::start(&scene.source, "orders", 6, 1_000).unwrap();
    thread::sleep(Duration::from_secs(2));
    faults(&mut scene).unwrap();
    thread::sleep(Duration::from_secs(2));
    let written = load.finish().unwrap();
    assert_eq!(scene.prove(&["orders"], str::to_owned).unwrap(), written);
}

#[test]
fn an_owner_that_is_frozen_wherever_it_stands_adds_nothing_when_it_wakes_up() {
    survives(2, |scene| {
        for point in ["before_init_producer", "after_claim", "before_end_txn", "after_end_txn"] {
            freeze_at(scene, point, Duration::from_secs(5))?;
        }
        Ok(())
    });
}

#[test]
fn busy_partitions_that_are_read_apart_survive_a_killed_owner_and_a_broker_that_restarts() {
    let broker = || Kafka::start(KafkaOptions::default()).unwrap();
    let env = vec![FaultPoints::wishes("read_apart")];
    let options = ClusterOptions { env, ..ClusterOptions::default() };
    survives_in(CopyScene::between(broker(), broker(), options).unwrap(), |scene| {
        let apart =
            |scene: &CopyScene| scene.cluster.logged("partitions that are busy are read apart");
        let read_apart_again = |scene: &CopyScene, before: usize| -> Result<()> {
            let end = Instant::now() + Duration::from_secs(60);
            while apart(scene)? <= before {
                ensure!(Instant::now() < end, "{before} times read apart, and not again");
                thread::sleep(Duration::from_millis(100));
            }
            Ok(())
        };
        read_apart_again(scene, 0)?;
        let before = apart(scene)?;
        kill_owner(scene)?;
        read_apart_again(scene, before)?;
        restart_broker(&scene.source, 0)?;
        // A pipeline that did not outlast it is built anew, and reads apart again.
        scene.settled(None, Duration::from_secs(60))
    });
}

/// One of several copies of the same topic.
struct Named<'a> {
    name: &'a str,
    lines: &'a str,
}

impl Named<'_> {
    fn document(&self, scene: &CopyScene) -> String {
        let text = scene.document(&format!(
            "{}\ntopics: [{{match: [orders], rename: \"{}.{{topic}}\"}}]\nshards: 1",
            self.lines, self.name
        ));
        text.replace(&format!("name: {COPY}"), &format!("name: {}", self.name))
    }

    fn values(&self, scene: &CopyScene) -> Vec<String> {
        scene.cluster.wait(self.name, "caught-up", Duration::from_secs(60)).unwrap();
        let topic = format!("{}.orders", self.name);
        let records = Reader::all(&scene.target, &[topic.as_str()]).unwrap();
        records.into_iter().map(|it| String::from_utf8(it.value.unwrap()).unwrap()).collect()
    }
}

/// Records a second apart; not so old that retention removes them.
fn numbered(from: Timestamp, numbers: std::ops::Range<i64>) -> Vec<Written> {
    let from = from.as_millisecond();
    let record = |number: i64| Written {
        timestamp: Some(from + number * 1_000),
        ..Written::value(number.to_string())
    };
    numbers.map(record).collect()
}

fn texts(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|number| number.to_string()).collect()
}

#[test]
fn a_copy_begins_where_its_document_says_and_treats_what_is_there_as_it_says() {
    let scene = CopyScene::start(1, 1).unwrap();
    scene.source.create_topic("orders", 1, &[]).unwrap();
    let mut writer = Writer::start(&scene.source, "lz4", None).unwrap();
    let hour_ago = Timestamp::now() - jiff::SignedDuration::from_hours(1);
    let stamped =
        format!("start: {{timestamp: \"{}\"}}", hour_ago + jiff::SignedDuration::from_secs(5));
    writer.send("orders", &numbered(hour_ago, 0..10)).unwrap();
    for topic in ["rewritten.orders", "appended.orders", "stopped.orders"] {
        scene.target.create_topic(topic, 1, &[]).unwrap();
        let mut there = Writer::start(&scene.target, "none", None).unwrap();
        there.send(topic, &[Written::value("old")]).unwrap();
    }
    let copies = [
        Named { name: "latest", lines: "start: latest" },
        Named { name: "stamped", lines: &stamped },
        Named { name: "placed", lines: "start: {offsets: {orders: {0: 7}}}" },
        Named { name: "rewritten", lines: "existingData: rewrite" },
        Named { name: "appended", lines: "existingData: append\ndelivery: at_least_once" },
    ];
    for copy in &copies {
        scene.cluster.apply_and_start(&copy.document(&scene)).unwrap();
        scene.cluster.wait(copy.name, "Synchronizing", Duration::from_secs(60)).unwrap();
    }
    writer.send("orders", &numbered(hour_ago, 10..12)).unwrap();
    let with_old = [vec!["old".to_owned()], texts(0..12)].concat();
    let expected = [texts(10..12), texts(5..12), texts(7..12), texts(0..12), with_old];
    for (copy, expected) in copies.iter().zip(&expected) {
        assert_eq!(copy.values(&scene), *expected, "{}", copy.name);
    }

    // What a start does once is not done again.
    for copy in &copies {
        scene.cluster.done(&["task", "pause", copy.name]).unwrap();
        scene.cluster.wait(copy.name, "Paused", Duration::from_secs(60)).unwrap();
        scene.cluster.done(&["task", "resume", copy.name]).unwrap();
    }
    writer.send("orders", &numbered(hour_ago, 12..13)).unwrap();
    for (copy, before) in copies.iter().zip(expected) {
        assert_eq!(copy.values(&scene), [before, texts(12..13)].concat(), "{}", copy.name);
    }

    let stopped = Named { name: "stopped", lines: "existingData: stop" };
    let file = scene.cluster.document("stopped", &stopped.document(&scene)).unwrap();
    let arguments = ["task", "apply", "-f", file.to_str().unwrap(), "--start"];
    let refused = scene.cluster.cli(&arguments).unwrap();
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert!(said.contains("topic_data") && said.contains("stopped.orders"), "{said}");
}

#[test]
fn a_copy_grows_with_its_topic_and_stops_when_that_is_another_one() {
    let scene = CopyScene::start(1, 1).unwrap();
    scene.source.create_topic("orders", 2, &[]).unwrap();
    let mut writer = Writer::start(&scene.source, "none", None).unwrap();
    writer.send("orders", &nasty(1)).unwrap();
    scene.copy("shards: 2").unwrap();
    scene.prove(&["orders"], str::to_owned).unwrap();
    scene.source.set_partitions("orders", 5).unwrap();
    writer.send("orders", &nasty(4)).unwrap();
    scene.prove(&["orders"], str::to_owned).unwrap();

    scene.source.delete_topic("orders").unwrap();
    scene.source.create_topic("orders", 5, &[]).unwrap();
    scene.cluster.wait(COPY, "Failed", Duration::from_secs(60)).unwrap();
    let task = scene.cluster.task(COPY).unwrap();
    let error = task["error"].to_string();
    assert!(error.contains("source topic orders") && error.contains("deleted"), "{error}");
}
