//! One very large transaction: what it takes from its commit until readers see it whole, and the memory
//! of the node that carries it.

use std::time::Instant;

use anyhow::{Result, ensure};

use crate::backlog::rate;
use crate::report::{Figures, step};
use crate::{Servers, task, usage};

pub(crate) fn measure(servers: &mut Servers, rows: u64) -> Result<Figures> {
    let task = &task::PLAIN;
    let cluster = task::start(servers, &[task])?;
    let mut sql = servers.postgres.connect()?;
    let before = task::committed(&servers.kafka, task.topic)?;
    let owner = cluster.owner(task.name)?.pid;
    let idle = usage::peak_mib(owner)?;
    step(&format!("writing {rows} rows in one transaction"));
    sql.execute(
        "INSERT INTO orders SELECT i, i % 1000, i * 1.25, 'paid', repeat('n', 101),
           jsonb_build_object('sku', repeat('s', 40), 'count', i, 'gift', false,
           'note', repeat('p', 30)), clock_timestamp() FROM generate_series(1, $1::bigint) AS i",
        &[&i64::try_from(rows)?],
    )?;
    let committed = Instant::now();
    step("carrying it");
    let ended = task::filled(&servers.kafka, task.topic, before, rows)?;
    ensure!(cluster.owner(task.name)?.pid == owner, "the owner changed");
    let took = ended - committed;
    Ok(Figures {
        title: format!("one transaction of {rows} rows of about 300 bytes"),
        heads: vec!["task", "s after commit", "rows/s", "idle RSS MiB", "peak RSS MiB"],
        rows: vec![vec![
            task.title.to_owned(),
            format!("{:.1}", took.as_secs_f64()),
            format!("{:.0}", rate(rows, took)),
            format!("{idle:.0}"),
            format!("{:.0}", usage::peak_mib(owner)?),
        ]],
    })
}
