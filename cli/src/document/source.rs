//! `source:` of a `postgres_to_kafka` document.

use tidewire_shared::Period;
use tidewire_shared::spec::{Heartbeat, Managed, PostgresSource};

use super::place::{Keys, Place, Walk};
use super::secret;

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

/// PostgreSQL's port, used where a host names none.
const PORT: u16 = 5432;

pub(super) fn source(place: &Place<'_>, warnings: &mut Vec<String>) -> Walk<PostgresSource> {
    let keys = place.keys(KEYS)?;
    connection_is_inline(&keys)?;
    keys.only("flavor", &"auto", |at| {
        at.word(&[("auto", "auto"), ("postgresql", "postgresql"), ("polardb", "polardb")])
    })?;
    wal_budget(&keys)?;
    Ok(PostgresSource {
        hosts: addresses(&keys.need("hosts")?, PORT)?,
        database: database(&keys.need("database")?)?,
        user: keys.need("user")?.filled_text()?.to_owned(),
        password: keys.get("password").map(|at| secret::secret(&at, warnings)).transpose()?,
        tls: secret::tls(&keys, warnings)?,
        slot: slot(&keys)?,
        publication: keys.get_or("publication", Managed::Managed, |at| {
            managed(&at.keys(&["mode", "name"])?, |name| Ok(name.filled_text()?.to_owned()))
        })?,
        heartbeat: heartbeat(&keys)?,
    })
}

/// A registered connection is an alternative to the inline fields, never an addition.
pub(super) fn connection_is_inline(keys: &Keys<'_>) -> Walk<()> {
    let Some(connection) = keys.get("connection") else { return Ok(()) };
    connection.filled_text()?;
    let inline =
        ["hosts", "database", "user", "brokers"].into_iter().find(|key| keys.get(key).is_some());
    match inline {
        Some(key) => connection.wrong(
            format_args!("stands beside `{key}`"),
            "keep the registered connection or the inline fields, not both",
        ),
        None => connection.later("a registered connection", "write its fields inline"),
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

fn slot(keys: &Keys<'_>) -> Walk<Managed> {
    let Some(place) = keys.get("slot") else { return Ok(Managed::Managed) };
    let keys = place.keys(&["mode", "name", "failover"])?;
    keys.only("failover", &"auto", |at| {
        at.word(&[("auto", "auto"), ("on", "on"), ("off", "off")])
    })?;
    managed(&keys, |name| {
        let text = name.filled_text()?;
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if text.len() > 63 || !text.bytes().all(fits) {
            return name.wrong(
                format_args!("`{text}` is no slot name"),
                "write the slot_name of pg_replication_slots: a-z, 0-9 and _, at most 63",
            );
        }
        Ok(text.to_owned())
    })
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
    let interval = Period::from_secs(10);
    let Some(place) = keys.get("heartbeat") else {
        return Ok(Heartbeat { enabled: true, interval });
    };
    let keys = place.keys(&["mode", "interval", "table"])?;
    let mode = keys.get_or("mode", "auto", |at| {
        at.word(&[("auto", "auto"), ("message", "message"), ("table", "table"), ("off", "off")])
    })?;
    if let Some(at) = keys.get("mode")
        && mode == "table"
    {
        return at.later("the heartbeat table", "write mode: auto");
    }
    if let Some(at) = keys.get("table") {
        at.filled_text()?;
        return at.later("the heartbeat table", "leave `table` out");
    }
    let interval = keys.get_or("interval", interval, |at| {
        period(at, Period::from_secs(1), Period::from_mins(60))
    })?;
    Ok(Heartbeat { enabled: mode != "off", interval })
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

fn wal_budget(keys: &Keys<'_>) -> Walk<()> {
    let Some(place) = keys.get("walBudget") else { return Ok(()) };
    let keys = place.keys(&["warn", "limit", "atLimit"])?;
    let gib = |count: u64| tidewire_shared::ByteSize(count << 30);
    keys.only("warn", &gib(10), Place::parsed)?;
    keys.only("limit", &gib(50), Place::parsed)?;
    keys.only("atLimit", &"alert", |at| at.word(&[("alert", "alert"), ("drop_slot", "drop_slot")]))
}
