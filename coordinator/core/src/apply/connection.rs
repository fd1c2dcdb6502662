//! Registered connections: made, changed, dropped.

use std::collections::BTreeMap;
use std::sync::Arc;

use tidewire_shared::{Connection, ConnectionName, TaskName};

use super::Verdict;
use super::modify::has_run;
use super::secrets::{put_back, refused};
use crate::connection::{Registered, resolve};
use crate::outcome::{Outcome, Rejection, RejectionCode};
use crate::revision::fixed_key;
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
    if let Some((task, key, why)) = moved_task(state, &connections) {
        let message = format!("`{key}` of task {task}, which ran, cannot change: {why}");
        let rejection = Rejection::new(RejectionCode::InUse, object(&name), message);
        return Err(rejection.advise("leave it as it is, or register another connection"));
    }
    state.connections = connections;
    Ok(Outcome::Done)
}

/// A task that ran, and of which these connections would change a key that is fixed since; removed ones
/// among them, whose leftovers would be looked for in another place.
fn moved_task(
    state: &ClusterState,
    connections: &BTreeMap<ConnectionName, Registered>,
) -> Option<(TaskName, String, &'static str)> {
    let ran = state.tasks.values().filter(|task| has_run(task)).map(|task| &task.spec);
    let left = state.leftovers.values().map(|left| &left.document.spec);
    ran.chain(left).find_map(|spec| {
        let present = state.resolve(spec).ok()?;
        let wanted = resolve(spec, connections).ok()?;
        if present == wanted {
            return None;
        }
        let (key, why) = fixed_key(&present, &wanted)?;
        Some((spec.name().clone(), key, why))
    })
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

/// A document that was shown has its secrets hidden; given back so, they stay as they are. They do not
/// follow to other servers: whoever may change a connection could have them sent to a server of theirs.
fn with_kept_secrets(
    wanted: &Connection,
    present: Option<&Connection>,
) -> Result<Connection, Rejection> {
    let mut connection = wanted.clone();
    let mut present = present.filter(|it| it.kind() == wanted.kind()).cloned();
    let known = present.as_ref().map(|it| it.addresses().to_vec()).unwrap_or_default();
    let kept = present.as_mut().map(Connection::secrets_mut).unwrap_or_default();
    for (place, kept) in connection.secrets_mut().into_iter().zip(kept) {
        let Some(place) = place.filter(|place| place.is_hidden()) else { continue };
        let object = object(&wanted.name);
        put_back(place, kept, &object)?;
        if let Some(other) = wanted.addresses().iter().find(|it| !known.contains(it)) {
            return Err(refused(&object, &format!("none is kept for {other}, which is new")));
        }
    }
    Ok(connection)
}
