//! Interruption: the longest time without a new record while a task with 500 rows/s loses its owner.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidewire_testbed::cluster::Cluster;
use tidewire_testbed::process::{Signal, signal};
use tidewire_testbed::reader::Reader;

use crate::report::{Figures, median, step};
use crate::{Servers, task};

const ROWS_PER_SECOND: u32 = 500;
/// How long records are watched after a fault.
const WATCHED: Duration = Duration::from_secs(15);
/// How long records flow undisturbed before a fault.
const CALM: Duration = Duration::from_secs(4);

#[derive(Clone, Copy, Debug)]
enum Fault {
    Kill,
    Freeze,
    Drain,
}

pub(crate) fn measure(servers: &Servers, rounds: usize) -> Result<Figures> {
    let mut cluster = task::start(servers, &[&task::PLAIN])?;
    let mut reader = Reader::follow(&servers.kafka, &[task::PLAIN.topic])?;
    let mut sql = servers.postgres.connect()?;
    let (stop, stopped) = std::sync::mpsc::sync_channel::<()>(0);
    let writer = std::thread::spawn(move || -> Result<()> {
        let mut id: i64 = 0;
        let began = Instant::now();
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            id += 1;
            sql.execute("INSERT INTO orders (id, status) VALUES ($1, 'paid')", &[&id])?;
            let due = began + Duration::from_secs(1) / ROWS_PER_SECOND * u32::try_from(id)?;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        Ok(())
    });
    let mut rows = Vec::new();
    for (fault, name) in [
        (Fault::Kill, "kill -9 of the owner"),
        (Fault::Freeze, "SIGSTOP of the owner"),
        (Fault::Drain, "drain of the owner"),
    ] {
        let mut gaps = Vec::new();
        for round in 1..=rounds {
            step(&format!("{name}, round {round} of {rounds}"));
            gaps.push(interrupt(&mut cluster, &mut reader, fault)?);
        }
        let worst = gaps.iter().copied().fold(0.0, f64::max);
        rows.push(vec![name.to_owned(), format!("{:.2}", median(&gaps)), format!("{worst:.2}")]);
    }
    drop(stop);
    writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    Ok(Figures {
        title: format!(
            "seconds without a new record, {ROWS_PER_SECOND} rows/s, default settings, {rounds} rounds"
        ),
        heads: vec!["fault", "median", "worst"],
        rows,
    })
}

/// The longest gap between two receipts around one fault, in seconds; the cluster is whole again after it.
fn interrupt(cluster: &mut Cluster, reader: &mut Reader, fault: Fault) -> Result<f64> {
    watch(reader, CALM)?;
    let owner = cluster.owner(task::PLAIN.name)?;
    match fault {
        Fault::Kill => signal(owner.pid, Signal::KILL)?,
        Fault::Freeze => signal(owner.pid, Signal::STOP)?,
        Fault::Drain => drop(cluster.done(&["nodes", "drain", &owner.name])?),
    }
    let gap = watch(reader, WATCHED)?;
    ensure!(
        cluster.owner(task::PLAIN.name)?.name != owner.name,
        "{} still owns the task",
        owner.name
    );
    match fault {
        Fault::Kill => cluster.restart(&owner.name)?,
        Fault::Freeze => signal(owner.pid, Signal::CONT)?,
        Fault::Drain => drop(cluster.done(&["nodes", "resume", &owner.name])?),
    }
    std::thread::sleep(Duration::from_secs(2));
    Ok(gap)
}

/// Reads for a while; gives the longest time between two receipts, in seconds.
#[allow(clippy::cast_precision_loss)]
fn watch(reader: &mut Reader, time: Duration) -> Result<f64> {
    let (began, mut longest) = (Instant::now(), 0);
    let mut last: Option<i64> = None;
    while began.elapsed() < time {
        let Some(record) = reader.next_within(Duration::from_secs(60))? else { continue };
        if let Some(last) = last {
            longest = longest.max(record.received_at_micros - last);
        }
        last = Some(record.received_at_micros);
    }
    Ok(longest as f64 / 1e6)
}
