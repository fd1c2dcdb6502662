//! How groups come to be, lose members, and take new ones.

use std::collections::BTreeSet;

use futures::StreamExt;
use tidewire_coordinator::Config;
use tidewire_proto::admin::v1::NodeRequest;

use crate::group::{Group, eventually, free_address};

#[tokio::test(flavor = "multi_thread")]
async fn three_that_start_at_once_become_one_group() {
    let group = Group::start(3);
    let leader = group.settled(3).await;
    let mut clusters = BTreeSet::new();
    for name in group.names() {
        let status = group.status(&name).await.expect("status");
        assert_eq!(status.leader, leader);
        assert_eq!(status.members.len(), 3);
        clusters.insert(status.cluster_id);
    }
    assert_eq!(clusters.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fourth_joins_and_a_lost_disk_comes_back_as_a_new_member() {
    let mut group = Group::start(3);
    group.settled(3).await;
    group.apply("c1", "r1", "orders").await.expect("applied");
    let newcomer = group.newcomer("c4", "c2");
    group.run(newcomer);
    group.settled(4).await;
    assert_eq!(group.task("c4", "orders").await.expect("task").name, "orders");

    // A member loses its disk: the same start command lets it in again, under another id.
    group.stop("c3").await;
    std::fs::remove_dir_all(group.directory("c3")).expect("remove");
    group.start_one("c3");
    group.settled(4).await;
    let status = eventually("the old member is dropped", async || {
        group.status("c1").await.ok().filter(|status| status.members.len() == 4)
    })
    .await;
    let names: Vec<&str> = status.members.iter().map(|member| member.id.as_str()).collect();
    assert_eq!(BTreeSet::from_iter(names).len(), 4);
    assert_eq!(group.task("c3", "orders").await.expect("task").name, "orders");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_coordinator_of_one_name_is_refused() {
    let mut group = Group::start(1);
    group.settled(1).await;
    let directory = tempfile::TempDir::new().expect("directory");
    let second = Config { data_dir: directory.path().to_path_buf(), ..group.newcomer("c1", "c1") };
    let fault = tidewire_coordinator::run(second, std::future::pending()).await.expect_err("fault");
    assert!(fault.message.contains("running at"), "{fault:?}");
    assert!(!fault.remedy.is_empty());
    group.stop("c1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named_with_its_remedy() {
    let mut group = Group::start(1);
    group.settled(1).await;
    let mut config = group.newcomer("c2", "c1");
    config.listen = group.address("c1");
    let fault = tidewire_coordinator::run(config, std::future::pending()).await.expect_err("fault");
    assert_eq!(fault.object, group.address("c1"));
    assert!(fault.message.contains("in use"), "{fault:?}");
    assert!(fault.remedy.contains("--listen"), "{fault:?}");
    group.stop("c1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_directory_without_a_hint_is_refused() {
    let group = Group::start(1);
    let mut config = group.newcomer("c9", "c1");
    config.join.clear();
    config.listen = free_address();
    let fault = tidewire_coordinator::run(config, std::future::pending()).await.expect_err("fault");
    assert!(fault.remedy.contains("--bootstrap"), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_refuses_to_start_and_says_how_to_rejoin() {
    let mut group = Group::start(1);
    group.settled(1).await;
    group.stop("c1").await;
    let log = group.directory("c1").join("log.redb");
    let length = std::fs::metadata(&log).expect("metadata").len();
    std::fs::File::options()
        .write(true)
        .open(&log)
        .expect("open")
        .set_len(length / 2)
        .expect("cut");
    group.start_one("c1");
    let fault = group.fault("c1").await;
    assert!(fault.object.contains("log.redb") && fault.remedy.contains("--join"), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_and_a_restart_go_on_from_a_snapshot() {
    let mut group = Group::start(1);
    group.settled(1).await;
    group.apply("c1", "r1", "orders").await.expect("applied");
    // Refused wishes are entries of the log too: enough for a snapshot and for dropping old entries.
    let wishes = (0..3_300).map(|number| {
        let mut client = group.client("c1");
        async move {
            let request_id = format!("w{number}");
            let request = NodeRequest { request_id, name: "nobody".to_owned() };
            client.drain_node(request).await.expect_err("there is no such node");
        }
    });
    futures::stream::iter(wishes).buffer_unordered(64).count().await;
    let newcomer = group.newcomer("c2", "c1");
    group.run(newcomer);
    group.settled(2).await;
    assert_eq!(group.task("c2", "orders").await.expect("task").name, "orders");
    for name in group.names() {
        group.kill(&name);
    }
    let joined = group.newcomer("c2", "c1");
    let listen = group.address("c2");
    group.run(Config { listen, ..joined });
    group.start_one("c1");
    group.settled(2).await;
    assert_eq!(group.task("c1", "orders").await.expect("task").name, "orders");
}
