//! Tables of other kinds: with an index as replica identity and values outside of the row, without a key,
//! and in partitions.

use anyhow::Result;
use postgres::Client;
use rand::Rng as _;
use rand::rngs::StdRng;

/// The table without a key, of which new rows alone can be taken.
pub const KEYLESS: &str = "public.events";

const LABELS: &str = "public.labels";
const REGIONS: &str = "public.regions";

const DEFINITIONS: &str = "
    CREATE TABLE public.labels (n int, code text NOT NULL, note text);
    CREATE UNIQUE INDEX labels_code ON public.labels (code);
    ALTER TABLE public.labels REPLICA IDENTITY USING INDEX labels_code;
    ALTER TABLE public.labels ALTER COLUMN note SET STORAGE EXTERNAL;
    CREATE TABLE public.events (at int, what text);
";

/// The last partition has its columns in another order, and one less than it had.
const PARTITIONED: &str = "
    CREATE TABLE public.regions (id int, region int, note text, PRIMARY KEY (region, id))
        PARTITION BY LIST (region);
    CREATE TABLE public.regions_0 PARTITION OF public.regions FOR VALUES IN (0);
    CREATE TABLE public.regions_1 PARTITION OF public.regions FOR VALUES IN (1);
    CREATE TABLE public.regions_2 (gone int, note text, region int, id int, PRIMARY KEY (region, id));
    ALTER TABLE public.regions_2 DROP COLUMN gone;
    ALTER TABLE public.regions ATTACH PARTITION public.regions_2 FOR VALUES IN (2);
";

/// Roots are published from 13 on.
const fn has_roots(major: u32) -> bool {
    major >= 13
}

pub(super) fn tables(major: u32) -> &'static [&'static str] {
    if has_roots(major) { &[LABELS, KEYLESS, REGIONS] } else { &[LABELS, KEYLESS] }
}

pub(super) fn create(client: &mut Client, major: u32) -> Result<()> {
    client.batch_execute(DEFINITIONS)?;
    if has_roots(major) {
        client.batch_execute(PARTITIONED)?;
    }
    Ok(())
}

/// A change of one of a few rows.
pub(super) fn row(major: u32, random: &mut StdRng) -> String {
    match random.random_range(0..if has_roots(major) { 4 } else { 3 }) {
        0 | 1 => label(random),
        2 => event(random),
        _ => region(random),
    }
}

fn label(random: &mut StdRng) -> String {
    let (id, n) = (random.random_range(0..30), random.random_range(0..1_000));
    match random.random_range(0..6) {
        0 | 1 => format!(
            "INSERT INTO {LABELS} VALUES ({n}, 'c{id}', repeat('outside ', {n})) \
             ON CONFLICT (code) DO UPDATE SET n = excluded.n"
        ),
        2 | 3 => format!("UPDATE {LABELS} SET n = {n} WHERE code >= 'c{id}' AND code < 'c{id}z'"),
        4 => format!(
            "UPDATE {LABELS} SET code = code || 'x' WHERE code = 'c{id}' AND NOT EXISTS \
             (SELECT FROM {LABELS} WHERE code = 'c{id}x')"
        ),
        _ => format!("DELETE FROM {LABELS} WHERE code LIKE 'c{id}%'"),
    }
}

/// Updates and deletes are the application's affair: nobody publishes them.
fn event(random: &mut StdRng) -> String {
    let at = random.random_range(0..20);
    match random.random_range(0..5) {
        0 => format!("UPDATE {KEYLESS} SET what = 'changed' WHERE at = {at}"),
        1 => format!("DELETE FROM {KEYLESS} WHERE at = {at}"),
        2 => format!(
            "UPDATE {KEYLESS} SET at = at + 1 WHERE at = {at}; INSERT INTO {KEYLESS} VALUES ({at}, NULL)"
        ),
        _ => format!("INSERT INTO {KEYLESS} SELECT {at}, 'e' || g FROM generate_series(1, 3) AS g"),
    }
}

fn region(random: &mut StdRng) -> String {
    let (id, region) = (random.random_range(0..20), random.random_range(0..3));
    let row = format!("id = {id} AND region = {region}");
    match random.random_range(0..6) {
        0 | 1 => format!(
            "INSERT INTO {REGIONS} VALUES ({id}, {region}, 'new') \
             ON CONFLICT (region, id) DO UPDATE SET note = 'again'"
        ),
        2 => format!("UPDATE {REGIONS} SET note = note || '+' WHERE id = {id}"),
        3 | 4 => format!(
            "UPDATE {REGIONS} SET region = (region + 1) % 3 WHERE {row} AND NOT EXISTS \
             (SELECT FROM {REGIONS} WHERE id = {id} AND region = ({region} + 1) % 3)"
        ),
        _ => format!("DELETE FROM {REGIONS} WHERE {row}"),
    }
}
