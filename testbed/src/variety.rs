//! A load of variety: rows of every type of the server, and a table that changes its columns and its
//! identity while rows are written. Repeatable from a seed as long as the server stays.

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

/// The tables, as `schema.table` without quotes.
pub const TABLES: [&str; 2] = [corpus::TABLE, "public.shapes"];

/// Between two statements.
const PACE: Duration = Duration::from_millis(40);
/// Columns that the table of shapes gets at most.
const ADDED_MAX: usize = 12;

/// Creates the tables.
///
/// # Errors
/// When PostgreSQL refuses.
pub fn create_tables(client: &mut Client) -> Result<()> {
    corpus::create(client)?;
    client.batch_execute("CREATE TABLE public.shapes (id bigint PRIMARY KEY, note text)")?;
    Ok(())
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
    let columns = corpus::columns_of(&mut client)?;
    while !stop.load(Ordering::Relaxed) {
        let statement = match random.random_range(0..10) {
            0..5 => row_of_every_type(&columns, random),
            5..9 => row_of_shapes(&mut client, random)?,
            _ => another_shape(&mut client, random)?,
        };
        client.batch_execute(&statement).with_context(|| shortened(&statement))?;
        *statements += 1;
        thread::sleep(PACE);
    }
    Ok(())
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

/// The columns that were added to the table of shapes, with their types.
fn added(client: &mut Client) -> Result<Vec<(String, String)>> {
    let rows = client.query(
        "SELECT attname::text, atttypid::regtype::text FROM pg_attribute \
         WHERE attrelid = 'public.shapes'::regclass AND attnum > 2 AND NOT attisdropped ORDER BY attnum",
        &[],
    )?;
    Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
}

fn row_of_shapes(client: &mut Client, random: &mut StdRng) -> Result<String> {
    let id = random.random_range(0..60);
    let added = added(client)?;
    let number = random.random_range(0..1_000);
    Ok(match (random.random_range(0..8), added.choose(random)) {
        (0..3, Some((name, _))) => format!(
            "INSERT INTO public.shapes (id, note, {name}) VALUES ({id}, 'n{number}', '{number}') \
             ON CONFLICT DO NOTHING"
        ),
        (3 | 4, Some((name, _))) => {
            format!(
                "UPDATE public.shapes SET {name} = '{number}' WHERE id <= {id} AND id > {id} - 5"
            )
        }
        (5, _) => format!("DELETE FROM public.shapes WHERE id = {id}"),
        (6, _) => format!(
            "UPDATE public.shapes SET id = id + 1000 WHERE id = {id} AND NOT EXISTS \
             (SELECT FROM public.shapes WHERE id = {id} + 1000)"
        ),
        _ => format!(
            "INSERT INTO public.shapes (id, note) VALUES ({id}, 'n{number}') \
             ON CONFLICT (id) DO UPDATE SET note = excluded.note"
        ),
    })
}

/// Another shape of the table, sometimes with a row in the same transaction.
fn another_shape(client: &mut Client, random: &mut StdRng) -> Result<String> {
    let added = added(client)?;
    let fresh = random.random_range(0..1_000_000);
    let change = match (random.random_range(0..7), added.choose(random)) {
        (0, Some((name, _))) => format!("DROP COLUMN {name}"),
        (1, Some((name, _))) => format!("RENAME COLUMN {name} TO r{fresh}"),
        (2, Some((name, kind))) if kind == "integer" => {
            format!("ALTER COLUMN {name} TYPE numeric(12,2)")
        }
        (2 | 3, Some((name, kind))) if kind == "numeric" => {
            format!("ALTER COLUMN {name} TYPE text")
        }
        (3, _) => "REPLICA IDENTITY FULL".to_owned(),
        (4, _) => "REPLICA IDENTITY DEFAULT".to_owned(),
        (_, Some((name, _))) if added.len() >= ADDED_MAX => format!("DROP COLUMN {name}"),
        (5, _) => format!("ADD COLUMN a{fresh} text"),
        _ => format!("ADD COLUMN a{fresh} int DEFAULT 7"),
    };
    let mut statements = format!("ALTER TABLE public.shapes {change}");
    if random.random_bool(0.5) {
        statements.push_str("; UPDATE public.shapes SET note = 'of another shape' WHERE id < 3");
    }
    Ok(statements)
}
