//! A load of variety: rows of every type of the server, tables of every kind, one of which changes its
//! columns and its identity while rows are written, truncates, savepoints, and transactions in two
//! phases. Repeatable from a seed as long as the server stays.

mod kinds;
mod shapes;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use postgres::Client;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::corpus;
use crate::servers::postgres::PostgresAddress;
use crate::workload::connection_lost;

pub use kinds::KEYLESS;

/// What the server needs for transactions in two phases.
pub const SETTING: (&str, &str) = ("max_prepared_transactions", "4");

/// Between two statements.
const PACE: Duration = Duration::from_millis(40);
/// The transaction in two phases; there is one at a time.
const PREPARED: &str = "variety";

/// The tables, as `schema.table` without quotes, of a server of this major version.
#[must_use]
pub fn tables(major: u32) -> Vec<&'static str> {
    [[corpus::TABLE, shapes::TABLE].as_slice(), kinds::tables(major)].concat()
}

/// Creates the tables.
///
/// # Errors
/// When PostgreSQL refuses.
pub fn create_tables(client: &mut Client) -> Result<()> {
    corpus::create(client)?;
    shapes::create(client)?;
    let major = corpus::major(client)?;
    kinds::create(client, major)
}

/// A load that runs until it is stopped.
#[derive(Debug)]
pub struct Variety {
    stop: Arc<AtomicBool>,
    writer: JoinHandle<Result<u64>>,
}

impl Variety {
    /// Starts it on tables that [`create_tables`] made.
    ///
    /// # Errors
    /// When a connection cannot be made.
    pub fn start(address: &PostgresAddress, seed: u64) -> Result<Self> {
        let (address, stop) = (address.clone(), Arc::new(AtomicBool::new(false)));
        let mut random = StdRng::seed_from_u64(seed);
        address.connect()?;
        let ended = Arc::clone(&stop);
        let writer = thread::spawn(move || {
            let mut statements = 0;
            while !ended.load(Ordering::Relaxed) {
                match session(&address, &mut random, &ended, &mut statements) {
                    Err(failed) if connection_lost(&failed) => thread::sleep(PACE),
                    ended => ended?,
                }
            }
            Ok(statements)
        });
        Ok(Self { stop, writer })
    }

    /// Ends it and returns how many statements were executed.
    ///
    /// # Errors
    /// When it failed for another reason than a lost connection.
    pub fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.writer.join().map_err(|_| anyhow!("the load of variety panicked"))?
    }
}

/// Writes until told to stop or the connection is lost.
fn session(
    address: &PostgresAddress,
    random: &mut StdRng,
    stop: &AtomicBool,
    statements: &mut u64,
) -> Result<()> {
    let mut client = address.connect()?;
    end_prepared(&mut client)?;
    let (columns, major) = (corpus::columns_of(&mut client)?, corpus::major(&mut client)?);
    while !stop.load(Ordering::Relaxed) {
        for statement in transaction(&mut client, &columns, major, random)? {
            let done = client.batch_execute(&statement);
            done.with_context(|| shortened(&statement))?;
            *statements += 1;
            thread::sleep(PACE);
        }
    }
    Ok(())
}

/// Commits what was left in two phases by a session that was lost: its rows are locked.
fn end_prepared(client: &mut Client) -> Result<()> {
    let left = "SELECT 1 FROM pg_prepared_xacts WHERE gid = $1 AND database = current_database()";
    if !client.query(left, &[&PREPARED])?.is_empty() {
        client.batch_execute(&format!("COMMIT PREPARED '{PREPARED}'"))?;
    }
    Ok(())
}

/// The statements of one transaction, each to be sent alone.
fn transaction(
    client: &mut Client,
    columns: &Columns,
    major: u32,
    random: &mut StdRng,
) -> Result<Vec<String>> {
    let form = random.random_range(0..120);
    if form == 0 {
        let tables = tables(major);
        let number = random.random_range(1..=3);
        let some: Vec<_> = tables.choose_multiple(random, number).copied().collect();
        return Ok(vec![format!("TRUNCATE {}", some.join(", "))]);
    }
    let first = change(client, columns, major, random)?;
    Ok(match form {
        1..4 => {
            let end = if random.random_bool(0.7) { "COMMIT" } else { "ROLLBACK" };
            let prepare = format!("BEGIN; {first}; PREPARE TRANSACTION '{PREPARED}'");
            vec![prepare, format!("{end} PREPARED '{PREPARED}'")]
        }
        4..8 => {
            let second = change(client, columns, major, random)?;
            vec![format!("BEGIN; SAVEPOINT s; {first}; ROLLBACK TO s; {second}; COMMIT")]
        }
        _ => vec![first],
    })
}

fn change(
    client: &mut Client,
    columns: &Columns,
    major: u32,
    random: &mut StdRng,
) -> Result<String> {
    match random.random_range(0..24) {
        0..9 => Ok(row_of_every_type(columns, random)),
        9..16 => shapes::row(client, random),
        16..18 => shapes::another(client, random),
        _ => Ok(kinds::row(major, random)),
    }
}

/// Enough of a statement to tell which it was.
fn shortened(statement: &str) -> String {
    statement.chars().take(200).collect()
}

type Columns = [(String, [&'static str; 2])];

/// A change of one of a few rows, so that rows are changed again and again.
fn row_of_every_type(columns: &Columns, random: &mut StdRng) -> String {
    let id = random.random_range(0..40);
    let value = |values: &[&'static str; 2], random: &mut StdRng| match random.random_range(0..5) {
        0 => "NULL",
        choice => values[choice % 2],
    };
    match random.random_range(0..10) {
        0..4 => {
            let names: Vec<_> = columns.iter().map(|(name, _)| name.as_str()).collect();
            let values: Vec<_> = columns.iter().map(|(_, values)| value(values, random)).collect();
            format!(
                "INSERT INTO {} (id, {}) VALUES ({id}, {}) ON CONFLICT DO NOTHING",
                corpus::TABLE,
                names.join(", "),
                values.join(", ")
            )
        }
        4..8 => {
            let set: Vec<_> = columns
                .choose_multiple(random, 3)
                .map(|(name, values)| (name, values[0]))
                .map(|(name, value)| format!("{name} = {value}"))
                .collect();
            format!("UPDATE {} SET {} WHERE id = {id}", corpus::TABLE, set.join(", "))
        }
        8 => format!("DELETE FROM {} WHERE id = {id}", corpus::TABLE),
        _ => format!(
            "UPDATE {table} SET id = id + 100 WHERE id = {id} AND NOT EXISTS \
             (SELECT FROM {table} WHERE id = {id} + 100)",
            table = corpus::TABLE
        ),
    }
}
