//! openraft's messages over gRPC.
//!
//! A message names the cluster and the member it is for: an address can come to belong to another
//! coordinator, which must not vote or acknowledge in the name of the old one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft::error::{
    InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, Timeout, Unreachable,
};
use openraft::network::{Backoff, RPCOption, RPCTypes, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
    VoteRequest, VoteResponse,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tidewire_proto::raft::v1::Envelope;
use tidewire_proto::raft::v1::raft_service_client::RaftServiceClient;
use tidewire_shared::ClusterId;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

use super::codec;
use super::types::{Member, MemberId, TypeConfig};
use crate::clock;

/// Largest message between coordinators: a portion of the log (1 MiB and one entry) or of a snapshot.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// A peer whose host vanished is noticed by its connection after twice this.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// Pause before an unreachable peer is tried again: short, because a restarted one is back soon.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

type RpcError<E = openraft::error::Infallible> = RPCError<MemberId, Member, RaftError<MemberId, E>>;

/// A message with the one it is for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Addressed<T> {
    pub(crate) cluster: ClusterId,
    pub(crate) to: MemberId,
    pub(crate) message: T,
}

/// The answer to a portion of a snapshot.
pub(crate) type InstallAnswer = Result<InstallSnapshotResponse<MemberId>, InstallSnapshotError>;

/// What the peers answered lately, by the clock that counts suspended time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers(Arc<Mutex<BTreeMap<MemberId, Answered>>>);

#[derive(Clone, Copy, Debug, Default)]
struct Answered {
    /// When the newest answer came.
    heard_ms: Option<u64>,
    /// When the newest message was sent in whose answer the peer followed us.
    followed_ms: Option<u64>,
}

impl Answers {
    fn note(&self, peer: MemberId, change: impl FnOnce(&mut Answered)) {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(answers.entry(peer).or_default());
    }

    fn of(&self, peer: MemberId) -> Answered {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.get(&peer).copied().unwrap_or_default()
    }

    /// How long ago the peer last answered; none: never.
    pub(crate) fn age(&self, peer: MemberId) -> Option<Duration> {
        let heard_ms = self.of(peer).heard_ms?;
        Some(Duration::from_millis(clock::mono_ms().saturating_sub(heard_ms)))
    }

    /// When the newest message was sent in whose answer the peer took us for its leader.
    pub(crate) fn followed_ms(&self, peer: MemberId) -> Option<u64> {
        self.of(peer).followed_ms
    }
}

/// A channel to a coordinator that connects when it is first used.
///
/// # Errors
/// When the address is not `host:port`.
pub(crate) fn channel(address: &str) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(Duration::from_secs(2))
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true);
    Ok(endpoint.connect_lazy())
}

/// Makes one [`Peer`] for each member openraft talks to.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) cluster: ClusterId,
    pub(crate) answers: Answers,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: MemberId, node: &Member) -> Peer {
        let (network, address) = (self.clone(), node.address.clone());
        Peer { network, target, address, client: None }
    }
}

/// The way to one other coordinator.
#[derive(Debug)]
pub(crate) struct Peer {
    network: Network,
    target: MemberId,
    address: String,
    client: Option<RaftServiceClient<Channel>>,
}

/// Which of the three calls a message goes to.
#[derive(Clone, Copy)]
enum Call {
    Append,
    Vote,
    Install,
}

impl Call {
    fn kind(self) -> RPCTypes {
        match self {
            Self::Append => RPCTypes::AppendEntries,
            Self::Vote => RPCTypes::Vote,
            Self::Install => RPCTypes::InstallSnapshot,
        }
    }

    async fn send(
        self,
        mut client: RaftServiceClient<Channel>,
        envelope: Envelope,
    ) -> Result<Response<Envelope>, Status> {
        match self {
            Self::Append => client.append_entries(envelope).await,
            Self::Vote => client.vote(envelope).await,
            Self::Install => client.install_snapshot(envelope).await,
        }
    }
}

impl Peer {
    async fn ask<T: Serialize, R: DeserializeOwned, E: std::error::Error>(
        &mut self,
        call: Call,
        message: T,
        ttl: Duration,
    ) -> Result<R, RPCError<MemberId, Member, E>> {
        let cluster = self.network.cluster.clone();
        let addressed = Addressed { cluster, to: self.target, message };
        let body = codec::encode(&addressed).map_err(|error| NetworkError::new(&error))?;
        let client = self.client().map_err(|error| Unreachable::new(&error))?;
        let answer = tokio::time::timeout(ttl, call.send(client, Envelope { body })).await;
        // A connection that failed once is not trusted again: a dead one would starve the peer.
        let body = match answer {
            Ok(Ok(answer)) => answer.into_inner().body,
            Ok(Err(status)) => {
                self.client = None;
                return Err(Unreachable::new(&status).into());
            }
            Err(_) => {
                self.client = None;
                return Err(self.timeout(call, ttl).into());
            }
        };
        self.network.answers.note(self.target, |it| it.heard_ms = Some(clock::mono_ms()));
        codec::decode(&body).map_err(|error| NetworkError::new(&error).into())
    }

    fn client(&mut self) -> Result<RaftServiceClient<Channel>, tonic::transport::Error> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let client = RaftServiceClient::new(channel(&self.address)?)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        Ok(self.client.insert(client).clone())
    }

    fn timeout(&self, call: Call, timeout: Duration) -> Timeout<MemberId> {
        Timeout { action: call.kind(), id: self.target, target: self.target, timeout }
    }
}

impl RaftNetwork<TypeConfig> for Peer {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<MemberId>, RpcError> {
        let sent_ms = clock::mono_ms();
        let answer = self.ask(Call::Append, rpc, option.soft_ttl()).await?;
        match answer {
            AppendEntriesResponse::Success
            | AppendEntriesResponse::PartialSuccess(_)
            | AppendEntriesResponse::Conflict => {
                self.network.answers.note(self.target, |it| it.followed_ms = Some(sent_ms));
            }
            AppendEntriesResponse::HigherVote(_) => {}
        }
        Ok(answer)
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<MemberId>, RpcError<InstallSnapshotError>> {
        let answer: InstallAnswer = self.ask(Call::Install, rpc, option.soft_ttl()).await?;
        answer.map_err(|error| RemoteError::new(self.target, RaftError::APIError(error)).into())
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<MemberId>,
        option: RPCOption,
    ) -> Result<VoteResponse<MemberId>, RpcError> {
        self.ask(Call::Vote, rpc, option.soft_ttl()).await
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(RETRY_PAUSE))
    }
}
