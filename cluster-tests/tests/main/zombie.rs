//! The owner of a task is frozen until it was replaced, then wakes up and goes on.

use std::thread;
use std::time::Duration;

use tidewire_cluster_tests::{Scene, TASK, kafka};
use tidewire_testbed::process::{self, Signal};

use crate::failover::wait_takeover;

#[test]
fn an_owner_that_wakes_up_after_its_replacement_writes_nothing() {
    let mut scene = Scene::start("zombie", 2, kafka()).unwrap();
    let proof = scene.prove_under_load(|scene| {
        let owner = scene.cluster.owner(TASK)?;
        process::signal(owner.pid, Signal::STOP)?;
        thread::sleep(Duration::from_secs(6));
        wait_takeover(scene, &owner)?;
        process::signal(owner.pid, Signal::CONT)?;
        // Time enough for it to try.
        thread::sleep(Duration::from_secs(4));
        Ok(())
    });
    proof.unwrap();
}
