//! Nodes: who runs what, what happens when one dies, and who may say it owns a shard.

use std::time::{Duration, Instant};

use tidewire_proto::admin::v1::{ListNodesRequest, Task};
use tidewire_proto::node::v1::{ConfirmOwnershipRequest, ConfirmOwnershipResponse};
use tonic::Code;

use crate::group::{Group, eventually};
use crate::node_client::{NodeClient, node_service, open};

async fn running(group: &Group, at: &str, task: &str) -> Task {
    eventually("the task runs", async || {
        group.task(at, task).await.ok().filter(|task| task.phase == "Synchronizing")
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_nodes_shard_moves_under_a_higher_epoch() {
    let group = Group::start(3);
    let leader = group.settled(3).await;
    let mut nodes = vec![
        NodeClient::connect(&group.endpoints(), "node-1", 11).await,
        NodeClient::connect(&group.endpoints(), "node-2", 22).await,
    ];
    group.apply("c2", "r1", "orders").await.expect("applied");
    group.start_task("c3", "orders").await.expect("started");
    let task = running(&group, &leader, "orders").await;
    let place = nodes.iter().position(|node| node.name == task.shards[0].node).expect("owner");
    let owner = nodes.remove(place);
    let heir = nodes.remove(0);
    let epoch = task.shards[0].epoch;
    assert!(heir.runs(&task.id).is_none());
    let killed = Instant::now();
    owner.kill();
    let next = eventually("the shard moves", async || heir.runs(&task.id)).await;
    assert!(next > epoch, "{next} must fence {epoch}");
    let took = killed.elapsed();
    eprintln!("moved {took:?} after the kill");
    assert!(took < Duration::from_millis(3_000), "took {took:?}");
    assert!(took > Duration::from_millis(900), "took {took:?}: not before the node looks gone");
}

async fn confirm(
    group: &Group,
    node: &NodeClient,
    task: &str,
    epoch: u64,
    seen_epoch: u64,
) -> ConfirmOwnershipResponse {
    let request = ConfirmOwnershipRequest {
        node: node.name.clone(),
        instance: node.instance,
        task_id: task.to_owned(),
        shard: 0,
        epoch,
        seen_epoch,
    };
    eventually("an answer", async || {
        for endpoint in group.endpoints() {
            let answer = node_service(&endpoint).confirm_ownership(request.clone()).await;
            if let Ok(answer) = answer {
                return Some(answer.into_inner());
            }
        }
        None
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn ownership_is_confirmed_to_the_owner_only_and_raised_above_what_was_seen() {
    let group = Group::start(3);
    group.settled(3).await;
    let node = NodeClient::connect(&group.endpoints(), "node-1", 11).await;
    group.apply("c1", "r1", "orders").await.expect("applied");
    group.start_task("c1", "orders").await.expect("started");
    let task = running(&group, "c1", "orders").await;
    let epoch = task.shards[0].epoch;
    assert!(confirm(&group, &node, &task.id, epoch, 0).await.current);
    let other_epoch = confirm(&group, &node, &task.id, epoch + 1, 0).await;
    assert_eq!((other_epoch.current, other_epoch.current_epoch), (false, epoch));
    let raised = confirm(&group, &node, &task.id, epoch, 40).await;
    assert_eq!((raised.current, raised.current_epoch), (false, 41));
    eventually("the owner is told", async || (node.runs(&task.id) == Some(41)).then_some(())).await;
    assert!(confirm(&group, &node, &task.id, 41, 0).await.current);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_its_owner_can_release_a_shard() {
    let group = Group::start(1);
    group.settled(1).await;
    let nodes = [
        NodeClient::connect(&group.endpoints(), "node-1", 11).await,
        NodeClient::connect(&group.endpoints(), "node-2", 22).await,
    ];
    group.apply("c1", "r1", "orders").await.expect("applied");
    group.start_task("c1", "orders").await.expect("started");
    let task = running(&group, "c1", "orders").await;
    let before = &task.shards[0];
    let stranger = nodes.iter().find(|node| node.name != before.node).expect("stranger");
    stranger.release(&task.id, before.epoch).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = running(&group, "c1", "orders").await;
    let after = &after.shards[0];
    assert_eq!((&after.node, after.epoch), (&before.node, before.epoch));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_under_a_living_name_is_refused() {
    let group = Group::start(1);
    group.settled(1).await;
    let node = NodeClient::connect(&group.endpoints(), "node-1", 11).await;
    let status = open(&group.address("c1"), "node-1", 12).await.expect_err("refused");
    assert_eq!(status.code(), Code::AlreadyExists);
    assert!(status.message().contains("another process is running"), "{status}");
    // The same process may come back over a new stream.
    open(&group.address("c1"), "node-1", 11).await.expect("same process");
    node.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_leader_takes_sessions_and_the_others_name_it() {
    let group = Group::start(3);
    let leader = group.settled(3).await;
    let follower = group.names().into_iter().find(|name| *name != leader).expect("follower");
    let status = open(&group.address(&follower), "node-1", 11).await.expect_err("not here");
    assert_eq!(status.code(), Code::FailedPrecondition);
    let url = status.metadata().get("tidewire-leader").expect("leader").to_str().expect("text");
    assert_eq!(url, format!("http://{}", group.address(&leader)));
    let node = NodeClient::connect(&group.endpoints(), "node-1", 11).await;
    eventually("heartbeats are answered with leases", async || {
        (*node.leased.lock().expect("lock") > 2).then_some(())
    })
    .await;
    let nodes = group.client(&follower).list_nodes(ListNodesRequest {}).await.expect("nodes");
    let nodes = nodes.into_inner().nodes;
    assert_eq!((nodes[0].name.as_str(), nodes[0].state.as_str()), ("node-1", "ready"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leaves_hands_over_and_is_dismissed() {
    let group = Group::start(1);
    group.settled(1).await;
    let first = NodeClient::connect(&group.endpoints(), "node-1", 11).await;
    group.apply("c1", "r1", "orders").await.expect("applied");
    group.start_task("c1", "orders").await.expect("started");
    let task = running(&group, "c1", "orders").await;
    let second = NodeClient::connect(&group.endpoints(), "node-2", 22).await;
    first.leave().await;
    let epoch = eventually("handed over", async || second.runs(&task.id)).await;
    assert_eq!(epoch, task.shards[0].epoch + 1);
    eventually("dismissed", async || first.dismissed.lock().expect("lock").then_some(())).await;
    assert!(first.runs(&task.id).is_none());
}
