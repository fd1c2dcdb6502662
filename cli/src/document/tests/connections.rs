//! Connection documents, and task documents that name connections.

use proptest::prelude::*;
use tidewire_shared::SecretRef;
use tidewire_shared::connection::{Connection, Endpoint, KafkaEndpoint, PostgresEndpoint};
use tidewire_shared::spec::Flavor;

use super::super::connection::{ConnectionDocument, ExplainedConnection};
use super::super::{Document, Explained};
use super::{PLAIN, arbitrary, spec};

const SHOP: &str = "\
apiVersion: tidewire/v1
kind: postgres_connection
name: shop-db
hosts: [db1]
user: tidewire
password: {value: hunter2}
";

fn refusal(text: &str) -> String {
    ConnectionDocument::parse(text).expect_err("refused").to_string()
}

/// `PLAIN` with both sides named.
fn named() -> String {
    PLAIN
        .replace("  hosts: [db1:5432, db2]\n  database: shop\n  user: tidewire\n  password: {env: PGPASSWORD}\n", "  connection: shop-db\n")
        .replace("  brokers: [k1:9092]\n", "  connection: bus\n")
}

#[test]
fn a_connection_gets_the_defaults() {
    let document = ConnectionDocument::parse(SHOP).expect("it parses");
    let Endpoint::Postgres(to) = document.connection.endpoint else { panic!("not PostgreSQL") };
    assert_eq!(to.hosts, ["db1:5432"]);
    assert_eq!((to.database, to.flavor), (None, Flavor::Auto));
    assert_eq!(to.password, Some(SecretRef::Value("hunter2".into())));
    assert_eq!(document.warnings.len(), 1);
    assert!(!document.warnings[0].contains("hunter2"));
}

#[test]
fn what_a_connection_document_means_wrongly_is_said() {
    for (old, new, said) in [
        (
            "shop-db",
            "Shop",
            "3:7: name: `Shop` is not a connection name; 1 to 64 characters a-z, 0-9 and - inside",
        ),
        ("hosts: [db1]", "hosts: []", "4:8: hosts: is empty; name at least one"),
        ("hosts", "host", "4:1: host: unknown key; did you mean `hosts`?"),
        (
            "user: tidewire\n",
            "",
            "1:1: the key `user` is missing; add `user:`; `tidewire task explain --help` shows a whole document",
        ),
        (
            "postgres_connection",
            "postgres_to_kafka",
            "2:7: kind: is a task, not a connection; use `tidewire task apply`",
        ),
        (
            "postgres_connection",
            "mysql",
            "2:7: kind: `mysql` has no meaning here; known here: postgres_connection, kafka_connection",
        ),
    ] {
        assert_eq!(refusal(&SHOP.replacen(old, new, 1)), said);
    }
    let error = Document::parse(SHOP).expect_err("no task").to_string();
    assert_eq!(error, "2:7: kind: is a connection, not a task; use `tidewire connection apply`");
}

#[test]
fn a_task_names_connections_and_keeps_what_is_its_own() {
    let text = named()
        .replace("  connection: shop-db\n", "  connection: shop-db\n  database: shop\n")
        .replace("  connection: bus\n", "  connection: bus\n  properties: {linger.ms: 5}\n");
    let spec = spec(&text);
    assert_eq!(spec.source.connection, Some("shop-db".parse().expect("a name")));
    assert_eq!((spec.source.database.as_str(), spec.source.hosts.len()), ("shop", 0));
    assert_eq!(spec.target.connection, Some("bus".parse().expect("a name")));
    assert_eq!(spec.target.properties["linger.ms"], "5");
    let yaml = Explained::new(&spec.into()).yaml().expect("it writes");
    for absent in ["hosts:", "user:", "tls:", "flavor:", "brokers:", "security:"] {
        assert!(!yaml.contains(absent), "{absent} in {yaml}");
    }
}

#[test]
fn a_name_and_inline_fields_do_not_go_together() {
    for (line, key) in [("password: {env: P}", "password"), ("tls: {mode: require}", "tls")] {
        let text =
            named().replace("connection: shop-db", &format!("connection: shop-db\n  {line}"));
        let error = Document::parse(&text).expect_err("refused").to_string();
        assert!(error.contains(&format!("source.connection: stands beside `{key}`")), "{error}");
    }
    let text = named().replace("connection: bus", "connection: bus\n  brokers: [k1]");
    let error = Document::parse(&text).expect_err("refused").to_string();
    assert!(error.contains("target.connection: stands beside `brokers`"), "{error}");
}

#[test]
fn a_connection_takes_the_properties_of_readers_and_writers() {
    let bus = |properties: &str| {
        ConnectionDocument::parse(&format!(
            "apiVersion: tidewire/v1\nkind: kafka_connection\nname: bus\nbrokers: [k1]\nproperties: {properties}\n"
        ))
    };
    assert!(bus("{fetch.max.bytes: 1048576, linger.ms: 5, client.id: x}").is_ok());
    let refused = bus("{acks: 1}").expect_err("neither's").to_string();
    assert!(refused.contains("properties.acks: may not be set"), "{refused}");
    assert!(refused.contains("fetch.max.bytes") && refused.contains("linger.ms"), "{refused}");
}

fn connections() -> impl Strategy<Value = Connection> {
    let database = proptest::option::of(arbitrary::text());
    let postgres = (arbitrary::source(), database).prop_map(|(source, database)| {
        Endpoint::Postgres(PostgresEndpoint {
            hosts: source.hosts,
            database,
            user: source.user,
            password: source.password,
            tls: source.tls,
            flavor: source.flavor,
        })
    });
    let kafka = arbitrary::target().prop_map(|target| {
        Endpoint::Kafka(KafkaEndpoint {
            brokers: target.brokers,
            security: target.security,
            properties: target.properties,
        })
    });
    (prop_oneof![postgres, kafka], arbitrary::text()).prop_map(|(endpoint, display_name)| {
        Connection { name: "shop-db".parse().expect("a name"), display_name, endpoint }
    })
}

proptest! {
    #[test]
    fn explained_connections_read_back_as_the_same(connection in connections()) {
        let yaml = serde_saphyr::to_string(&ExplainedConnection::new(&connection)).expect("YAML");
        let read = ConnectionDocument::parse(&yaml).map(|document| document.connection);
        prop_assert_eq!(read, Ok(connection.clone()), "{}", yaml);
        let json = serde_json::to_string(&ExplainedConnection::new(&connection)).expect("JSON");
        let read = ConnectionDocument::parse(&json).map(|document| document.connection);
        prop_assert_eq!(read, Ok(connection));
    }
}
