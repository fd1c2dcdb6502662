//! The life of a task through any coordinator: other documents, history, log, moves, leftovers.

use tidewire_proto::admin::v1::{ApplyTaskRequest, ApplyTaskResponse, Task};
use tidewire_proto::admin::v1::{
    GetTaskRequest, ListTasksRequest, MoveTaskRequest, NodeRequest, RewindTaskRequest, TaskLogLine,
    TaskLogsRequest, TaskRequest,
};
use tidewire_proto::convert::{CALLER_METADATA, detail_of};
use tidewire_proto::task::v1::{PartitionPolicy, PostgresTask, TableName, TaskSpec};
use tidewire_shared::{Place, PlaceAt};
use tonic::{Code, Request, Status};

use crate::group::{Group, carried, eventually, kafka_task, postgres_task};
use crate::node_client::NodeClient;

async fn apply(group: &Group, at: &str, spec: TaskSpec) -> Result<ApplyTaskResponse, Status> {
    let request_id = format!("{at}-{:?}", std::time::Instant::now()).replace(' ', "");
    let request_id = request_id.chars().filter(char::is_ascii_alphanumeric).take(60).collect();
    let mut request =
        Request::new(ApplyTaskRequest { request_id, spec: Some(spec), ..Default::default() });
    let caller = "ann@laptop".parse().expect("ascii");
    request.metadata_mut().insert(CALLER_METADATA, caller);
    Ok(group.client(at).apply_task(request).await?.into_inner())
}

fn with_table(name: &str, table: &str) -> TaskSpec {
    carried(two_tables(name, table))
}

fn two_tables(name: &str, table: &str) -> PostgresTask {
    let mut spec = postgres_task(name);
    let table = TableName { schema: "public".to_owned(), table: table.to_owned() };
    spec.objects[0].tables.push(table);
    spec
}

async fn running(group: &Group, at: &str, name: &str, epoch: u64) -> Task {
    eventually("it runs", async || {
        let task = group.task(at, name).await.ok()?;
        (task.phase == "Synchronizing" && task.shards[0].epoch == epoch).then_some(task)
    })
    .await
}

fn wish(name: &str, request_id: &str) -> TaskRequest {
    TaskRequest {
        request_id: request_id.to_owned(),
        name: name.to_owned(),
        ..TaskRequest::default()
    }
}

async fn lines(group: &Group, at: &str, name: &str) -> Vec<TaskLogLine> {
    let request = TaskLogsRequest { name: name.to_owned(), follow: false };
    let mut stream = group.client(at).task_logs(request).await.expect("a log").into_inner();
    let mut lines = Vec::new();
    while let Ok(Some(line)) = stream.message().await {
        lines.push(line);
    }
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn another_document_is_prechecked_taken_and_remembered_with_who_gave_it() {
    let group = Group::start(3);
    let leader = group.settled(3).await;
    let follower = group.names().into_iter().find(|name| *name != leader).expect("a follower");
    let _node = NodeClient::connect(&group.endpoints(), "node-1", 1).await;
    group.apply("c1", "r1", "orders").await.expect("created");
    group.start_task("c1", "orders").await.expect("started");
    running(&group, &follower, "orders", 1).await;
    let answer = apply(&group, &follower, with_table("orders", "more")).await.expect("a draft");
    assert_eq!((answer.created, answer.revision), (false, 2));
    let task = running(&group, &follower, "orders", 2).await;
    assert_eq!((task.revision, task.modification), (2, None));

    let mut other = two_tables("orders", "more");
    other.partition = PartitionPolicy::ByTable.into();
    let refused = apply(&group, &leader, carried(other)).await.expect_err("keys would move");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let detail = detail_of(&refused).expect("detail");
    assert_eq!(detail.code, "refused");
    assert!(detail.message.contains("`partition`"), "{detail:?}");

    let request = GetTaskRequest { name: "orders".to_owned() };
    let history = group.client(&follower).task_history(request).await.expect("history");
    let history = history.into_inner();
    let newest = history.revisions.last().expect("a revision");
    assert_eq!((newest.number, newest.verdict.as_str()), (2, "taken"));
    assert_eq!(newest.by, "ann@laptop", "also through a follower");
    assert_eq!(newest.changes[0].new.as_deref(), Some("public.more"));
    assert_eq!(history.deeds[0].what, "start");

    // What the node told outlives it, and is read through any coordinator.
    let told = eventually("the log", async || {
        let lines = lines(&group, &follower, "orders").await;
        (lines.len() >= 2).then_some(lines)
    })
    .await;
    assert_eq!(told[0].node, "node-1");
    assert!(told.iter().all(|line| line.text == "prechecked"), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rewind_that_failed_in_the_middle_is_never_told_as_done() {
    let group = Group::start(1);
    group.settled(1).await;
    let _node = NodeClient::connect(&group.endpoints(), "node-1", 1).await;
    apply(&group, "c1", kafka_task("orders")).await.expect("created");
    group.start_task("c1", "orders").await.expect("started");
    running(&group, "c1", "orders", 1).await;
    group.client("c1").pause_task(wish("orders", "p1")).await.expect("paused");
    eventually("it stands", async || {
        group.task("c1", "orders").await.ok().filter(|task| task.phase == "Paused")
    })
    .await;
    let place = Place { topic: Some("orders".to_owned()), partition: None, at: PlaceAt::Earliest };
    let request = RewindTaskRequest {
        request_id: "w1".to_owned(),
        name: "orders".to_owned(),
        to: 0,
        places: vec![place.into()],
        ..RewindTaskRequest::default()
    };
    // The same wish again, as a client sends it that was told to try again.
    for _ in 0..2 {
        let told = group.client("c1").rewind_task(request.clone()).await.expect_err("in part");
        let detail = detail_of(&told).expect("detail");
        assert!(detail.message.contains("are away"), "{detail:?}");
    }
    let request = GetTaskRequest { name: "orders".to_owned() };
    let history = group.client("c1").task_history(request).await.expect("history").into_inner();
    let moved = history.deeds.iter().filter(|deed| deed.what == "rewind orders/0: 50 → 0");
    assert_eq!(moved.count(), 2, "{:?}", history.deeds);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_moves_where_it_is_wanted_and_only_one_at_rest_is_rewound() {
    let group = Group::start(1);
    group.settled(1).await;
    let first = NodeClient::connect(&group.endpoints(), "node-1", 1).await;
    group.apply("c1", "r1", "orders").await.expect("created");
    group.start_task("c1", "orders").await.expect("started");
    running(&group, "c1", "orders", 1).await;
    let _second = NodeClient::connect(&group.endpoints(), "node-2", 2).await;
    let request = MoveTaskRequest {
        request_id: "m1".to_owned(),
        name: "orders".to_owned(),
        shard: None,
        node: "node-2".to_owned(),
    };
    group.client("c1").move_task(request.clone()).await.expect("wanted there");
    let task = running(&group, "c1", "orders", 2).await;
    assert_eq!(task.shards[0].node, "node-2");
    let missing = MoveTaskRequest { request_id: "m2".into(), node: "node-9".into(), ..request };
    let missing = group.client("c1").move_task(missing).await.expect_err("no such node");
    assert_eq!(missing.code(), Code::NotFound);

    let rewind = |request_id: &str| RewindTaskRequest {
        request_id: request_id.to_owned(),
        name: "orders".to_owned(),
        to: 100,
        ..RewindTaskRequest::default()
    };
    let refused = group.client("c1").rewind_task(rewind("w1")).await.expect_err("it runs");
    let detail = detail_of(&refused).expect("detail");
    assert!(detail.message.contains("only a paused or failed task"), "{detail:?}");
    group.client("c1").pause_task(wish("orders", "p1")).await.expect("paused");
    eventually("it stands", async || {
        group.task("c1", "orders").await.ok().filter(|task| task.phase == "Paused")
    })
    .await;
    let look = RewindTaskRequest { look_only: true, ..rewind("w2") };
    let looked = group.client("c1").rewind_task(look).await.expect("looked").into_inner();
    assert_eq!(looked.moved, ["0/C8 → 0/64"]);
    group.client("c1").rewind_task(rewind("w2")).await.expect("rewound");
    let request = GetTaskRequest { name: "orders".to_owned() };
    let history = group.client("c1").task_history(request).await.expect("history").into_inner();
    let deeds: Vec<&str> = history.deeds.iter().map(|deed| deed.what.as_str()).collect();
    assert_eq!(deeds, ["start", "move shard 0 to node-2", "pause", "rewind 0/C8 → 0/64"]);

    let remove = |request_id: &str| NodeRequest {
        request_id: request_id.to_owned(),
        name: "node-1".to_owned(),
    };
    let refused = group.client("c1").remove_node(remove("n1")).await.expect_err("it runs");
    assert_eq!(detail_of(&refused).expect("detail").code, "refused");
    first.kill();
    eventually("it is removed", async || {
        let request_id = format!("n{:?}", std::time::Instant::now());
        let request_id: String = request_id.chars().filter(char::is_ascii_alphanumeric).collect();
        let request_id: String = request_id.chars().take(60).collect();
        group.client("c1").remove_node(remove(&request_id)).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_deleted_task_left_is_listed_until_somebody_looks_after_it() {
    let group = Group::start(1);
    group.settled(1).await;
    let _node = NodeClient::connect(&group.endpoints(), "node-1", 1).await;
    group.apply("c1", "r1", "orders").await.expect("created");
    group.start_task("c1", "orders").await.expect("started");
    running(&group, "c1", "orders", 1).await;
    let deleted = group.client("c1").delete_task(wish("orders", "d1")).await.expect("deleted");
    assert_eq!(deleted.into_inner().left, ["the slot"]);
    let listed = group.client("c1").list_tasks(ListTasksRequest {}).await.expect("list");
    let listed = listed.into_inner();
    assert!(listed.tasks.is_empty());
    assert_eq!(listed.leftovers[0].task, "orders");
    assert_eq!(listed.leftovers[0].left, ["the slot"]);
    assert_eq!(group.status("c1").await.expect("status").leftovers, 1);
    group.client("c1").forget_leftovers(wish("orders", "f1")).await.expect("forgotten");
    assert_eq!(group.status("c1").await.expect("status").leftovers, 0);
    let again = group.client("c1").forget_leftovers(wish("orders", "f2")).await;
    assert_eq!(again.expect_err("none").code(), Code::NotFound);
}
