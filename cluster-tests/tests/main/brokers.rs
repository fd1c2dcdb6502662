//! Brokers go away and come back, one after the other.

use std::thread;
use std::time::Duration;

use tidewire_cluster_tests::Scene;
use tidewire_cluster_tests::faults::restart_broker;
use tidewire_testbed::servers::{Kafka, KafkaOptions};

#[test]
fn nothing_is_lost_or_doubled_when_each_of_three_brokers_restarts() {
    let kafka = Kafka::start(KafkaOptions { brokers: 3, ..KafkaOptions::default() }).unwrap();
    let mut scene = Scene::start("brokers", 2, &kafka).unwrap();
    let proof = scene.prove_under_load(|scene| {
        for broker in 0..3 {
            let before = scene.stable_records()?;
            restart_broker(scene, broker)?;
            thread::sleep(Duration::from_secs(2));
            let after = scene.stable_records()?;
            anyhow::ensure!(after > before, "nothing came while broker {broker} restarted");
        }
        Ok(())
    });
    proof.unwrap();
}
