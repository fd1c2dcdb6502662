//! Registered connections: made, changed, dropped.

use std::sync::Arc;

use tidewire_shared::connection::HIDDEN;
use tidewire_shared::{Connection, ConnectionName, SecretRef};

use super::Verdict;
use crate::connection::{Registered, resolve};
use crate::outcome::{Outcome, Rejection, RejectionCode};
use crate::state::ClusterState;

/// Makes a connection or changes the one of that name. Tasks that use it must still make sense.
pub(super) fn apply(state: &mut ClusterState, wanted: &Connection, at_ms: i64) -> Verdict {
    let present = state.connections.get(&wanted.name);
    let connection = with_kept_secrets(wanted, present.map(|it| it.connection.as_ref()))?;
    if present.is_some_and(|present| *present.connection == connection) {
        return Ok(Outcome::Unchanged);
    }
    let name = connection.name.clone();
    let changed = Registered {
        revision: present.map_or(1, |present| present.revision.saturating_add(1)),
        created_at_ms: present.map_or(at_ms, |present| present.created_at_ms),
        updated_at_ms: at_ms,
        connection: Arc::new(connection),
    };
    let mut connections = state.connections.clone();
    connections.insert(name.clone(), changed);
    if let Some(spoiled) = state.documents().find_map(|spec| resolve(spec, &connections).err()) {
        let message = format!("{} use it: {}", users(state, &name), spoiled.message);
        return Err(Rejection::new(RejectionCode::InUse, object(&name), message));
    }
    state.connections = connections;
    Ok(Outcome::Done)
}

pub(super) fn delete(state: &mut ClusterState, name: &ConnectionName) -> Verdict {
    if !state.connections.contains_key(name) {
        return Err(Rejection::no_connection(name));
    }
    if !state.users_of(name).is_empty() {
        let message = format!("{} use it", users(state, name));
        return Err(Rejection::new(RejectionCode::InUse, object(name), message));
    }
    state.connections.remove(name);
    Ok(Outcome::Done)
}

fn object(name: &ConnectionName) -> String {
    format!("connection {name}")
}

/// `tasks a, b`, shortened where they are many.
fn users(state: &ClusterState, name: &ConnectionName) -> String {
    const SHOWN: usize = 10;
    let users = state.users_of(name);
    let shown: Vec<&str> = users.iter().take(SHOWN).map(|task| task.as_str()).collect();
    match users.len().saturating_sub(SHOWN) {
        0 => format!("tasks {}", shown.join(", ")),
        more => format!("tasks {} and {more} more", shown.join(", ")),
    }
}

/// A document that was shown has its secrets hidden; given back so, they stay as they are.
fn with_kept_secrets(
    wanted: &Connection,
    present: Option<&Connection>,
) -> Result<Connection, Rejection> {
    let mut connection = wanted.clone();
    let mut present = present.filter(|it| it.kind() == wanted.kind()).cloned();
    let kept = present.as_mut().map(Connection::secrets_mut).unwrap_or_default();
    for (place, kept) in connection.secrets_mut().into_iter().zip(kept) {
        let Some(place) = place else { continue };
        if *place != SecretRef::Value(HIDDEN.to_owned()) {
            continue;
        }
        let Some(SecretRef::Value(kept)) = kept else {
            let message =
                format_args!("a secret is `{HIDDEN}`, and there is none to keep").to_string();
            return Err(Rejection::new(RejectionCode::Invalid, object(&wanted.name), message));
        };
        *place = SecretRef::Value(std::mem::take(kept));
    }
    Ok(connection)
}
