//! The owner of a task is killed in mid-stream.

use std::time::Duration;

use anyhow::{Result, ensure};
use tidewire_cluster_tests::{Scene, TASK, kafka};
use tidewire_testbed::cluster::Member;
use tidewire_testbed::process::{self, Signal};
use tidewire_testbed::workload;

const TAKEOVER_LIMIT: Duration = Duration::from_secs(60);

/// Waits until another member than `old` owns the task and has caught up once.
pub(crate) fn wait_takeover(scene: &Scene<'_>, old: &Member) -> Result<()> {
    let end = std::time::Instant::now() + TAKEOVER_LIMIT;
    loop {
        let owner = scene.cluster.owner(TASK);
        if owner.is_ok_and(|owner| owner != *old) {
            return scene.cluster.wait(TASK, "Synchronizing", TAKEOVER_LIMIT);
        }
        ensure!(std::time::Instant::now() < end, "no takeover from {}", old.name);
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn nothing_is_lost_or_doubled_when_the_owner_is_killed_again_and_again() {
    let mut scene = Scene::start("failover", 3, kafka()).unwrap();
    let prove = scene.prove_under_load(|scene| {
        for _ in 0..2 {
            let owner = scene.cluster.owner(TASK)?;
            process::signal(owner.pid, Signal::KILL)?;
            wait_takeover(scene, &owner)?;
            scene.cluster.restart(&owner.name)?;
            std::thread::sleep(Duration::from_secs(2));
        }
        Ok(())
    });
    prove.unwrap();
}

#[test]
fn a_large_transaction_survives_the_death_of_its_owner_inside_it() {
    let mut scene = Scene::start("large", 2, kafka()).unwrap();
    let first = 9_000_000_000;
    workload::big_transaction(&mut scene.client, first, 200_000).unwrap();
    // The transaction is committed: now it is being carried.
    std::thread::sleep(Duration::from_millis(1_500));
    let owner = scene.cluster.owner(TASK).unwrap();
    process::signal(owner.pid, Signal::KILL).unwrap();
    wait_takeover(&scene, &owner).unwrap();
    let proof = scene.prove().unwrap();
    assert_eq!(proof.rows, 200_000);
}
