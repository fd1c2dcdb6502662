//! Registered connections, and what a node finds behind one.

use tidewire_shared::Connection;
use tidewire_shared::connection::{
    ConnectionTest, DatabaseRow, Discovery, Endpoint, HostTest, KafkaEndpoint, PostgresEndpoint,
    Right, TableRow, TopicRow, Verdict,
};
use tidewire_shared::spec::Flavor;

use super::{
    ConvertError, each, enumerated, optional, parsed, required, same_variants, text, texts,
};
use crate::connection::v1 as pb;
use crate::task::v1::Flavor as WireFlavor;

same_variants!(Verdict, pb::Verdict, [Usable, Standby, Failed]);

impl From<Connection> for pb::Connection {
    fn from(connection: Connection) -> Self {
        Self {
            name: connection.name.into(),
            display_name: connection.display_name,
            endpoint: Some(match connection.endpoint {
                Endpoint::Postgres(to) => pb::connection::Endpoint::Postgres(to.into()),
                Endpoint::Kafka(to) => pb::connection::Endpoint::Kafka(to.into()),
            }),
        }
    }
}

impl TryFrom<pb::Connection> for Connection {
    type Error = ConvertError;

    fn try_from(connection: pb::Connection) -> Result<Self, Self::Error> {
        let endpoint = match connection.endpoint {
            Some(pb::connection::Endpoint::Postgres(to)) => {
                Endpoint::Postgres(required("postgres", Some(to))?)
            }
            Some(pb::connection::Endpoint::Kafka(to)) => {
                Endpoint::Kafka(required("kafka", Some(to))?)
            }
            None => return Err(ConvertError::new("endpoint", "is missing")),
        };
        Ok(Self {
            name: parsed("name", &connection.name)?,
            display_name: connection.display_name,
            endpoint,
        })
    }
}

impl From<PostgresEndpoint> for pb::PostgresEndpoint {
    fn from(to: PostgresEndpoint) -> Self {
        Self {
            hosts: to.hosts,
            database: to.database.unwrap_or_default(),
            user: to.user,
            password: to.password.map(Into::into),
            tls: Some(to.tls.into()),
            flavor: WireFlavor::from(to.flavor).into(),
        }
    }
}

impl TryFrom<pb::PostgresEndpoint> for PostgresEndpoint {
    type Error = ConvertError;

    fn try_from(to: pb::PostgresEndpoint) -> Result<Self, Self::Error> {
        Ok(Self {
            hosts: texts("hosts", to.hosts)?,
            database: (!to.database.is_empty()).then_some(to.database),
            user: text("user", to.user)?,
            password: optional("password", to.password)?,
            tls: required("tls", to.tls)?,
            flavor: enumerated::<WireFlavor, Flavor>("flavor", to.flavor)?,
        })
    }
}

impl From<KafkaEndpoint> for pb::KafkaEndpoint {
    fn from(to: KafkaEndpoint) -> Self {
        Self {
            brokers: to.brokers,
            security: Some(to.security.into()),
            properties: to.properties.into_iter().collect(),
        }
    }
}

impl TryFrom<pb::KafkaEndpoint> for KafkaEndpoint {
    type Error = ConvertError;

    fn try_from(to: pb::KafkaEndpoint) -> Result<Self, Self::Error> {
        Ok(Self {
            brokers: texts("brokers", to.brokers)?,
            security: required("security", to.security)?,
            properties: to.properties.into_iter().collect(),
        })
    }
}

impl From<ConnectionTest> for pb::ConnectionTest {
    fn from(test: ConnectionTest) -> Self {
        Self {
            node: test.node,
            at_ms: test.at_ms,
            hosts: test.hosts.into_iter().map(Into::into).collect(),
            rights: test
                .rights
                .into_iter()
                .map(|right| pb::Right {
                    name: right.name,
                    granted: right.granted,
                    remark: right.remark,
                })
                .collect(),
        }
    }
}

impl TryFrom<pb::ConnectionTest> for ConnectionTest {
    type Error = ConvertError;

    fn try_from(test: pb::ConnectionTest) -> Result<Self, Self::Error> {
        Ok(Self {
            node: test.node,
            at_ms: test.at_ms,
            hosts: each("hosts", test.hosts)?,
            rights: test
                .rights
                .into_iter()
                .map(|right| Right {
                    name: right.name,
                    granted: right.granted,
                    remark: right.remark,
                })
                .collect(),
        })
    }
}

impl From<HostTest> for pb::HostTest {
    fn from(host: HostTest) -> Self {
        Self {
            address: host.address,
            verdict: pb::Verdict::from(host.verdict).into(),
            version: host.version,
            encrypted: host.encrypted,
            took_ms: host.took_ms,
            fault: host.fault.map(Into::into),
        }
    }
}

impl TryFrom<pb::HostTest> for HostTest {
    type Error = ConvertError;

    fn try_from(host: pb::HostTest) -> Result<Self, Self::Error> {
        Ok(Self {
            address: host.address,
            verdict: enumerated::<pb::Verdict, _>("verdict", host.verdict)?,
            version: host.version,
            encrypted: host.encrypted,
            took_ms: host.took_ms,
            fault: optional("fault", host.fault)?,
        })
    }
}

impl From<Discovery> for pb::Discovery {
    fn from(found: Discovery) -> Self {
        Self {
            databases: found
                .databases
                .into_iter()
                .map(|row| pb::DatabaseRow {
                    name: row.name,
                    bytes: row.bytes,
                    may_connect: row.may_connect,
                })
                .collect(),
            database: found.database,
            tables: found.tables.into_iter().map(Into::into).collect(),
            topics: found.topics.into_iter().map(Into::into).collect(),
            truncated: found.truncated,
        }
    }
}

impl From<pb::Discovery> for Discovery {
    fn from(found: pb::Discovery) -> Self {
        Self {
            databases: found
                .databases
                .into_iter()
                .map(|row| DatabaseRow {
                    name: row.name,
                    bytes: row.bytes,
                    may_connect: row.may_connect,
                })
                .collect(),
            database: found.database,
            tables: found.tables.into_iter().map(Into::into).collect(),
            topics: found.topics.into_iter().map(Into::into).collect(),
            truncated: found.truncated,
        }
    }
}

impl From<TableRow> for pb::TableRow {
    fn from(row: TableRow) -> Self {
        let TableRow { schema, name, key, identity, keyed, kind, bytes, rows, may_select } = row;
        Self { schema, name, key, identity, keyed, kind, bytes, rows, may_select }
    }
}

impl From<pb::TableRow> for TableRow {
    fn from(row: pb::TableRow) -> Self {
        let pb::TableRow { schema, name, key, identity, keyed, kind, bytes, rows, may_select } =
            row;
        Self { schema, name, key, identity, keyed, kind, bytes, rows, may_select }
    }
}

impl From<TopicRow> for pb::TopicRow {
    fn from(row: TopicRow) -> Self {
        Self {
            name: row.name,
            partitions: row.partitions,
            replicas: row.replicas,
            internal: row.internal,
            rights: row.rights.map(|operations| pb::Rights { operations }),
        }
    }
}

impl From<pb::TopicRow> for TopicRow {
    fn from(row: pb::TopicRow) -> Self {
        Self {
            name: row.name,
            partitions: row.partitions,
            replicas: row.replicas,
            internal: row.internal,
            rights: row.rights.map(|rights| rights.operations),
        }
    }
}
