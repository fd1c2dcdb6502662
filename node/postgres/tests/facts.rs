//! What is told of servers, tables and publications, on the oldest and the newest versions.

mod support;

use support::{VERSIONS, plan, server, source, sql, table, text};
use tidewire_node_core::facts::{ColumnFacts, OddPartition, TableFacts};
use tidewire_node_core::publication_mark::{Comparison, PublicationLook};
use tidewire_node_core::publish;
use tidewire_postgres::precheck::Wanted;
use tidewire_postgres::publication::Step;
use tidewire_postgres::{
    Sql, catalog, heartbeat, precheck, publication, publication_mark, server as server_facts,
};
use tidewire_shared::FaultKind;
use tidewire_shared::spec::TableName;
use tidewire_testbed::servers::postgres::StopMode;

const SCHEMA: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'glad');
    CREATE TYPE pair AS (a int, b text);
    CREATE DOMAIN price AS numeric(12, 3) CHECK (VALUE >= 0);
    CREATE DOMAIN net AS price NOT NULL;
    CREATE DOMAIN moods AS mood[];
    CREATE TYPE span AS RANGE (subtype = float8);
    CREATE TABLE kinds (
        id int PRIMARY KEY, m mood, p pair, n net, own numeric(5, 2), ms mood[], d moods, s span,
        ints int[], vec int2vector, pt point, gone text, code varchar(7) NOT NULL,
        twice int GENERATED ALWAYS AS (id * 2) STORED);
    ALTER TABLE kinds DROP COLUMN gone;
    CREATE UNIQUE INDEX by_code ON kinds (code, id) INCLUDE (m);
    CREATE UNIQUE INDEX by_partial ON kinds (code) WHERE id > 3;
    CREATE UNIQUE INDEX by_expression ON kinds (lower(code));
    CREATE UNIQUE INDEX by_nullable ON kinds (own);
    ALTER TABLE kinds ADD CONSTRAINT late UNIQUE (s) DEFERRABLE;
    ALTER TABLE kinds REPLICA IDENTITY USING INDEX by_code;
    CREATE UNLOGGED TABLE other (id int);
    CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
    CREATE TABLE whole (v text); ALTER TABLE whole REPLICA IDENTITY FULL;
    CREATE VIEW seen AS SELECT 1";

fn column<'a>(table: &'a TableFacts, name: &str) -> &'a ColumnFacts {
    table.columns.iter().find(|column| column.name == name).expect(name)
}

fn base(table: &TableFacts, name: &str) -> (String, char, bool) {
    let base = &column(table, name).base;
    (base.name.clone(), base.kind, base.element != 0)
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_described_down_to_the_base_types() {
    for version in VERSIONS {
        let server = server(version, &[]);
        sql(&server, SCHEMA).await;
        let mut connection = source(&server, 1).connect().await.expect("connection");
        let names = ["kinds", "other", "parted", "whole", "seen", "nowhere"].map(table);
        let tables = catalog::tables(&mut connection, &names).await.expect("tables");
        let found: Vec<_> = tables.iter().map(|t| (t.name.table.as_str(), t.kind)).collect();
        let expected =
            [("kinds", 'r'), ("other", 'r'), ("parted", 'p'), ("seen", 'v'), ("whole", 'r')];
        assert_eq!(found, expected, "{version}");
        let kinds = &tables[0];
        let of = |name| base(kinds, name);
        assert_eq!(of("m"), ("mood".into(), 'e', false));
        assert_eq!(of("p"), ("pair".into(), 'c', false));
        assert_eq!(of("n"), ("numeric".into(), 'b', false));
        assert_eq!(of("ms"), ("_mood".into(), 'b', true));
        assert_eq!(of("d"), ("_mood".into(), 'b', true));
        assert_eq!(of("s"), ("span".into(), 'r', false));
        assert_eq!(of("ints"), ("_int4".into(), 'b', true));
        assert_eq!(of("vec"), ("int2vector".into(), 'b', false));
        assert_eq!(of("pt"), ("point".into(), 'b', false));
        let modifier = |name| column(kinds, name).type_modifier;
        assert_eq!(modifier("n"), (12 << 16) + 3 + 4);
        assert_eq!((modifier("own"), modifier("code")), ((5 << 16) + 2 + 4, 7 + 4));
        assert_eq!(modifier("id"), -1);
        assert!(column(kinds, "code").not_null && !column(kinds, "m").not_null);
        assert!(column(kinds, "twice").generated && !column(kinds, "id").generated);
        assert!(kinds.columns.iter().all(|column| !column.name.contains("dropped")));
        assert!(kinds.owned && kinds.selectable);

        let keys: Vec<_> = kinds
            .unique_keys
            .iter()
            .map(|k| (k.name.as_str(), k.primary, k.replica_identity, k.not_null))
            .collect();
        let expected = [
            ("by_code", false, true, true),
            ("by_nullable", false, false, false),
            ("kinds_pkey", true, false, true),
        ];
        assert_eq!(keys, expected, "{version}");
        assert_eq!(kinds.unique_keys[0].columns, ["code", "id"]);
        let identities: String = tables.iter().map(|t| t.identity).collect();
        assert_eq!(identities, "iddnf", "{version}");
        assert_eq!(tables[1].persistence, 'u');

        let oids = [kinds.oid, 1];
        let again = catalog::tables_by_oid(&mut connection, &oids).await.expect("tables");
        assert_eq!(again, std::slice::from_ref(kinds));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_made_again_under_its_name_is_found_out() {
    for version in VERSIONS {
        let server = server(version, &[]);
        sql(&server, "CREATE TABLE \"A b\" (id int PRIMARY KEY); CREATE TABLE t (id int)").await;
        let connection = source(&server, 1).connect().await.expect("connection");
        assert_eq!(publication::look(&connection, "it's").await.expect("look"), None);
        let tables = [table("A b"), table("t")];
        let made =
            publication::create(&connection, "it's", &plan(&tables, false)).await.expect("made");
        let names: Vec<_> = made.tables.iter().map(|t| t.name.table.as_str()).collect();
        assert_eq!(names, ["A b", "t"]);
        assert!(made.insert && made.update && made.delete && !made.truncate && !made.all_tables);
        publication::watch(&connection, &made).await.expect("as it was");
        let fault = publication::create(&connection, "it's", &plan(&tables, false)).await;
        assert_eq!(fault.expect_err("exists").kind, FaultKind::SourceState);

        sql(&server, "ALTER PUBLICATION \"it's\" DROP TABLE t").await;
        let fault = publication::watch(&connection, &made).await.expect_err("narrower");
        assert!(
            fault.message.contains("public.t") && fault.remedy.contains("ADD TABLE"),
            "{fault}"
        );
        let (repair, _) = fault.remedy.split_once("; ").expect("what is lost comes after it");
        sql(&server, repair).await;
        publication::watch(&connection, &made).await.expect("the remedy repairs it");

        publication::drop(&connection, "it's").await.expect("drop");
        assert!(publication::watch(&connection, &made).await.is_err());
        publication::create(&connection, "it's", &plan(&tables, true)).await.expect("made again");
        let fault = publication::watch(&connection, &made).await.expect_err("another one");
        assert!(fault.message.contains("oid"), "{fault}");
        publication::drop(&connection, "it's").await.expect("drop");
        publication::drop(&connection, "it's").await.expect("drop again");
    }
}

/// What the rows of a publication tell since an earlier look.
fn gap(before: &PublicationLook, now: &PublicationLook) -> Option<String> {
    Comparison { publication: "p", before: &before.mark, now }.gap()
}

async fn marked(connection: &Sql, name: &str, tables: &[TableName], ours: bool) -> PublicationLook {
    let seen = publication::look(connection, name).await.expect("look").expect("there");
    let look = publication_mark::look(connection, &seen, &plan(tables, false), ours).await;
    look.expect("look").expect("there")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rows_of_a_publication_tell_what_was_changed_back() {
    for version in VERSIONS {
        let server = server(version, &[]);
        let setup = "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY);
             CREATE TABLE other (id int PRIMARY KEY); CREATE PUBLICATION everything FOR ALL TABLES";
        sql(&server, setup).await;
        let connection = source(&server, 1).connect().await.expect("connection");
        let tables = [table("t"), table("u")];
        let made = publication::create(&connection, "p", &plan(&tables[..1], false)).await;
        let made = made.expect("made");
        let first = marked(&connection, "p", &tables, true).await;
        assert_eq!((first.mark.oid, first.mark.tables.len()), (made.oid, 1));
        let of_rows = first.mark.tables.values().map(|row| row.xmin);
        assert!(of_rows.chain([first.mark.xmin]).all(|xmin| first.ours.contains(&xmin)));

        // Our own change, and that of a stranger to a table that the task has not.
        let noted = publication::note(&connection, "p").await.expect("note").expect("a note");
        let wanted = plan(&tables, true);
        let alignment = publish::align(&wanted, &made, Some(&noted)).expect("one more");
        let step = Step { name: "p", plan: &wanted, alignment: Some(&alignment) };
        publication::align(&connection, &[step]).await.expect("aligned");
        sql(&server, "ALTER PUBLICATION p ADD TABLE other").await;
        let second = marked(&connection, "p", &tables, true).await;
        assert_ne!(first.mark.xmin, second.mark.xmin, "truncates were switched on");
        assert_eq!(gap(&first, &second), None);
        let foreign = marked(&connection, "p", &tables, false).await;
        assert!(gap(&first, &foreign).is_some_and(|gap| gap.starts_with("was altered")));

        for catalog in ["pg_publication", "pg_publication_rel", "pg_description"] {
            sql(&server, &format!("VACUUM FREEZE {catalog}")).await;
            sql(&server, &format!("VACUUM (FREEZE, FULL) {catalog}")).await;
        }
        assert_eq!(marked(&connection, "p", &tables, true).await, second, "{version}: frozen");

        sql(&server, "ALTER PUBLICATION p DROP TABLE t").await;
        sql(&server, "ALTER PUBLICATION p ADD TABLE t").await;
        let third = marked(&connection, "p", &tables, true).await;
        let told = gap(&second, &third).expect("a gap");
        assert!(told.starts_with("table public.t was taken out and put back by trans"), "{told}");

        let all = marked(&connection, "everything", &tables, false).await;
        assert!(all.mark.tables.is_empty() && all.tables.len() == 2);
        sql(&server, "ALTER PUBLICATION everything SET (publish = 'insert')").await;
        let back =
            "ALTER PUBLICATION everything SET (publish = 'insert, update, delete, truncate')";
        sql(&server, back).await;
        let now = marked(&connection, "everything", &tables, false).await;
        assert!(gap(&all, &now).is_some_and(|gap| gap.starts_with("was altered")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_and_roots_hold_tables_too() {
    let server = server(VERSIONS[2], &[]);
    let setup = "CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (10);
         CREATE TABLE t (id int PRIMARY KEY); CREATE SCHEMA s; CREATE TABLE s.t (id int);
         CREATE PUBLICATION p FOR TABLES IN SCHEMA s, TABLE root";
    sql(&server, setup).await;
    let connection = source(&server, 1).connect().await.expect("connection");
    let tables = [table("leaf"), TableName { schema: "s".into(), table: "t".into() }];
    let before = marked(&connection, "p", &tables, false).await;
    assert_eq!((before.mark.tables.len(), before.mark.schemas.len()), (1, 1));
    assert_eq!(before.tables.len(), 3, "the leaf, its root, and the table of the schema");
    for (off, on, told) in [
        ("DROP TABLE root", "ADD TABLE root", "table public.root was taken out and put back"),
        (
            "DROP TABLES IN SCHEMA s",
            "ADD TABLES IN SCHEMA s",
            "schema s was taken out and put back",
        ),
        ("DROP TABLES IN SCHEMA s", "ADD TABLE s.t", "schema s was taken out while another entry"),
    ] {
        let before = marked(&connection, "p", &tables, false).await;
        sql(&server, &format!("ALTER PUBLICATION p {off}")).await;
        sql(&server, &format!("ALTER PUBLICATION p {on}")).await;
        let now = marked(&connection, "p", &tables, false).await;
        let gap = gap(&before, &now).expect("a gap");
        assert!(gap.starts_with(told), "{gap}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_and_column_lists_are_seen() {
    let server = server(VERSIONS[2], &[]);
    sql(
        &server,
        "CREATE TABLE t (id int PRIMARY KEY, a int, b int); CREATE TABLE u (id int PRIMARY KEY);
         CREATE PUBLICATION p FOR TABLE t (id, a) WHERE (id > 3), u;
         CREATE PUBLICATION everything FOR ALL TABLES",
    )
    .await;
    let connection = source(&server, 1).connect().await.expect("connection");
    let seen = publication::look(&connection, "p").await.expect("look").expect("there");
    assert_eq!(seen.tables[0].row_filter.as_deref(), Some("(id > 3)"));
    assert_eq!(seen.tables[0].columns.as_deref(), Some(&["id".to_owned(), "a".to_owned()][..]));
    assert_eq!((&seen.tables[1].row_filter, &seen.tables[1].columns), (&None, &None));
    let all = publication::look(&connection, "everything").await.expect("look").expect("there");
    assert!(all.all_tables);
    assert_eq!(all.tables.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_is_dropped_while_one_looks_is_no_column_list() {
    let server = server(VERSIONS[2], &[]);
    sql(
        &server,
        "CREATE TABLE t (id int PRIMARY KEY, a int, b int); CREATE PUBLICATION p FOR TABLE t",
    )
    .await;
    let connection = source(&server, 1).connect().await.expect("connection");
    let dropping = sql(&server, "BEGIN; ALTER TABLE t DROP COLUMN b; SELECT pg_sleep(2); COMMIT");
    let looking = async {
        let locks = "SELECT count(*)::text FROM pg_locks WHERE relation = 't'::regclass \
                     AND mode = 'AccessExclusiveLock'";
        while text(&server, locks).await != "1" {}
        publication::look(&connection, "p").await
    };
    let ((), seen) = tokio::join!(dropping, looking);
    let seen = seen.expect("look").expect("there");
    assert_eq!(seen.tables[0].columns, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_precheck_sees_everything_in_one_go() {
    for version in VERSIONS {
        let server = server(version, &[]);
        sql(
            &server,
            "CREATE TABLE t (id int PRIMARY KEY);
             CREATE TABLE root (id int PRIMARY KEY) PARTITION BY RANGE (id);
             CREATE TABLE leaf PARTITION OF root FOR VALUES FROM (0) TO (10);
             CREATE TABLE odd PARTITION OF root FOR VALUES FROM (10) TO (20);
             ALTER TABLE odd REPLICA IDENTITY NOTHING",
        )
        .await;
        let source = source(&server, 1);
        let tables = [table("t"), table("absent"), table("root")];
        let wanted = Wanted { slot: "s", publication: "p", tables: &tables, heartbeat: None };
        let seen = precheck::precheck(&source, wanted).await.expect("precheck");
        let odd = OddPartition { name: table("odd"), root: table("root"), root_identity: 'd' };
        assert_eq!((seen.odd_partitions, seen.encoding.as_str()), (vec![odd], "UTF8"), "{version}");
        assert!(seen.may_replicate && seen.may_create);
        assert_eq!((seen.slots, seen.wal_senders.0), ((20, 0), 20));
        assert_eq!((seen.slot, seen.publication, seen.tables.len()), (None, None, 2));
        assert_eq!(seen.server.wal_level, "logical");
        let mut client = source.replicate().await.expect("replication");
        let told = client.server().await.expect("facts");
        let mut shown =
            server_facts::facts(&source.connect().await.expect("sql")).await.expect("facts");
        shown.flush_lsn = told.flush_lsn;
        assert_eq!(shown, told, "{version}");
        assert_eq!(client.timeline_history(1).await.expect("history"), []);
        let fault = client.timeline_history(9).await.expect_err("no such history");
        assert!(fault.object.contains("timeline 9"), "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_replication_is_reported_not_refused() {
    let server = server(VERSIONS[2], &[]);
    sql(
        &server,
        "CREATE ROLE reader LOGIN PASSWORD 'r'; CREATE TABLE t (id int PRIMARY KEY);
         GRANT SELECT ON t TO reader; CREATE TABLE u (id int)",
    )
    .await;
    let mut spec = support::spec(&server);
    spec.user = "reader".into();
    spec.password = Some(tidewire_shared::SecretRef::Value("r".into()));
    let source = tidewire_postgres::Source::new(&spec, "t").expect("source");
    let names = [table("t"), table("u")];
    let wanted = Wanted { slot: "s", publication: "p", tables: &names, heartbeat: None };
    let seen = precheck::precheck(&source, wanted).await.expect("precheck");
    assert!(!seen.may_replicate && !seen.may_create);
    let rights: Vec<_> = seen.tables.iter().map(|t| (t.selectable, t.owned)).collect();
    assert_eq!(rights, [(true, false), (false, false)]);
    let fault = source.replicate().await.expect_err("refused");
    assert_eq!(fault.kind, FaultKind::SourceDenied, "{fault}");
    let connection = source.connect().await.expect("connection");
    let fault =
        publication::create(&connection, "p", &plan(&names, false)).await.expect_err("refused");
    assert_eq!(fault.kind, FaultKind::SourceDenied, "{fault}");
    heartbeat::beat(&connection).await.expect("anybody may write a heartbeat");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_is_passed_over_and_its_promotion_is_a_new_timeline() {
    for version in [VERSIONS[0], VERSIONS[2]] {
        let mut server = server(version, &[]);
        let source = source(&server, 1);
        let data = support::text(&server, "SHOW data_directory").await;
        std::fs::write(format!("{data}/standby.signal"), "").expect("signal");
        tokio::task::block_in_place(|| server.restart(StopMode::Fast)).expect("restart");
        for fault in [source.connect().await.err(), source.replicate().await.err()] {
            let fault = fault.expect("refused");
            assert_eq!(fault.kind, FaultKind::SourceUnreachable, "{fault}");
            assert!(fault.message.contains("standby"), "{fault}");
        }
        sql(&server, "SELECT pg_promote()").await;
        let mut client = source.replicate().await.expect("replication");
        let facts = client.server().await.expect("facts");
        let history = client.timeline_history(facts.timeline).await.expect("history");
        assert_eq!((facts.timeline, history.len(), history[0].timeline), (2, 1, 1), "{version}");
        assert!(history[0].switch_lsn <= facts.flush_lsn);
        let connection = source.connect().await.expect("connection");
        assert_eq!(server_facts::facts(&connection).await.expect("facts").timeline, 2);
    }
}
