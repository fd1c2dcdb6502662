//! The owner of a task is frozen until it was replaced, then wakes up and goes on where it stood.

use std::time::Duration;

use tidewire_cluster_tests::faults::{freeze_at, freeze_owner};
use tidewire_cluster_tests::{Scene, kafka};

/// Longer than a lease.
const FROZEN: Duration = Duration::from_secs(6);

#[test]
fn an_owner_that_wakes_up_after_its_replacement_writes_nothing() {
    let mut scene = Scene::start("zombie", 2, kafka()).unwrap();
    scene.prove_under_load(|scene| freeze_owner(scene, FROZEN)).unwrap();
}

fn survives_frozen_at(point: &str) {
    let mut scene = Scene::start(&format!("zombie_{point}"), 2, kafka()).unwrap();
    scene.prove_under_load(|scene| freeze_at(scene, point, FROZEN)).unwrap();
}

#[test]
fn an_owner_frozen_before_it_takes_the_producer_takes_nothing_from_its_successor() {
    survives_frozen_at("before_init_producer");
}

#[test]
fn an_owner_frozen_after_its_claim_adds_nothing() {
    survives_frozen_at("after_claim");
}

#[test]
fn an_owner_frozen_before_its_commit_commits_nothing() {
    survives_frozen_at("before_end_txn");
}

#[test]
fn an_owner_frozen_after_its_commit_repeats_nothing() {
    survives_frozen_at("after_end_txn");
}

#[test]
fn an_owner_frozen_before_it_tells_the_source_loses_nothing() {
    survives_frozen_at("before_source_reply");
}
