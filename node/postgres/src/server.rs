//! Facts about a server from an SQL connection.

use tidewire_node_core::facts::ServerFacts;
use tidewire_shared::Fault;

use crate::Sql;
use crate::fault::unbuilt;

/// The server as an SQL connection shows it, without needing the right to replicate.
///
/// # Errors
/// When the connection breaks.
pub async fn facts(_sql: &Sql) -> Result<ServerFacts, Fault> {
    unbuilt()
}
