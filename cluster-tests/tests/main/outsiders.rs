//! Outsiders at the target: somebody who uses the task's own transactional.id.

use std::thread;
use std::time::Duration;

use tidewire_cluster_tests::{Scene, Subject as _, TASK, kafka};
use tidewire_testbed::writer::{Writer, Written};

/// The outsider fences the task's producer, and is fenced by the task's next one; what it wrote and did
/// not commit is seen by nobody.
#[test]
fn an_outsider_under_the_tasks_transactional_id_loses_and_doubles_nothing() {
    let mut scene = Scene::start("outsider", 1, kafka()).unwrap();
    kafka().create_topic("outsider-own", 1, &[]).unwrap();
    let id = scene.cluster.task(TASK).unwrap()["id"].as_str().unwrap().to_owned();
    let status = scene.cluster.json(&["cluster", "status"]).unwrap();
    let id = format!("tidewire-{}-{id}-0", status["clusterId"].as_str().unwrap());
    let restarts = |scene: &Scene<'_>| {
        scene.cluster.task(TASK).unwrap().pointer("/shards/0/restarts").unwrap().as_u64().unwrap()
    };
    let before = restarts(&scene);
    scene
        .prove_under_load(|scene| {
            for _ in 0..2 {
                let mut outsider = Writer::start(kafka(), "none", Some(&id))?;
                outsider.begin()?;
                // Before or after the task comes back, which ends what is open here.
                drop(outsider.send("outsider-own", &[Written::value("never seen")]));
                thread::sleep(Duration::from_secs(2));
                assert!(outsider.commit().is_err(), "the task has taken its id back");
                scene.settled(None, Duration::from_secs(60))?;
            }
            Ok(())
        })
        .unwrap();
    assert!(restarts(&scene) > before, "it was never fenced");
    let own = kafka().end_offsets("outsider-own").unwrap();
    let seen = tidewire_testbed::reader::Reader::all(kafka(), &["outsider-own"]).unwrap();
    assert_eq!(seen, [], "of {own:?}");
}
