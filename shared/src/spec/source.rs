//! The PostgreSQL side of a task.

use serde::{Deserialize, Serialize};

use super::TableName;
use crate::fault::{Fault, FaultKind};
use crate::id::ConnectionName;
use crate::secret::SecretRef;
use crate::unit::{ByteSize, Period};

/// The PostgreSQL side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PostgresSource {
    /// The registered connection that gives hosts, user, password, TLS and flavor, which are then empty
    /// here; absent: they stand here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionName>,
    /// `host:port`, tried in order; the first that accepts writes is used.
    pub hosts: Vec<String>,
    /// The one database; empty: the one of the connection.
    pub database: String,
    /// Role with LOGIN and REPLICATION.
    pub user: String,
    /// Its password, if it has one.
    pub password: Option<SecretRef>,
    /// Encryption of the connection.
    pub tls: Tls,
    /// What kind of server it is.
    #[serde(default)]
    pub flavor: Flavor,
    /// Slot that we manage, or one that exists.
    pub slot: Managed,
    /// Whether a managed slot follows a failover of the server (from PostgreSQL 17).
    #[serde(default)]
    pub slot_failover: SlotFailover,
    /// Publication that we manage, or one that exists.
    pub publication: Managed,
    /// How an idle database is kept from holding WAL.
    pub heartbeat: Heartbeat,
    /// How much WAL the slot may hold.
    #[serde(default)]
    pub wal_budget: WalBudget,
}

/// An object of the source that is ours to make, or exists already under a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Managed {
    /// Made, watched and dropped by us.
    #[default]
    Managed,
    /// Made by someone else; only used.
    Existing(String),
}

impl Managed {
    /// The name of the object, where a managed one is called `ours`.
    #[must_use]
    pub fn name(&self, ours: &str) -> String {
        match self {
            Self::Managed => ours.to_owned(),
            Self::Existing(name) => name.clone(),
        }
    }
}

/// What kind of server the source is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavor {
    /// What the server answers decides.
    #[default]
    Auto,
    /// PostgreSQL.
    Postgresql,
    /// PolarDB for PostgreSQL, with or without Oracle syntax.
    Polardb,
}

/// Whether a managed slot follows a failover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SlotFailover {
    /// Where the server knows how.
    #[default]
    Auto,
    /// Always; a server that does not know how fails the precheck.
    On,
    /// Never.
    Off,
}

/// Heartbeat of the source connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Heartbeat {
    /// How the source is made to write.
    pub mode: HeartbeatMode,
    /// How often.
    pub interval: Period,
    /// The table of [`HeartbeatMode::Table`]; `tidewire.dts_postgres_heartbeat` when absent.
    pub table: Option<TableName>,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { mode: HeartbeatMode::Auto, interval: Period::from_secs(10), table: None }
    }
}

impl Heartbeat {
    /// The table that beats are written to, where they are: the named one, else the reference's in a
    /// schema of ours.
    #[must_use]
    pub fn beats_into(&self) -> Option<TableName> {
        let default = || TableName {
            schema: "tidewire".to_owned(),
            table: "dts_postgres_heartbeat".to_owned(),
        };
        (self.mode == HeartbeatMode::Table).then(|| self.table.clone().unwrap_or_else(default))
    }
}

/// How an idle source is made to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeartbeatMode {
    /// As `Message`.
    Auto,
    /// `pg_logical_emit_message`.
    Message,
    /// A row of the reference's heartbeat table.
    Table,
    /// Not at all.
    Off,
}

/// How much WAL the slot may hold before someone hears of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WalBudget {
    /// A warning from here on.
    pub warn: ByteSize,
    /// [`WalBudget::at_limit`] from here on.
    pub limit: ByteSize,
    /// What happens at the limit.
    pub at_limit: AtLimit,
}

impl Default for WalBudget {
    fn default() -> Self {
        Self { warn: ByteSize(10 << 30), limit: ByteSize(50 << 30), at_limit: AtLimit::Alert }
    }
}

impl WalBudget {
    /// Where a slot stands that holds so many bytes of WAL.
    #[must_use]
    pub fn state(&self, retained_bytes: u64) -> WalState {
        match retained_bytes {
            bytes if bytes >= self.limit.0 => WalState::Limit,
            bytes if bytes >= self.warn.0 => WalState::Warn,
            _ => WalState::Ok,
        }
    }
}

/// Where a slot stands against its budget of WAL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum WalState {
    /// Below the warning.
    #[default]
    Ok,
    /// At the warning or above.
    Warn,
    /// At the limit or above.
    Limit,
}

impl WalState {
    /// The word of the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Limit => "limit",
        }
    }
}

/// What happens when a slot holds too much WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AtLimit {
    /// It is said.
    Alert,
    /// The slot is dropped and the task fails: the source is worth more than the task.
    DropSlot,
}

impl SlotFailover {
    /// Whether a slot on a server of this version is to be copied to standbys.
    ///
    /// # Errors
    /// When that is demanded of a server that does not know how.
    pub fn wanted(self, server_version_num: u32) -> Result<bool, Fault> {
        let knows = server_version_num >= 170_000;
        match self {
            Self::Off => Ok(false),
            Self::Auto => Ok(knows),
            Self::On if knows => Ok(true),
            Self::On => {
                let version = server_version_num / 10_000;
                let message = format!("is PostgreSQL {version}, which has no failover slots");
                Err(Fault::new(FaultKind::Configuration, "source server", message).remedy(
                    "set source.slot.failover to auto or off, or upgrade the server to 17 or later",
                ))
            }
        }
    }
}

/// Encryption of a connection, with PostgreSQL's `sslmode` words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// How much is demanded of the server.
    pub mode: TlsMode,
    /// Certificates to trust, PEM; the system's roots when absent.
    pub ca: Option<SecretRef>,
    /// Client certificate, PEM.
    pub cert: Option<SecretRef>,
    /// Key of the client certificate, PEM.
    pub key: Option<SecretRef>,
}

/// `sslmode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Never.
    Disable,
    /// When the server offers it, without checking who it is.
    #[default]
    Prefer,
    /// Always, without checking who it is.
    Require,
    /// Always, with a certificate from a trusted authority.
    VerifyCa,
    /// As `VerifyCa`, for the name that was asked for.
    VerifyFull,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failover_is_wanted_where_the_server_knows_it_or_it_is_demanded() {
        let wanted = |failover: SlotFailover| {
            [160_010, 170_000].map(|version| failover.wanted(version).ok())
        };
        assert_eq!(wanted(SlotFailover::Auto), [Some(false), Some(true)]);
        assert_eq!(wanted(SlotFailover::On), [None, Some(true)]);
        assert_eq!(wanted(SlotFailover::Off), [Some(false), Some(false)]);
    }

    #[test]
    fn a_budget_is_reached_at_its_figures() {
        let budget =
            WalBudget { warn: ByteSize(10), limit: ByteSize(20), at_limit: AtLimit::Alert };
        let states = [9, 10, 19, 20].map(|bytes| budget.state(bytes).as_str());
        assert_eq!(states, ["ok", "warn", "warn", "limit"]);
    }
}
