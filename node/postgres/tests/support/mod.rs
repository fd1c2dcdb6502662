//! A server, a source that points at it, and what tests ask of a stream.
#![allow(dead_code, reason = "each test file uses its part")]

use std::time::Duration;

use tidewire_node_core::publish::{PublicationPlan, PublishTable};
use tidewire_node_core::takeover::Owner;
use tidewire_postgres::{RawBatch, Source, StreamReader};
use tidewire_shared::spec::{Managed, Operations, PostgresSource, TableName, Tls, TlsMode};
use tidewire_shared::{Epoch, Lsn, SecretRef, ShardId};
use tidewire_testbed::servers::postgres::{Postgres, PostgresOptions};

/// The oldest and the newest major, and one between.
pub(crate) const VERSIONS: [&str; 3] = ["12.22.0", "15.14.0", "18.0.0"];

pub(crate) fn server(version: &str, settings: &[(&str, &str)]) -> Postgres {
    let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let options = PostgresOptions { version: version.to_owned(), settings };
    // The testbed's client brings a runtime of its own.
    tokio::task::block_in_place(|| Postgres::start(options)).expect("server")
}

/// Runs SQL as superuser, from inside a test's runtime.
pub(crate) async fn sql(server: &Postgres, text: &str) {
    let (address, text) = (server.address().clone(), text.to_owned());
    let run = move || address.connect().expect("connect").batch_execute(&text).expect("statement");
    tokio::task::spawn_blocking(run).await.expect("statement");
}

pub(crate) async fn text(server: &Postgres, query: &str) -> String {
    let (address, query) = (server.address().clone(), query.to_owned());
    let run = move || {
        let row = address.connect().expect("connect").query_one(&query, &[]).expect("row");
        row.get::<_, String>(0)
    };
    tokio::task::spawn_blocking(run).await.expect("query")
}

pub(crate) fn spec(server: &Postgres) -> PostgresSource {
    let address = server.address();
    PostgresSource {
        hosts: vec![format!("{}:{}", address.host, address.port)],
        database: address.database.clone(),
        user: address.user.clone(),
        password: Some(SecretRef::Value(address.password.clone())),
        tls: Tls { mode: TlsMode::Disable, ca: None, cert: None, key: None },
        slot: Managed::Managed,
        publication: Managed::Managed,
        ..PostgresSource::default()
    }
}

pub(crate) fn owner(epoch: u64) -> Owner {
    Owner {
        cluster: "c1".parse().expect("cluster"),
        shard: ShardId { task: "k3v9".parse().expect("task"), index: 0 },
        epoch: Epoch(epoch),
    }
}

pub(crate) fn source(server: &Postgres, epoch: u64) -> Source {
    Source::new(&spec(server), &owner(epoch).application_name()).expect("source")
}

pub(crate) fn table(name: &str) -> TableName {
    TableName { schema: "public".into(), table: name.into() }
}

/// The CopyData contents of a batch.
pub(crate) fn contents(batch: &RawBatch) -> Vec<&[u8]> {
    let (mut rest, mut contents) = (&batch.bytes[..], Vec::new());
    while !rest.is_empty() {
        let length = u32::from_be_bytes(rest[1..5].try_into().expect("length"));
        let length = usize::try_from(length).expect("length") + 1;
        assert_eq!(rest[0], b'd', "a batch holds CopyData only");
        contents.push(&rest[5..length]);
        rest = &rest[length..];
    }
    contents
}

/// Reads until this many commits went by; returns the pgoutput messages (tag first) up to there,
/// and the last commit's end.
pub(crate) async fn read_commits(reader: &mut StreamReader, commits: usize) -> (Vec<Vec<u8>>, Lsn) {
    let (mut messages, mut seen, mut end) = (Vec::new(), 0, Lsn::ZERO);
    while seen < commits {
        let batch = tokio::time::timeout(Duration::from_secs(20), reader.next());
        let batch = batch.await.expect("in time").expect("batch");
        for content in contents(&batch) {
            if content[0] != b'w' {
                continue;
            }
            let message = &content[25..];
            if message[0] == b'C' {
                seen += 1;
                end = Lsn(u64::from_be_bytes(message[10..18].try_into().expect("lsn")));
            }
            messages.push(message.to_vec());
        }
    }
    (messages, end)
}

/// The plan of a publication of all changes of these tables.
pub(crate) fn plan(tables: &[TableName], truncate: bool) -> PublicationPlan {
    let table = |name: &TableName| PublishTable {
        name: name.clone(),
        oid: 0,
        named: true,
        columns: None,
        row_filter: None,
    };
    PublicationPlan {
        tables: tables.iter().map(table).collect(),
        publish: Operations { truncate, ..Operations::default() },
    }
}
