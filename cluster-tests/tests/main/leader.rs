//! The leader of the coordinators is killed; tasks go on, and so do changes to them.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use tidewire_cluster_tests::{Scene, TASK, kafka};
use tidewire_testbed::process::{self, Signal};

#[test]
fn a_task_flows_on_when_the_leader_is_killed_and_another_one_answers() {
    let mut scene = Scene::start("leader", 2, kafka()).unwrap();
    let proof = scene.prove_under_load(|scene| {
        let leader = scene.cluster.leader()?;
        process::signal(leader.pid, Signal::KILL)?;
        let end = Instant::now() + Duration::from_secs(30);
        while !scene.cluster.leader().is_ok_and(|next| next.name != leader.name) {
            ensure!(Instant::now() < end, "no new leader in 30 s");
            thread::sleep(Duration::from_millis(200));
        }
        // The new leader knows the owner and can replace it.
        let owner = scene.cluster.owner(TASK)?;
        process::signal(owner.pid, Signal::KILL)?;
        crate::failover::wait_takeover(scene, &owner)?;
        scene.cluster.restart(&leader.name)
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
        let end = |scene: &Scene<'_>| -> anyhow::Result<u64> {
            Ok(scene.kafka.end_offsets(&scene.topic)?.stable.values().sum())
        };
        let before = end(scene)?;
        thread::sleep(Duration::from_secs(15));
        let after = end(scene)?;
        for coordinator in &coordinators {
            process::signal(coordinator.pid, Signal::CONT)?;
        }
        ensure!(after > before + 1_000, "{before} records before, {after} after 15 s");
        Ok(())
    });
    proof.unwrap();
}
