//! NodeService: the life lines and work streams of nodes, and the question who owns a shard.

use std::pin::Pin;
use std::time::Duration;

use tidewire_coordinator_core::{Command, CommandKind, NodeRegistration, Outcome, RejectionCode};
use tidewire_proto::convert::{ConvertError, parsed};
use tidewire_proto::node::v1::from_node::Message;
use tidewire_proto::node::v1::node_service_server::NodeService;
use tidewire_proto::node::v1::{
    ConfirmOwnershipRequest, ConfirmOwnershipResponse, FromNode, Register, ToNode, WorkDone,
    WorkOrder,
};
use tidewire_shared::{Epoch, NodeName, ShardId};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{Door, error};
use crate::clock;
use crate::leader::{Leader, OpenError, SessionKey};
use crate::raft::{ProposeError, ReadError};

/// How long a stream may stay without its first message.
const FIRST_MESSAGE: Duration = Duration::from_secs(5);

type ToClient<T> = Pin<Box<dyn futures::Stream<Item = Result<T, Status>> + Send>>;

/// Serves the nodes.
#[derive(Debug)]
pub(crate) struct Service {
    door: Door,
}

impl Service {
    pub(crate) fn new(door: Door) -> Self {
        Self { door }
    }
}

#[tonic::async_trait]
impl NodeService for Service {
    type SessionStream = ToClient<ToNode>;
    type WorkStream = ToClient<WorkOrder>;

    async fn session(
        &self,
        request: Request<Streaming<FromNode>>,
    ) -> Result<Response<ToClient<ToNode>>, Status> {
        let leader = leading(self.door.leader()?)?;
        let mut messages = request.into_inner();
        let register = match first(&mut messages).await?.message {
            Some(Message::Register(register)) => registration(register)?,
            Some(_) | None => return Err(ConvertError::new("register", "must come first").into()),
        };
        let opened = leader.open_session(register).await;
        let (key, inbox) = opened.map_err(|error| not_opened(&leader, error))?;
        tokio::spawn(async move {
            if let Err(status) = listen(&leader, &key, messages).await {
                tracing::warn!(node = %key.node(), %status, "session ends");
            }
            leader.close_session(&key);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(inbox))))
    }

    async fn work(
        &self,
        request: Request<Streaming<WorkDone>>,
    ) -> Result<Response<ToClient<WorkOrder>>, Status> {
        let leader = leading(self.door.leader()?)?;
        let mut messages = request.into_inner();
        let hello = first(&mut messages).await?;
        let node: NodeName = parsed("node", &hello.node)?;
        let (key, inbox) = leader.open_work(&node, hello.instance).ok_or_else(|| {
            let object = format!("node {node}");
            error::refused(&object, "it has no session here", "open the session first")
        })?;
        tokio::spawn(async move {
            loop {
                let done = match messages.message().await {
                    Ok(Some(done)) => leader.work_done(done).await.map_err(Status::from),
                    Ok(None) => break,
                    Err(status) => Err(status),
                };
                if let Err(status) = done {
                    tracing::warn!(node = %key.node(), %status, "work stream ends");
                    break;
                }
            }
            leader.close_work(&key);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(inbox))))
    }

    async fn confirm_ownership(
        &self,
        request: Request<ConfirmOwnershipRequest>,
    ) -> Result<Response<ConfirmOwnershipResponse>, Status> {
        let leader = self.door.leader()?;
        let question = Question::try_from(request.into_inner())?;
        Ok(Response::new(question.answer(&leader).await?))
    }
}

/// Sessions are served by the leader only.
fn leading(leader: Leader) -> Result<Leader, Status> {
    if leader.leads() {
        return Ok(leader);
    }
    let known = leader.handle().leader().map(|member| member.address);
    Err(error::elsewhere(known.as_deref()))
}

async fn first<T>(messages: &mut Streaming<T>) -> Result<T, Status> {
    match tokio::time::timeout(FIRST_MESSAGE, messages.message()).await {
        Ok(Ok(Some(message))) => Ok(message),
        Ok(Ok(None)) => Err(Status::cancelled("the stream ended before its first message")),
        Ok(Err(status)) => Err(status),
        Err(_) => Err(Status::deadline_exceeded("no first message came")),
    }
}

fn registration(register: Register) -> Result<NodeRegistration, ConvertError> {
    Ok(NodeRegistration {
        name: parsed("register.name", &register.name)?,
        instance: register.instance,
        capacity: register.capacity,
        version: register.version,
        host: register.host,
        pid: register.pid,
    })
}

fn not_opened(leader: &Leader, error: OpenError) -> Status {
    match error {
        OpenError::NotLeader => {
            let known = leader.handle().leader().map(|member| member.address);
            error::elsewhere(known.as_deref())
        }
        OpenError::Refused(rejection) if rejection.code == RejectionCode::AlreadyExists => {
            error::already_exists(
                &rejection.object,
                &rejection.message,
                "stop the other process, or start this one with another --name",
            )
        }
        OpenError::Refused(rejection) => error::rejected(&rejection),
        OpenError::Undecided => {
            error::unavailable("cluster", "the coordinators could not decide", "register again")
        }
    }
}

async fn listen(
    leader: &Leader,
    key: &SessionKey,
    mut messages: Streaming<FromNode>,
) -> Result<(), Status> {
    while let Some(message) = messages.message().await? {
        match message.message {
            Some(Message::Heartbeat(heartbeat)) => {
                if !leader.heartbeat(key, heartbeat)? {
                    return Ok(());
                }
            }
            Some(Message::Released(released)) => leader.released(key, &released)?,
            Some(Message::Leaving(_)) => leader.leaving(key).await,
            Some(Message::Register(_)) => {
                return Err(ConvertError::new("register", "comes only once").into());
            }
            None => return Err(ConvertError::new("message", "is missing").into()),
        }
    }
    Ok(())
}

/// Does this process still own this shard under this epoch?
struct Question {
    node: NodeName,
    instance: u64,
    shard: ShardId,
    epoch: Epoch,
    seen: Epoch,
}

impl TryFrom<ConfirmOwnershipRequest> for Question {
    type Error = ConvertError;

    fn try_from(request: ConfirmOwnershipRequest) -> Result<Self, ConvertError> {
        Ok(Self {
            node: parsed("node", &request.node)?,
            instance: request.instance,
            shard: ShardId { task: parsed("task_id", &request.task_id)?, index: request.shard },
            epoch: Epoch(request.epoch),
            seen: Epoch(request.seen_epoch),
        })
    }
}

impl Question {
    async fn answer(&self, leader: &Leader) -> Result<ConfirmOwnershipResponse, Status> {
        let read = leader.handle().read_linearizable().await;
        let state = read.map_err(|error| match error {
            ReadError::NotLeader(known) => error::elsewhere(known.as_deref()),
            ReadError::NoQuorum => {
                error::unavailable("cluster", "no quorum of coordinators answers", "ask again")
            }
        })?;
        let object = format!("shard {}", self.shard);
        let shard = state.shard(&self.shard).ok_or_else(|| {
            error::not_found(&object, "stop it: its task is gone, or has other shards now")
        })?;
        if self.seen > shard.epoch() {
            let current = self.raise(leader, &object).await?;
            return Ok(ConfirmOwnershipResponse { current: false, current_epoch: current.0 });
        }
        Ok(ConfirmOwnershipResponse {
            current: state.owns(&self.node, self.instance, &self.shard, self.epoch),
            current_epoch: shard.epoch().0,
        })
    }

    /// A claim in the target shows an epoch that the log never gave out, as after a restored backup.
    async fn raise(&self, leader: &Leader, object: &str) -> Result<Epoch, Status> {
        let kind = CommandKind::RaiseEpoch { shard: self.shard.clone(), above: self.seen };
        match leader.handle().propose(Command::internal(clock::wall_ms(), kind)).await {
            Ok(Outcome::Epoch(epoch)) => Ok(epoch),
            Ok(_) => Err(Status::internal("raising an epoch gave no epoch")),
            Err(ProposeError::Rejected(rejection)) => Err(error::rejected(&rejection)),
            Err(ProposeError::NotLeader(known)) => Err(error::elsewhere(known.as_deref())),
            Err(ProposeError::Unknown) => Err(error::unknown_outcome(object)),
        }
    }
}
