//! Tasks through any coordinator: created once, never forgotten, refused with a remedy.

use tidewire_proto::admin::v1::{
    ListTasksRequest, PrecheckTaskRequest, TaskRequest, precheck_task_request,
};
use tidewire_proto::convert::detail_of;
use tonic::Code;

use crate::group::{Group, eventually, password_of, spec};
use crate::node_client::NodeClient;

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_is_applied_once_through_whichever_coordinator() {
    let group = Group::start(3);
    group.settled(3).await;
    let first = group.apply("c1", "wish-1", "orders").await.expect("applied");
    assert!(first.created);
    let id = first.task.expect("task").id;
    for name in group.names() {
        let again = group.apply(&name, "wish-1", "orders").await.expect("applied");
        assert_eq!(again.task.expect("task").id, id);
        let same = group.apply(&name, &format!("other-{name}"), "orders").await.expect("applied");
        assert!(!same.created);
        let task = group.task(&name, "orders").await.expect("task");
        assert_eq!((task.id.as_str(), task.phase.as_str()), (id.as_str(), "NotStarted"));
        let password = password_of(task.spec);
        assert_eq!(password.as_deref(), Some("***"), "secrets are shown to nobody");
    }
    let tasks = group.client("c2").list_tasks(ListTasksRequest {}).await.expect("list");
    assert_eq!(tasks.into_inner().tasks.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_leaders_and_restarts() {
    let mut group = Group::start(3);
    let mut acknowledged = Vec::new();
    for round in 0..2 {
        let leader = group.settled(3).await;
        for number in 0..5 {
            let name = format!("t{round}-{number}");
            group.apply("c1", &name, &name).await.expect("applied");
            acknowledged.push(name);
        }
        group.kill(&leader);
        let survivor = group.names().into_iter().find(|name| *name != leader).expect("one");
        eventually("another leads", async || {
            let status = group.status(&survivor).await.ok()?;
            (status.leader != leader && !status.leader.is_empty()).then_some(())
        })
        .await;
        for name in &acknowledged {
            group.task(&survivor, name).await.expect("nothing acknowledged is lost");
        }
        group.start_one(&leader);
    }
    group.settled(3).await;
    // All of them at once, from disk alone.
    for name in group.names() {
        group.kill(&name);
    }
    for name in group.names() {
        group.start_one(&name);
    }
    group.settled(3).await;
    for name in &acknowledged {
        group.task("c3", name).await.expect("nothing acknowledged is lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_a_call_says_who_answers() {
    let mut group = Group::start(3);
    let leader = group.settled(3).await;
    let others: Vec<String> = group.names().into_iter().filter(|name| *name != leader).collect();
    for name in &others {
        group.kill(name);
    }
    let status =
        eventually("the leader finds itself alone", async || group.status(&leader).await.err())
            .await;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("no leader: 1 of 3 coordinators answer"), "{status}");
    let status = group.apply(&leader, "r", "orders").await.expect_err("no quorum");
    let detail = detail_of(&status).expect("detail");
    assert!(["unavailable", "unknown_outcome"].contains(&detail.code.as_str()), "{detail:?}");
    assert!(!detail.remedy.is_empty());
    group.start_one(&others[0]);
    eventually("a majority is enough", async || group.apply(&leader, "r2", "payments").await.ok())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_name_object_and_remedy() {
    let group = Group::start(1);
    group.settled(1).await;
    let missing = group.task("c1", "nothing").await.expect_err("missing");
    assert_eq!(missing.code(), Code::NotFound);
    assert_eq!(detail_of(&missing).expect("detail").object, "task nothing");
    group.apply("c1", "r1", "orders").await.expect("applied");
    let pause = TaskRequest { request_id: "r2".to_owned(), name: "orders".to_owned(), waive: None };
    let refused = group.client("c1").pause_task(pause).await.expect_err("not running");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let detail = detail_of(&refused).expect("detail");
    assert_eq!(detail.code, "refused");
    assert!(detail.remedy.contains("start"), "{detail:?}");
    let nameless =
        TaskRequest { request_id: String::new(), name: "orders".to_owned(), waive: None };
    let invalid = group.client("c1").start_task(nameless).await.expect_err("no request id");
    assert_eq!(invalid.code(), Code::InvalidArgument);
    assert_eq!(detail_of(&invalid).expect("detail").object, "request_id");
    let subject = Some(precheck_task_request::Subject::Spec(spec("new")));
    let status =
        group.client("c1").precheck_task(PrecheckTaskRequest { subject, waive: None }).await;
    let status = status.expect_err("no node");
    assert!(status.message().contains("no node is connected"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_prechecked_run_and_deleted_with_what_is_left() {
    let group = Group::start(1);
    group.settled(1).await;
    let node = NodeClient::connect(&group.endpoints(), "node-1", 1).await;
    let look = eventually("a document is prechecked", async || {
        let subject = Some(precheck_task_request::Subject::Spec(spec("new")));
        group.client("c1").precheck_task(PrecheckTaskRequest { subject, waive: None }).await.ok()
    })
    .await;
    assert_eq!(look.into_inner().report.expect("report").items[0].name, "wal_level");
    group.apply("c1", "r1", "orders").await.expect("applied");
    group.start_task("c1", "orders").await.expect("started");
    let task = eventually("it runs", async || {
        group.task("c1", "orders").await.ok().filter(|task| task.phase == "Synchronizing")
    })
    .await;
    assert_eq!(task.shards[0].node, "node-1");
    assert_eq!(task.shards[0].epoch, 1);
    assert_eq!(task.precheck.expect("precheck").items.len(), 1);
    let delete =
        TaskRequest { request_id: "r9".to_owned(), name: "orders".to_owned(), waive: None };
    let left = group.client("c1").delete_task(delete.clone()).await.expect("deleted");
    assert_eq!(left.into_inner().left, ["the slot"]);
    assert!(node.runs(&task.id).is_none());
    group.client("c1").delete_task(delete).await.expect("the same wish again");
}
