//! The calls about registered connections.

use std::sync::Arc;

use tidewire_coordinator_core::{ClusterState, CommandKind, Outcome, Registered};
use tidewire_proto::admin::v1 as pb;
use tidewire_proto::convert::{ConvertError, parsed, required};
use tidewire_proto::node::v1::ConnectionWork;
use tidewire_proto::node::v1::work_done::Outcome as Answer;
use tidewire_proto::node::v1::work_order::Work;
use tidewire_shared::connection::Endpoint;
use tidewire_shared::{Connection, ConnectionName, TaskName};
use tonic::Status;

use super::admin::{not_looked, propose, read, request_id};
use super::error;
use crate::leader::Leader;

pub(super) async fn apply(
    leader: Leader,
    request: pb::ApplyConnectionRequest,
) -> Result<pb::ApplyConnectionResponse, Status> {
    let request_id = request_id(request.request_id)?;
    let connection: Connection = required("connection", request.connection)?;
    let (name, object) = (connection.name.clone(), format!("connection {}", connection.name));
    let kind = CommandKind::ApplyConnection { connection: Arc::new(connection) };
    let outcome = propose(&leader, request_id, kind, &object).await?;
    let state = leader.handle().state();
    let registered = state.connection(&name).ok_or_else(|| unknown(&name))?;
    let outcome = match outcome {
        Outcome::Unchanged => "unchanged",
        _ if registered.revision() == 1 => "created",
        _ => "changed",
    };
    Ok(pb::ApplyConnectionResponse {
        connection: Some(view(&state, registered)),
        outcome: outcome.to_owned(),
    })
}

pub(super) async fn delete(
    leader: Leader,
    request: pb::ConnectionRequest,
) -> Result<pb::DeleteConnectionResponse, Status> {
    let request_id = request_id(request.request_id)?;
    let name: ConnectionName = parsed("name", &request.name)?;
    let object = format!("connection {name}");
    propose(&leader, request_id, CommandKind::DeleteConnection { name }, &object).await?;
    Ok(pb::DeleteConnectionResponse {})
}

pub(super) async fn get(
    leader: Leader,
    request: pb::GetConnectionRequest,
) -> Result<pb::ConnectionResponse, Status> {
    let name: ConnectionName = parsed("name", &request.name)?;
    let state = read(&leader).await?;
    let registered = state.connection(&name).ok_or_else(|| unknown(&name))?;
    Ok(pb::ConnectionResponse { connection: Some(view(&state, registered)) })
}

pub(super) async fn list(
    leader: Leader,
    _: pb::ListConnectionsRequest,
) -> Result<pb::ListConnectionsResponse, Status> {
    let state = read(&leader).await?;
    let connections = state.connections().map(|registered| view(&state, registered)).collect();
    Ok(pb::ListConnectionsResponse { connections })
}

pub(super) async fn test(
    leader: Leader,
    request: pb::TestConnectionRequest,
) -> Result<pb::TestConnectionResponse, Status> {
    use pb::test_connection_request::Subject;
    let subject = request.subject.ok_or_else(|| ConvertError::new("subject", "is missing"))?;
    let connection = match subject {
        Subject::Connection(connection) => required("connection", Some(connection))?,
        Subject::Name(name) => known(&leader, &name).await?,
    };
    let object = format!("connection {}", connection.name);
    match ask(&leader, connection, Work::Test).await? {
        Answer::Tested(test) => Ok(pb::TestConnectionResponse { test: Some(test) }),
        _ => Err(misunderstood(&object)),
    }
}

pub(super) async fn discover(
    leader: Leader,
    request: pb::DiscoverConnectionRequest,
) -> Result<pb::DiscoverConnectionResponse, Status> {
    let mut connection = known(&leader, &request.name).await?;
    let object = format!("connection {}", connection.name);
    match &mut connection.endpoint {
        _ if request.database.is_empty() => {}
        Endpoint::Postgres(to) => to.database = Some(request.database),
        Endpoint::Kafka(_) => {
            let message = "it leads to kafka, which has no databases";
            return Err(error::invalid(&object, message, "ask without a database"));
        }
    }
    match ask(&leader, connection, Work::Discover).await? {
        Answer::Discovered(found) => Ok(pb::DiscoverConnectionResponse { discovery: Some(found) }),
        _ => Err(misunderstood(&object)),
    }
}

async fn known(leader: &Leader, name: &str) -> Result<Connection, Status> {
    let name: ConnectionName = parsed("name", name)?;
    let state = read(leader).await?;
    let registered = state.connection(&name).ok_or_else(|| unknown(&name))?;
    Ok(registered.document().as_ref().clone())
}

async fn ask(
    leader: &Leader,
    connection: Connection,
    work: fn(ConnectionWork) -> Work,
) -> Result<Answer, Status> {
    let object = format!("connection {}", connection.name);
    let order = work(ConnectionWork { connection: Some(connection.into()) });
    leader.ask(order).await.map_err(|error| not_looked(&object, error))
}

fn misunderstood(object: &str) -> Status {
    error::unavailable(
        object,
        "the node answered something else",
        "run coordinators and nodes of the same release",
    )
}

fn unknown(name: &ConnectionName) -> Status {
    error::not_found(
        &format!("connection {name}"),
        "register it with `tidewire connection apply`, or see `tidewire connection list`",
    )
}

fn view(state: &ClusterState, registered: &Registered) -> pb::RegisteredConnection {
    let connection = registered.document().as_ref().clone().hidden();
    let tasks = state.users_of(&connection.name);
    pb::RegisteredConnection {
        connection: Some(connection.into()),
        revision: registered.revision(),
        created_at_ms: registered.created_at_ms(),
        updated_at_ms: registered.updated_at_ms(),
        tasks: tasks.iter().map(TaskName::to_string).collect(),
    }
}
