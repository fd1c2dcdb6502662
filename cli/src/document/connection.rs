//! Connection documents: `kind: postgres_connection` and `kind: kafka_connection`.
//!
//! Their keys are those that stand inline in `source` and `target` of a task.

use std::collections::BTreeMap;

use serde::Serialize;
use tidewire_shared::connection::{Connection, Endpoint};

use super::explain::{Place as Secret, Security, TlsOptions, word};
use super::place::{Place, Walk};
use super::{DocumentError, node, source, target};

/// A connection that can be registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionDocument {
    /// The connection it describes.
    pub connection: Connection,
    /// What its author should know, as whole lines.
    pub warnings: Vec<String>,
}

#[derive(Clone, Copy)]
enum Kind {
    Postgres,
    Kafka,
}

const KINDS: [(&str, Kind); 2] =
    [("postgres_connection", Kind::Postgres), ("kafka_connection", Kind::Kafka)];

const POSTGRES_KEYS: &[&str] = &[
    "apiVersion",
    "kind",
    "name",
    "displayName",
    "hosts",
    "database",
    "user",
    "password",
    "tls",
    "flavor",
];

const KAFKA_KEYS: &[&str] =
    &["apiVersion", "kind", "name", "displayName", "brokers", "security", "properties"];

impl ConnectionDocument {
    /// Reads a YAML or JSON text.
    ///
    /// # Errors
    /// The first thing that does not fit, with its line, column and path.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let node = node::read(text)?;
        let mut warnings = Vec::new();
        let connection = connection(&Place::top(&node), &mut warnings)?;
        Ok(Self { connection, warnings })
    }
}

fn connection(top: &Place<'_>, warnings: &mut Vec<String>) -> Walk<Connection> {
    let heading = top.heading()?;
    heading.need("apiVersion")?.word(&[("tidewire/v1", ())])?;
    let kind = heading.need("kind")?;
    if matches!(kind.as_text(), Some("postgres_to_kafka" | "kafka_to_kafka")) {
        return kind.wrong("is a task, not a connection", "use `tidewire task apply`");
    }
    if matches!(kind.as_text(), Some("webhook_channel" | "mail_channel")) {
        return kind.wrong("is a channel, not a connection", "use `tidewire alert apply`");
    }
    let (keys, endpoint) = match kind.word(&KINDS)? {
        Kind::Postgres => {
            let keys = top.keys(POSTGRES_KEYS)?;
            let to = source::endpoint(&keys, warnings)?;
            (keys, Endpoint::Postgres(to))
        }
        Kind::Kafka => {
            let keys = top.keys(KAFKA_KEYS)?;
            let to = target::endpoint(&keys, warnings)?;
            (keys, Endpoint::Kafka(to))
        }
    };
    Ok(Connection {
        name: keys.need("name")?.parsed()?,
        display_name: keys.get_or("displayName", "", Place::text)?.to_owned(),
        endpoint,
    })
}

/// A document that says everything and reads back as the same connection.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedConnection<'a> {
    api_version: &'static str,
    kind: &'static str,
    name: &'a str,
    display_name: &'a str,
    #[serde(flatten)]
    endpoint: Leads<'a>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Leads<'a> {
    Postgres(Postgres<'a>),
    Kafka(Kafka<'a>),
}

#[derive(Debug, Serialize)]
struct Postgres<'a> {
    hosts: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<&'a str>,
    user: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    password: Option<Secret<'a>>,
    tls: TlsOptions<'a>,
    flavor: &'static str,
}

#[derive(Debug, Serialize)]
struct Kafka<'a> {
    brokers: &'a [String],
    security: Security<'a>,
    properties: &'a BTreeMap<String, String>,
}

impl<'a> ExplainedConnection<'a> {
    /// Everything that `connection` says.
    #[must_use]
    pub fn new(connection: &'a Connection) -> Self {
        let (kind, endpoint) = match &connection.endpoint {
            Endpoint::Postgres(to) => (
                "postgres_connection",
                Leads::Postgres(Postgres {
                    hosts: &to.hosts,
                    database: to.database.as_deref(),
                    user: &to.user,
                    password: to.password.as_ref().map(Secret),
                    tls: TlsOptions::new(&to.tls),
                    flavor: word(&source::FLAVORS, to.flavor),
                }),
            ),
            Endpoint::Kafka(to) => (
                "kafka_connection",
                Leads::Kafka(Kafka {
                    brokers: &to.brokers,
                    security: Security::new(&to.security),
                    properties: &to.properties,
                }),
            ),
        };
        Self {
            api_version: "tidewire/v1",
            kind,
            name: connection.name.as_str(),
            display_name: &connection.display_name,
            endpoint,
        }
    }
}
