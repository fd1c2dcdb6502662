//! SQL connections, by `tokio-postgres` over our own socket.
//!
//! The socket is encrypted before `tokio-postgres` sees it, so that TLS means the same for SQL and
//! for replication; to let SCRAM bind to the channel it is handed over as a "direct" TLS stream.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::time::Duration;

use tidewire_shared::Fault;
use tokio::time::timeout;
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Config, Row, Transaction};

use crate::fault::{broken, of_query};
use crate::session::{BOUNDED, PINNED};
use crate::source::{Host, Login, Session};
use crate::transport::Transport;

/// How long a statement may take; the server's own `statement_timeout` is shorter.
const PATIENCE: Duration = Duration::from_secs(35);

/// An SQL connection to a host that accepted writes when it was opened. Closed when dropped.
#[derive(Debug)]
pub struct Sql {
    client: Client,
    host: String,
    session: String,
    version_num: u32,
    in_recovery: bool,
}

impl Session for Sql {
    fn in_recovery(&self) -> bool {
        self.in_recovery
    }
}

impl Sql {
    pub(crate) async fn open(
        login: &Login,
        host: &Host,
        transport: Transport,
    ) -> Result<Self, Fault> {
        let session = login.session(host);
        let mut config = Config::new();
        config
            .user(&login.user)
            .dbname(&login.database)
            .application_name(&login.application_name)
            .options(format!("{PINNED} {BOUNDED}"));
        if let Some(password) = &login.password {
            config.password(password.expose());
        }
        match &transport {
            Transport::Plain(_) => config.ssl_mode(SslMode::Disable),
            Transport::Tls(_) => {
                config.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct)
            }
        };
        let object = host.to_string();
        let (client, connection) = config
            .connect_raw(transport, Encrypted)
            .await
            .map_err(|error| of_query(&error, &object, &session))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "SQL connection ended");
            }
        });
        let mut sql = Self { client, host: object, session, version_num: 0, in_recovery: false };
        let row = sql
            .one("SELECT current_setting('server_version_num')::int4, pg_is_in_recovery()", &[])
            .await?;
        sql.version_num = u32::try_from(row.get::<_, i32>(0)).unwrap_or_default();
        sql.in_recovery = row.get(1);
        Ok(sql)
    }

    /// The `host:port` at the other end.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// `server_version_num`, like 150018.
    #[must_use]
    pub fn version_num(&self) -> u32 {
        self.version_num
    }

    /// Whether the connection is gone; open another one then.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// The rows of a statement; faults name the host.
    pub(crate) async fn all(
        &self,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Fault> {
        self.about(&self.host, statement, parameters).await
    }

    /// The rows of a statement; faults name `object`.
    pub(crate) async fn about(
        &self,
        object: &str,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Fault> {
        match timeout(PATIENCE, self.client.query(statement, parameters)).await {
            Ok(answer) => answer.map_err(|error| of_query(&error, object, &self.session)),
            Err(_) => Err(late(&self.host)),
        }
    }

    /// The only row of a statement that always has one.
    pub(crate) async fn one(
        &self,
        statement: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Fault> {
        let mut rows = self.all(statement, parameters).await?;
        rows.pop().ok_or_else(|| broken(&self.host, "a query was answered without a row"))
    }

    /// Runs a statement that takes no parameters and whose rows do not matter.
    pub(crate) async fn run(&self, object: &str, statement: &str) -> Result<(), Fault> {
        match timeout(PATIENCE, self.client.batch_execute(statement)).await {
            Ok(answer) => answer.map_err(|error| of_query(&error, object, &self.session)),
            Err(_) => Err(late(&self.host)),
        }
    }

    /// A read-only transaction in which every query sees the same catalog; ends when dropped. Whoever
    /// uses it bounds the time by [`Sql::in_time`].
    pub(crate) async fn snapshot(&mut self) -> Result<Transaction<'_>, Fault> {
        let (host, session) = (self.host.clone(), self.session.clone());
        self.client
            .build_transaction()
            .isolation_level(tokio_postgres::IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .await
            .map_err(|error| of_query(&error, &host, &session))
    }

    /// What is asked of `host` by several statements, or the fault of a server that does not answer.
    pub(crate) async fn in_time<T>(
        host: &str,
        asked: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(late(host)))
    }

    /// How faults name this session.
    pub(crate) fn session(&self) -> &str {
        &self.session
    }
}

fn late(host: &str) -> Fault {
    broken(host, format!("a query was not answered within {PATIENCE:?}"))
}

/// Hands on a socket that is encrypted already.
struct Encrypted;

impl TlsConnect<Transport> for Encrypted {
    type Stream = Transport;
    type Error = Infallible;
    type Future = Ready<Result<Transport, Infallible>>;

    fn connect(self, stream: Transport) -> Self::Future {
        ready(Ok(stream))
    }
}

impl TlsStream for Transport {
    fn channel_binding(&self) -> ChannelBinding {
        self.end_point().map_or_else(ChannelBinding::none, ChannelBinding::tls_server_end_point)
    }
}
