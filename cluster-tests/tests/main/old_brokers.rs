//! Copies from and to brokers of the past: everything that they can hold arrives, and what they cannot
//! do is said before a start, or stops the task before anything is lost.

use std::time::Duration;

use serde_json::Value;
use tidewire_testbed::cluster::{Cluster, ClusterOptions};
use tidewire_testbed::oracle::CopyProof;
use tidewire_testbed::reader::{Reader, Record};
use tidewire_testbed::servers::old_kafka::{OldKafka, V0_10, V1_0, V2_0};
use tidewire_testbed::servers::{Kafka, KafkaOptions};
use tidewire_testbed::task::CopyDocument;
use tidewire_testbed::writer::{Writer, Written};

const LIMIT: Duration = Duration::from_secs(120);
/// Brokers of the past take a little less than a MiB.
const LIMITS: &str = "limits: {recordBytes: 800KiB}";
const AT_MOST: (&str, &str) = ("max.message.bytes", "819200");

/// What every release holds.
fn plain(partition: u32) -> Vec<Written> {
    let record = Written { partition, ..Written::value("v") };
    vec![
        Written { key: Some(b"k".to_vec()), ..record.clone() },
        Written { key: Some(Vec::new()), value: Some(Vec::new()), ..record.clone() },
        Written { key: Some(b"tombstone".to_vec()), value: None, ..record.clone() },
        Written { key: Some(vec![0, 255, 10]), value: Some((0..=255).collect()), ..record.clone() },
        Written { timestamp: Some(86_400_000), ..record.clone() },
        Written { timestamp: Some(-1), ..record.clone() },
        Written { value: Some(vec![7; 700_000]), ..record },
    ]
}

/// What brokers from 0.11 on hold.
fn with_headers(partition: u32) -> Vec<Written> {
    let header = |name: &str, value: Option<&[u8]>| (name.to_owned(), value.map(<[u8]>::to_vec));
    let headers = vec![
        header("b", Some(b"1")),
        header("a", None),
        header("b", Some(b"")),
        header("", Some(b"x")),
    ];
    let headed = Written { partition, headers, ..Written::value("with headers") };
    [plain(partition), vec![headed]].concat()
}

struct Tasks(Cluster);

impl Tasks {
    fn start() -> Self {
        let few = ClusterOptions { coordinators: 1, nodes: 1, ..ClusterOptions::default() };
        Self(Cluster::start(few).unwrap())
    }

    /// Runs a copy until it has caught up.
    fn copy(&self, name: &str, (source, target): (&str, &str), lines: &str) {
        self.0.apply_and_start(&CopyDocument { name, source, target, lines }.yaml()).unwrap();
        self.0.wait(name, "caught-up", LIMIT).unwrap();
    }

    /// The items of a precheck, by name.
    fn precheck(&self, (source, target): (&str, &str), lines: &str) -> (i32, Vec<Value>) {
        let document = CopyDocument { name: "asked", source, target, lines };
        let file = self.0.document("asked", &document.yaml()).unwrap();
        let arguments = ["task", "precheck", "-f", file.to_str().unwrap(), "-o", "json"];
        let output = self.0.cli(&arguments).unwrap();
        let told: Value = serde_json::from_str(&output.stdout).unwrap();
        (output.code, told["items"].as_array().unwrap().clone())
    }
}

fn item<'a>(items: &'a [Value], name: &str) -> &'a Value {
    let found = items.iter().find(|item| item["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} among {items:?}"))
}

fn same(topic: &str, originals: &[Record], copies: &[Record], number: usize) {
    let mut proof = CopyProof::default();
    proof.compare(topic, originals, copies);
    assert!(proof.holds() && originals.len() == number, "{proof}");
}

fn current() -> Kafka {
    Kafka::start(KafkaOptions::default()).unwrap()
}

#[test]
fn brokers_of_1_0_are_copied_from_and_to() {
    copied_from_and_to(V1_0);
}

#[test]
fn brokers_of_2_0_are_copied_from_and_to() {
    copied_from_and_to(V2_0);
}

/// Copies from and to brokers that hold headers, but are too old for our transactions.
fn copied_from_and_to(version: &str) {
    let (old, new, tasks) = (OldKafka::start(version).unwrap(), current(), Tasks::start());
    let (there, here) = (old.bootstrap(), new.bootstrap());
    old.create_topic("from-old", 2).unwrap();
    for (partition, codec) in [(0, "gzip"), (1, "lz4"), (1, "snappy")] {
        old.writer(codec).unwrap().send("from-old", &with_headers(partition)).unwrap();
    }
    tasks.copy("from-old", (&there, &here), "topics: [{match: [from-old]}]");
    let originals = old.records(&["from-old"]).unwrap();
    same("from-old", &originals, &Reader::all(&new, &["from-old"]).unwrap(), 3 * 8);

    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    for codec in codecs {
        new.create_topic(codec, 2, &[AT_MOST]).unwrap();
        let mut writer = Writer::start(&new, codec, None).unwrap();
        writer.send(codec, &with_headers(1)).unwrap();
    }
    let lines = format!("topics: [{{match: [{}]}}]\n{LIMITS}", codecs.join(", "));
    let (code, items) = tasks.precheck((&here, &there), &lines);
    assert_eq!(code, 5, "{items:?}");
    let refused = item(&items, "target_transactions");
    assert_eq!(refused["result"], "fail", "{items:#?}");
    assert!(refused["message"].as_str().unwrap().contains("brokers from 2.5"), "{refused}");
    let warned = item(&items, "target_version");
    assert_eq!(
        (&warned["result"], &warned["found"]),
        (&"warn".into(), &"1.0 or later, older than 2.3".into())
    );

    tasks.copy("to-old", (&here, &there), &format!("{lines}\ndelivery: at_least_once"));
    for codec in codecs {
        let originals = Reader::all(&new, &[codec]).unwrap();
        same(codec, &originals, &old.records(&[codec]).unwrap(), 8);
    }
}

#[test]
fn brokers_of_0_10_are_copied_from_and_to_but_hold_no_headers() {
    let (old, new, tasks) = (OldKafka::start(V0_10).unwrap(), current(), Tasks::start());
    let (there, here) = (old.bootstrap(), new.bootstrap());
    old.create_topic("from-old", 2).unwrap();
    for (partition, codec) in [(0, "gzip"), (1, "snappy")] {
        old.writer(codec).unwrap().send("from-old", &plain(partition)).unwrap();
    }
    tasks.copy("from-old", (&there, &here), "topics: [{match: [from-old]}]");
    let originals = old.records(&["from-old"]).unwrap();
    same("from-old", &originals, &Reader::all(&new, &["from-old"]).unwrap(), 2 * 7);

    new.create_topic("to-old", 2, &[AT_MOST]).unwrap();
    let mut writer = Writer::start(&new, "gzip", None).unwrap();
    writer.send("to-old", &plain(0)).unwrap();
    writer.send("to-old", &plain(1)).unwrap();
    let lines = format!("topics: [{{match: [to-old]}}]\n{LIMITS}\ndelivery: at_least_once");
    let (code, items) = tasks.precheck((&here, &there), &lines);
    assert_eq!(code, 0, "{items:?}");
    let warned = item(&items, "target_version");
    assert_eq!((&warned["result"], &warned["found"]), (&"warn".into(), &"older than 0.11".into()));
    assert!(warned["message"].as_str().unwrap().contains("stops the task"), "{warned}");
    tasks.copy("to-old", (&here, &there), &lines);
    let originals = Reader::all(&new, &["to-old"]).unwrap();
    same("to-old", &originals, &old.records(&["to-old"]).unwrap(), 2 * 7);

    // Brokers before 0.11 take no settings: records go on without them, and the log says so.
    let told = |logs: String| logs.contains("settings of topics do not reach their copies");
    let logs = ["task", "logs", "to-old"];
    assert!((0..120).any(|_| {
        std::thread::sleep(Duration::from_millis(250));
        told(tasks.0.done(&logs).unwrap())
    }));

    // One record with headers, between two without: the task stops in front of it.
    let headed = with_headers(1).pop().unwrap();
    let plain = |value| Written { partition: 1, ..Written::value(value) };
    writer.send("to-old", &[plain("before"), headed, plain("behind")]).unwrap();
    tasks.0.wait("to-old", "Failed", LIMIT).unwrap();
    let error = tasks.0.task("to-old").unwrap()["error"].clone();
    assert_eq!(error["kind"], "Encode", "{error}");
    assert_eq!(error["object"], "record at offset 8 of topic to-old, partition 1", "{error}");
    assert!(error["message"].as_str().unwrap().contains("has headers"), "{error}");
    assert!(error["remedy"].as_str().unwrap().contains("tidewire task apply"), "{error}");
    let held = old.records(&["to-old"]).unwrap();
    let values: Vec<_> = held.iter().filter_map(|record| record.value.as_deref()).collect();
    assert!(!values.contains(&&b"with headers"[..]) && !values.contains(&&b"behind"[..]));
}
