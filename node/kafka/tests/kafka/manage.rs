//! Topics at both ends: what they are, and how they are made like each other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tidewire_kafka::codec::codec_of;
use tidewire_kafka::topics::{At, NewTopic, Topics};
use tidewire_kafka::{Isolation, Positions, positions};
use tidewire_shared::spec::Compression;
use tidewire_shared::{FaultKind, Persistence};
use tidewire_testbed::servers::{Kafka, KafkaOptions};
use tidewire_testbed::writer::{Writer, Written};

use crate::broker::{SOON, broker, fresh, fresh_topic, settings};
use crate::source::source;

fn config(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_topic_is_made_like_another_and_follows_it() {
    let kafka = broker();
    let name = fresh("like");
    let own = [("retention.ms", "77000"), ("cleanup.policy", "compact,delete")];
    kafka.create_topic(&name, 3, &own).expect("topic");
    let topics = Topics::new(&source(&kafka)).expect("topics");
    let listed = topics.list(SOON).expect("list");
    let model = listed.iter().find(|topic| topic.name == name).expect("listed");
    assert_eq!((model.partitions, model.replicas, model.internal), (3, 1, false));
    assert_ne!(model.id, (0, 0));
    let configs = topics.own_configs(&[&name, "absent"], SOON).expect("configs");
    assert_eq!(configs[0].1, Ok(Some(config(&own))));
    assert_eq!(configs[1].1, Ok(None));

    let target = Topics::new(&settings(&kafka)).expect("topics");
    let copy = NewTopic {
        name: fresh("copy"),
        partitions: model.partitions,
        replicas: None,
        configs: config(&own),
    };
    let made = target.create(std::slice::from_ref(&copy), SOON).expect("asked");
    assert_eq!(made, [(copy.name.clone(), Ok(true))]);
    assert_eq!(target.create(std::slice::from_ref(&copy), SOON).expect("asked")[0].1, Ok(false));
    let changes = BTreeMap::from([
        ("retention.ms".to_owned(), Some("88000".to_owned())),
        ("cleanup.policy".to_owned(), None),
    ]);
    let altered = target.alter_configs(&[(copy.name.as_str(), changes)], SOON).expect("asked");
    assert_eq!(altered[0].1, Ok(()));
    // The broker that is asked hears of it a little later.
    let wanted = Ok(Some(config(&[("retention.ms", "88000")])));
    let deadline = Instant::now() + SOON;
    while target.own_configs(&[&copy.name], SOON).expect("configs")[0].1 != wanted {
        assert!(Instant::now() < deadline, "never altered");
        std::thread::sleep(Duration::from_millis(50));
    }
    let grown = target.add_partitions(&[(copy.name.as_str(), 5)], SOON).expect("asked");
    assert_eq!(grown[0].1, Ok(()));
    let fault = target.add_partitions(&[(copy.name.as_str(), 2)], SOON).expect("asked");
    let fault = fault[0].1.clone().expect_err("fewer");
    assert_eq!(fault.kind, FaultKind::Configuration, "{fault:?}");
    assert!(fault.remedy.contains("raised"), "{fault:?}");
}

#[test]
fn topics_of_the_brokers_and_of_our_own_are_internal() {
    let kafka = broker();
    let positions = Positions::ensure(&settings(&kafka), 2, SOON).expect("positions topic");
    drop(positions);
    let plain = fresh_topic(&kafka, 1);
    let listed = Topics::new(&source(&kafka)).expect("topics").list(SOON).expect("list");
    let internal = |name: &str| listed.iter().find(|it| it.name == name).map(|it| it.internal);
    assert_eq!(internal(positions::TOPIC), Some(true));
    assert_eq!(internal(&plain), Some(false));
}

#[test]
fn what_would_be_done_is_told_and_not_done() {
    let kafka = broker();
    let target = Topics::new(&settings(&kafka)).expect("topics");
    let name = fresh("tried");
    let topic = |replicas| NewTopic {
        name: name.clone(),
        partitions: 1,
        replicas: Some(replicas),
        configs: config(&[]),
    };
    assert_eq!(target.try_create(&[topic(1)], SOON).expect("asked")[0].1, Ok(true));
    let fault = target.try_create(&[topic(3)], SOON).expect("asked")[0].1.clone();
    assert_eq!(fault.expect_err("replicas").kind, FaultKind::Configuration);
    assert_eq!(target.own_configs(&[&name], SOON).expect("configs")[0].1, Ok(None));
    let plain = fresh_topic(&kafka, 1);
    assert_eq!(target.try_add_partitions(&[(&plain, 3)], SOON).expect("asked")[0].1, Ok(()));
    let listed = target.list(SOON).expect("list");
    assert_eq!(listed.iter().find(|it| it.name == plain).map(|it| it.partitions), Some(1));
}

#[test]
fn what_brokers_refuse_is_told_with_its_reason() {
    let kafka = broker();
    let target = Topics::new(&settings(&kafka)).expect("topics");
    let topic = |replicas, configs: &[(&str, &str)]| NewTopic {
        name: fresh("refused"),
        partitions: 1,
        replicas,
        configs: config(configs),
    };
    let plans = [topic(Some(3), &[]), topic(None, &[("cleanup.policy", "never")])];
    let answers = target.create(&plans, SOON).expect("asked");
    let fault = answers[0].1.clone().expect_err("replicas");
    assert_eq!(fault.kind, FaultKind::Configuration, "{fault:?}");
    assert!(fault.remedy.contains("brokers"), "{fault:?}");
    let fault = answers[1].1.clone().expect_err("policy");
    assert_eq!(fault.kind, FaultKind::Configuration, "{fault:?}");
    assert!(fault.message.contains("cleanup.policy"), "{fault:?}");
    let compacted = fresh("compacted");
    kafka.create_topic(&compacted, 1, &[("cleanup.policy", "compact")]).expect("topic");
    let kept = target.delete_records(&[(compacted.as_str(), 0, -1)], SOON).expect("asked");
    let fault = kept[0].clone().expect_err("compacted");
    assert_eq!(fault.kind, FaultKind::TargetDenied, "{fault:?}");
    assert!(fault.remedy.contains("compacted"), "{fault:?}");
}

/// Three brokers hear of a topic one after the other: whoever leads a partition may be the last. On a
/// busy machine that takes long, and is told as what passes.
#[test]
fn ends_of_partitions_that_were_just_made_are_found_at_each_of_three_brokers() {
    let kafka = Kafka::start(KafkaOptions { brokers: 3, ..KafkaOptions::default() });
    let kafka = kafka.expect("brokers");
    let topics = Topics::new(&settings(&kafka)).expect("topics");
    for _ in 0..8 {
        let name = fresh("new");
        let replicas = Some(3);
        let new = NewTopic { name: name.clone(), partitions: 6, replicas, configs: config(&[]) };
        assert_eq!(topics.create(&[new], SOON).expect("asked")[0].1, Ok(true));
        let partitions: Vec<_> = (0..6).map(|number| (name.as_str(), number)).collect();
        let deadline = Instant::now() + 3 * SOON;
        loop {
            let ends = topics.offsets(&partitions, At::Latest(Isolation::Uncommitted), SOON);
            let fault = ends.and_then(|ends| ends.into_iter().collect::<Result<Vec<_>, _>>());
            let Err(fault) = fault.map(|ends| assert_eq!(ends, [Some(0); 6])) else { break };
            assert_eq!(fault.persistence(), Persistence::Other, "{fault:?}");
            assert!(Instant::now() < deadline, "{fault:?}");
        }
    }
}

#[test]
fn places_in_partitions_are_found_and_records_go() {
    let kafka = broker();
    let topic = fresh_topic(&kafka, 3);
    let at = |timestamp| Written { timestamp: Some(timestamp), ..Written::value("v") };
    let records: Vec<_> = [1_000, 2_000, 3_000].map(at).into();
    let mut writer = Writer::start(&kafka, "none", Some(&fresh("id"))).expect("writer");
    writer.begin().expect("begin");
    writer.send(&topic, &records).expect("sent");
    writer.commit().expect("commit");
    writer.begin().expect("begin");
    writer.send(&topic, &[at(4_000)]).expect("sent");
    let topics = Topics::new(&source(&kafka)).expect("topics");
    let asked = [(topic.as_str(), 1), (topic.as_str(), 0)];
    let offsets = |at| {
        let answers = topics.offsets(&asked, at, SOON).expect("asked");
        answers.into_iter().map(|answer| answer.expect("an offset")).collect::<Vec<_>>()
    };
    assert_eq!(offsets(At::Earliest), [Some(0), Some(0)]);
    assert_eq!(offsets(At::Latest(Isolation::Committed)), [Some(0), Some(4)]);
    assert_eq!(offsets(At::Latest(Isolation::Uncommitted)), [Some(0), Some(5)]);
    assert_eq!(offsets(At::Timestamp(1_500)), [None, Some(1)]);
    // The marker behind them is from now.
    assert_eq!(offsets(At::Timestamp(9_000)), [None, Some(3)]);
    assert_eq!(offsets(At::Timestamp(9_000_000_000_000)), [None, None]);
    let mixed = [("absent", 0), (topic.as_str(), 0)];
    let answers = topics.offsets(&mixed, At::Earliest, SOON).expect("asked");
    let fault = answers[0].clone().expect_err("absent");
    assert_eq!(fault.kind, FaultKind::SourceBusy, "{fault:?}");
    assert_eq!(answers[1], Ok(Some(0)));
    writer.commit().expect("commit");
    let below = [(topic.as_str(), 0, 2), (topic.as_str(), 1, -1)];
    let lows = topics.delete_records(&below, SOON).expect("asked");
    assert_eq!(lows, [Ok(2), Ok(0)]);
    assert_eq!(offsets(At::Earliest), [Some(0), Some(2)]);
}

#[test]
fn codecs_are_found_as_they_are() {
    let kafka = broker();
    let mut wanted = BTreeMap::new();
    let records: Vec<_> = (0..50).map(|_| Written::value("aaaaaaaaaaaaaaaaaaaaaaaaaa")).collect();
    for (word, codec) in [
        ("none", Compression::None),
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
    ] {
        let topic = fresh(word);
        kafka.create_topic(&topic, 2, &[]).expect("topic");
        // In a transaction, whose marker stands behind it and is never compressed.
        let mut writer = Writer::start(&kafka, word, Some(&fresh("id"))).expect("writer");
        writer.begin().expect("begin");
        writer.send(&topic, &records).expect("sent");
        writer.commit().expect("commit");
        wanted.insert(topic, codec);
    }
    let named = fresh("named");
    kafka.create_topic(&named, 1, &[("compression.type", "zstd")]).expect("topic");
    wanted.insert(named, Compression::Zstd);
    let empty = fresh_topic(&kafka, 1);
    let mut names: Vec<&str> = wanted.keys().map(String::as_str).collect();
    names.push(&empty);
    let began = Instant::now();
    assert_eq!(codec_of(&source(&kafka), &names, SOON), Ok(wanted));
    assert!(began.elapsed() < SOON / 4, "{:?}", began.elapsed());
}
