//! A registered connection: where a database or a Kafka cluster is, and who we are there.
//!
//! Tasks name it instead of holding its fields. Nodes never see the name: before a document leaves the
//! coordinators, the fields of its connections are filled in ([`PostgresEndpoint::fill`],
//! [`KafkaEndpoint::fill`]).

mod report;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::ConnectionName;
use crate::secret::SecretRef;
use crate::spec::{Flavor, KafkaSecurity, KafkaSource, KafkaTarget, PostgresSource, TaskSpec, Tls};

pub use report::{
    ConnectionTest, DatabaseRow, Discovery, HostTest, Right, TableRow, TopicRow, Verdict,
};

/// What stands in place of a secret that is shown to nobody.
pub const HIDDEN: &str = "***";

/// A connection that is registered under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Connection {
    /// The name that tasks use.
    pub name: ConnectionName,
    /// Free text.
    #[serde(default)]
    pub display_name: String,
    /// Where it leads.
    pub endpoint: Endpoint,
}

/// Where a connection leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Endpoint {
    /// To a PostgreSQL server.
    Postgres(PostgresEndpoint),
    /// To a Kafka cluster.
    Kafka(KafkaEndpoint),
}

/// A PostgreSQL server and our account there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PostgresEndpoint {
    /// `host:port`, tried in order; the first that accepts writes is used.
    pub hosts: Vec<String>,
    /// The database of tasks that name none.
    #[serde(default)]
    pub database: Option<String>,
    /// Role with LOGIN and REPLICATION.
    pub user: String,
    /// Its password, if it has one.
    pub password: Option<SecretRef>,
    /// Encryption of the connection.
    pub tls: Tls,
    /// What kind of server it is.
    #[serde(default)]
    pub flavor: Flavor,
}

/// A Kafka cluster and our account there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KafkaEndpoint {
    /// `host:port` of some brokers.
    pub brokers: Vec<String>,
    /// Encryption and login.
    #[serde(default)]
    pub security: KafkaSecurity,
    /// librdkafka properties for every task that uses it; a task's own win. One that only readers, or
    /// only writers, know counts for these alone.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

impl Connection {
    /// `postgres` or `kafka`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.endpoint {
            Endpoint::Postgres(_) => "postgres",
            Endpoint::Kafka(_) => "kafka",
        }
    }

    /// `host:port` of every server that it names.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        match &self.endpoint {
            Endpoint::Postgres(to) => &to.hosts,
            Endpoint::Kafka(to) => &to.brokers,
        }
    }

    /// Every place of a secret, in an order that depends on the kind alone.
    pub fn secrets_mut(&mut self) -> [Option<&mut SecretRef>; 4] {
        match &mut self.endpoint {
            Endpoint::Postgres(to) => {
                let Tls { ca, cert, key, .. } = &mut to.tls;
                [to.password.as_mut(), ca.as_mut(), cert.as_mut(), key.as_mut()]
            }
            Endpoint::Kafka(to) => kafka_secrets(&mut to.security),
        }
    }

    /// The connection as it may be shown: without secrets that stand in it.
    #[must_use]
    pub fn hidden(mut self) -> Self {
        self.secrets_mut().into_iter().flatten().for_each(hide);
        self
    }
}

impl TaskSpec {
    /// The document as it may be shown: without secrets that stand in it.
    #[must_use]
    pub fn hidden(mut self) -> Self {
        self.secrets_mut().into_iter().flatten().flatten().for_each(hide);
        self
    }

    /// Every place of a secret: those of the source, then those of the target; in an order that
    /// depends on the kind alone.
    pub fn secrets_mut(&mut self) -> [[Option<&mut SecretRef>; 4]; 2] {
        match self {
            Self::PostgresToKafka(task) => {
                let Tls { ca, cert, key, .. } = &mut task.source.tls;
                let password = task.source.password.as_mut();
                let source = [password, ca.as_mut(), cert.as_mut(), key.as_mut()];
                [source, kafka_secrets(&mut task.target.security)]
            }
            Self::KafkaToKafka(task) => {
                [kafka_secrets(&mut task.source.security), kafka_secrets(&mut task.target.security)]
            }
        }
    }
}

impl SecretRef {
    /// Whether it is what stands in place of a secret that was shown.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        matches!(self, Self::Value(text) if text == HIDDEN)
    }
}

fn kafka_secrets(security: &mut KafkaSecurity) -> [Option<&mut SecretRef>; 4] {
    let KafkaSecurity { sasl, ca, cert, key, .. } = security;
    let password = sasl.as_mut().map(|sasl| &mut sasl.password);
    [password, ca.as_mut(), cert.as_mut(), key.as_mut()]
}

/// Puts [`HIDDEN`] in the place of a secret that stands in a document.
pub(crate) fn hide(secret: &mut SecretRef) {
    if let SecretRef::Value(text) = secret {
        HIDDEN.clone_into(text);
    }
}

impl PostgresEndpoint {
    /// Writes the fields of the connection into a source that names it; the name goes.
    ///
    /// The source's own database wins. Where neither has one it stays empty.
    pub fn fill(&self, source: &mut PostgresSource) {
        source.connection = None;
        source.hosts.clone_from(&self.hosts);
        if let (true, Some(database)) = (source.database.is_empty(), &self.database) {
            source.database.clone_from(database);
        }
        source.user.clone_from(&self.user);
        source.password.clone_from(&self.password);
        source.tls.clone_from(&self.tls);
        source.flavor = self.flavor;
    }
}

impl KafkaEndpoint {
    const SOURCE: &[&str] = KafkaSource::ALLOWED_PROPERTIES;
    const TARGET: &[&str] = KafkaTarget::ALLOWED_PROPERTIES;

    /// Writes the fields of the connection into a target that names it; the name goes.
    ///
    /// Properties of the target win over the connection's.
    pub fn fill(&self, target: &mut KafkaTarget) {
        target.connection = None;
        target.brokers.clone_from(&self.brokers);
        target.security.clone_from(&self.security);
        self.fill_properties(&mut target.properties, Self::TARGET);
    }

    /// The same for a source.
    pub fn fill_source(&self, source: &mut KafkaSource) {
        source.connection = None;
        source.brokers.clone_from(&self.brokers);
        source.security.clone_from(&self.security);
        self.fill_properties(&mut source.properties, Self::SOURCE);
    }

    /// Whether a property may be set for one end of a task at least.
    #[must_use]
    pub fn may_set(property: &str) -> bool {
        Self::SOURCE.contains(&property) || Self::TARGET.contains(&property)
    }

    /// Of what only the other end knows nothing is taken; of what none knows all, to be refused by name.
    fn fill_properties(&self, properties: &mut BTreeMap<String, String>, known: &[&str]) {
        let meant = |name: &str| known.contains(&name) || !Self::may_set(name);
        for (name, value) in self.properties.iter().filter(|(name, _)| meant(name)) {
            properties.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn postgres() -> PostgresEndpoint {
        PostgresEndpoint {
            hosts: vec!["db1:5432".into()],
            database: Some("shop".into()),
            user: "tidewire".into(),
            password: Some(SecretRef::Value("secret".into())),
            tls: Tls::default(),
            flavor: Flavor::Auto,
        }
    }

    #[test]
    fn a_source_takes_the_connection_and_keeps_its_own_database() {
        let named = |database: &str| PostgresSource {
            connection: Some("shop-db".parse().expect("a name")),
            database: database.into(),
            ..PostgresSource::default()
        };
        for (own, filled) in [("", "shop"), ("warehouse", "warehouse")] {
            let mut source = named(own);
            postgres().fill(&mut source);
            assert_eq!(source.database, filled);
            assert_eq!((source.connection, source.user.as_str()), (None, "tidewire"));
            assert_eq!(source.password, postgres().password);
        }
    }

    #[test]
    fn properties_of_the_task_win() {
        let to = KafkaEndpoint {
            brokers: vec!["k1:9092".into()],
            security: KafkaSecurity::default(),
            properties: [("a", "1"), ("b", "1")].map(|(k, v)| (k.into(), v.into())).into(),
        };
        let mut target =
            KafkaTarget { properties: [("b".into(), "2".into())].into(), ..KafkaTarget::default() };
        to.fill(&mut target);
        let expected = [("a", "1"), ("b", "2")].map(|(k, v)| (k.into(), v.into()));
        assert_eq!(target.properties, expected.into());
        assert_eq!(target.brokers, ["k1:9092"]);
    }

    #[test]
    fn properties_of_the_other_end_are_left_out() {
        let all =
            [("client.id", "us"), ("fetch.max.bytes", "9"), ("linger.ms", "3"), ("acks", "1")];
        let to = KafkaEndpoint {
            brokers: vec!["k1:9092".into()],
            security: KafkaSecurity::default(),
            properties: all.map(|(k, v)| (k.into(), v.into())).into(),
        };
        let (mut source, mut target) = (KafkaSource::default(), KafkaTarget::default());
        to.fill_source(&mut source);
        to.fill(&mut target);
        let names = |properties: &BTreeMap<String, String>| {
            properties.keys().cloned().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&source.properties), "acks client.id fetch.max.bytes");
        assert_eq!(names(&target.properties), "acks client.id linger.ms");
    }

    #[test]
    fn secrets_that_stand_in_it_are_not_shown() {
        let connection = Connection {
            name: "shop-db".parse().expect("a name"),
            display_name: String::new(),
            endpoint: Endpoint::Postgres(postgres()),
        };
        let shown = serde_json::to_string(&connection.hidden()).expect("JSON");
        assert!(shown.contains(HIDDEN) && !shown.contains("secret\""), "{shown}");
    }
}
