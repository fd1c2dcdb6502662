//! Changes made in PostgreSQL: mixed transactions on several tables, repeatable from a seed.
//!
//! Each connection works on ids of its own, so that connections never wait for each other, and its
//! statements depend on nothing but the seed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;
use postgres::{Client, Statement, Transaction};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde::Serialize;

use crate::servers::postgres::PostgresAddress;

/// The tables, as `schema.table` without quotes.
pub const TABLES: [&str; 3] = ["public.orders", "public.lines", "public.Mixed Case"];

const DEFINITIONS: &str = r#"
    CREATE TABLE public.orders (
        id bigint PRIMARY KEY, customer int NOT NULL, amount numeric(12, 2), note text,
        paid boolean NOT NULL DEFAULT false, at timestamptz NOT NULL DEFAULT clock_timestamp());
    CREATE TABLE public.lines (
        order_id bigint, line int, product text NOT NULL, weight float8,
        PRIMARY KEY (order_id, line));
    CREATE TABLE public."Mixed Case" (
        "Id" text PRIMARY KEY, "a value" jsonb, "when" date);
    ALTER TABLE public."Mixed Case" REPLICA IDENTITY FULL;
"#;

/// Creates the tables.
///
/// # Errors
/// When PostgreSQL refuses.
pub fn create_tables(client: &mut Client) -> Result<()> {
    client.batch_execute(DEFINITIONS)?;
    Ok(())
}

/// Inserts `rows` rows into `public.orders` in one transaction; their ids start at `first`.
///
/// # Errors
/// When PostgreSQL refuses.
pub fn big_transaction(client: &mut Client, first: i64, rows: i64) -> Result<()> {
    client.execute(
        "INSERT INTO public.orders (id, customer, amount, note) SELECT $1::bigint + g, g % 1000, g / 7.0, \
         'row ' || g FROM generate_series(0, $2::bigint - 1) AS g",
        &[&first, &rows],
    )?;
    Ok(())
}

/// How the workload runs.
#[derive(Clone, Debug)]
pub struct WorkloadOptions {
    /// Decides every statement.
    pub seed: u64,
    /// Changed rows per second over all connections.
    pub rows_per_second: u32,
    /// Number of connections that write at the same time.
    pub connections: u32,
}

impl Default for WorkloadOptions {
    fn default() -> Self {
        Self { seed: 1, rows_per_second: 500, connections: 3 }
    }
}

/// What was written so far. Rows whose commit failed or was not answered are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Written {
    /// Committed transactions.
    pub transactions: u64,
    /// Row changes in them.
    pub rows: u64,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    transactions: AtomicU64,
    rows: AtomicU64,
}

/// A workload that runs until it is stopped.
#[derive(Debug)]
pub struct Workload {
    shared: Arc<Shared>,
    writers: Vec<JoinHandle<Result<()>>>,
}

impl Workload {
    /// Starts the writers on tables that [`create_tables`] made.
    ///
    /// # Errors
    /// When a connection cannot be made.
    pub fn start(address: &PostgresAddress, options: &WorkloadOptions) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let connections = options.connections.max(1);
        let row_time = Duration::from_secs(1) * connections / options.rows_per_second.max(1);
        let writers = (0..connections)
            .map(|connection| {
                let mut writer = Writer::new(address, options.seed, connection)?;
                let shared = Arc::clone(&shared);
                Ok(thread::spawn(move || writer.run(&shared, row_time)))
            })
            .collect::<Result<_>>()?;
        Ok(Self { shared, writers })
    }

    /// What was written so far.
    #[must_use]
    pub fn written(&self) -> Written {
        Written {
            transactions: self.shared.transactions.load(Ordering::Relaxed),
            rows: self.shared.rows.load(Ordering::Relaxed),
        }
    }

    /// Lets every writer end its transaction and returns what was written in all.
    ///
    /// # Errors
    /// When a writer failed for another reason than a lost connection.
    pub fn stop(mut self) -> Result<Written> {
        self.shared.stop.store(true, Ordering::Relaxed);
        for writer in self.writers.drain(..) {
            writer.join().map_err(|_| anyhow::anyhow!("a writer of the workload panicked"))??;
        }
        Ok(self.written())
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

/// The statements of one connection.
struct Statements {
    insert_order: Statement,
    update_order: Statement,
    rekey_order: Statement,
    delete_order: Statement,
    upsert_line: Statement,
    upsert_mixed: Statement,
    rekey_mixed: Statement,
}

struct Writer {
    address: PostgresAddress,
    random: StdRng,
    /// Ids of this connection lie in `first .. first + SPAN`.
    first: i64,
    next: i64,
    /// Orders that exist.
    live: Vec<i64>,
}

const SPAN: i64 = 1_000_000_000;
/// So many orders exist per connection at most; beyond, deletions are drawn more often.
const LIVE: usize = 1_000;

impl Writer {
    fn new(address: &PostgresAddress, seed: u64, connection: u32) -> Result<Self> {
        address.connect()?;
        let first = i64::from(connection) * SPAN;
        let random =
            StdRng::seed_from_u64(seed.wrapping_mul(1_000).wrapping_add(connection.into()));
        Ok(Self { address: address.clone(), random, first, next: first, live: Vec::new() })
    }

    /// Writes until told to stop; a lost connection is made anew.
    fn run(&mut self, shared: &Shared, row_time: Duration) -> Result<()> {
        while !shared.stop.load(Ordering::Relaxed) {
            match self.session(shared, row_time) {
                Ok(()) => return Ok(()),
                Err(failed) if connection_lost(&failed) => {
                    thread::sleep(Duration::from_millis(100));
                }
                Err(failed) => return Err(failed),
            }
        }
        Ok(())
    }

    fn session(&mut self, shared: &Shared, row_time: Duration) -> Result<()> {
        let mut client = self.address.connect()?;
        let statements = Statements::prepare(&mut client)?;
        // After a lost connection nobody knows whether the last commit took place: look.
        let rows = client.query(
            "SELECT id FROM public.orders WHERE id >= $1 AND id < $2 ORDER BY id",
            &[&self.first, &(self.first + SPAN)],
        )?;
        self.live = rows.iter().map(|row| row.get(0)).collect();
        self.next =
            self.live.iter().copied().max().map_or(self.next, |last| self.next.max(last + 1));
        let mut due = Instant::now();
        while !shared.stop.load(Ordering::Relaxed) {
            let rows = self.transaction(&mut client, &statements)?;
            if rows > 0 {
                shared.transactions.fetch_add(1, Ordering::Relaxed);
                shared.rows.fetch_add(rows.into(), Ordering::Relaxed);
            }
            // Not `sleep` alone: the time that the statements took counts too.
            due = (due + row_time * rows.max(1)).max(Instant::now() - Duration::from_secs(1));
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        Ok(())
    }

    /// One transaction; returns how many row changes it committed.
    fn transaction(&mut self, client: &mut Client, statements: &Statements) -> Result<u32> {
        let wanted = match self.random.random_range(0..10) {
            0..6 => 1,
            6..9 => self.random.random_range(2..=20),
            _ => self.random.random_range(20..=200),
        };
        let fate = self.random.random_range(0..20);
        let (live, next) = (self.live.clone(), self.next);
        let mut transaction = client.transaction()?;
        let mut rows = 0;
        while rows < wanted {
            rows += self.change(&mut transaction, statements)?;
            if fate == 1 && rows >= wanted / 2 && rows < wanted {
                let kept = self.live.clone();
                let mut savepoint = transaction.savepoint("half")?;
                self.change(&mut savepoint, statements)?;
                savepoint.rollback()?;
                self.live = kept;
            }
        }
        if fate == 0 {
            transaction.rollback()?;
            self.live = live;
            self.next = next;
            return Ok(0);
        }
        transaction.commit()?;
        Ok(rows)
    }

    /// One change; returns the number of changed rows.
    fn change(&mut self, transaction: &mut Transaction<'_>, with: &Statements) -> Result<u32> {
        let crowded = self.live.len() > LIVE;
        let choice = if crowded { 8 } else { self.random.random_range(0..12) };
        let id = match self.live.len() {
            0 => None,
            count => self.live.get(self.random.random_range(0..count)).copied(),
        };
        let amount = self.random.random_range(0..100_000);
        let changed = match (choice, id) {
            (3..6, Some(id)) => transaction.execute(&with.update_order, &[&id, &amount])?,
            (6, Some(id)) => {
                let new = self.fresh();
                self.live.retain(|other| *other != id);
                self.live.push(new);
                transaction.execute(&with.rekey_order, &[&id, &new])?
            }
            (7 | 8, Some(id)) => {
                self.live.retain(|other| *other != id);
                transaction.execute(&with.delete_order, &[&id])?
            }
            (9, Some(id)) => {
                let line = self.random.random_range(1..4);
                transaction.execute(&with.upsert_line, &[&id, &line, &amount])?
            }
            (10, _) => {
                let name = format!("k{}-{}", self.first / SPAN, self.random.random_range(0..50));
                transaction.execute(&with.upsert_mixed, &[&name, &amount])?
            }
            (11, _) => {
                let name = format!("k{}-{}", self.first / SPAN, self.random.random_range(0..50));
                let other = format!("m{}-{}", self.first / SPAN, self.fresh());
                transaction.execute(&with.rekey_mixed, &[&name, &other])?
            }
            _ => {
                let new = self.fresh();
                self.live.push(new);
                transaction.execute(&with.insert_order, &[&new, &amount])?
            }
        };
        Ok(u32::try_from(changed)?)
    }

    fn fresh(&mut self) -> i64 {
        self.next += 1;
        self.next
    }
}

impl Statements {
    fn prepare(client: &mut Client) -> Result<Self> {
        Ok(Self {
            insert_order: client.prepare(
                "INSERT INTO public.orders (id, customer, amount, note) \
                 VALUES ($1::bigint, $2::int, $2::int / 100.0, 'it''s order ' || $1::bigint)",
            )?,
            update_order: client.prepare(
                "UPDATE public.orders SET amount = $2::int / 100.0, paid = NOT paid WHERE id = $1",
            )?,
            rekey_order: client.prepare("UPDATE public.orders SET id = $2::bigint WHERE id = $1")?,
            delete_order: client.prepare("DELETE FROM public.orders WHERE id = $1")?,
            upsert_line: client.prepare(
                "INSERT INTO public.lines (order_id, line, product, weight) \
                 VALUES ($1, $2, 'thing ' || $3::int, $3::int / 7.0) \
                 ON CONFLICT (order_id, line) DO UPDATE SET product = excluded.product",
            )?,
            upsert_mixed: client.prepare(
                r#"INSERT INTO public."Mixed Case" VALUES
                   ($1, jsonb_build_object('n', $2::int, 'text', E'a\nb'), DATE '2026-01-01' + $2::int)
                   ON CONFLICT ("Id") DO UPDATE SET "a value" = excluded."a value""#,
            )?,
            rekey_mixed: client
                .prepare(r#"UPDATE public."Mixed Case" SET "Id" = $2 WHERE "Id" = $1"#)?,
        })
    }
}

/// Whether a statement failed because its server went away.
#[must_use]
pub fn connection_lost(failed: &anyhow::Error) -> bool {
    failed.downcast_ref::<postgres::Error>().is_none_or(|error| match error.as_db_error() {
        // Class 57: the server shuts down, crashed, or is starting.
        Some(refused) => refused.code().code().starts_with("57P"),
        None => true,
    })
}
