//! Catch-up: how fast a backlog is worked off, beside `pg_recvlogical` to /dev/null on the same log.
//!
//! The floor does nothing with what it reads; a task that reads with fewer wake-ups of the walsender can
//! be faster all the same.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use postgres::Client;

use crate::backlog::{self, Run, rate, walsender};
use crate::report::{Figures, step};
use crate::{Servers, task, usage};

/// Slot and publication of the floor.
pub(crate) const FLOOR: &str = "bench_floor";

pub(crate) fn measure(servers: &mut Servers, rows: u64, rounds: usize) -> Result<Figures> {
    let task = &task::PLAIN;
    let cluster = task::start(servers, &[task])?;
    let mut sql = servers.postgres.connect()?;
    sql.batch_execute(&format!("CREATE PUBLICATION {FLOOR} FOR TABLE orders"))?;
    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        task::pause(&cluster, task)?;
        sql.execute("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", &[&FLOOR])?;
        step(&format!("round {round} of {rounds}: writing {rows} rows"));
        backlog::load(&mut sql, round, rows)?;
        step("reading them with pg_recvlogical");
        floor.push(read_with_recvlogical(servers, &mut sql, rows)?);
        sql.execute("SELECT pg_drop_replication_slot($1)", &[&FLOOR])?;
        step("carrying them with the task");
        ours.push(backlog::carry(servers, &cluster, task, &mut sql, rows)?);
    }
    let readers = [("pg_recvlogical to /dev/null", floor), (task.title, ours)];
    Ok(backlog::figures(rows, &readers))
}

/// The floor: reads what [`FLOOR`] holds and throws it away.
pub(crate) fn read_with_recvlogical(servers: &Servers, sql: &mut Client, rows: u64) -> Result<Run> {
    let end: String = sql.query_one("SELECT pg_current_wal_lsn()::text", &[])?.get(0);
    let dsn = servers.postgres.dsn();
    let program = servers.postgres.programs().join("pg_recvlogical");
    let began = Instant::now();
    let mut child = Command::new(program)
        .args(["-d", &dsn, "--slot", FLOOR, "--start", "--no-loop", "--endpos", &end])
        .args(["-o", "proto_version=1", "-o", &format!("publication_names={FLOOR}")])
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
