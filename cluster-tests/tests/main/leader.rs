//! The leader of the coordinators is killed; tasks go on, and so do changes to them.

use std::thread;
use std::time::Duration;

use anyhow::ensure;
use tidewire_cluster_tests::faults::{kill_leader, kill_owner};
use tidewire_cluster_tests::{Scene, kafka};
use tidewire_testbed::process::{self, Signal};

#[test]
fn a_task_flows_on_when_the_leader_is_killed_and_another_one_answers() {
    let mut scene = Scene::start("leader", 2, kafka()).unwrap();
    let proof = scene.prove_under_load(|scene| {
        kill_leader(scene)?;
        // The new leader knows the owner and can replace it.
        kill_owner(scene)
    });
    proof.unwrap();
}

#[test]
fn a_task_flows_on_while_all_coordinators_are_away() {
    let mut scene = Scene::start("headless", 2, kafka()).unwrap();
    let proof = scene.prove_under_load(|scene| {
        let coordinators = scene.cluster.coordinators().to_vec();
        for coordinator in &coordinators {
            process::signal(coordinator.pid, Signal::STOP)?;
        }
        thread::sleep(Duration::from_secs(1));
        let before = scene.stable_records()?;
        thread::sleep(Duration::from_secs(15));
        let after = scene.stable_records()?;
        for coordinator in &coordinators {
            process::signal(coordinator.pid, Signal::CONT)?;
        }
        ensure!(after > before + 1_000, "{before} records before, {after} after 15 s");
        Ok(())
    });
    proof.unwrap();
}
