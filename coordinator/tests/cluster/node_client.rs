//! The protocol side of a node: registers, keeps its session, and says it runs what it is told to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidewire_proto::connection::v1 as connection_pb;
use tidewire_proto::convert::LEADER_METADATA;
use tidewire_proto::node::v1::from_node::Message;
use tidewire_proto::node::v1::node_service_client::NodeServiceClient;
use tidewire_proto::node::v1::to_node::Message as Told;
use tidewire_proto::node::v1::work_done::Outcome;
use tidewire_proto::node::v1::work_order::Work;
use tidewire_proto::node::v1::{
    Assign, CleanUpDone, FromNode, Heartbeat, Leaving, LogLine, LogLines, Register, Released,
    Revoke, RewindDone, ToNode, WorkDone,
};
use tidewire_proto::task::v1 as task_pb;
use tidewire_shared::{Fault, FaultKind};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::group::password_of;

/// What a node runs: epoch by task and shard.
pub(crate) type Shards = Arc<Mutex<BTreeMap<(String, u32), u64>>>;

/// A node that is connected.
pub(crate) struct NodeClient {
    pub(crate) name: String,
    pub(crate) instance: u64,
    pub(crate) shards: Shards,
    /// Number of the newest heartbeat that a lease answered.
    pub(crate) leased: Arc<Mutex<u64>>,
    pub(crate) dismissed: Arc<Mutex<bool>>,
    /// Why every shard fails; none: they run.
    pub(crate) fault: Arc<Mutex<Option<task_pb::Fault>>>,
    /// Passwords in the documents that it was given, each once, in their order.
    passwords: Arc<Mutex<Vec<String>>>,
    to_leader: mpsc::Sender<FromNode>,
    tasks: Vec<JoinHandle<()>>,
}

pub(crate) fn node_service(address: &str) -> NodeServiceClient<Channel> {
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("address");
    NodeServiceClient::new(endpoint.connect_lazy())
}

/// Opens a session at one coordinator.
pub(crate) async fn open(
    address: &str,
    name: &str,
    instance: u64,
) -> Result<(mpsc::Sender<FromNode>, Streaming<ToNode>), Status> {
    let (to_leader, messages) = mpsc::channel(16);
    let register = Register {
        name: name.to_owned(),
        instance,
        capacity: 100,
        version: "0.1.0".to_owned(),
        host: "127.0.0.1".to_owned(),
        pid: 1,
    };
    let first = FromNode { message: Some(Message::Register(register)) };
    to_leader.send(first).await.expect("room");
    let answer = node_service(address).session(ReceiverStream::new(messages)).await?;
    Ok((to_leader, answer.into_inner()))
}

impl NodeClient {
    /// Finds the leader among `endpoints` and opens session and work stream there.
    pub(crate) async fn connect(endpoints: &[String], name: &str, instance: u64) -> Self {
        let (address, (to_leader, told)) = loop {
            if let Some(found) = find_leader(endpoints, name, instance).await {
                break found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let mut node = Self {
            name: name.to_owned(),
            instance,
            shards: Shards::default(),
            leased: Arc::default(),
            dismissed: Arc::default(),
            fault: Arc::default(),
            passwords: Arc::default(),
            to_leader,
            tasks: Vec::new(),
        };
        node.tasks.push(tokio::spawn(work(address, name.to_owned(), instance)));
        let (shards, fault) = (Arc::clone(&node.shards), Arc::clone(&node.fault));
        node.tasks.push(tokio::spawn(beat(shards, fault, node.to_leader.clone())));
        let listening = listen(
            told,
            Arc::clone(&node.shards),
            node.to_leader.clone(),
            (Arc::clone(&node.leased), Arc::clone(&node.dismissed)),
            Arc::clone(&node.passwords),
        );
        node.tasks.push(tokio::spawn(listening));
        node
    }

    /// Ends as a killed process does: its connections close, nothing is said.
    pub(crate) fn kill(self) {
        for task in &self.tasks {
            task.abort();
        }
    }

    /// Passwords in the documents that it was given, each once, in their order.
    pub(crate) fn passwords(&self) -> Vec<String> {
        self.passwords.lock().expect("lock").clone()
    }

    /// Says that it wants to leave.
    pub(crate) async fn leave(&self) {
        let leaving = FromNode { message: Some(Message::Leaving(Leaving {})) };
        self.to_leader.send(leaving).await.expect("session");
    }

    /// Says that it has stopped a shard, whether or not it ran here.
    pub(crate) async fn release(&self, task: &str, epoch: u64) {
        let released = Released { task_id: task.to_owned(), shard: 0, epoch };
        let released = FromNode { message: Some(Message::Released(released)) };
        self.to_leader.send(released).await.expect("session");
    }

    /// The epoch under which a shard runs here.
    pub(crate) fn runs(&self, task: &str) -> Option<u64> {
        self.shards.lock().expect("lock").get(&(task.to_owned(), 0)).copied()
    }
}

type Session = (mpsc::Sender<FromNode>, Streaming<ToNode>);

async fn find_leader(endpoints: &[String], name: &str, instance: u64) -> Option<(String, Session)> {
    for endpoint in endpoints {
        match open(endpoint, name, instance).await {
            Ok(session) => return Some((endpoint.clone(), session)),
            Err(status) => {
                let leader = status.metadata().get(LEADER_METADATA)?.to_str().ok()?;
                let leader = leader.strip_prefix("http://")?.to_owned();
                if let Ok(session) = open(&leader, name, instance).await {
                    return Some((leader, session));
                }
            }
        }
    }
    None
}

async fn beat(
    shards: Shards,
    fault: Arc<Mutex<Option<task_pb::Fault>>>,
    to_leader: mpsc::Sender<FromNode>,
) {
    for sequence in 1.. {
        let running = shards.lock().expect("lock").clone();
        let fault = fault.lock().expect("lock").clone();
        let phase = match fault {
            None => task_pb::ShardPhase::Synchronizing,
            Some(_) => task_pb::ShardPhase::Failed,
        };
        let reports = running.into_iter().map(|((task_id, shard), epoch)| task_pb::ShardReport {
            task_id,
            shard,
            epoch,
            phase: phase.into(),
            fault: fault.clone(),
            durable_lsn: 100 + sequence,
            serial: sequence,
            caught_up: true,
            counters: Some(task_pb::Counters::default()),
            ..task_pb::ShardReport::default()
        });
        let heartbeat = Heartbeat { sequence, shards: reports.collect() };
        let message = FromNode { message: Some(Message::Heartbeat(heartbeat)) };
        if to_leader.send(message).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn listen(
    mut told: Streaming<ToNode>,
    shards: Shards,
    to_leader: mpsc::Sender<FromNode>,
    (leased, dismissed): (Arc<Mutex<u64>>, Arc<Mutex<bool>>),
    passwords: Arc<Mutex<Vec<String>>>,
) {
    while let Ok(Some(message)) = told.message().await {
        match message.message {
            Some(Told::Assign(Assign { task_id, shard, epoch, spec, .. })) => {
                if let Some(password) = password_of(spec) {
                    let mut passwords = passwords.lock().expect("lock");
                    passwords.push(password);
                    passwords.dedup();
                }
                shards.lock().expect("lock").insert((task_id, shard), epoch);
            }
            Some(Told::Revoke(Revoke { task_id, shard, epoch })) => {
                shards.lock().expect("lock").remove(&(task_id.clone(), shard));
                let released = Message::Released(Released { task_id, shard, epoch });
                drop(to_leader.send(FromNode { message: Some(released) }).await);
            }
            Some(Told::Lease(lease)) => *leased.lock().expect("lock") = lease.sequence,
            Some(Told::Dismissed(_)) => *dismissed.lock().expect("lock") = true,
            Some(Told::Registered(_) | Told::Prepare(_)) | None => {}
        }
    }
}

/// Answers every precheck with a pass, and every clean-up with one thing left.
async fn work(address: String, node: String, instance: u64) {
    let (done, messages) = mpsc::channel(16);
    let hello = WorkDone { id: 0, node: node.clone(), instance, outcome: None };
    done.send(hello).await.expect("room");
    let answer = node_service(&address).work(ReceiverStream::new(messages)).await;
    let Ok(answer) = answer else { return };
    let mut orders = answer.into_inner();
    let mut told = 0;
    while let Ok(Some(order)) = orders.message().await {
        let outcome = match order.work {
            Some(Work::Precheck(looked)) => {
                told += 1;
                tell(&done, (&node, instance), told, looked.task_id).await;
                let item = task_pb::CheckItem {
                    name: "wal_level".to_owned(),
                    result: task_pb::CheckResult::Pass.into(),
                    ..task_pb::CheckItem::default()
                };
                Outcome::Precheck(task_pb::PrecheckReport { at_ms: 1, items: vec![item] })
            }
            Some(Work::CleanUp(_)) => {
                Outcome::CleanUp(CleanUpDone { left: vec!["the slot".to_owned()] })
            }
            Some(Work::Test(work)) => Outcome::Tested(tested(&node, work.connection)),
            Some(Work::Discover(work)) => Outcome::Discovered(discovered(work.connection)),
            Some(Work::RewindLog(_)) => Outcome::Rewind(RewindDone {
                moved: vec!["0/C8 → 0/64".to_owned()],
                ..RewindDone::default()
            }),
            Some(Work::RewindCopy(_)) => Outcome::Rewind(half_moved()),
            _ => continue,
        };
        let answer =
            WorkDone { id: order.id, node: node.clone(), instance, outcome: Some(outcome) };
        if done.send(answer).await.is_err() {
            return;
        }
    }
}

/// A rewind that loses its target in the middle.
fn half_moved() -> RewindDone {
    let fault = Fault::new(FaultKind::TargetUnreachable, "brokers", "are away");
    RewindDone {
        moved: vec!["orders/0: 50 → 0".to_owned()],
        failed: Some(fault.into()),
        ..RewindDone::default()
    }
}

/// Tells a line of the log of a task.
async fn tell(
    done: &mpsc::Sender<WorkDone>,
    (node, instance): (&str, u64),
    serial: u64,
    task_id: String,
) {
    let text = "prechecked".to_owned();
    let line = LogLine { serial, task_id, text, level: "info".into(), ..LogLine::default() };
    let outcome = Some(Outcome::Log(LogLines { lines: vec![line] }));
    let line = WorkDone { id: 0, node: node.to_owned(), instance, outcome };
    drop(done.send(line).await);
}

/// Every host of the connection is usable.
fn tested(
    node: &str,
    connection: Option<connection_pb::Connection>,
) -> connection_pb::ConnectionTest {
    let hosts = match connection.and_then(|connection| connection.endpoint) {
        Some(connection_pb::connection::Endpoint::Postgres(to)) => to.hosts,
        Some(connection_pb::connection::Endpoint::Kafka(to)) => to.brokers,
        None => Vec::new(),
    };
    let usable = |address| connection_pb::HostTest {
        address,
        verdict: connection_pb::Verdict::Usable.into(),
        ..connection_pb::HostTest::default()
    };
    connection_pb::ConnectionTest {
        node: node.to_owned(),
        hosts: hosts.into_iter().map(usable).collect(),
        ..connection_pb::ConnectionTest::default()
    }
}

/// The database that was asked for, and no tables.
fn discovered(connection: Option<connection_pb::Connection>) -> connection_pb::Discovery {
    let database = match connection.and_then(|connection| connection.endpoint) {
        Some(connection_pb::connection::Endpoint::Postgres(to)) => to.database,
        _ => String::new(),
    };
    connection_pb::Discovery { database, ..connection_pb::Discovery::default() }
}
