//! `cargo x bench`: figures, each beside what it is compared with.
//!
//! Every measurement starts servers of its own (one broker, replication 1) and runs the release build.
//! Machines are noisy: read the ratios of one run, not the numbers of two.

use anyhow::Result;
use clap::{Parser, ValueEnum};
use tidewire_testbed::servers::kafka::{Kafka, KafkaOptions};
use tidewire_testbed::servers::postgres::{DEBIAN_15, Postgres, PostgresOptions};

mod backlog;
mod catch_up;
mod copy;
mod copy_interruption;
mod floor;
mod idle;
mod interruption;
mod latency;
mod peers;
mod report;
mod room;
mod task;
mod transaction;
mod usage;

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Measurement {
    /// Rows per second of a backlog, beside pg_recvlogical.
    CatchUp,
    /// Commit in PostgreSQL to receipt by a read_committed consumer.
    Latency,
    /// Time without a record when the owner is killed, frozen or drained.
    Interruption,
    /// One very large transaction, once, and the memory of the node that carries it.
    Transaction,
    /// A backlog from Kafka to Kafka, beside a bare librdkafka loop.
    Copy,
    /// Time without a record, by partition, when one of the nodes that share a copy is killed.
    CopyInterruption,
    /// A copy of a thousand topics in which nothing happens but in one.
    Idle,
}

#[derive(Parser)]
#[command(
    name = "cargo x bench",
    about = "Measures the release build beside what it is compared with"
)]
struct Arguments {
    /// Measure only this (may be repeated)
    #[arg(long)]
    only: Vec<Measurement>,
    /// Rows of the backlog
    #[arg(long, default_value_t = 2_000_000)]
    rows: u64,
    /// Rows of the large transaction
    #[arg(long, default_value_t = 10_000_000)]
    transaction_rows: u64,
    /// MiB of the backlog from Kafka to Kafka
    #[arg(long, default_value_t = 2_048)]
    copy_mebibytes: u64,
    /// Repetitions of each measurement
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only the catch-up, in every format and delivery, and the copy, with the rivals beside us
    #[arg(long)]
    peers: bool,
}

fn main() -> Result<()> {
    // The loops that are measured are this program again.
    match std::env::args().nth(1).as_deref() {
        Some(floor::WORD) => return floor::run(&floor::Copy::parse_from(std::env::args().skip(1))),
        Some(room::WORD) => return room::run(&floor::Copy::parse_from(std::env::args().skip(1))),
        _ => {}
    }
    let arguments = Arguments::parse();
    let wanted = |measurement| arguments.only.is_empty() || arguments.only.contains(&measurement);
    if wanted(Measurement::Copy) {
        let (size, rounds) = (arguments.copy_mebibytes, arguments.rounds);
        for figures in copy::measure(size, rounds, arguments.peers)? {
            report::print(&figures);
        }
    }
    if arguments.peers {
        if wanted(Measurement::CatchUp) {
            report::print(&peers::measure(&mut servers()?, arguments.rows, arguments.rounds)?);
        }
        return Ok(());
    }
    if wanted(Measurement::CatchUp) {
        report::print(&catch_up::measure(&mut servers()?, arguments.rows, arguments.rounds)?);
    }
    if wanted(Measurement::Latency) {
        report::print(&latency::measure(arguments.rounds)?);
    }
    if wanted(Measurement::Interruption) {
        report::print(&interruption::measure(&servers()?, arguments.rounds)?);
    }
    if wanted(Measurement::CopyInterruption) {
        report::print(&copy_interruption::measure(arguments.rounds)?);
    }
    if wanted(Measurement::Transaction) {
        report::print(&transaction::measure(&mut servers()?, arguments.transaction_rows)?);
    }
    if wanted(Measurement::Idle) {
        report::print(&idle::measure(1_000)?);
    }
    Ok(())
}

/// The servers of one measurement.
struct Servers {
    postgres: Postgres,
    kafka: Kafka,
}

/// Durable as in production, with room for the backlog in memory.
fn servers() -> Result<Servers> {
    let settings = [("shared_buffers", "1GB"), ("max_wal_size", "8GB"), ("fsync", "on")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    report::step("starting PostgreSQL and Kafka");
    Ok(Servers {
        postgres: Postgres::start(PostgresOptions { version: DEBIAN_15.to_owned(), settings })?,
        kafka: Kafka::start(KafkaOptions::default())?,
    })
}
