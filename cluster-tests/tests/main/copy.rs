//! Topics of one Kafka cluster into another: faithful in everything that a record has.

use tidewire_cluster_tests::copy::{COPY, CopyScene};
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
    let appeared = || scene.target.topics().unwrap().contains(&"dr.later".to_owned());
    assert!((0..300).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        appeared()
    }));
    scene.prove(&topics, |topic| format!("dr.{topic}")).unwrap();
}
