//! One session with one coordinator: registration, heartbeats, assignments.

use std::collections::VecDeque;
use std::time::Duration;

use tidewire_proto::node::v1 as pb;
use tidewire_proto::node::v1::node_service_client::NodeServiceClient;
use tidewire_shared::Fault;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::{Agent, leader};
use crate::clock::mono_ms;
use crate::shard::Command;

/// How a session ended without trouble.
#[derive(Debug)]
pub(crate) enum End {
    /// The leader let this node go.
    Dismissed,
    /// This coordinator does not lead; that one does.
    Elsewhere(String),
}

/// Messages on their way out: a heartbeat and a few words of shards.
const OUTGOING: usize = 64;
/// A leader that has not answered a heartbeat for so long is not the leader any more.
const SILENCE: Duration = Duration::from_secs(3);
/// Until the leader says otherwise.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// Name of the metadata in which a follower names the leader.
const LEADER_METADATA: &str = "tidewire-leader";

/// Runs until the session breaks or ends.
pub(crate) async fn session(agent: &mut Agent, endpoint: &str) -> Result<End, String> {
    let channel = leader::connect(endpoint).await?;
    let (out, outgoing) = mpsc::channel(OUTGOING);
    let sent = VecDeque::from([(0, mono_ms())]);
    send(&out, pb::from_node::Message::Register(registration(agent))).await?;
    let opened =
        NodeServiceClient::new(channel.clone()).session(ReceiverStream::new(outgoing)).await;
    let inbound = match opened {
        Ok(response) => response.into_inner(),
        Err(status) => return elsewhere(&status),
    };
    Session {
        agent,
        out,
        heartbeats: 0,
        sent,
        lease_ms: 0,
        answered: Instant::now(),
        period: HEARTBEAT,
    }
    .run(inbound, endpoint, channel)
    .await
}

fn registration(agent: &Agent) -> pb::Register {
    pb::Register {
        name: agent.config.name.to_string(),
        instance: agent.instance,
        capacity: agent.config.capacity,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: host(),
        pid: std::process::id(),
    }
}

/// Where this process runs, for people.
fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}

fn elsewhere(status: &Status) -> Result<End, String> {
    let named = status.metadata().get(LEADER_METADATA).and_then(|value| value.to_str().ok());
    match (status.code(), named) {
        (Code::FailedPrecondition, Some(leader)) if !leader.is_empty() => {
            Ok(End::Elsewhere(leader.to_owned()))
        }
        _ => Err(status.message().to_owned()),
    }
}

async fn send(
    out: &mpsc::Sender<pb::FromNode>,
    message: pb::from_node::Message,
) -> Result<(), String> {
    let message = pb::FromNode { message: Some(message) };
    out.send(message).await.map_err(|_| "the session is closed".to_owned())
}

struct Session<'a> {
    agent: &'a mut Agent,
    out: mpsc::Sender<pb::FromNode>,
    heartbeats: u64,
    /// When what is not answered yet was sent: number of the heartbeat, 0 for the registration. The
    /// session ends long before there are many.
    sent: VecDeque<(u64, u64)>,
    lease_ms: u64,
    answered: Instant,
    period: Duration,
}

impl Session<'_> {
    async fn run(
        mut self,
        mut inbound: Streaming<pb::ToNode>,
        endpoint: &str,
        channel: tonic::transport::Channel,
    ) -> Result<End, String> {
        let mut beat = ticker(self.period);
        let mut told_leaving = false;
        loop {
            let leaving = self.agent.leaving.clone();
            tokio::select! {
                message = inbound.message() => match message {
                    Ok(Some(pb::ToNode { message: Some(message) })) => {
                        if let pb::to_node::Message::Registered(registered) = &message {
                            self.registered(registered, endpoint, channel.clone())?;
                            beat = ticker(self.period);
                        }
                        if let Some(end) = self.received(message).await? {
                            return Ok(end);
                        }
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => return Err("the coordinator closed the session".to_owned()),
                    Err(status) => return elsewhere(&status),
                },
                _ = beat.tick() => self.heartbeat().await?,
                Some(word) = self.agent.outbox.recv() => send(&self.out, word).await?,
                () = leaving.cancelled(), if !told_leaving => {
                    told_leaving = true;
                    send(&self.out, pb::from_node::Message::Leaving(pb::Leaving {})).await?;
                }
            }
        }
    }

    fn registered(
        &mut self,
        registered: &pb::Registered,
        endpoint: &str,
        channel: tonic::transport::Channel,
    ) -> Result<(), String> {
        let cluster = registered.cluster_id.parse().map_err(|error| format!("{error}"))?;
        let known = self.agent.cluster.borrow().clone();
        if known.as_ref().is_some_and(|known| *known != cluster) {
            return Err(format!("the coordinator belongs to another cluster, {cluster}"));
        }
        self.agent.cluster.send_replace(Some(cluster));
        self.agent.leader.found(endpoint, channel);
        self.lease_ms = registered.lease_ms;
        self.answered(0);
        if registered.heartbeat_interval_ms > 0 {
            self.period = Duration::from_millis(registered.heartbeat_interval_ms);
        }
        tracing::info!(endpoint, "registered with the leader");
        Ok(())
    }

    async fn heartbeat(&mut self) -> Result<(), String> {
        if self.answered.elapsed() > SILENCE {
            return Err("the coordinator does not answer heartbeats".to_owned());
        }
        self.heartbeats += 1;
        self.sent.push_back((self.heartbeats, mono_ms()));
        let shards = self.agent.board.reports().into_iter().map(Into::into).collect();
        let beat = pb::Heartbeat { sequence: self.heartbeats, shards };
        send(&self.out, pb::from_node::Message::Heartbeat(beat)).await
    }

    /// The leader answered the heartbeat of this number: the lease counts from when that was sent.
    fn answered(&mut self, sequence: u64) {
        self.answered = Instant::now();
        while let Some((_, at_ms)) = self.sent.pop_front_if(|(number, _)| *number <= sequence) {
            self.agent.lease.renew(at_ms, self.lease_ms);
        }
    }

    async fn received(&mut self, message: pb::to_node::Message) -> Result<Option<End>, String> {
        use pb::to_node::Message;
        let command = match message {
            Message::Registered(_) => return Ok(None),
            Message::Lease(lease) => {
                self.answered(lease.sequence);
                for kept in &lease.kept {
                    self.agent.board.kept(kept);
                }
                return Ok(None);
            }
            Message::Dismissed(_) => return Ok(Some(End::Dismissed)),
            Message::Assign(assign) => Command::assign(assign),
            Message::Revoke(revoke) => Command::revoke(&revoke),
            Message::Prepare(prepare) => Command::prepare(prepare),
        };
        let command = command.map_err(|fault: Fault| fault.to_string())?;
        self.agent.commands.send(command).await.map_err(|_| "the node is stopping".to_owned())?;
        Ok(None)
    }
}

fn ticker(period: Duration) -> tokio::time::Interval {
    let mut ticker = interval(period);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}
