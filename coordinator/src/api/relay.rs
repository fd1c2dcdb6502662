//! Any coordinator answers an admin call: one that does not lead passes it to the leader, once.

use std::error::Error;

use tidewire_proto::admin::v1::admin_service_client::AdminServiceClient;
use tidewire_proto::convert::{CALLER_METADATA, detail_of};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, ConnectError, Request, Status};

use super::{Door, error};
use crate::leader::Leader;
use crate::raft::network::channel;

/// Marks a call that was passed on, so that it is not passed on again.
const MARK: &str = "tidewire-relayed";

/// Characters of a caller's name that are kept.
const CALLER_MAX: usize = 128;

/// Who serves a call.
pub(super) enum Route {
    /// This coordinator, which leads.
    Here(Box<Leader>),
    /// The leader, at this address.
    There(Box<AdminServiceClient<Channel>>, String),
}

/// Finds who serves a call.
///
/// # Errors
/// When no leader is known, or the call was passed on before.
pub(super) async fn route<T>(door: &Door, request: &Request<T>) -> Result<Route, Status> {
    let leader = door.leader()?;
    if leader.leads() {
        return Ok(Route::Here(Box::new(leader.on_behalf_of(&caller(request)))));
    }
    let known = leader.handle().leader();
    match known.filter(|member| member.name != leader.handle().identity().name) {
        Some(member) if request.metadata().get(MARK).is_none() => {
            let channel = channel(&member.address)
                .map_err(|_| error::unavailable("leader", "its address is no address", ""))?;
            let client = AdminServiceClient::new(channel);
            Ok(Route::There(Box::new(client), member.address))
        }
        Some(_) | None => Err(error::no_leader(leader.handle()).await),
    }
}

/// Who asks, as they say themselves: nobody checks it while there are no tokens.
fn caller<T>(request: &Request<T>) -> String {
    let said = request.metadata().get(CALLER_METADATA).and_then(|name| name.to_str().ok());
    said.unwrap_or_default().chars().take(CALLER_MAX).collect()
}

/// Marks a call as passed on.
pub(super) fn marked<T>(mut request: Request<T>) -> Request<T> {
    request.metadata_mut().insert(MARK, MetadataValue::from_static("1"));
    request
}

/// What to tell when the leader did not answer a call that was passed on.
///
/// A leader that could not be reached did nothing; one that went away in the middle may have.
pub(super) async fn not_relayed(
    door: &Door,
    address: &str,
    writes: bool,
    status: Status,
) -> Status {
    if detail_of(&status).is_some() || !is_transport(status.code()) {
        return status;
    }
    let Ok(leader) = door.leader() else { return status };
    if writes && !never_connected(&status) {
        return error::unknown_outcome("cluster");
    }
    let (answering, members) = leader.handle().answering().await;
    error::unavailable(
        &format!("leader {address}"),
        &format!("it does not answer; {answering} of {members} coordinators do"),
        "wait for an election, or start the coordinators that are down: more than half must answer",
    )
}

fn is_transport(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled)
}

fn never_connected(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}
