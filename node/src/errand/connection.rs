//! Errands about a registered connection: try it, or list what is behind it.

use std::time::Duration;

use tidewire_postgres::Source;
use tidewire_proto::convert::required;
use tidewire_proto::node::v1 as pb;
use tidewire_shared::connection::{
    ConnectionTest, Discovery, Endpoint, KafkaEndpoint, PostgresEndpoint, Verdict,
};
use tidewire_shared::spec::PostgresSource;
use tidewire_shared::{Connection, Fault, FaultKind, NodeName};

use crate::clock::now_ms;
use crate::shard::blocking;

/// Longest single request to brokers.
const REQUEST: Duration = Duration::from_secs(10);

/// What our sessions are called at the server.
const APPLICATION_NAME: &str = "tidewire-connection";

/// The database that every server has, for a connection that names none.
const ANY_DATABASE: &str = "postgres";

/// Tries every host of the connection by itself, then what our account may do.
pub(super) async fn test(
    node: &NodeName,
    work: pb::ConnectionWork,
) -> Result<ConnectionTest, Fault> {
    let (hosts, rights) = match parse(work)?.endpoint {
        Endpoint::Postgres(to) => {
            let source = source(&to)?;
            let hosts = tidewire_postgres::discover::try_hosts(&source).await;
            let usable = hosts.iter().any(|host| host.verdict == Verdict::Usable);
            let rights = match usable {
                true => tidewire_postgres::discover::rights(&source).await?,
                false => Vec::new(),
            };
            (hosts, rights)
        }
        Endpoint::Kafka(to) => blocking(move || try_kafka(&to)).await?,
    };
    Ok(ConnectionTest { node: node.to_string(), at_ms: now_ms(), hosts, rights })
}

fn try_kafka(
    to: &KafkaEndpoint,
) -> Result<
    (Vec<tidewire_shared::connection::HostTest>, Vec<tidewire_shared::connection::Right>),
    Fault,
> {
    let hosts = tidewire_kafka::discover::try_brokers(to);
    let usable = hosts.iter().any(|host| host.verdict == Verdict::Usable);
    let rights = if usable { tidewire_kafka::discover::rights(to)? } else { Vec::new() };
    Ok((hosts, rights))
}

/// Lists databases and tables, or topics.
pub(super) async fn discover(work: pb::ConnectionWork) -> Result<Discovery, Fault> {
    match parse(work)?.endpoint {
        Endpoint::Postgres(to) => tidewire_postgres::discover::discover(&source(&to)?).await,
        Endpoint::Kafka(to) => {
            blocking(move || tidewire_kafka::discover::discover(&to, REQUEST)).await
        }
    }
}

fn source(to: &PostgresEndpoint) -> Result<Source, Fault> {
    let mut source = PostgresSource::default();
    to.fill(&mut source);
    if source.database.is_empty() {
        ANY_DATABASE.clone_into(&mut source.database);
    }
    Source::new(&source, APPLICATION_NAME)
}

fn parse(work: pb::ConnectionWork) -> Result<Connection, Fault> {
    required("connection", work.connection)
        .map_err(|error| Fault::new(FaultKind::Internal, "work order", error))
}
