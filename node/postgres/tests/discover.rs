//! What people see of a server before they make a task: hosts, rights, databases and tables.

mod support;

use support::{VERSIONS, server, spec, sql};
use tidewire_postgres::{Source, discover};
use tidewire_shared::connection::{TableRow, Verdict};
use tidewire_shared::{FaultKind, SecretRef};

const TABLES: &str = "
    CREATE TABLE keyed (b int, a int, note text, PRIMARY KEY (a, b));
    INSERT INTO keyed SELECT i, i, 'x' FROM generate_series(1, 1000) i; ANALYZE keyed;
    CREATE TABLE bare (a int);
    CREATE TABLE whole (a int); ALTER TABLE whole REPLICA IDENTITY FULL;
    CREATE TABLE indexed (a int NOT NULL, b int); CREATE UNIQUE INDEX by_a ON indexed (a);
    ALTER TABLE indexed REPLICA IDENTITY USING INDEX by_a;
    CREATE UNLOGGED TABLE fleeting (a int PRIMARY KEY);
    CREATE TABLE parts (a int PRIMARY KEY) PARTITION BY RANGE (a);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (500);
    CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (500) TO (1000);
    INSERT INTO parts SELECT generate_series(0, 999); ANALYZE parts_1; ANALYZE parts_2;
    CREATE SCHEMA \"Odd\"; CREATE TABLE \"Odd\".\"T 1\" (\"A b\" int PRIMARY KEY);
    CREATE ROLE reader LOGIN PASSWORD 'r'; GRANT SELECT ON keyed TO reader;
    CREATE DATABASE closed; REVOKE CONNECT ON DATABASE closed FROM PUBLIC;";

fn table<'t>(tables: &'t [TableRow], name: &str) -> &'t TableRow {
    tables.iter().find(|table| table.name == name).expect(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_show_key_identity_size_and_whether_they_can_be_read() {
    for version in [VERSIONS[0], VERSIONS[2]] {
        let server = server(version, &[]);
        for statement in TABLES.split(';').filter(|text| !text.trim().is_empty()) {
            sql(&server, statement).await;
        }
        let mut spec = spec(&server);
        spec.user = "reader".into();
        spec.password = Some(SecretRef::Value("r".into()));
        let source = Source::new(&spec, "t").expect("source");
        let found = discover::discover(&source).await.expect("discovered");
        let names: Vec<_> = found.tables.iter().map(|table| table.name.as_str()).collect();
        let expected = ["T 1", "bare", "fleeting", "indexed", "keyed", "parts", "whole"];
        assert_eq!(names, expected, "{version}");
        let keyed = table(&found.tables, "keyed");
        assert_eq!(keyed.key, ["a", "b"], "in key order");
        assert_eq!((keyed.rows, keyed.keyed, keyed.may_select), (Some(1000), true, true));
        assert!(keyed.bytes >= 8192);
        let identity = |name| {
            let table = table(&found.tables, name);
            (table.identity.as_str(), table.keyed)
        };
        assert_eq!(identity("bare"), ("default", false));
        assert_eq!(identity("whole"), ("full", true));
        assert_eq!(identity("indexed"), ("index by_a", true));
        let parts = table(&found.tables, "parts");
        assert_eq!((parts.kind.as_str(), parts.rows), ("partitioned", Some(1000)));
        assert!(parts.bytes >= 4 * 8192, "{parts:?}");
        assert_eq!(table(&found.tables, "fleeting").kind, "unlogged");
        assert!(
            !table(&found.tables, "T 1").may_select && !table(&found.tables, "bare").may_select
        );
        let database = |name: &str| found.databases.iter().find(|row| row.name == name).cloned();
        let closed = database("closed").expect("it is there");
        assert_eq!((closed.may_connect, closed.bytes), (false, None));
        assert!(database(&spec.database).is_some_and(|row| row.bytes > Some(0)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_host_is_tried_by_itself_and_rights_say_what_is_missing() {
    let server = server(VERSIONS[1], &[]);
    sql(&server, "CREATE ROLE reader LOGIN PASSWORD 'r'").await;
    let mut spec = spec(&server);
    spec.hosts.insert(0, "127.0.0.1:1".into());
    let hosts = discover::try_hosts(&Source::new(&spec, "t").expect("source")).await;
    let verdicts: Vec<_> = hosts.iter().map(|host| host.verdict).collect();
    assert_eq!(verdicts, [Verdict::Failed, Verdict::Usable], "{hosts:?}");
    let fault = hosts.first().and_then(|host| host.fault.clone()).expect("a fault");
    assert_eq!((fault.kind, fault.object.as_str()), (FaultKind::SourceUnreachable, "127.0.0.1:1"));
    assert!(hosts.last().is_some_and(|host| host.version.starts_with("15.") && !host.encrypted));
    let granted =
        discover::rights(&Source::new(&spec, "t").expect("source")).await.expect("rights");
    assert!(granted.iter().all(|right| right.granted), "{granted:?}");

    spec.user = "reader".into();
    spec.password = Some(SecretRef::Value("r".into()));
    let rights = discover::rights(&Source::new(&spec, "t").expect("source")).await.expect("rights");
    let missing: Vec<_> = rights.iter().filter(|right| !right.granted).collect();
    let names: Vec<_> = missing.iter().map(|right| right.name.as_str()).collect();
    assert_eq!(names, ["REPLICATION", "CREATE"]);
    assert!(
        missing.iter().any(|right| right.remark.contains("ALTER ROLE \"reader\" REPLICATION;"))
    );
    spec.password = Some(SecretRef::Value("wrong".into()));
    let hosts = discover::try_hosts(&Source::new(&spec, "t").expect("source")).await;
    let fault = hosts.last().and_then(|host| host.fault.clone()).expect("a fault");
    assert_eq!(fault.kind, FaultKind::SourceLogin, "{fault:?}");
}
