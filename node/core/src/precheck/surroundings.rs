//! What is around a task's objects on the source: transactions, standbys, retention, rights, clocks.

use tidewire_shared::spec::{HeartbeatMode, Managed, PostgresTask, SlotFailover, TableName};
use tidewire_shared::{ByteSize, Period};

use super::{Finding, SourceLook, identifier, listed, qualified};
use crate::facts::{PublicationFacts, SourcePrecheck};

/// A transaction this old may go on; a new slot waits for it. Milliseconds.
const LONG_FOR_A_NEW_SLOT_MS: u64 = 10_000;
/// A transaction this old keeps a slot from letting go of its log. Milliseconds.
const LONG_MS: u64 = 600_000;
/// Clocks that differ by more are worth a word. Milliseconds.
const SKEW_MS: u64 = 1_000;
/// Slots of this prefix are those of tasks.
pub(super) const OURS: &str = "tidewire_";

/// A new slot waits for every open transaction; a slot that is there holds log back for them.
pub(super) fn long_transactions(seen: &SourcePrecheck) -> Finding {
    let new = seen.slot.is_none();
    let most = if new { LONG_FOR_A_NEW_SLOT_MS } else { LONG_MS };
    let open = &seen.around.open_transactions;
    let long: Vec<_> = open
        .iter()
        .filter(|it| it.age_ms.is_some_and(|age| age >= most) || (new && it.prepared))
        .collect();
    if long.is_empty() {
        return match open.iter().filter(|it| it.age_ms.is_none()).count() {
            0 => Finding::pass("none"),
            hidden => {
                Finding::pass(format!("none seen; the age of {hidden} is hidden from the role"))
            }
        };
    }
    let found: Vec<_> = long
        .iter()
        .map(|it| match it.age_ms {
            Some(age) => format!("{}, {} s", it.who, age / 1_000),
            None => it.who.clone(),
        })
        .collect();
    let ends: Vec<_> = long.iter().map(|it| it.end.clone()).collect();
    let message = if new {
        "the slot of the task is made only when they are over"
    } else {
        "the slot keeps the log since they began"
    };
    Finding::warn(listed(&found, "; "), message, format!("end them: {}", listed(&ends, " ")))
}

/// Whether the task can go on after a standby was promoted.
pub(super) fn slot_failover(look: &SourceLook<'_>, seen: &SourcePrecheck) -> Finding {
    let around = &seen.around;
    let standbys: Vec<_> = around
        .physical_slots
        .iter()
        .filter(|(_, active)| *active)
        .map(|(name, _)| name.clone())
        .collect();
    let attached = format!("standbys stream from {}", listed(&standbys, ", "));
    let asked = look.spec.source.slot_failover;
    let knows_how = seen.server.version_num >= 170_000;
    if asked == SlotFailover::On && !knows_how {
        return Finding::fail(
            format!("PostgreSQL {}", seen.version),
            "slots follow a failover from PostgreSQL 17 on",
            "write source.slot.failover: off, or upgrade the server",
        );
    }
    if asked == SlotFailover::Off || !knows_how {
        if standbys.is_empty() {
            return Finding::pass("no standby");
        }
        let remedy = if knows_how {
            "write source.slot.failover: auto"
        } else {
            "plan a new task after a failover; slots follow one from PostgreSQL 17 on"
        };
        return Finding::warn(
            attached,
            "a promoted standby would not have the slot, and the task could not go on",
            remedy,
        );
    }
    follows(look, seen, &standbys, attached)
}

/// The slot follows a failover, or should.
fn follows(
    look: &SourceLook<'_>,
    seen: &SourcePrecheck,
    standbys: &[String],
    attached: String,
) -> Finding {
    let awaited = &seen.around.synchronized_standby_slots;
    let there = |name: &&String| seen.around.physical_slots.iter().any(|(slot, _)| slot == *name);
    let (known, unknown): (Vec<&String>, Vec<&String>) = awaited.iter().partition(there);
    let set = |names: &[&str]| {
        let names = names.join(", ").replace('\'', "''");
        format!("ALTER SYSTEM SET synchronized_standby_slots = '{names}'; SELECT pg_reload_conf();")
    };
    if let Some(first) = unknown.first() {
        let known: Vec<&str> = known.iter().map(|name| name.as_str()).collect();
        return Finding::fail(
            format!("synchronized_standby_slots names {first}, which does not exist"),
            "the server would wait for it and send the task nothing",
            set(&known),
        );
    }
    if let Some(slot) = seen.slot.as_ref().filter(|slot| !slot.failover)
        && (look.spec.source.slot_failover == SlotFailover::On || !standbys.is_empty())
    {
        let found = format!("slot {} does not follow a failover", slot.name);
        let message = "a promoted standby would not have it, and the task could not go on";
        let remedy = format!(
            "psql \"replication=database …\" -c 'ALTER_REPLICATION_SLOT {} (FAILOVER true)', with \
             the task paused",
            slot.name
        );
        return match look.spec.source.slot_failover {
            SlotFailover::On => Finding::fail(found, message, remedy),
            _ => Finding::warn(found, message, remedy),
        };
    }
    if !standbys.is_empty() && awaited.is_empty() {
        let standbys: Vec<&str> = standbys.iter().map(String::as_str).collect();
        return Finding::warn(
            format!("{attached}, and synchronized_standby_slots is empty"),
            "the task may be ahead of a standby that is promoted, and would stop then",
            set(&standbys),
        );
    }
    Finding::pass(if standbys.is_empty() { "no standby".to_owned() } else { attached })
}

/// Settings under which the server gives up the log that the slot needs.
pub(super) fn wal_retention(spec: &PostgresTask, seen: &SourcePrecheck) -> Finding {
    let around = &seen.around;
    let budget = spec.source.wal_budget.limit;
    let (mut found, mut remedies) = (Vec::new(), Vec::new());
    if let Some(kept) = around.wal_keep_bytes.filter(|kept| *kept < budget.0) {
        let kept = ByteSize(kept);
        found.push(format!("max_slot_wal_keep_size {kept}, source.walBudget.limit {budget}"));
        let megabytes = budget.0.div_ceil(1 << 20);
        remedies.push(format!("ALTER SYSTEM SET max_slot_wal_keep_size = '{megabytes}MB';"));
    }
    if around.idle_slot_timeout_ms > 0 {
        let timeout = Period(around.idle_slot_timeout_ms);
        found.push(format!("idle_replication_slot_timeout {timeout}"));
        remedies.push("ALTER SYSTEM SET idle_replication_slot_timeout = 0;".to_owned());
    }
    if found.is_empty() {
        let kept = around.wal_keep_bytes.map_or_else(
            || "max_slot_wal_keep_size unlimited".to_owned(),
            |kept| format!("max_slot_wal_keep_size {}", ByteSize(kept)),
        );
        return Finding::pass(kept);
    }
    remedies.push("SELECT pg_reload_conf();".to_owned());
    Finding::warn(
        found.join("; "),
        "the server drops log that a paused or slow task still needs, and the task is lost with it",
        remedies.join(" "),
    )
}

/// Whether the task can write its heartbeat.
pub(super) fn heartbeat_rights(spec: &PostgresTask, seen: &SourcePrecheck) -> Finding {
    let heartbeat = &spec.source.heartbeat;
    let role = identifier(&spec.source.user);
    match heartbeat.mode {
        HeartbeatMode::Off => Finding::warn(
            "source.heartbeat.mode off",
            "nothing shows that a quiet database is still followed",
            "write source.heartbeat.mode: auto",
        ),
        HeartbeatMode::Auto | HeartbeatMode::Message => {
            let refused = &seen.around.refused_emitters;
            if refused.is_empty() {
                return Finding::pass("messages may be written");
            }
            let grants: Vec<_> = refused
                .iter()
                .map(|function| format!("GRANT EXECUTE ON FUNCTION {function} TO {role};"))
                .collect();
            Finding::fail(
                format!("role {role} may not call {}", refused.join(", ")),
                "the task could not write its heartbeat",
                grants.join(" "),
            )
        }
        HeartbeatMode::Table => match heartbeat.beats_into() {
            Some(named) => heartbeat_table(spec, &named, &role, seen),
            None => Finding::pass("no table"),
        },
    }
}

/// What was found, why it matters and what to do.
type Objection = (String, &'static str, String);

fn heartbeat_table(
    spec: &PostgresTask,
    named: &TableName,
    role: &str,
    seen: &SourcePrecheck,
) -> Finding {
    let written = match unwritable(named, role, seen) {
        Ok(written) => written,
        Err(objection) => return refused(objection),
    };
    match unpublished(spec, named, role, seen) {
        Some(objection) => refused(objection),
        None => Finding::pass(written),
    }
}

fn refused((found, message, remedy): Objection) -> Finding {
    Finding::fail(found, message, remedy)
}

/// How its rows come to be written, or why they cannot.
fn unwritable(named: &TableName, role: &str, seen: &SourcePrecheck) -> Result<String, Objection> {
    let (table, schema) = (qualified(named), identifier(&named.schema));
    let place = seen.around.heartbeat;
    let (found, remedy) = match (place.table, place.schema) {
        (Some(true), _) if place.usage => return Ok(format!("{table} may be written")),
        (None, Some(true)) => return Ok(format!("{table} is made at the start")),
        (None, None) if seen.may_create => {
            return Ok(format!("{schema} and {table} are made at the start"));
        }
        (Some(_), _) => {
            let enter = match place.usage {
                true => String::new(),
                false => format!("GRANT USAGE ON SCHEMA {schema} TO {role}; "),
            };
            (
                format!("role {role} may not write {table}"),
                format!("{enter}GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {role};"),
            )
        }
        (None, Some(false)) => (
            format!("role {role} may not create in schema {schema}"),
            format!("GRANT USAGE, CREATE ON SCHEMA {schema} TO {role};"),
        ),
        (None, None) => (
            format!("schema {schema} does not exist, and role {role} may not make it"),
            format!("CREATE SCHEMA {schema} AUTHORIZATION {role};"),
        ),
    };
    Err((found, "the task could not write its heartbeat", remedy))
}

/// Why its rows would not come through the publication, if they would not.
fn unpublished(
    spec: &PostgresTask,
    named: &TableName,
    role: &str,
    seen: &SourcePrecheck,
) -> Option<Objection> {
    let (table, place) = (qualified(named), seen.around.heartbeat);
    let holds = |there: &PublicationFacts| {
        there.all_tables || there.tables.iter().any(|held| held.name == *named)
    };
    if seen.publication.as_ref().is_some_and(holds) {
        return None;
    }
    let (found, remedy) = match &spec.source.publication {
        Managed::Managed if place.table.is_none() || place.owned => return None,
        Managed::Managed => (
            format!("{table} is not owned by role {role}, so it cannot publish it"),
            format!("ALTER TABLE {table} OWNER TO {role};"),
        ),
        // `publication` tells that it is missing altogether.
        Managed::Existing(_) if seen.publication.is_none() => return None,
        Managed::Existing(name) => {
            let publication = identifier(name);
            let add = format!("ALTER PUBLICATION {publication} ADD TABLE {table};");
            let remedy = match place.table {
                Some(_) => add,
                None => format!("make the table as docs/operations.md shows, then {add}"),
            };
            (format!("publication {publication} does not hold {table}"), remedy)
        }
    };
    Some((found, "the heartbeat would be written and never arrive", remedy))
}

/// Every slot of a database decodes all of its log.
pub(super) fn slots_on_database(seen: &SourcePrecheck) -> Finding {
    let slots = &seen.around.other_slots;
    let tasks: Vec<_> = slots.iter().filter(|name| name.starts_with(OURS)).cloned().collect();
    if tasks.is_empty() {
        return Finding::pass(format!("{} other logical slots", slots.len()));
    }
    Finding::warn(
        listed(&tasks, ", "),
        "another task decodes the same database: each slot reads all of its log",
        "put the tables into one task, or delete the task that is not needed",
    )
}

/// Delay is the time here minus the time of the commit there.
pub(super) fn clock_skew(seen: &SourcePrecheck) -> Finding {
    let around = &seen.around;
    let ahead = around.clock_ahead_ms;
    let error = around.clock_error_ms.unsigned_abs();
    if ahead.unsigned_abs() <= SKEW_MS.saturating_add(error) {
        return Finding::pass(format!("within {} ms", SKEW_MS.saturating_add(error)));
    }
    let word = if ahead > 0 { "ahead of" } else { "behind" };
    Finding::warn(
        format!("the server's clock is {} ms {word} the node's", ahead.unsigned_abs()),
        "the delay of the task is shown wrong by as much",
        "synchronise the clocks of server and nodes, for example by chrony or ntpd",
    )
}
