//! A table that changes its columns and its identity.

use anyhow::Result;
use postgres::Client;
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

pub(super) const TABLE: &str = "public.shapes";

/// Columns that it gets at most.
const ADDED_MAX: usize = 12;

pub(super) fn create(client: &mut Client) -> Result<()> {
    client.batch_execute("CREATE TABLE public.shapes (id bigint PRIMARY KEY, note text)")?;
    Ok(())
}

/// A column that was added.
struct Added {
    name: String,
    kind: String,
    /// The newest value of an enumeration.
    label: Option<String>,
}

impl Added {
    /// A value that the column can hold.
    fn value(&self, number: u32) -> String {
        self.label.clone().unwrap_or_else(|| number.to_string())
    }

    fn all(client: &mut Client) -> Result<Vec<Self>> {
        let rows = client.query(
            "SELECT attname::text, atttypid::regtype::text, (SELECT enumlabel::text FROM pg_enum \
             WHERE enumtypid = atttypid ORDER BY enumsortorder DESC LIMIT 1) FROM pg_attribute \
             WHERE attrelid = 'public.shapes'::regclass AND attnum > 2 AND NOT attisdropped \
             ORDER BY attnum",
            &[],
        )?;
        let column =
            |row: &postgres::Row| Self { name: row.get(0), kind: row.get(1), label: row.get(2) };
        Ok(rows.iter().map(column).collect())
    }
}

/// A change of one of a few rows.
pub(super) fn row(client: &mut Client, random: &mut StdRng) -> Result<String> {
    let id = random.random_range(0..60);
    let added = Added::all(client)?;
    let number = random.random_range(0..1_000);
    Ok(match (random.random_range(0..8), added.choose(random)) {
        (0..3, Some(column)) => format!(
            "INSERT INTO public.shapes (id, note, {}) VALUES ({id}, 'n{number}', '{}') \
             ON CONFLICT DO NOTHING",
            column.name,
            column.value(number)
        ),
        (3 | 4, Some(column)) => format!(
            "UPDATE public.shapes SET {} = '{}' WHERE id <= {id} AND id > {id} - 5",
            column.name,
            column.value(number)
        ),
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
pub(super) fn another(client: &mut Client, random: &mut StdRng) -> Result<String> {
    let added = Added::all(client)?;
    let fresh = random.random_range(0..1_000_000_000);
    let change = match (random.random_range(0..10), added.choose(random)) {
        (0, Some(column)) => altered(&format!("DROP COLUMN {}", column.name)),
        (1, Some(column)) => altered(&format!("RENAME COLUMN {} TO r{fresh}", column.name)),
        (2, Some(Added { name, kind, .. })) if kind == "integer" => {
            altered(&format!("ALTER COLUMN {name} TYPE numeric(12,2)"))
        }
        (2 | 3, Some(Added { name, kind, .. })) if kind == "numeric" => {
            altered(&format!("ALTER COLUMN {name} TYPE text"))
        }
        (3, _) => altered("REPLICA IDENTITY FULL"),
        (4, _) => altered("REPLICA IDENTITY DEFAULT"),
        (5, Some(Added { kind, label: Some(_), .. })) => {
            format!("ALTER TYPE {kind} ADD VALUE '{fresh}'")
        }
        (_, Some(column)) if added.len() >= ADDED_MAX => {
            altered(&format!("DROP COLUMN {}", column.name))
        }
        (6, _) => altered(&format!("ADD COLUMN a{fresh} text")),
        (7, _) => format!(
            "CREATE TYPE public.e{fresh} AS ENUM ('first'); {}",
            altered(&format!("ADD COLUMN a{fresh} public.e{fresh}"))
        ),
        (8, _) => format!(
            "CREATE DOMAIN public.d{fresh} AS int; {}",
            altered(&format!("ADD COLUMN a{fresh} public.d{fresh} DEFAULT 8"))
        ),
        _ => altered(&format!("ADD COLUMN a{fresh} int DEFAULT 7")),
    };
    let row = "UPDATE public.shapes SET note = 'of another shape' WHERE id < 3";
    Ok(if random.random_bool(0.5) { format!("{change}; {row}") } else { change })
}

fn altered(how: &str) -> String {
    format!("ALTER TABLE public.shapes {how}")
}
