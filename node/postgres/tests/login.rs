//! Every way to log in, with and without TLS, for SQL and for replication.

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use support::{VERSIONS, server, spec, sql, text};
use tidewire_postgres::Source;
use tidewire_shared::spec::{PostgresSource, TlsMode};
use tidewire_shared::{Fault, FaultKind, SecretRef};
use tidewire_testbed::authority::{Authority, Identity};
use tidewire_testbed::servers::postgres::Postgres;

async fn log_in(spec: &PostgresSource) -> Result<(), Fault> {
    let source = Source::new(spec, "t")?;
    source.connect().await?;
    source.replicate().await?.server().await.map(drop)
}

fn ask_for(server: &Postgres, method: &str) {
    admit(server, &[&format!("host {{}} all 127.0.0.1/32 {method}")]);
}

fn admit(server: &Postgres, lines: &[&str]) {
    // The testbed's client brings a runtime of its own.
    tokio::task::block_in_place(|| server.admit(lines)).expect("pg_hba.conf");
}

/// Gives the server a certificate for `127.0.0.1`, has it trust the clients of `authority`, and turns
/// TLS on.
fn encrypt(server: &Postgres, authority: &Authority, identity: &Identity) {
    tokio::task::block_in_place(|| server.encrypt(authority, identity)).expect("TLS");
}

fn ours() -> (Authority, Identity) {
    let authority = Authority::new("postgres authority").expect("authority");
    let identity = authority.server(&["127.0.0.1"]).expect("server");
    (authority, identity)
}

fn in_file(folder: &Path, name: &str, pem: &str) -> SecretRef {
    let path = folder.join(name);
    fs::write(&path, pem).expect("file");
    SecretRef::File(path.to_str().expect("path").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_password_method_works() {
    let server = server(VERSIONS[2], &[]);
    for method in ["scram-sha-256", "password", "trust"] {
        ask_for(&server, method);
        log_in(&spec(&server)).await.expect(method);
    }
    sql(&server, "SET password_encryption = md5; ALTER ROLE postgres PASSWORD 'tidewire'").await;
    ask_for(&server, "md5");
    log_in(&spec(&server)).await.expect("md5");
    ask_for(&server, "reject");
    let fault = log_in(&spec(&server)).await.expect_err("rejected");
    assert_eq!(fault.kind, FaultKind::SourceLogin, "{fault}");
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

        let (authority, identity) = ours();
        encrypt(&server, &authority, &identity);
        log_in(&spec).await.expect("require checks nothing");
        let ca = in_file(folder.path(), "ca.pem", &authority.pem());
        let strangers = Authority::new("somebody else").expect("authority");
        let other = in_file(folder.path(), "other.pem", &strangers.pem());
        let by_name = vec![format!("localhost:{}", server.address().port)];
        for (mode, hosts, ca, fits) in [
            (TlsMode::VerifyFull, &spec.hosts, Some(&ca), true),
            (TlsMode::VerifyFull, &by_name, Some(&ca), false),
            (TlsMode::VerifyCa, &by_name, Some(&ca), true),
            (TlsMode::VerifyCa, &spec.hosts, None, false),
            (TlsMode::Require, &by_name, Some(&ca), true),
            (TlsMode::Require, &by_name, Some(&other), false),
        ] {
            let mut spec = spec.clone();
            spec.tls.mode = mode;
            spec.hosts = hosts.clone();
            spec.tls.ca = ca.cloned();
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
async fn disable_stays_without_encryption_and_prefer_takes_it() {
    let server = server(VERSIONS[1], &[]);
    let (authority, identity) = ours();
    encrypt(&server, &authority, &identity);
    let seen = "SELECT string_agg(s.ssl::text, ' ') FROM pg_stat_ssl s JOIN pg_stat_activity a \
                USING (pid) WHERE a.application_name = 'look'";
    for (mode, encrypted) in [
        (TlsMode::Disable, "false false"),
        (TlsMode::Prefer, "true true"),
        (TlsMode::Require, "true true"),
    ] {
        let mut spec = spec(&server);
        spec.tls.mode = mode;
        let source = Source::new(&spec, "look").expect("source");
        let (sql, stream) = (source.connect().await, source.replicate().await);
        assert_eq!(text(&server, seen).await, encrypted, "{mode:?}");
        drop((sql.expect("SQL"), stream.expect("replication")));
        let gone = "SELECT count(*)::text FROM pg_stat_activity WHERE application_name = 'look'";
        while text(&server, gone).await != "0" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_over_tls_delivers_and_reports() {
    let server = server(VERSIONS[2], &[]);
    let (authority, identity) = ours();
    encrypt(&server, &authority, &identity);
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

fn refusal(answer: Result<(), Fault>, kind: FaultKind, what: &str, remedy: &str) {
    let fault = answer.expect_err(what);
    assert_eq!(fault.kind, kind, "{fault:?}");
    assert!(fault.message.contains(what), "{fault:?}");
    assert!(fault.remedy.contains(remedy), "{fault:?}");
    assert!(fault.object.contains("127.0.0.1") || fault.object.contains("localhost"), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_a_login_and_each_refusal_says_what_is_wrong() {
    let server = server(VERSIONS[2], &[]);
    let (authority, identity) = ours();
    encrypt(&server, &authority, &identity);
    let strangers = Authority::new("somebody else").expect("authority");
    let pem = |text: String| Some(SecretRef::Value(text));
    let mut full = spec(&server);
    full.tls.mode = TlsMode::VerifyFull;
    full.tls.ca = pem(authority.pem());
    let with = |client: Identity| {
        let mut spec = full.clone();
        spec.password = None;
        (spec.tls.cert, spec.tls.key) = (pem(client.cert), pem(client.key));
        spec
    };
    let (configuration, denied) = (FaultKind::Configuration, FaultKind::SourceLogin);

    let mut wrong = full.clone();
    wrong.tls.ca = pem(strangers.pem());
    refusal(log_in(&wrong).await, configuration, "authority is not trusted", "tls.ca");
    wrong = full.clone();
    wrong.hosts = vec![format!("localhost:{}", server.address().port)];
    refusal(log_in(&wrong).await, configuration, "another host", "name the host");
    let unknown = with(strangers.client("postgres").expect("client"));
    refusal(log_in(&unknown).await, denied, "client certificate", "tls.cert");

    // Plain sessions stay for the testbed; ours come over TLS.
    admit(&server, &["hostssl {} all all cert", "hostnossl {} all all scram-sha-256"]);
    log_in(&with(authority.client("postgres").expect("client"))).await.expect("by certificate");
    refusal(log_in(&full).await, denied, "certificate", "tls.cert");
    let other = with(authority.client("somebody").expect("client"));
    refusal(log_in(&other).await, denied, "SQLSTATE 28000", "tls.cert");

    let mut prefer = spec(&server);
    prefer.tls.mode = TlsMode::Prefer;
    log_in(&prefer).await.expect("prefer goes without TLS where it is refused over TLS");

    let stale = authority.expired_server(&["127.0.0.1"]).expect("server");
    encrypt(&server, &authority, &stale);
    refusal(log_in(&full).await, configuration, "has expired", "renew");
}
