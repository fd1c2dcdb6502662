//! Latency: from the row's own `clock_timestamp()` to its receipt by a read_committed consumer, at
//! 5,000 single-row commits per second.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tidewire_testbed::oracle::dts_avro::DtsAvro;
use tidewire_testbed::oracle::{Datum, column};
use tidewire_testbed::reader::Reader;
use tidewire_testbed::servers::postgres::PostgresAddress;

use crate::report::{Figures, median, quantile, step};
use crate::{Servers, task};

const ROWS_PER_SECOND: u32 = 5_000;
const WRITERS: u32 = 8;
const WARM_UP: Duration = Duration::from_secs(10);
const MEASURED: Duration = Duration::from_secs(30);

/// Each round has servers of its own: one with an unlucky log or disk must not decide them all.
pub(crate) fn measure(rounds: usize) -> Result<Figures> {
    let mut seen = Vec::new();
    for number in 1..=rounds {
        step(&format!("round {number} of {rounds}: {ROWS_PER_SECOND} rows/s, each a commit"));
        seen.push(round(&crate::servers()?)?);
    }
    let middle = |of: fn(&Round) -> f64| median(&seen.iter().map(of).collect::<Vec<_>>());
    Ok(Figures {
        title: format!(
            "latency from the row's clock_timestamp() to a read_committed consumer, ms, medians of {rounds}"
        ),
        heads: vec!["", "commits/s", "p50", "p90", "p99", "max"],
        rows: vec![vec![
            "tidewire, exactly_once, dts_avro, lz4".to_owned(),
            format!("{:.0}", middle(|round| round.rate)),
            format!("{:.0}", middle(|round| round.p50)),
            format!("{:.0}", middle(|round| round.p90)),
            format!("{:.0}", middle(|round| round.p99)),
            format!("{:.0}", middle(|round| round.max)),
        ]],
    })
}

/// What one round showed: commits per second, and milliseconds.
struct Round {
    rate: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

fn round(servers: &Servers) -> Result<Round> {
    let _cluster = task::start(servers, &[&task::PLAIN])?;
    let mut reader = Reader::follow(&servers.kafka, &[task::PLAIN.topic])?;
    let stop = AtomicBool::new(false);
    let (written, records) = std::thread::scope(|scope| -> Result<_> {
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| {
                let stop = &stop;
                scope.spawn(move || write(servers.postgres.address(), number, stop))
            })
            .collect();
        let records = collect(&mut reader);
        stop.store(true, Ordering::Relaxed);
        let mut written = 0;
        for writer in writers {
            written += writer.join().map_err(|_| anyhow::anyhow!("a writer panicked"))??;
        }
        Ok((written, records?))
    })?;
    let delays = delays(&records)?;
    Ok(Round {
        rate: f64::from(written) / (WARM_UP + MEASURED).as_secs_f64(),
        p50: quantile(&delays, 0.5),
        p90: quantile(&delays, 0.9),
        p99: quantile(&delays, 0.99),
        max: quantile(&delays, 1.0),
    })
}

/// One connection that commits rows at its share of the rate; gives how many.
fn write(postgres: &PostgresAddress, number: u32, stop: &AtomicBool) -> Result<u32> {
    let mut sql = postgres.connect()?;
    let insert = sql.prepare(
        "INSERT INTO orders VALUES ($1, 7, 12.50, 'paid', repeat('n', 101),
         '{\"sku\": \"s-1\", \"count\": 3}', clock_timestamp())",
    )?;
    let pause = Duration::from_secs(1) * WRITERS / ROWS_PER_SECOND;
    let began = Instant::now();
    let mut written = 0;
    while !stop.load(Ordering::Relaxed) {
        let id = i64::from(number) * 1_000_000_000 + i64::from(written);
        sql.execute(&insert, &[&id])?;
        written += 1;
        let due = began + pause * written;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(written)
}

/// What arrives after the warm-up: value and moment of receipt, microseconds since 1970.
fn collect(reader: &mut Reader) -> Result<Vec<(Vec<u8>, i64)>> {
    let began = Instant::now();
    let mut records = Vec::new();
    while began.elapsed() < WARM_UP + MEASURED {
        let Some(record) = reader.next_within(Duration::from_secs(20))? else { continue };
        if began.elapsed() > WARM_UP {
            let value = record.value.context("a record has no value")?;
            records.push((value, record.received_at_micros));
        }
    }
    Ok(records)
}

#[allow(clippy::cast_precision_loss)]
fn delays(records: &[(Vec<u8>, i64)]) -> Result<Vec<f64>> {
    let oracle = DtsAvro::new()?;
    let decoder = oracle.decoder()?;
    records
        .iter()
        .map(|(value, received)| {
            let row = decoder.decode(value)?.after.context("a record has no after image")?;
            let Some(Datum::Text(written)) = column(&row, "created_at") else {
                anyhow::bail!("created_at is missing");
            };
            Ok((received - micros(written)?) as f64 / 1_000.0)
        })
        .collect()
}

/// Microseconds since 1970 of `2026-11-21 08:00:00.123456+00`.
fn micros(text: &str) -> Result<i64> {
    let text = text.replacen(' ', "T", 1);
    let time: jiff::Timestamp = text.parse().with_context(|| format!("the time {text}"))?;
    Ok(time.as_microsecond())
}
