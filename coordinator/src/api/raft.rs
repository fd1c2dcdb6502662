//! RaftService: coordinators among themselves.

use serde::Serialize;
use serde::de::DeserializeOwned;
use tidewire_proto::raft::v1::raft_service_server::RaftService;
use tidewire_proto::raft::v1::{Envelope, JoinRequest, JoinResponse, Member as WireMember};
use tidewire_shared::NodeName;
use tonic::{Request, Response, Status};

use super::error;
use super::{Door, Place};
use crate::raft::codec;
use crate::raft::{Addressed, Handle, JoinError, Member};

/// Serves the other coordinators.
#[derive(Debug)]
pub(crate) struct Service {
    door: Door,
}

impl Service {
    pub(crate) fn new(door: Door) -> Self {
        Self { door }
    }

    /// Opens an envelope that is meant for this member of this cluster.
    fn open<T: DeserializeOwned>(&self, request: Request<Envelope>) -> Result<(Handle, T), Status> {
        let handle = self.door.leader()?.handle().clone();
        let addressed: Addressed<T> = codec::decode(&request.into_inner().body)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let me = handle.identity();
        if addressed.cluster != me.cluster || addressed.to != me.id {
            return Err(Status::failed_precondition(format!(
                "this is coordinator {} of cluster {}, not {} of {}",
                me.id, me.cluster, addressed.to, addressed.cluster
            )));
        }
        Ok((handle, addressed.message))
    }
}

fn answer<T: Serialize>(value: &T) -> Result<Response<Envelope>, Status> {
    let body = codec::encode(value).map_err(|error| Status::internal(error.to_string()))?;
    Ok(Response::new(Envelope { body }))
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

#[tonic::async_trait]
impl RaftService for Service {
    async fn append_entries(
        &self,
        request: Request<Envelope>,
    ) -> Result<Response<Envelope>, Status> {
        let (handle, message) = self.open(request)?;
        answer(&handle.append_entries(message).await.map_err(stopped)?)
    }

    async fn vote(&self, request: Request<Envelope>) -> Result<Response<Envelope>, Status> {
        let (handle, message) = self.open(request)?;
        answer(&handle.vote(message).await.map_err(stopped)?)
    }

    async fn install_snapshot(
        &self,
        request: Request<Envelope>,
    ) -> Result<Response<Envelope>, Status> {
        let (handle, message) = self.open(request)?;
        answer(&handle.install_snapshot(message).await.map_err(stopped)?)
    }

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let leader = match self.door.place() {
            Place::Member(leader) => leader,
            Place::Homeless => {
                return Err(error::not_found("cluster", "bootstrap one coordinator first"));
            }
            Place::Opening => return Err(error::unavailable("cluster", "starting", "ask again")),
        };
        let handle = leader.handle();
        let JoinRequest { address, name } = request.into_inner();
        name.parse::<NodeName>()
            .map_err(|error| error::invalid("name", &error.to_string(), "choose a name like c2"))?;
        let joined = handle.admit(Member { name: name.clone(), address }).await;
        let id = joined.map_err(|error| match error {
            JoinError::NotLeader(Some(leader)) => error::elsewhere(Some(&leader)),
            JoinError::NotLeader(None) => error::unavailable("cluster", "no leader", "ask again"),
            JoinError::NameTaken { .. } => error::already_exists(
                &format!("coordinator {name}"),
                &error.to_string(),
                "choose another name, or stop the other coordinator first",
            ),
            JoinError::Undecided(why) => error::unavailable("cluster", &why, "ask again"),
        })?;
        let members = handle.status().members.into_iter().map(|member| WireMember {
            id: member.id,
            address: member.address,
            name: member.name,
        });
        let cluster_id = handle.identity().cluster.to_string();
        Ok(Response::new(JoinResponse { id, cluster_id, members: members.collect() }))
    }
}
