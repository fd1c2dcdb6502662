//! The owner of a task is killed in mid-stream.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidewire_cluster_tests::faults::kill_owner;
use tidewire_cluster_tests::subject::SETTLE_LIMIT;
use tidewire_cluster_tests::{Scene, Subject as _, TASK, kafka};
use tidewire_testbed::process::{self, Signal};
use tidewire_testbed::workload;

#[test]
fn nothing_is_lost_or_doubled_when_the_owner_is_killed_again_and_again() {
    let mut scene = Scene::start("failover", 3, kafka()).unwrap();
    let prove = scene.prove_under_load(|scene| {
        for _ in 0..2 {
            kill_owner(scene)?;
            thread::sleep(Duration::from_secs(2));
        }
        Ok(())
    });
    prove.unwrap();
}

const LARGE: u32 = 200_000;

#[test]
fn a_large_transaction_survives_the_death_of_its_owner_inside_it() {
    let mut scene = Scene::start("large", 2, kafka()).unwrap();
    workload::big_transaction(&mut scene.client, 9_000_000_000, LARGE.into()).unwrap();
    wait_inside(&scene).unwrap();
    let owner = scene.cluster.owner(TASK).unwrap();
    process::signal(owner.pid, Signal::KILL).unwrap();
    let carried = scene.stable_records().unwrap();
    assert!(carried < u64::from(LARGE), "all {carried} records stood before the kill");
    scene.settled(Some(&owner.name), SETTLE_LIMIT).unwrap();
    let proof = scene.prove().unwrap();
    assert_eq!(proof.rows, u64::from(LARGE));
}

/// Waits until the first records of the transaction can be seen.
fn wait_inside(scene: &Scene<'_>) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(60);
    while scene.stable_records()? == 0 {
        ensure!(Instant::now() < end, "no record of the large transaction in 60 s");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
