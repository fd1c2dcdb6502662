//! The stream against real servers: login, frames, feedback, its end.

mod support;

use std::time::{Duration, Instant};

use support::{
    VERSIONS, contents, owner, plan, read_commits, server, source, spec, sql, table, text,
};
use tidewire_postgres::{Feedback, Source, StreamReader, publication, slot};
use tidewire_shared::{FaultKind, Lsn, SecretRef};
use tidewire_testbed::process::{self, Signal};
use tidewire_testbed::servers::postgres::Postgres;

const SLOT: &str = "tidewire_k3v9";
const PATIENCE: Duration = Duration::from_secs(30);

async fn prepared(server: &Postgres) -> Lsn {
    sql(server, "CREATE TABLE t (id int PRIMARY KEY, v text)").await;
    let source = source(server, 1);
    let connection = source.connect().await.expect("connection");
    publication::create(&connection, SLOT, &plan(&[table("t")], false)).await.expect("publication");
    slot::create(&source, SLOT, false, PATIENCE).await.expect("slot")
}

async fn stream(server: &Postgres, epoch: u64, start: Lsn) -> (StreamReader, Feedback) {
    let client = source(server, epoch).replicate().await.expect("replication");
    client.start(SLOT, start, &[SLOT]).await.expect("stream")
}

async fn confirmed(server: &Postgres) -> Lsn {
    let query = "SELECT confirmed_flush_lsn::text FROM pg_replication_slots";
    text(server, query).await.parse().expect("lsn")
}

async fn until(limit: Duration, mut met: impl AsyncFnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if met().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_refused_by_name_and_without_the_password() {
    let server = server(VERSIONS[1], &[]);
    let mut wrong = spec(&server);
    wrong.password = Some(SecretRef::Value("hunter2".into()));
    let source = Source::new(&wrong, "t").expect("source");
    for fault in [source.connect().await.err(), source.replicate().await.err()] {
        let fault = fault.expect("refused");
        assert_eq!(fault.kind, FaultKind::SourceLogin, "{fault}");
        assert!(fault.object.contains("postgres") && fault.object.contains("127.0.0.1"), "{fault}");
        assert!(!format!("{fault:?}").contains("hunter2"));
    }
    wrong.password = None;
    let source = Source::new(&wrong, "t").expect("source");
    for fault in [source.connect().await.err(), source.replicate().await.err()] {
        let fault = fault.expect("refused");
        assert_eq!(fault.kind, FaultKind::SourceLogin, "{fault}");
        assert!(fault.remedy.contains("source.password"), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_process_is_given_up_in_time_at_every_step_of_a_start() {
    let server = server(VERSIONS[2], &[]);
    let start = prepared(&server).await;
    let source = source(&server, 1);
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(source.replicate().await.expect("replication"));
    }
    let frozen: Vec<u32> =
        clients.iter().map(|client| client.pid().try_into().expect("a pid")).collect();
    for pid in &frozen {
        process::signal(*pid, Signal::STOP).expect("frozen");
    }
    let [mut one, mut two, mut three, four] =
        <[_; 4]>::try_from(clients).expect("as many as were made");
    let began = Instant::now();
    let (a, b, c, d) = tokio::join!(
        one.server(),
        two.timeline_history(2),
        three.set_failover(SLOT, true),
        four.start(SLOT, start, &[SLOT])
    );
    let took = began.elapsed();
    for pid in &frozen {
        process::signal(*pid, Signal::CONT).expect("thawed");
    }
    for fault in [a.err(), b.err(), c.err(), d.err()] {
        let fault = fault.expect("nobody answered");
        assert_eq!(fault.kind, FaultKind::SourceUnreachable, "{fault}");
        assert!(fault.message.contains("not answered") && !fault.remedy.is_empty(), "{fault}");
    }
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_listening_is_unreachable_and_the_next_host_is_tried() {
    let server = server(VERSIONS[1], &[]);
    let mut hosts = spec(&server);
    hosts.hosts.insert(0, "127.0.0.1:1".into());
    Source::new(&hosts, "t").expect("source").connect().await.expect("second host");
    hosts.hosts.truncate(1);
    let fault = Source::new(&hosts, "t").expect("source").connect().await.expect_err("nobody");
    assert_eq!(fault.kind, FaultKind::SourceUnreachable, "{fault}");
}

#[tokio::test(flavor = "multi_thread")]
async fn inserts_arrive_as_whole_frames_and_feedback_moves_the_slot() {
    for version in VERSIONS {
        let server = server(version, &[]);
        let start = prepared(&server).await;
        let mut client = source(&server, 1).replicate().await.expect("replication");
        let facts = client.server().await.expect("facts");
        assert_eq!((facts.timeline, facts.in_recovery), (1, false));
        let (mut reader, feedback) = client.start(SLOT, start, &[SLOT]).await.expect("stream");
        for i in 0..20 {
            sql(&server, &format!("INSERT INTO t VALUES ({i}, 'v')")).await;
        }
        let (messages, end) = read_commits(&mut reader, 20).await;
        let count = |tag: u8| messages.iter().filter(|m| m[0] == tag).count();
        assert_eq!((count(b'B'), count(b'I'), count(b'C')), (20, 20, 20), "{version}");
        assert_eq!(reader.seen().max(end), reader.seen());
        assert!(confirmed(&server).await < end);
        feedback.report(end);
        let moved = until(Duration::from_secs(5), async || confirmed(&server).await == end).await;
        assert!(moved, "{version}: {} is not {end}", confirmed(&server).await);
        reader.stop().await.expect("a good end");
        let connection = source(&server, 1).connect().await.expect("connection");
        let freed = async || {
            let slot = slot::look(&connection, SLOT).await.expect("look").expect("slot");
            slot.active_pid.is_none()
        };
        assert!(until(Duration::from_secs(5), freed).await, "{version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn feedback_stays_below_what_the_server_has_named() {
    let server = server(VERSIONS[2], &[]);
    let start = prepared(&server).await;
    let (mut reader, feedback) = stream(&server, 1, start).await;
    feedback.report(Lsn(u64::MAX));
    sql(&server, "INSERT INTO t VALUES (1, 'v')").await;
    let (_, end) = read_commits(&mut reader, 1).await;
    let moved = until(Duration::from_secs(5), async || confirmed(&server).await >= end).await;
    assert!(moved);
    let wal: Lsn = text(&server, "SELECT pg_current_wal_lsn()::text").await.parse().expect("lsn");
    assert!(confirmed(&server).await <= wal);
}

#[tokio::test(flavor = "multi_thread")]
async fn feedback_goes_out_while_nobody_reads() {
    let server = server(VERSIONS[1], &[("wal_sender_timeout", "3s")]);
    let start = prepared(&server).await;
    let (mut reader, feedback) = stream(&server, 1, start).await;
    sql(&server, "INSERT INTO t VALUES (1, 'v')").await;
    let (_, end) = read_commits(&mut reader, 1).await;
    feedback.report(end);
    // Far more than the socket buffers hold, and longer than the server waits for a reply.
    let rows = "INSERT INTO t SELECT i, repeat('x', 1000) FROM generate_series(2, 40000) i";
    sql(&server, rows).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(confirmed(&server).await, end);
    let (messages, _) = read_commits(&mut reader, 1).await;
    assert_eq!(messages.iter().filter(|m| m[0] == b'I').count(), 39_999);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_twenty_megabytes_is_one_frame() {
    let server = server(VERSIONS[2], &[]);
    let start = prepared(&server).await;
    let (mut reader, _feedback) = stream(&server, 1, start).await;
    sql(&server, "INSERT INTO t VALUES (1, repeat('x', 20000000)), (2, 'small')").await;
    let (messages, _) = read_commits(&mut reader, 1).await;
    let lengths: Vec<_> = messages.iter().filter(|m| m[0] == b'I').map(Vec::len).collect();
    assert_eq!(lengths.len(), 2);
    assert!(lengths[0] > 20_000_000 && lengths[1] < 100, "{lengths:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_call_of_next_loses_nothing() {
    let server = server(VERSIONS[2], &[]);
    let start = prepared(&server).await;
    let (mut reader, _feedback) = stream(&server, 1, start).await;
    sql(&server, "INSERT INTO t SELECT i, 'v' FROM generate_series(1, 50000) i").await;
    let (mut inserts, mut commits) = (0, 0);
    while commits == 0 {
        let next = tokio::time::timeout(Duration::from_micros(300), reader.next()).await;
        let Ok(batch) = next else { continue };
        for content in contents(&batch.expect("batch")) {
            inserts += usize::from(content[0] == b'w' && content[25] == b'I');
            commits += usize::from(content[0] == b'w' && content[25] == b'C');
        }
    }
    assert_eq!(inserts, 50_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_is_answered_at_once() {
    let server = server(VERSIONS[2], &[("wal_sender_timeout", "2s")]);
    let start = prepared(&server).await;
    let (mut reader, _feedback) = stream(&server, 1, start).await;
    let alive = tokio::time::timeout(Duration::from_secs(7), async {
        loop {
            reader.next().await.expect("the server keeps the stream");
        }
    });
    assert!(alive.await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_owner_takes_the_slot_from_an_older_one_only() {
    let server = server(VERSIONS[1], &[]);
    let start = prepared(&server).await;
    let (mut old, _feedback) = stream(&server, 3, start).await;
    let connection = source(&server, 4).connect().await.expect("connection");
    let held = slot::look(&connection, SLOT).await.expect("look").expect("slot");
    assert_eq!(held.active_application.as_deref(), Some(owner(3).application_name().as_str()));

    let fault = slot::take(&connection, SLOT, &owner(2)).await.expect_err("fenced");
    assert_eq!(fault.kind, FaultKind::Fenced, "{fault}");
    let taken = slot::take(&connection, SLOT, &owner(4)).await.expect("taken");
    assert_eq!(taken.active_pid, None);
    let ended = loop {
        match old.next().await {
            Ok(_) => {}
            Err(fault) => break fault,
        }
    };
    assert_ne!(ended.kind.persistence(), tidewire_shared::Persistence::Definite, "{ended}");

    let foreign = Source::new(&spec(&server), "someone else").expect("source");
    let client = foreign.replicate().await.expect("replication");
    let _held = client.start(SLOT, start, &[SLOT]).await.expect("stream");
    let fault = slot::take(&connection, SLOT, &owner(4)).await.expect_err("foreign");
    assert_eq!(fault.kind, FaultKind::SourceBusy, "{fault}");
    let who = "(application someone else, role ";
    assert!(fault.message.starts_with("is held by another client, backend "), "{fault}");
    assert!(fault.message.contains(who) && fault.message.ends_with(", from 127.0.0.1)"), "{fault}");
}

/// A transaction that has written, until it is ended.
struct OpenTransaction {
    stop: std::sync::mpsc::SyncSender<()>,
    holder: tokio::task::JoinHandle<()>,
}

impl OpenTransaction {
    async fn of(server: &Postgres) -> Self {
        sql(server, "CREATE TABLE t (id int)").await;
        let (address, (stop, stopped)) =
            (server.address().clone(), std::sync::mpsc::sync_channel(1));
        let holder = tokio::task::spawn_blocking(move || {
            let mut client = address.connect().expect("connect");
            let mut transaction = client.transaction().expect("begin");
            transaction.execute("INSERT INTO t VALUES (1)", &[]).expect("insert");
            assert!(stopped.recv().is_ok());
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        Self { stop, holder }
    }

    async fn end(self) {
        self.stop.send(()).expect("stop");
        self.holder.await.expect("holder");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_holds_a_new_slot_up_and_is_named() {
    let server = server(VERSIONS[1], &[]);
    let open = OpenTransaction::of(&server).await;
    let source = source(&server, 1);
    let fault = slot::create(&source, SLOT, false, Duration::from_secs(2)).await.expect_err("held");
    assert_eq!(fault.kind, FaultKind::SourceBusy, "{fault}");
    assert!(fault.message.contains("pid "), "{fault}");
    open.end().await;
    let free = async || slot::create(&source, SLOT, false, PATIENCE).await.is_ok();
    assert!(until(Duration::from_secs(5), free).await);
    let connection = source.connect().await.expect("connection");
    slot::drop(&connection, SLOT).await.expect("drop");
    slot::drop(&connection, SLOT).await.expect("drop again");
    assert_eq!(slot::look(&connection, SLOT).await.expect("look"), None);
}

/// As when the node dies, or the task is paused, while the server waits: its session waits on, and
/// keeps the name taken for whoever comes next.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_whose_maker_went_is_made_by_the_next_owner() {
    let server = server(VERSIONS[2], &[]);
    let open = OpenTransaction::of(&server).await;
    let first = source(&server, 1);
    let maker = tokio::spawn(async move { slot::create(&first, SLOT, false, PATIENCE).await });
    let next = source(&server, 2);
    let connection = next.connect().await.expect("connection");
    let look = async || slot::look(&connection, SLOT).await.expect("look");
    assert!(until(Duration::from_secs(5), async || look().await.is_some()).await);
    maker.abort();
    assert!(maker.await.expect_err("went").is_cancelled());
    let left = look().await.expect("its session waits on");
    assert_eq!((left.confirmed_flush, left.active_pid.is_some()), (None, true));
    assert_eq!(slot::free(&connection, SLOT, &owner(2)).await.expect("freed"), None);
    open.end().await;
    slot::create(&next, SLOT, false, PATIENCE).await.expect("made");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_is_kept_for_failover_where_the_server_can() {
    for (version, kept) in [(VERSIONS[0], false), (VERSIONS[2], true)] {
        let server = server(version, &[]);
        let source = source(&server, 1);
        let start = slot::create(&source, SLOT, true, PATIENCE).await.expect("slot");
        let connection = source.connect().await.expect("connection");
        let seen = slot::look(&connection, SLOT).await.expect("look").expect("slot");
        assert_eq!((seen.failover, seen.synced, seen.temporary), (kept, false, false), "{version}");
        assert_eq!((seen.plugin.as_str(), seen.database.as_str()), ("pgoutput", "shop"));
        assert_eq!((seen.confirmed_flush, seen.invalidation), (Some(start), None));
        let fault = slot::create(&source, SLOT, true, PATIENCE).await.expect_err("exists");
        assert_eq!(fault.kind, FaultKind::SourceState, "{fault}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_ends_the_stream_for_now() {
    let mut server = server(VERSIONS[2], &[]);
    let start = prepared(&server).await;
    let (mut reader, _feedback) = stream(&server, 1, start).await;
    server.kill();
    let ended = loop {
        match reader.next().await {
            Ok(_) => {}
            Err(fault) => break fault,
        }
    };
    assert_ne!(ended.kind.persistence(), tidewire_shared::Persistence::Definite, "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wal_of_other_databases_is_let_go_by_acknowledging_keepalives() {
    for version in VERSIONS {
        let server = server(version, &[]);
        let start = prepared(&server).await;
        sql(&server, "CREATE DATABASE other").await;
        let (mut reader, feedback) = stream(&server, 1, start).await;
        let address = server.address().clone();
        let load = "CREATE TABLE o AS SELECT i, repeat('x', 100) FROM generate_series(1, 50000) i";
        let write = move || {
            let mut client = address.connect_to("other").expect("connect");
            client.batch_execute(load).expect("load");
        };
        tokio::task::spawn_blocking(write).await.expect("load");
        let wal = text(&server, "SELECT pg_current_wal_lsn()::text").await.parse().expect("lsn");
        let caught_up = tokio::time::timeout(Duration::from_secs(20), async {
            while confirmed(&server).await < wal {
                let next = tokio::time::timeout(Duration::from_millis(100), reader.next()).await;
                if let Ok(batch) = next {
                    let batch = batch.expect("batch");
                    // Before 15 an empty transaction shows as Begin and Commit.
                    let row = |content: &&[u8]| content[0] == b'w' && content[25] == b'I';
                    assert!(!contents(&batch).iter().any(row));
                    feedback.report(reader.seen());
                }
            }
        });
        caught_up.await.expect(version);
    }
}
