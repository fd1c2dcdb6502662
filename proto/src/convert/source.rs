//! The PostgreSQL side of a task.

use tidewire_shared::spec::{Heartbeat, Managed, PostgresSource, Tls, TlsMode};
use tidewire_shared::{Period, SecretRef};

use super::{ConvertError, enumerated, optional, required, same_variants, text, texts};
use crate::task::v1 as pb;

same_variants!(TlsMode, pb::TlsMode, [Disable, Prefer, Require, VerifyCa, VerifyFull]);

impl From<PostgresSource> for pb::PostgresSource {
    fn from(source: PostgresSource) -> Self {
        Self {
            hosts: source.hosts,
            database: source.database,
            user: source.user,
            password: source.password.map(Into::into),
            tls: Some(source.tls.into()),
            existing_slot: name_of(source.slot),
            existing_publication: name_of(source.publication),
            heartbeat: Some(source.heartbeat.into()),
        }
    }
}

impl TryFrom<pb::PostgresSource> for PostgresSource {
    type Error = ConvertError;

    fn try_from(source: pb::PostgresSource) -> Result<Self, Self::Error> {
        Ok(Self {
            hosts: texts("hosts", source.hosts)?,
            database: text("database", source.database)?,
            user: text("user", source.user)?,
            password: optional("password", source.password)?,
            tls: required("tls", source.tls)?,
            slot: managed_unless_named(source.existing_slot),
            publication: managed_unless_named(source.existing_publication),
            heartbeat: required("heartbeat", source.heartbeat)?,
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
        Self { enabled: heartbeat.enabled, interval_ms: heartbeat.interval.0 }
    }
}

impl TryFrom<pb::Heartbeat> for Heartbeat {
    type Error = ConvertError;

    fn try_from(heartbeat: pb::Heartbeat) -> Result<Self, Self::Error> {
        if heartbeat.enabled && heartbeat.interval_ms == 0 {
            return Err(ConvertError::new("interval_ms", "is 0 though the heartbeat is enabled"));
        }
        Ok(Self { enabled: heartbeat.enabled, interval: Period(heartbeat.interval_ms) })
    }
}
