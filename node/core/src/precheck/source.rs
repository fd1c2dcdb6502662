//! The PostgreSQL side of a precheck: server, account, room for a walsender, slot.

use tidewire_shared::precheck::{CheckItem, CheckResult};
use tidewire_shared::spec::{Managed, PostgresTask, StartAt};
use tidewire_shared::{ByteSize, Fault, Lsn};

use super::surroundings::OURS;
use super::{Finding, columns, identifier, publication, surroundings, tables};
use crate::facts::{SlotFacts, SlotOwner, SourcePrecheck};
use crate::objects::ResolvedTable;
use crate::reconnect::{ExpectedSlot, stands_at};

/// What a precheck of the source is judged by.
#[derive(Clone, Copy, Debug)]
pub struct SourceLook<'a> {
    /// The task.
    pub spec: &'a PostgresTask,
    /// The tables it has, in name order.
    pub tables: &'a [ResolvedTable],
    /// Name of its slot.
    pub slot: &'a str,
    /// Name of its publication.
    pub publication: &'a str,
    /// It has claimed its shard before: slot and publication must be there.
    pub started_before: bool,
    /// The slots of the other tasks of the cluster.
    pub slot_owners: &'a [SlotOwner],
    /// What was seen, or why nothing could be.
    pub seen: Result<&'a SourcePrecheck, &'a Fault>,
}

/// The oldest major version that a task takes.
const OLDEST: u32 = 12;

/// Whether nothing but its version is worth a look: older servers lack what the rest is asked by.
#[must_use]
pub fn is_too_old(seen: &SourcePrecheck) -> bool {
    seen.server.version_num / 10_000 < OLDEST
}

/// Judges the source: one item per thing to know, in a fixed order. Without a connection there is
/// only `source_connect`, of a server that is too old `source_version` besides.
#[must_use]
pub fn judge_source(look: &SourceLook<'_>) -> Vec<CheckItem> {
    let seen = match look.seen {
        Ok(seen) => seen,
        Err(fault) => return vec![Finding::of(fault).item("source_connect")],
    };
    let (connect, version) =
        (connect(seen).item("source_connect"), version(seen).item("source_version"));
    if is_too_old(seen) {
        return vec![connect, version];
    }
    vec![
        connect,
        version,
        account(look, seen).item("source_account"),
        wal_level(seen).item("wal_level"),
        room(seen, seen.slots, "max_replication_slots").item("replication_slots"),
        room(seen, seen.wal_senders, "max_wal_senders").item("wal_senders"),
        slot(look, seen).item("slot_state"),
        publication::judge(look, seen).item("publication"),
        tables::exist(look, seen).item("tables_exist"),
        tables::keyed(look, seen).item("tables_keyed"),
        tables::logged(look, seen).item("tables_logged"),
        publication::partition_roots(look, seen).item("partition_roots"),
        columns::types(look, seen).item("column_types"),
        columns::large_objects(look, seen).item("large_objects"),
        surroundings::long_transactions(seen).item("long_transactions"),
        surroundings::slot_failover(look, seen).item("slot_failover"),
        surroundings::wal_retention(look.spec, seen).item("wal_retention"),
        surroundings::heartbeat_rights(look.spec, seen).item("heartbeat_rights"),
        surroundings::slots_on_database(seen).item("slots_on_database"),
        surroundings::clock_skew(seen).item("clock_skew"),
    ]
}

fn connect(seen: &SourcePrecheck) -> Finding {
    if seen.server.in_recovery {
        return Finding::fail(
            "a standby in recovery",
            "only a primary can be the source",
            "list the primary in source.hosts, or promote this server",
        );
    }
    Finding::pass(format!("system {}", seen.server.system_id))
}

fn version(seen: &SourcePrecheck) -> Finding {
    let found = format!("PostgreSQL {}", seen.version);
    match seen.server.version_num / 10_000 {
        OLDEST..=18 => Finding::pass(found),
        0..OLDEST => Finding::fail(
            found,
            "logical replication is supported from PostgreSQL 12",
            "upgrade the server to a supported version, 12 to 18",
        ),
        _ => Finding::warn(
            found,
            "this version is newer than those the task is tested with, 12 to 18",
            "watch the first hours of the task",
        ),
    }
}

fn account(look: &SourceLook<'_>, seen: &SourcePrecheck) -> Finding {
    let user = identifier(&look.spec.source.user);
    if !seen.may_replicate {
        return Finding::fail(
            format!("role {user} has no REPLICATION"),
            "the role may not stream changes",
            format!("ALTER ROLE {user} REPLICATION;"),
        );
    }
    if seen.publication.is_none() && !seen.may_create {
        let database = identifier(&look.spec.source.database);
        return Finding::fail(
            format!("role {user} has no CREATE on database {database}"),
            "the role may not make the publication",
            format!("GRANT CREATE ON DATABASE {database} TO {user};"),
        );
    }
    Finding::pass(format!("role {user} may replicate"))
}

fn wal_level(seen: &SourcePrecheck) -> Finding {
    let found = seen.server.wal_level.as_str();
    if found == "logical" {
        return Finding::pass(found);
    }
    Finding::fail(
        found,
        "the log lacks what logical decoding needs",
        "ALTER SYSTEM SET wal_level = logical; then restart the server",
    )
}

/// Whether one more fits under a limit of the server; a slot that is ours already holds its place.
fn room(seen: &SourcePrecheck, (limit, used): (u32, u32), setting: &str) -> Finding {
    let found = format!("{used} of {limit} used");
    let ours = match &seen.slot {
        Some(slot) if setting == "max_wal_senders" => slot.active_pid.is_some(),
        Some(_) => true,
        None => false,
    };
    if used < limit || ours {
        return Finding::pass(found);
    }
    let larger = limit.saturating_add(10);
    Finding::fail(
        found,
        format!("{setting} leaves no room for the task"),
        format!("ALTER SYSTEM SET {setting} = {larger}; then restart the server"),
    )
}

fn slot(look: &SourceLook<'_>, seen: &SourcePrecheck) -> Finding {
    let name = look.slot;
    let Some(slot) = &seen.slot else {
        match &look.spec.source.slot {
            _ if look.started_before => {}
            Managed::Managed => return Finding::pass("none yet; the task makes it"),
            Managed::Existing(_) => {
                return Finding::fail(
                    format!("slot {name} does not exist"),
                    "the task does not make a slot that the document calls existing",
                    format!(
                        "SELECT pg_create_logical_replication_slot('{}', 'pgoutput'); or write \
                         source.slot: {{mode: managed}}",
                        name.replace('\'', "''")
                    ),
                );
            }
        }
        return Finding::fail(
            format!("slot {name} does not exist"),
            "the changes since the task last ran cannot be had any more",
            without_log(look, seen),
        );
    };
    if let (Managed::Existing(_), false) = (&look.spec.source.slot, look.started_before)
        && let Some(taken) = taken(look.slot_owners, slot)
    {
        return taken;
    }
    let finding = match unusable(slot, look.spec.source.database.as_str()) {
        None if look.started_before => Finding::pass(found(slot, seen)),
        None => place(look.spec.start, slot, seen),
        Some(message) if look.started_before => {
            Finding::fail(found(slot, seen), message, without_log(look, seen))
        }
        Some(message) => Finding::fail(found(slot, seen), message, removal(slot)),
    };
    match finding.result {
        CheckResult::Pass if slot.wal_status == UNRESERVED => Finding::warn(
            found(slot, seen),
            "the server removes log that the slot needs at its next checkpoint, unless the task has read \
             it by then; the task is lost with it",
            format!(
                "ALTER SYSTEM SET max_slot_wal_keep_size = '{}MB'; SELECT pg_reload_conf(); then let the \
                 task run",
                look.spec.source.wal_budget.limit.0.div_ceil(1 << 20)
            ),
        ),
        _ => finding,
    }
}

/// The statement that frees the name. A temporary slot is dropped by its session alone, when it ends.
fn removal(slot: &SlotFacts) -> String {
    match slot.active_pid {
        Some(pid) if slot.temporary => format!("SELECT pg_terminate_backend({pid});"),
        _ => format!("SELECT pg_drop_replication_slot('{}');", slot.name.replace('\'', "''")),
    }
}

/// Why a slot that exists is not to be had: a task of the cluster holds it, or some session does. One that
/// a terminated task left is.
fn taken(owners: &[SlotOwner], slot: &SlotFacts) -> Option<Finding> {
    let another = "name another slot, or write source.slot: {mode: managed}";
    let ours = |owner: &&SlotOwner| owner.slot == slot.name && slot.name.starts_with(OURS);
    match owners.iter().find(ours) {
        Some(SlotOwner { task, deleted: false, .. }) => Some(Finding::fail(
            format!("slot {} of task {task}", slot.name),
            "this one would take the changes of that task away",
            format!("`tidewire task terminate {task}`, to go on where it stands; or {another}"),
        )),
        Some(SlotOwner { task, deleted: true, .. }) => Some(Finding::fail(
            format!("slot {} of the deleted task {task}", slot.name),
            "the cluster drops it as soon as it can",
            another,
        )),
        None => slot.active_pid.map(|pid| {
            let client = slot.active_application.as_deref().unwrap_or_default();
            Finding::fail(
                format!("slot {}, from which backend {pid} `{client}` streams", slot.name),
                "whoever streams from a slot takes its changes away from all others",
                format!("stop that client, or SELECT pg_terminate_backend({pid}); or {another}"),
            )
        }),
    }
}

/// How a task that streamed before goes on without what its slot does not hold any more.
fn without_log(look: &SourceLook<'_>, seen: &SourcePrecheck) -> String {
    let source = &look.spec.source;
    let managed = source.slot == Managed::Managed;
    let expected = ExpectedSlot { name: look.slot, database: &source.database, managed };
    stands_at(expected, seen.slot.as_ref(), None).err().map_or_else(String::new, |it| it.remedy)
}

/// Whether a task may begin where its document says.
fn place(start: StartAt, slot: &SlotFacts, seen: &SourcePrecheck) -> Finding {
    let (from, to) = (slot.confirmed_flush.unwrap_or_default(), seen.server.flush_lsn);
    match start {
        StartAt::Lsn(start) if !(from..=to).contains(&start) => Finding::fail(
            format!("start {start}; slot {} has the log from {from} to {to}", slot.name),
            "the changes from there on cannot be had, or are not there yet",
            format!("write start: now, or start: {{lsn: …}} from {from} to {to}"),
        ),
        StartAt::Lsn(_) | StartAt::Now => Finding::pass(found(slot, seen)),
    }
}

/// A slot whose log the server may remove, because it holds more than it is allowed to.
const UNRESERVED: &str = "unreserved";

/// Says the slot, and in numbers how close it is to losing its log.
fn found(slot: &SlotFacts, seen: &SourcePrecheck) -> String {
    let plugin = if slot.plugin.is_empty() { "physical" } else { slot.plugin.as_str() };
    let mut found = vec![format!("{plugin} slot {}", slot.name)];
    if !slot.wal_status.is_empty() {
        found.push(format!("wal_status {}", slot.wal_status));
    }
    if matches!(slot.wal_status.as_str(), UNRESERVED | "lost") {
        let held = |restart: Lsn| seen.server.flush_lsn.0.saturating_sub(restart.0);
        let held = slot.restart_lsn.map(|restart| ByteSize(held(restart)).rounded());
        found.extend(held.map(|held| format!("holds {held} of WAL")));
        let kept = seen.around.wal_keep_bytes.map(ByteSize);
        found.extend(kept.map(|kept| format!("max_slot_wal_keep_size {kept}")));
    }
    found.join(", ")
}

/// Why a task could not stream from this slot.
fn unusable(slot: &SlotFacts, database: &str) -> Option<String> {
    if slot.plugin != "pgoutput" {
        Some("its plugin is not pgoutput".into())
    } else if slot.database != database {
        Some(format!("it belongs to database {}, not {database}", slot.database))
    } else if slot.temporary {
        Some("it is temporary and vanishes with its session".into())
    } else if slot.two_phase {
        Some("it decodes prepared transactions before they are committed".into())
    } else if let Some(reason) = &slot.invalidation {
        Some(format!("the server invalidated it: {reason}"))
    } else if slot.wal_status == "lost" {
        Some("the server removed log that it needs".into())
    } else {
        None
    }
}
