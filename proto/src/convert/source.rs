//! The PostgreSQL side of a task.

use tidewire_shared::spec::{
    AtLimit, Flavor, Heartbeat, HeartbeatMode, Managed, PostgresSource, SlotFailover, Tls, TlsMode,
    WalBudget,
};
use tidewire_shared::{ByteSize, Period, SecretRef};

use super::{ConvertError, enumerated, named, optional, required, same_variants, text, texts};
use crate::task::v1 as pb;

same_variants!(TlsMode, pb::TlsMode, [Disable, Prefer, Require, VerifyCa, VerifyFull]);
same_variants!(Flavor, pb::Flavor, [Auto, Postgresql, Polardb]);
same_variants!(SlotFailover, pb::SlotFailover, [Auto, On, Off]);
same_variants!(HeartbeatMode, pb::HeartbeatMode, [Auto, Message, Table, Off]);
same_variants!(AtLimit, pb::AtLimit, [Alert, DropSlot]);

impl From<PostgresSource> for pb::PostgresSource {
    fn from(source: PostgresSource) -> Self {
        Self {
            connection: source.connection.map_or_else(String::new, Into::into),
            hosts: source.hosts,
            database: source.database,
            user: source.user,
            password: source.password.map(Into::into),
            tls: Some(source.tls.into()),
            existing_slot: name_of(source.slot),
            existing_publication: name_of(source.publication),
            heartbeat: Some(source.heartbeat.into()),
            flavor: pb::Flavor::from(source.flavor).into(),
            slot_failover: pb::SlotFailover::from(source.slot_failover).into(),
            wal_budget: Some(source.wal_budget.into()),
        }
    }
}

impl TryFrom<pb::PostgresSource> for PostgresSource {
    type Error = ConvertError;

    fn try_from(source: pb::PostgresSource) -> Result<Self, Self::Error> {
        let connection = named(&source.connection)?;
        let inline = connection.is_none();
        let names_an_account = !source.user.is_empty() || source.password.is_some();
        if !inline && (names_an_account || !source.hosts.is_empty()) {
            return Err(ConvertError::new("connection", "stands beside inline fields"));
        }
        Ok(Self {
            connection,
            hosts: if inline { texts("hosts", source.hosts)? } else { Vec::new() },
            database: if inline { text("database", source.database)? } else { source.database },
            user: if inline { text("user", source.user)? } else { source.user },
            password: optional("password", source.password)?,
            tls: required("tls", source.tls)?,
            slot: managed_unless_named(source.existing_slot),
            publication: managed_unless_named(source.existing_publication),
            heartbeat: required("heartbeat", source.heartbeat)?,
            flavor: enumerated::<pb::Flavor, _>("flavor", source.flavor)?,
            slot_failover: enumerated::<pb::SlotFailover, _>(
                "slot_failover",
                source.slot_failover,
            )?,
            wal_budget: required("wal_budget", source.wal_budget)?,
        })
    }
}

fn name_of(object: Managed) -> String {
    match object {
        Managed::Managed => String::new(),
        Managed::Existing(name) => name,
    }
}

fn managed_unless_named(name: String) -> Managed {
    if name.is_empty() { Managed::Managed } else { Managed::Existing(name) }
}

impl From<Tls> for pb::Tls {
    fn from(tls: Tls) -> Self {
        Self {
            mode: pb::TlsMode::from(tls.mode).into(),
            ca: tls.ca.map(Into::into),
            cert: tls.cert.map(Into::into),
            key: tls.key.map(Into::into),
        }
    }
}

impl TryFrom<pb::Tls> for Tls {
    type Error = ConvertError;

    fn try_from(tls: pb::Tls) -> Result<Self, Self::Error> {
        Ok(Self {
            mode: enumerated::<pb::TlsMode, _>("mode", tls.mode)?,
            ca: optional("ca", tls.ca)?,
            cert: optional("cert", tls.cert)?,
            key: optional("key", tls.key)?,
        })
    }
}

impl From<SecretRef> for pb::SecretRef {
    fn from(secret: SecretRef) -> Self {
        let place = match secret {
            SecretRef::Env(name) => pb::secret_ref::Place::Env(name),
            SecretRef::File(path) => pb::secret_ref::Place::File(path),
            SecretRef::Value(value) => pb::secret_ref::Place::Value(value),
        };
        Self { place: Some(place) }
    }
}

impl TryFrom<pb::SecretRef> for SecretRef {
    type Error = ConvertError;

    fn try_from(secret: pb::SecretRef) -> Result<Self, Self::Error> {
        match secret.place {
            Some(pb::secret_ref::Place::Env(name)) => Ok(Self::Env(text("env", name)?)),
            Some(pb::secret_ref::Place::File(path)) => Ok(Self::File(text("file", path)?)),
            Some(pb::secret_ref::Place::Value(value)) => Ok(Self::Value(value)),
            None => Err(ConvertError::new("place", "is missing")),
        }
    }
}

impl From<Heartbeat> for pb::Heartbeat {
    fn from(heartbeat: Heartbeat) -> Self {
        Self {
            mode: pb::HeartbeatMode::from(heartbeat.mode).into(),
            interval_ms: heartbeat.interval.0,
            table: heartbeat.table.map(Into::into),
        }
    }
}

impl TryFrom<pb::Heartbeat> for Heartbeat {
    type Error = ConvertError;

    fn try_from(heartbeat: pb::Heartbeat) -> Result<Self, Self::Error> {
        let mode = enumerated::<pb::HeartbeatMode, _>("mode", heartbeat.mode)?;
        if mode != HeartbeatMode::Off && heartbeat.interval_ms == 0 {
            return Err(ConvertError::new("interval_ms", "is 0 though there is a heartbeat"));
        }
        Ok(Self {
            mode,
            interval: Period(heartbeat.interval_ms),
            table: optional("table", heartbeat.table)?,
        })
    }
}

impl From<WalBudget> for pb::WalBudget {
    fn from(budget: WalBudget) -> Self {
        Self {
            warn_bytes: budget.warn.0,
            limit_bytes: budget.limit.0,
            at_limit: pb::AtLimit::from(budget.at_limit).into(),
        }
    }
}

impl TryFrom<pb::WalBudget> for WalBudget {
    type Error = ConvertError;

    fn try_from(budget: pb::WalBudget) -> Result<Self, Self::Error> {
        Ok(Self {
            warn: ByteSize(budget.warn_bytes),
            limit: ByteSize(budget.limit_bytes),
            at_limit: enumerated::<pb::AtLimit, _>("at_limit", budget.at_limit)?,
        })
    }
}
