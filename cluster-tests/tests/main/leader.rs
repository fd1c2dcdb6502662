//! The leader of the coordinators is killed; tasks go on, and so do changes to them.

use std::time::Duration;

use tidewire_cluster_tests::faults::{coordinators_away, kill_leader, kill_owner};
use tidewire_cluster_tests::{Scene, kafka};

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
    let away = Duration::from_secs(15);
    scene.prove_under_load(|scene| coordinators_away(scene, away)).unwrap();
}
