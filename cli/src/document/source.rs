//! `source:` of a `postgres_to_kafka` document.

use tidewire_shared::connection::PostgresEndpoint;
use tidewire_shared::spec::{
    AtLimit, Flavor, Heartbeat, HeartbeatMode, Managed, PostgresSource, SlotFailover, WalBudget,
};
use tidewire_shared::{ConnectionName, Period};

use super::place::{Keys, Place, Walk};
use super::secret;
use super::table_name::table;

const KEYS: &[&str] = &[
    "connection",
    "hosts",
    "database",
    "user",
    "password",
    "tls",
    "flavor",
    "slot",
    "publication",
    "heartbeat",
    "walBudget",
];

pub(super) const FLAVORS: [(&str, Flavor); 3] =
    [("auto", Flavor::Auto), ("postgresql", Flavor::Postgresql), ("polardb", Flavor::Polardb)];
pub(super) const FAILOVERS: [(&str, SlotFailover); 3] =
    [("auto", SlotFailover::Auto), ("on", SlotFailover::On), ("off", SlotFailover::Off)];
pub(super) const HEARTBEATS: [(&str, HeartbeatMode); 4] = [
    ("auto", HeartbeatMode::Auto),
    ("message", HeartbeatMode::Message),
    ("table", HeartbeatMode::Table),
    ("off", HeartbeatMode::Off),
];
pub(super) const AT_LIMITS: [(&str, AtLimit); 2] =
    [("alert", AtLimit::Alert), ("drop_slot", AtLimit::DropSlot)];

/// PostgreSQL's port, used where a host names none.
const PORT: u16 = 5432;

pub(super) fn source(place: &Place<'_>, warnings: &mut Vec<String>) -> Walk<PostgresSource> {
    let keys = place.keys(KEYS)?;
    let connection = connection(&keys, &["hosts", "user", "password", "tls", "flavor"])?;
    let (slot, slot_failover) = slot(&keys)?;
    let mut source = PostgresSource {
        slot,
        slot_failover,
        publication: keys.get_or("publication", Managed::Managed, |at| {
            managed(&at.keys(&["mode", "name"])?, |name| Ok(name.filled_text()?.to_owned()))
        })?,
        heartbeat: heartbeat(&keys)?,
        wal_budget: wal_budget(&keys)?,
        ..PostgresSource::default()
    };
    if connection.is_some() {
        source.database = keys.get_or("database", String::new(), database)?;
        source.connection = connection;
    } else {
        keys.need("database")?;
        endpoint(&keys, warnings)?.fill(&mut source);
    }
    Ok(source)
}

/// Where a PostgreSQL server is and who we are there: inline, or in a connection of its own.
pub(super) fn endpoint(keys: &Keys<'_>, warnings: &mut Vec<String>) -> Walk<PostgresEndpoint> {
    let flavor = keys.get_or("flavor", Flavor::Auto, |at| at.word(&FLAVORS))?;
    Ok(PostgresEndpoint {
        hosts: addresses(&keys.need("hosts")?, PORT)?,
        database: keys.get("database").map(|at| database(&at)).transpose()?,
        user: keys.need("user")?.filled_text()?.to_owned(),
        password: keys.get("password").map(|at| secret::secret(&at, warnings)).transpose()?,
        tls: secret::tls(keys, warnings)?,
        flavor,
    })
}

/// The name of a registered connection, which is an alternative to the `inline` keys that it gives.
pub(super) fn connection(keys: &Keys<'_>, inline: &[&'static str]) -> Walk<Option<ConnectionName>> {
    let Some(connection) = keys.get("connection") else { return Ok(None) };
    let name = connection.parsed()?;
    match inline.iter().find(|key| keys.get(key).is_some()) {
        Some(key) => connection.wrong(
            format_args!("stands beside `{key}`"),
            "keep the registered connection or the inline fields, not both",
        ),
        None => Ok(Some(name)),
    }
}

/// `host:port` texts; a missing port is filled in.
pub(super) fn addresses(place: &Place<'_>, default_port: u16) -> Walk<Vec<String>> {
    place.filled_list()?.iter().map(|at| address(at, default_port)).collect()
}

fn address(place: &Place<'_>, default_port: u16) -> Walk<String> {
    let text = place.filled_text()?;
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inside, after)) => (format!("[{inside}]"), after.strip_prefix(':')),
        None => match text.split_once(':') {
            Some((host, port)) => (host.to_owned(), Some(port)),
            None => (text.to_owned(), None),
        },
    };
    let spoiled = |c: char| c.is_whitespace() || matches!(c, '/' | '@' | ',' | '?' | '=');
    if host.is_empty() || host.contains(spoiled) {
        return place.wrong(format_args!("`{text}` is no address"), "write HOST:PORT");
    }
    let port = port.map_or(Ok(default_port), str::parse::<u16>);
    match port {
        Ok(port) if port > 0 => Ok(format!("{host}:{port}")),
        _ => place.wrong(
            format_args!("`{text}` has no port from 1 to 65535"),
            format!("write HOST:PORT, such as {host}:{default_port}"),
        ),
    }
}

fn database(place: &Place<'_>) -> Walk<String> {
    if place.is_list() {
        return place.wrong(
            "is a list, but a task reads exactly one database",
            "write one task for each database",
        );
    }
    Ok(place.filled_text()?.to_owned())
}

fn slot(keys: &Keys<'_>) -> Walk<(Managed, SlotFailover)> {
    let Some(place) = keys.get("slot") else { return Ok((Managed::Managed, SlotFailover::Auto)) };
    let keys = place.keys(&["mode", "name", "failover"])?;
    let failover = keys.get_or("failover", SlotFailover::Auto, |at| at.word(&FAILOVERS))?;
    let slot = managed(&keys, |name| {
        let text = name.filled_text()?;
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if text.len() > 63 || !text.bytes().all(fits) {
            return name.wrong(
                format_args!("`{text}` is no slot name"),
                "write the slot_name of pg_replication_slots: a-z, 0-9 and _, at most 63",
            );
        }
        Ok(text.to_owned())
    })?;
    Ok((slot, failover))
}

fn managed(keys: &Keys<'_>, name: impl FnOnce(&Place<'_>) -> Walk<String>) -> Walk<Managed> {
    let existing = keys.get_or("mode", keys.get("name").is_some(), |at| {
        at.word(&[("managed", false), ("existing", true)])
    })?;
    match (existing, keys.get("name")) {
        (false, None) => Ok(Managed::Managed),
        (false, Some(at)) => {
            at.wrong("names an object though its mode is managed", "write mode: existing")
        }
        (true, None) => keys.place().wrong("mode existing has no name", "add `name`"),
        (true, Some(at)) => Ok(Managed::Existing(name(&at)?)),
    }
}

fn heartbeat(keys: &Keys<'_>) -> Walk<Heartbeat> {
    let default = Heartbeat::default();
    let Some(place) = keys.get("heartbeat") else { return Ok(default) };
    let keys = place.keys(&["mode", "interval", "table"])?;
    let mode = keys.get_or("mode", default.mode, |at| at.word(&HEARTBEATS))?;
    let named = keys.get("table").map(|at| table(&at)).transpose()?;
    if let Some(at) = keys.get("table")
        && mode != HeartbeatMode::Table
    {
        return at.wrong("has no use with this mode", "write mode: table, or leave it out");
    }
    let interval = keys.get_or("interval", default.interval, |at| {
        period(at, Period::from_secs(1), Period::from_mins(60))
    })?;
    Ok(Heartbeat { mode, interval, table: named })
}

/// A duration within bounds.
pub(super) fn period(place: &Place<'_>, least: Period, most: Period) -> Walk<Period> {
    let period: Period = place.parsed()?;
    if (least..=most).contains(&period) {
        return Ok(period);
    }
    let minutes = |period: Period| match period.0 {
        ms if ms % 60_000 == 0 => format!("{}m", ms / 60_000),
        _ => period.to_string(),
    };
    place.wrong(
        format_args!("is {period}, out of bounds"),
        format!("write a duration from {} to {}", minutes(least), minutes(most)),
    )
}

fn wal_budget(keys: &Keys<'_>) -> Walk<WalBudget> {
    let default = WalBudget::default();
    let Some(place) = keys.get("walBudget") else { return Ok(default) };
    let keys = place.keys(&["warn", "limit", "atLimit"])?;
    let budget = WalBudget {
        warn: keys.get_or("warn", default.warn, Place::parsed)?,
        limit: keys.get_or("limit", default.limit, Place::parsed)?,
        at_limit: keys.get_or("atLimit", default.at_limit, |at| at.word(&AT_LIMITS))?,
    };
    if budget.warn > budget.limit {
        return place.wrong(
            format_args!("warns at {}, above its limit of {}", budget.warn, budget.limit),
            "write a limit that is not below the warning",
        );
    }
    Ok(budget)
}
