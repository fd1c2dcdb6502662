//! Catch-up: how fast a backlog is worked off, beside `pg_recvlogical` to /dev/null on the same log.
//!
//! The floor does nothing with what it reads; a task that reads with fewer wake-ups of the walsender can
//! be faster all the same.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use postgres::Client;
use tidewire_testbed::cluster::Cluster;

use crate::report::{Figures, median, step};
use crate::{Servers, task, usage};

/// Rows of a transaction of the backlog.
const PER_TRANSACTION: u64 = 100;
const SLOT: &str = "bench_floor";
const PUBLICATION: &str = "bench_floor";

/// What one run of one reader cost.
#[derive(Debug, Default)]
struct Run {
    rows_per_second: f64,
    tool_cpu: f64,
    walsender_cpu: f64,
    broker_cpu: f64,
    peak_mib: f64,
}

pub(crate) fn measure(servers: &mut Servers, rows: u64, rounds: usize) -> Result<Figures> {
    let cluster = task::start(servers)?;
    let mut sql = servers.postgres.connect()?;
    sql.batch_execute(&format!("CREATE PUBLICATION {PUBLICATION} FOR TABLE orders"))?;
    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        cluster.done(&["task", "pause", task::TASK])?;
        cluster.wait(task::TASK, "Paused", Duration::from_secs(30))?;
        sql.execute("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", &[&SLOT])?;
        step(&format!("round {round} of {rounds}: writing {rows} rows"));
        load(&mut sql, round, rows)?;
        step("reading them with pg_recvlogical");
        floor.push(read_with_recvlogical(servers, &mut sql, rows)?);
        sql.execute("SELECT pg_drop_replication_slot($1)", &[&SLOT])?;
        step("carrying them with the task");
        ours.push(carry(servers, &cluster, &mut sql, rows)?);
    }
    Ok(figures(rows, &floor, &ours))
}

/// Writes the backlog in transactions of 100 rows and settles the server.
fn load(sql: &mut Client, round: usize, rows: u64) -> Result<()> {
    let first = u64::try_from(round)? * 1_000_000_000;
    let transactions = rows.div_ceil(PER_TRANSACTION);
    sql.batch_execute(&format!(
        "DO $$ BEGIN FOR t IN 0..{} LOOP
           INSERT INTO orders SELECT {first} + t * {PER_TRANSACTION} + i, i, i * 1.25, 'paid',
             repeat('n', 101), jsonb_build_object('sku', repeat('s', 40), 'count', i, 'gift', false,
             'note', repeat('p', 30)), clock_timestamp() FROM generate_series(0, {}) AS i;
           COMMIT; END LOOP; END $$",
        transactions - 1,
        PER_TRANSACTION - 1,
    ))?;
    sql.batch_execute("CHECKPOINT").map_err(Into::into)
}

fn read_with_recvlogical(servers: &Servers, sql: &mut Client, rows: u64) -> Result<Run> {
    let end: String = sql.query_one("SELECT pg_current_wal_lsn()::text", &[])?.get(0);
    let dsn = servers.postgres.dsn();
    let program = servers.postgres.programs().join("pg_recvlogical");
    let began = Instant::now();
    let mut child = Command::new(program)
        .args(["-d", &dsn, "--slot", SLOT, "--start", "--no-loop", "--endpos", &end])
        .args(["-o", "proto_version=1", "-o", &format!("publication_names={PUBLICATION}")])
        .args(["-f", "/dev/null"])
        .stdout(Stdio::null())
        .stderr(File::create("/dev/null")?)
        .spawn()
        .context("pg_recvlogical (Debian package postgresql-client-15)")?;
    let mut run = Run::default();
    let ended = loop {
        if let Some(ended) = child.try_wait()? {
            break ended;
        }
        run.tool_cpu = usage::cpu_seconds(child.id()).unwrap_or(run.tool_cpu);
        run.peak_mib = usage::peak_mib(child.id()).unwrap_or(run.peak_mib);
        if let Some(walsender) = walsender(sql, "pg_recvlogical")? {
            run.walsender_cpu = usage::cpu_seconds(walsender).unwrap_or(run.walsender_cpu);
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    ensure!(ended.success(), "pg_recvlogical ended with {ended}");
    run.rows_per_second = rate(rows, began.elapsed());
    Ok(run)
}

fn carry(servers: &Servers, cluster: &Cluster, sql: &mut Client, rows: u64) -> Result<Run> {
    let broker = servers.kafka.broker_pid(0).context("the broker has ended")?;
    let before = task::committed(&servers.kafka)?;
    cluster.done(&["task", "resume", task::TASK])?;
    let walsender = loop {
        if let Some(walsender) = walsender(sql, "tidewire%")? {
            break walsender;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let began = Instant::now();
    let owner = cluster.owner(task::TASK)?.pid;
    let costs = [owner, walsender, broker].map(usage::cpu_seconds);
    let ended = task::filled(&servers.kafka, before, rows)?;
    let cost = |pid, before: &Result<f64>| -> Result<f64> {
        Ok(usage::cpu_seconds(pid)? - before.as_ref().copied().unwrap_or(0.0))
    };
    Ok(Run {
        rows_per_second: rate(rows, ended - began),
        tool_cpu: cost(owner, &costs[0])?,
        walsender_cpu: cost(walsender, &costs[1])?,
        broker_cpu: cost(broker, &costs[2])?,
        peak_mib: usage::peak_mib(owner)?,
    })
}

fn walsender(sql: &mut Client, application: &str) -> Result<Option<u32>> {
    let row = sql.query_opt(
        "SELECT pid FROM pg_stat_replication WHERE application_name LIKE $1 LIMIT 1",
        &[&application],
    )?;
    Ok(row.map(|row| row.get::<_, i32>(0)).map(u32::try_from).transpose()?)
}

#[allow(clippy::cast_precision_loss)]
fn rate(rows: u64, time: Duration) -> f64 {
    rows as f64 / time.as_secs_f64()
}

#[allow(clippy::cast_precision_loss)]
fn figures(rows: u64, floor: &[Run], ours: &[Run]) -> Figures {
    let of =
        |runs: &[Run], value: fn(&Run) -> f64| median(&runs.iter().map(value).collect::<Vec<_>>());
    let millions = rows as f64 / 1e6;
    let base = of(floor, |run| run.rows_per_second);
    let line = |name: &str, runs: &[Run]| {
        let speed = of(runs, |run| run.rows_per_second);
        vec![
            name.to_owned(),
            format!("{speed:.0}"),
            format!("{:.2}", speed / base),
            format!("{:.2}", of(runs, |run| run.tool_cpu) / millions),
            format!("{:.2}", of(runs, |run| run.walsender_cpu) / millions),
            format!("{:.2}", of(runs, |run| run.broker_cpu) / millions),
            format!("{:.0}", of(runs, |run| run.peak_mib)),
        ]
    };
    Figures {
        title: format!(
            "catch-up of {rows} rows of about 300 bytes, transactions of {PER_TRANSACTION}, medians of {}",
            ours.len()
        ),
        heads: vec![
            "reader",
            "rows/s",
            "ratio",
            "tool CPU s/M",
            "walsender CPU s/M",
            "broker CPU s/M",
            "peak RSS MiB",
        ],
        rows: vec![
            line("pg_recvlogical to /dev/null", floor),
            line("tidewire, exactly_once, dts_avro, lz4", ours),
        ],
    }
}
