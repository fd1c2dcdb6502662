//! The request that ends a Kafka transaction is late, its answer lost, or its connection cut.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Result;
use tidewire_cluster_tests::Scene;
use tidewire_cluster_tests::faults::disturb_end;
use tidewire_testbed::proxy::{EndTxnFault, Ending, KafkaProxy};
use tidewire_testbed::servers::{Kafka, KafkaOptions};

/// A broker whose clients pass through the proxy.
fn proxied() -> &'static (KafkaProxy, Kafka) {
    static SHARED: OnceLock<(KafkaProxy, Kafka)> = OnceLock::new();
    SHARED.get_or_init(|| start().expect("a broker behind a proxy starts"))
}

fn start() -> Result<(KafkaProxy, Kafka)> {
    let proxy = KafkaProxy::reserve(1)?;
    let advertised = Some(proxy.ports()?);
    let kafka = Kafka::start(KafkaOptions { advertised, ..KafkaOptions::default() })?;
    proxy.serve(&kafka.broker_ports())?;
    Ok((proxy, kafka))
}

fn survives(name: &str, fault: EndTxnFault) {
    // One fault at a time: the proxy is shared.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let (proxy, kafka) = proxied();
    let mut scene = Scene::start(name, 2, kafka).unwrap();
    let proof = scene.prove_under_load(|scene| {
        for ending in [Ending::Commit, Ending::Abort] {
            disturb_end(scene, proxy, fault, ending)?;
            thread::sleep(Duration::from_secs(2));
        }
        Ok(())
    });
    proof.unwrap();
}

#[test]
fn an_end_that_reaches_the_broker_late_harms_nothing() {
    survives("end_held", EndTxnFault::Hold(Duration::from_secs(10)));
}

#[test]
fn an_end_whose_answer_is_lost_harms_nothing() {
    survives("end_unanswered", EndTxnFault::DropAnswer);
}

#[test]
fn an_end_forwarded_after_its_connection_was_cut_harms_nothing() {
    survives("end_cut", EndTxnFault::CutAndForwardLate(Duration::from_secs(3)));
}
