//! Brokers go away and come back, one after the other.

use std::thread;
use std::time::Duration;

use tidewire_cluster_tests::faults::restart_broker;
use tidewire_cluster_tests::{Scene, Subject as _};
use tidewire_testbed::servers::{Kafka, KafkaOptions};
use tidewire_testbed::task::TaskDocument;

#[test]
fn nothing_is_lost_or_doubled_when_each_of_three_brokers_restarts() {
    let kafka = Kafka::start(KafkaOptions { brokers: 3, ..KafkaOptions::default() }).unwrap();
    let mut scene = Scene::start("brokers", 2, &kafka).unwrap();
    let proof = scene.prove_under_load(|scene| {
        for broker in 0..3 {
            let before = scene.stable_records()?;
            restart_broker(scene.kafka, broker)?;
            thread::sleep(Duration::from_secs(2));
            let after = scene.stable_records()?;
            anyhow::ensure!(after > before, "nothing came while broker {broker} restarted");
        }
        Ok(())
    });
    proof.unwrap();
    prechecks_that_writes_would_wait(&scene, &kafka);
}

/// With a broker away a topic that demands all of three replicas cannot be written.
fn prechecks_that_writes_would_wait(scene: &Scene<'_>, kafka: &Kafka) {
    kafka.create_topic("strict", 1, &[("min.insync.replicas", "3")]).unwrap();
    let document = TaskDocument {
        name: "strict",
        postgres: &scene.address,
        bootstrap: &kafka.bootstrap(),
        objects: &[("public.orders", "strict")],
        format: "dts_avro",
        partition: "by_primary_key",
    };
    let file = scene.cluster.document("strict", &document.yaml()).unwrap();
    let precheck = ["task", "precheck", "-f", file.to_str().unwrap()];
    let passed = scene.cluster.cli(&precheck).unwrap();
    assert_eq!(passed.code, 0, "{}{}", passed.stdout, passed.stderr);
    kafka.stop_broker(2);
    let failed = scene.cluster.cli(&precheck).unwrap();
    let said = format!("{}{}", failed.stdout, failed.stderr);
    assert_eq!(failed.code, 5, "{said}");
    for word in
        ["topic_partitions", "2 replicas in sync, min.insync.replicas is 3", "--under-min-isr"]
    {
        assert!(said.contains(word), "{word}: {said}");
    }
}
