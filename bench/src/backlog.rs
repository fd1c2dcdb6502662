//! A backlog of rows, and what a reader of it costs.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use postgres::Client;
use tidewire_testbed::cluster::Cluster;

use crate::report::{Figures, median};
use crate::task::Task;
use crate::{Servers, task, usage};

/// Rows of a transaction of the backlog.
const PER_TRANSACTION: u64 = 100;

/// What one run of one reader cost.
#[derive(Clone, Debug, Default)]
pub(crate) struct Run {
    pub(crate) rows_per_second: f64,
    pub(crate) tool_cpu: f64,
    pub(crate) walsender_cpu: f64,
    pub(crate) broker_cpu: f64,
    pub(crate) peak_mib: f64,
}

/// Writes the backlog in transactions of 100 rows and settles the server.
pub(crate) fn load(sql: &mut Client, round: usize, rows: u64) -> Result<()> {
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

/// Lets a paused task of ours carry the backlog that its slot holds.
pub(crate) fn carry(
    servers: &Servers,
    cluster: &Cluster,
    task: &Task,
    sql: &mut Client,
    rows: u64,
) -> Result<Run> {
    let broker = servers.kafka.broker_pid(0).context("the broker has ended")?;
    let before = task::committed(&servers.kafka, task.topic)?;
    cluster.done(&["task", "resume", task.name])?;
    let walsender = loop {
        if let Some(walsender) = walsender(sql, "tidewire%")? {
            break walsender;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let began = Instant::now();
    let owner = cluster.owner(task.name)?.pid;
    let costs = [owner, walsender, broker].map(usage::cpu_seconds);
    let ended = task::filled(&servers.kafka, task.topic, before, rows)?;
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

/// The process of the server that feeds a reader of this application name (a LIKE pattern).
pub(crate) fn walsender(sql: &mut Client, application: &str) -> Result<Option<u32>> {
    let row = sql.query_opt(
        "SELECT pid FROM pg_stat_replication WHERE application_name LIKE $1 LIMIT 1",
        &[&application],
    )?;
    Ok(row.map(|row| row.get::<_, i32>(0)).map(u32::try_from).transpose()?)
}

#[allow(clippy::cast_precision_loss)]
pub(crate) fn rate(rows: u64, time: Duration) -> f64 {
    rows as f64 / time.as_secs_f64()
}

/// The medians of each reader's runs; the first reader is what the others are compared with.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn figures(rows: u64, readers: &[(&str, Vec<Run>)]) -> Figures {
    let of =
        |runs: &[Run], value: fn(&Run) -> f64| median(&runs.iter().map(value).collect::<Vec<_>>());
    let millions = rows as f64 / 1e6;
    let base = readers.first().map_or(1.0, |(_, runs)| of(runs, |run| run.rows_per_second));
    let line = |(name, runs): &(&str, Vec<Run>)| {
        let speed = of(runs, |run| run.rows_per_second);
        vec![
            (*name).to_owned(),
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
            readers.first().map_or(0, |(_, runs)| runs.len())
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
        rows: readers.iter().map(line).collect(),
    }
}
