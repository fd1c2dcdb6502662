//! Registered connections: made, changed, dropped.

use std::collections::BTreeMap;

use tidewire_shared::{Connection, ConnectionName, TaskName};

use super::Verdict;
use super::secrets::keep_hidden;
use crate::connection::{Registered, resolve};
use crate::outcome::{Outcome, Rejection, RejectionCode};
use crate::revision::fixed_key;
use crate::state::ClusterState;

/// Makes a connection or changes the one of that name. Tasks that use it must still make sense.
pub(super) fn apply(state: &mut ClusterState, wanted: &Connection, at_ms: i64) -> Verdict {
    let present = state.connections.get(&wanted.name);
    let connection = with_kept_secrets(wanted, present.map(|it| it.document.as_ref()))?;
    let Some(changed) = Registered::after(present, connection, at_ms) else {
        return Ok(Outcome::Unchanged);
    };
    let name = wanted.name.clone();
    let mut connections = state.connections.clone();
    connections.insert(name.clone(), changed);
    if let Some(spoiled) = state.documents().find_map(|spec| resolve(spec, &connections).err()) {
        let users = named_tasks(&state.users_of(&name));
        let message = format!("{users} use it: {}", spoiled.message);
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
    let ran = state.tasks.values().filter(|task| task.has_run()).map(|task| &task.spec);
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
    let users = state.users_of(name);
    if !users.is_empty() {
        let message = format!("{} use it", named_tasks(&users));
        return Err(Rejection::new(RejectionCode::InUse, object(name), message));
    }
    state.connections.remove(name);
    Ok(Outcome::Done)
}

fn object(name: &ConnectionName) -> String {
    format!("connection {name}")
}

/// `tasks a, b`, shortened where they are many.
pub(super) fn named_tasks(tasks: &[TaskName]) -> String {
    const SHOWN: usize = 10;
    let shown: Vec<&str> = tasks.iter().take(SHOWN).map(|task| task.as_str()).collect();
    match tasks.len().saturating_sub(SHOWN) {
        0 => format!("tasks {}", shown.join(", ")),
        more => format!("tasks {} and {more} more", shown.join(", ")),
    }
}

/// Secrets of the connection that stay as they are: for the same hosts only.
fn with_kept_secrets(
    wanted: &Connection,
    present: Option<&Connection>,
) -> Result<Connection, Rejection> {
    let mut connection = wanted.clone();
    let mut present = present.filter(|it| it.kind() == wanted.kind()).cloned();
    let known = present.as_ref().map(|it| it.addresses().to_vec()).unwrap_or_default();
    let elsewhere = wanted.addresses().iter().find(|it| !known.contains(it));
    let kept = present.as_mut().map(Connection::secrets_mut);
    keep_hidden(
        &object(&wanted.name),
        connection.secrets_mut(),
        kept,
        elsewhere.map(String::as_str),
    )?;
    Ok(connection)
}
