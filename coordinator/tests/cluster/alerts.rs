//! A failing task is told once, over a change of leader, and its recovery once.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tidewire_proto::admin::v1::{
    AlertHistoryRequest, ApplyChannelRequest, ApplyTaskRequest, ChannelRequest, GetChannelRequest,
    ListAlertsRequest, TaskRequest, TestChannelRequest, test_channel_request,
};
use tidewire_proto::alert::v1 as pb;
use tidewire_proto::convert::detail_of;
use tidewire_proto::task::v1 as task_pb;
use tonic::{Code, Status};

use crate::channels::webhook;
use crate::group::{Group, carried, eventually, postgres_task};
use crate::node_client::NodeClient;
use crate::receiver::{Posted, Receiver};

const KEY: &str = "a key of the receiver";

fn failing() -> task_pb::TaskSpec {
    let rule = |name: &str, delay_above_ms: Option<u64>, phases: &[&str]| task_pb::AlertRule {
        name: name.to_owned(),
        delay_above_ms,
        phases: phases.iter().map(|phase| (*phase).to_owned()).collect(),
        for_ms: 0,
        to: vec!["ops".to_owned()],
        repeat_ms: 0,
        wal_above_bytes: None,
    };
    carried(task_pb::PostgresTask {
        alerts: vec![
            rule("broken", None, &["Failed"]),
            rule("late", Some(3_600_000), &["Synchronizing"]),
        ],
        ..postgres_task("orders")
    })
}

fn broken() -> task_pb::Fault {
    task_pb::Fault {
        kind: "SourceState".to_owned(),
        object: "slot tidewire_x".to_owned(),
        message: "it is lost".to_owned(),
        remedy: "drop it".to_owned(),
    }
}

impl Group {
    async fn channel(&self, at: &str, request_id: &str, channel: pb::Channel) -> String {
        let request_id = request_id.to_owned();
        let request = ApplyChannelRequest { request_id, channel: Some(channel) };
        let answer = self.client(at).apply_channel(request).await.expect("applied");
        answer.into_inner().outcome
    }

    async fn apply_failing(&self, at: &str, request_id: &str) -> Result<(), Status> {
        let request = ApplyTaskRequest {
            request_id: request_id.to_owned(),
            spec: Some(failing()),
            ..ApplyTaskRequest::default()
        };
        self.client(at).apply_task(request).await.map(drop)
    }

    async fn told(&self, at: &str) -> Vec<pb::Message> {
        let request = AlertHistoryRequest { task: "orders".to_owned() };
        let answer = self.client(at).alert_history(request).await.expect("history");
        answer.into_inner().messages
    }

    async fn standing(&self, at: &str) -> Option<Vec<String>> {
        let answer = self.client(at).list_alerts(ListAlertsRequest {}).await.ok()?;
        Some(answer.into_inner().alerts.into_iter().map(|alert| alert.state).collect())
    }
}

/// Kinds of the messages that came, by the number of each message.
fn kinds(posted: &[Posted]) -> Vec<(String, String)> {
    let text =
        |posted: &Posted, field: &str| posted.json()[field].as_str().unwrap_or_default().to_owned();
    posted.iter().map(|it| (text(it, "id"), text(it, "kind"))).collect()
}

fn ops(receiver: &Receiver) -> pb::Channel {
    let url = format!("http://{}/hook/secret-token", receiver.address);
    webhook(&url, pb::Shape::Plain, Some(KEY))
}

/// As a receiver checks it.
fn assert_is_signed(posted: &Posted) {
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY.as_bytes()).expect("a key");
    mac.update(format!("{}.{}", posted.header("tidewire-timestamp"), posted.body).as_bytes());
    let expected: String = mac.finalize().into_bytes().iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(posted.header("tidewire-signature"), format!("sha256={expected}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_is_shown_without_secrets_tried_by_its_name_and_kept_while_used() {
    let group = Group::start(1);
    group.settled(1).await;
    let receiver = Receiver::http().await;
    let refused = group.apply_failing("c1", "wish-1").await.expect_err("no channel yet");
    assert_eq!(
        (refused.code(), detail_of(&refused).expect("detail").object.as_str()),
        (Code::NotFound, "channel ops")
    );
    assert_eq!(group.channel("c1", "wish-2", ops(&receiver)).await, "created");
    group.apply_failing("c1", "wish-3").await.expect("applied");
    let request = GetChannelRequest { name: "ops".to_owned() };
    let shown = group.client("c1").get_channel(request).await.expect("shown").into_inner();
    let shown = shown.channel.expect("a channel");
    assert_eq!(shown.tasks, ["orders"]);
    assert_eq!(shown.leads_to, format!("http://{}", receiver.address));
    let hidden = webhook("***", pb::Shape::Plain, Some("***"));
    assert_eq!(shown.channel.as_ref(), Some(&hidden));
    assert_eq!(group.channel("c1", "wish-4", hidden).await, "unchanged");

    let subject = Some(test_channel_request::Subject::Name("ops".to_owned()));
    let tried = group.client("c1").test_channel(TestChannelRequest { subject }).await;
    let push = tried.expect("an answer").into_inner().push.expect("a push");
    assert_eq!((push.channel.as_str(), push.result.as_str()), ("ops", "delivered"));
    assert_is_signed(&receiver.last());

    let delete = ChannelRequest { request_id: "wish-5".into(), name: "ops".into() };
    let refused = group.client("c1").delete_channel(delete).await.expect_err("in use");
    let detail = detail_of(&refused).expect("detail");
    let said = (detail.code.as_str(), detail.message.as_str());
    assert_eq!(said, ("refused", "alerts of tasks orders name it"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_task_is_told_once_and_its_recovery_once_whoever_leads() {
    let mut group = Group::start(3);
    let leader = group.settled(3).await;
    let receiver = Receiver::http().await;
    group.channel("c1", "wish-1", ops(&receiver)).await;
    group.apply_failing("c2", "wish-2").await.expect("applied");
    let node = NodeClient::connect(&group.endpoints(), "node-1", 7).await;
    group.start_task("c1", "orders").await.expect("started");
    eventually("it runs", async || {
        let states = group.standing("c1").await?;
        let task = group.task("c1", "orders").await.ok()?;
        (task.phase == "Synchronizing" && states == ["quiet", "quiet"]).then_some(())
    })
    .await;
    // The receiver is busy at first.
    receiver.answer(&[(503, ""), (503, "")], "");
    *node.fault.lock().expect("lock") = Some(broken());
    let fired = eventually("it is told", async || {
        let told = group.told("c2").await;
        told.into_iter().find(|message| message.pushes[0].result == "delivered")
    })
    .await;
    assert_eq!((fired.kind.as_str(), fired.pushes[0].attempts), ("fired", 3));
    assert_eq!(fired.error.as_ref().map(|error| error.message.as_str()), Some("it is lost"));
    assert_is_signed(&receiver.last());
    assert_eq!(receiver.last().json()["error"]["remedy"], "drop it");

    group.kill(&leader);
    let survivor = group.names().into_iter().find(|name| *name != leader).expect("one");
    eventually("another leads", async || {
        let states = group.standing(&survivor).await?;
        (states == ["firing", "quiet"]).then_some(())
    })
    .await;
    node.kill();
    let node = NodeClient::connect(&group.endpoints(), "node-1", 8).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let request = TaskRequest { request_id: "resume-1".into(), name: "orders".into(), waive: None };
    group.client(&survivor).resume_task(request).await.expect("resumed");
    eventually("it is over", async || {
        let told = group.told(&survivor).await;
        let over = |message: &pb::Message| {
            message.kind == "resolved" && message.pushes[0].result == "delivered"
        };
        told.iter().any(over).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(group.standing(&survivor).await.expect("standing"), ["quiet", "quiet"]);
    let told = group.told(&survivor).await;
    let said: Vec<&str> = told.iter().map(|message| message.kind.as_str()).collect();
    assert_eq!(said, ["fired", "resolved"]);
    assert!(!format!("{told:?}").contains("secret-token"));
    let (fired, over) = (told[0].id, told[1].id);
    let numbers: Vec<(String, String)> = kinds(&receiver.posted());
    let cluster = numbers[0].0.rsplit_once('-').expect("a number").0.to_owned();
    let expected = [(fired, "fired"), (fired, "fired"), (fired, "fired"), (over, "resolved")]
        .map(|(id, kind)| (format!("{cluster}-{id}"), kind.to_owned()));
    assert_eq!(numbers, expected, "two attempts were refused");
    drop(node);
}
