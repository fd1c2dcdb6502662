//! Every way to log in, with and without TLS, for SQL and for replication.

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::{VERSIONS, server, spec, sql, text};
use tidewire_postgres::Source;
use tidewire_shared::spec::{PostgresSource, TlsMode};
use tidewire_shared::{Fault, FaultKind, SecretRef};
use tidewire_testbed::servers::postgres::Postgres;

async fn log_in(spec: &PostgresSource) -> Result<(), Fault> {
    let source = Source::new(spec, "t")?;
    source.connect().await?;
    source.replicate().await?.server().await.map(drop)
}

async fn reload(server: &Postgres) {
    sql(server, "SELECT pg_reload_conf()").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
}

async fn ask_for(server: &Postgres, method: &str) {
    let hba = text(server, "SHOW hba_file").await;
    let line = |kind: &str| format!("host {kind} all 127.0.0.1/32 {method}\n");
    fs::write(hba, line("all") + &line("replication")).expect("pg_hba.conf");
    reload(server).await;
}

fn openssl(folder: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    let ended = command.args(arguments.split(' ')).current_dir(folder).output().expect("openssl");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

/// Makes an authority and a certificate of it for 127.0.0.1, and turns TLS on.
async fn encrypt(server: &Postgres, folder: &Path) {
    let ca = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.pem";
    openssl(folder, ca);
    openssl(folder, "req -newkey rsa:2048 -nodes -subj /CN=db -keyout server.key -out server.csr");
    fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1").expect("names");
    let sign = "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -sha384";
    openssl(folder, &format!("{sign} -extfile names -out server.crt"));
    let data = text(server, "SHOW data_directory").await;
    let owner = fs::metadata(&data).expect("data directory");
    for name in ["server.key", "server.crt"] {
        let target = Path::new(&data).join(name);
        fs::copy(folder.join(name), &target).expect("copy");
        chown(&target, Some(owner.uid()), Some(owner.gid())).expect("owner");
    }
    sql(server, "ALTER SYSTEM SET ssl = on").await;
    reload(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_password_method_works() {
    let server = server(VERSIONS[2], &[]);
    for method in ["scram-sha-256", "password", "trust"] {
        ask_for(&server, method).await;
        log_in(&spec(&server)).await.expect(method);
    }
    sql(&server, "SET password_encryption = md5; ALTER ROLE postgres PASSWORD 'tidewire'").await;
    ask_for(&server, "md5").await;
    log_in(&spec(&server)).await.expect("md5");
    ask_for(&server, "reject").await;
    let fault = log_in(&spec(&server)).await.expect_err("rejected");
    assert_eq!(fault.kind, FaultKind::SourceDenied, "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_demands_what_its_mode_says() {
    for version in [VERSIONS[0], VERSIONS[2]] {
        let server = server(version, &[]);
        let folder = tempfile::tempdir().expect("folder");
        let mut spec = spec(&server);
        spec.tls.mode = TlsMode::Prefer;
        log_in(&spec).await.expect("prefer takes no TLS as well");
        spec.tls.mode = TlsMode::Require;
        let fault = log_in(&spec).await.expect_err("no TLS there");
        assert_eq!(fault.kind, FaultKind::Configuration, "{fault}");

        encrypt(&server, folder.path()).await;
        log_in(&spec).await.expect("require checks nothing");
        let ca = folder.path().join("ca.pem").to_str().expect("path").to_owned();
        let by_name = vec![format!("localhost:{}", server.address().port)];
        for (mode, hosts, ca, fits) in [
            (TlsMode::VerifyFull, &spec.hosts, Some(&ca), true),
            (TlsMode::VerifyFull, &by_name, Some(&ca), false),
            (TlsMode::VerifyCa, &by_name, Some(&ca), true),
            (TlsMode::VerifyCa, &spec.hosts, None, false),
            (TlsMode::Require, &by_name, Some(&ca), true),
        ] {
            let mut spec = spec.clone();
            spec.tls.mode = mode;
            spec.hosts = hosts.clone();
            spec.tls.ca = ca.map(|path| SecretRef::File(path.clone()));
            match log_in(&spec).await {
                Ok(()) => assert!(fits, "{mode:?} {hosts:?}"),
                Err(fault) => {
                    assert!(!fits, "{mode:?}: {fault}");
                    assert_eq!(fault.kind, FaultKind::Configuration, "{fault}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_over_tls_delivers_and_reports() {
    let server = server(VERSIONS[2], &[]);
    let folder = tempfile::tempdir().expect("folder");
    encrypt(&server, folder.path()).await;
    sql(&server, "CREATE TABLE t (id int, v text); CREATE PUBLICATION p FOR TABLE t").await;
    sql(&server, "SELECT pg_create_logical_replication_slot('s', 'pgoutput')").await;
    let mut spec = spec(&server);
    spec.tls.mode = TlsMode::Require;
    let client = Source::new(&spec, "t").expect("source").replicate().await.expect("replication");
    let start = tidewire_shared::Lsn::ZERO;
    let (mut reader, feedback) = client.start("s", start, &["p"]).await.expect("stream");
    let rows = "INSERT INTO t SELECT i, repeat('x', 200) FROM generate_series(1, 20000) i;
        INSERT INTO t VALUES (0, repeat('y', 3000000))";
    sql(&server, rows).await;
    let (messages, end) = support::read_commits(&mut reader, 1).await;
    assert_eq!(messages.iter().filter(|m| m[0] == b'I').count(), 20_001);
    feedback.report(end);
    reader.stop().await.expect("a good end");
    let query = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots";
    assert_eq!(text(&server, query).await, end.to_string());
}
