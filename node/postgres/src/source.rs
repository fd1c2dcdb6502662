//! Where a source is and who we are there.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tidewire_secret::resolve;
use tidewire_shared::spec::{Flavor, PostgresSource, TlsMode};
use tidewire_shared::{Fault, FaultKind, Secret};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::fault::broken;
use crate::tls::TlsPolicy;
use crate::transport::Transport;
use crate::{ReplicationClient, Sql};

/// How long one host may take for connection, TLS, login and its first answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the other hosts may take once one has answered.
const OTHERS: Duration = Duration::from_secs(1);

/// One `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) port: u16,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        let (name, port) = text.rsplit_once(':')?;
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        let name = bare.or_else(|| (!name.contains(':')).then_some(name))?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        (!name.is_empty()).then(|| Self { name: name.to_owned(), port })
    }
}

/// Everything a session needs to begin.
pub(crate) struct Login {
    pub(crate) database: String,
    pub(crate) user: String,
    pub(crate) password: Option<Secret>,
    pub(crate) tls: TlsPolicy,
    pub(crate) flavor: Flavor,
    pub(crate) application_name: String,
}

impl Login {
    /// How faults name a session at `host`.
    pub(crate) fn session(&self, host: &Host) -> String {
        format!("role {} at {host}", self.user)
    }
}

/// A source with its secrets resolved: makes connections. Cheap to clone.
#[derive(Clone)]
pub struct Source {
    pub(crate) login: Arc<Login>,
    pub(crate) hosts: Arc<[Host]>,
}

/// A host of a source that accepts writes.
#[derive(Debug)]
pub struct Writable {
    /// The source, at this host alone.
    pub source: Source,
    /// A connection to it.
    pub sql: Sql,
}

impl Source {
    /// Resolves the secrets of `spec`. `application_name` is what its sessions are called.
    ///
    /// # Errors
    /// `Configuration` when a secret or certificate cannot be read or a host is no `host:port`.
    pub fn new(spec: &PostgresSource, application_name: &str) -> Result<Self, Fault> {
        let hosts = spec.hosts.iter().map(|text| {
            Host::parse(text).ok_or_else(|| {
                Fault::new(FaultKind::Configuration, format!("host {text}"), "is not host:port")
                    .remedy("write it as db1:5432 or [::1]:5432")
            })
        });
        let hosts = hosts.collect::<Result<Vec<_>, _>>()?;
        if hosts.is_empty() {
            let message = "has no hosts";
            return Err(Fault::new(FaultKind::Configuration, "the source", message)
                .remedy("name at least one host:port"));
        }
        let login = Login {
            database: spec.database.clone(),
            user: spec.user.clone(),
            password: spec.password.as_ref().map(resolve).transpose()?,
            tls: TlsPolicy::new(&spec.tls)?,
            flavor: spec.flavor,
            application_name: application_name.to_owned(),
        };
        Ok(Self { login: Arc::new(login), hosts: hosts.into() })
    }

    /// Opens an SQL connection to every host that accepts writes, in the order of the list. Once one of
    /// them has answered the others have another second: a host that is gone answers never.
    ///
    /// # Errors
    /// As [`Source::connect`], where there is none.
    pub async fn writable(&self) -> Result<Vec<Writable>, Fault> {
        let mut attempts = JoinSet::new();
        for (at, host) in self.hosts.iter().enumerate() {
            let source = Self { login: Arc::clone(&self.login), hosts: Arc::from([host.clone()]) };
            attempts.spawn(async move {
                let sql = source.connect().await;
                (at, sql.map(|sql| Writable { source, sql }))
            });
        }
        let (mut found, mut faults) = (BTreeMap::new(), Vec::new());
        let mut patience = None;
        loop {
            let next = async {
                match patience {
                    Some(end) => timeout_at(end, attempts.join_next()).await.ok().flatten(),
                    None => attempts.join_next().await,
                }
            };
            match next.await {
                Some(Ok((at, Ok(writable)))) => {
                    found.insert(at, writable);
                    patience.get_or_insert_with(|| Instant::now() + OTHERS);
                }
                Some(Ok((_, Err(fault)))) => faults.push(fault),
                // A panic of ours; its host is as good as silent.
                Some(Err(_)) => {}
                None => break,
            }
        }
        if found.is_empty() {
            return Err(weighed(faults));
        }
        Ok(found.into_values().collect())
    }

    /// Opens an SQL connection to the first host that accepts writes.
    ///
    /// # Errors
    /// `SourceUnreachable`, `SourceBusy`, `SourceDenied` or `Configuration`; where hosts disagree,
    /// the one that waiting can heal, with what the others said.
    pub async fn connect(&self) -> Result<Sql, Fault> {
        self.first_writable(|host, transport| Sql::open(&self.login, host, transport)).await
    }

    /// Opens a replication connection to the first host that accepts writes.
    ///
    /// # Errors
    /// As [`Source::connect`].
    pub async fn replicate(&self) -> Result<ReplicationClient, Fault> {
        self.first_writable(|host, transport| ReplicationClient::open(&self.login, host, transport))
            .await
    }

    async fn first_writable<'a, S, F>(
        &'a self,
        open: impl Fn(&'a Host, Transport) -> F,
    ) -> Result<S, Fault>
    where
        S: Session,
        F: Future<Output = Result<S, Fault>>,
    {
        let mut faults = Vec::new();
        for host in self.hosts.iter() {
            let attempt = async {
                let session = self.session(host, &open).await?;
                if session.in_recovery() {
                    return Err(broken(&host.to_string(), "it is a standby and accepts no writes"));
                }
                Ok(session)
            };
            let late = || broken(&host.to_string(), format!("no answer within {PATIENCE:?}"));
            match timeout(PATIENCE, attempt).await.unwrap_or_else(|_| Err(late())) {
                Ok(session) => return Ok(session),
                Err(fault) => faults.push(fault),
            }
        }
        Err(weighed(faults))
    }

    /// One session at `host`. With `prefer` a server that refuses us over TLS is asked without it, as
    /// libpq does: its pg_hba.conf may let us in only there. The first refusal is the one that is told.
    async fn session<'a, S, F>(
        &'a self,
        host: &'a Host,
        open: impl Fn(&'a Host, Transport) -> F,
    ) -> Result<S, Fault>
    where
        F: Future<Output = Result<S, Fault>>,
    {
        let transport = Transport::open(host, &self.login.tls).await?;
        let falls_back = self.login.tls.mode == TlsMode::Prefer && transport.is_encrypted();
        match open(host, transport).await {
            Err(fault) if falls_back && fault.kind == FaultKind::SourceLogin => {
                open(host, Transport::open_plain(host).await?).await.map_err(|_| fault)
            }
            answer => answer,
        }
    }
}

/// The fault that decides what is done, with what the other hosts said: one of them may be the only one
/// that still runs, and what it said the only thing that can be repaired.
fn weighed(mut faults: Vec<Fault>) -> Fault {
    let heaviest = faults.iter().enumerate().max_by_key(|(_, fault)| rank(fault));
    let Some((heaviest, _)) = heaviest else { return broken("the source", "has no hosts") };
    let mut told = faults.remove(heaviest);
    let own = told.message.clone();
    for other in faults.into_iter().filter(|other| other.message != own) {
        told.message = format!("{}; {other}", told.message);
        if !other.remedy.is_empty() {
            told.remedy = format!("{}; {}: {}", told.remedy, other.object, other.remedy);
        }
    }
    told
}

/// A fault that only waiting can heal must win over one that a person has to look at, while another
/// host may still become writable: then the task is retried instead of failed.
fn rank(fault: &Fault) -> u8 {
    match fault.kind {
        FaultKind::SourceUnreachable => 2,
        FaultKind::SourceBusy => 1,
        _ => 0,
    }
}

/// What both kinds of session tell about their server.
pub(crate) trait Session {
    fn in_recovery(&self) -> bool;
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Login { database, user, application_name, .. } = &*self.login;
        f.debug_struct("Source")
            .field("hosts", &self.hosts)
            .field("database", database)
            .field("user", user)
            .field("application_name", application_name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_said_that_runs_is_told_beside_the_one_that_is_gone() {
        let gone = |host: &str| broken(host, "Connection refused");
        let denied = Fault::new(FaultKind::SourceDenied, "db2:5432", "no right (42501)")
            .remedy("ALTER ROLE");
        let told = weighed(vec![gone("db1:5432"), denied.clone(), gone("db3:5432")]);
        assert_eq!((told.kind, &*told.object), (FaultKind::SourceUnreachable, "db3:5432"));
        assert_eq!(told.message, "Connection refused; db2:5432: no right (42501)");
        assert!(told.remedy.ends_with("; db2:5432: ALTER ROLE"), "{}", told.remedy);
        assert_eq!(weighed(vec![denied.clone()]), denied);
    }

    #[test]
    fn hosts_are_names_or_addresses_with_a_port() {
        let host = |text| Host::parse(text).map(|host| host.to_string());
        assert_eq!(host("db1:5432").as_deref(), Some("db1:5432"));
        assert_eq!(host("[::1]:5432").as_deref(), Some("[::1]:5432"));
        for bad in ["db1", ":5432", "db1:", "db1:0", "db1:70000", "::1:5432", "[]:1"] {
            assert_eq!(host(bad), None, "{bad}");
        }
    }
}
