//! Values of every type of PostgreSQL, and changes that carry them.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use postgres::Client;

/// The table with a column of every type.
pub const TABLE: &str = "public.corpus";

const TYPES: &str = "
    CREATE EXTENSION hstore; CREATE EXTENSION citext;
    CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'happy');
    CREATE DOMAIN small AS int CHECK (VALUE < 100);
    CREATE DOMAIN flag AS boolean;
    CREATE TYPE pair AS (a int, b text);
    CREATE TYPE floats AS RANGE (subtype = float8);
";

/// A column's type and the values of the rows; NULL stands in a row of its own.
pub const COLUMNS: &[(&str, [&str; 2])] = &[
    ("bool", ["true", "false"]),
    ("int2", ["-32768", "32767"]),
    ("int4", ["-2147483648", "2147483647"]),
    ("int8", ["-9223372036854775808", "9223372036854775807"]),
    ("numeric", ["'NaN'", "12345678901234567890.123456789012345678900"]),
    ("numeric(10,3)", ["0.001", "-1234567.890"]),
    ("numeric", ["'Infinity'", "0"]),
    ("float4", ["0.1", "'-Infinity'"]),
    ("float4", ["'NaN'", "3.4028235e38"]),
    ("float8", ["0.1", "2.2250738585072014e-308"]),
    ("float8", ["'NaN'", "'Infinity'"]),
    ("money", ["12.34", "-0.01"]),
    ("text", ["''", "E'it''s\\n\\t\\u00e4 \\U0001F30A \"q\" \\\\'"]),
    ("text", ["repeat('long ', 5000)", "'null'"]),
    ("varchar(20)", ["'a'", "'  b  '"]),
    ("char(5)", ["'ab'", "'abcde'"]),
    ("\"char\"", ["'x'", "''"]),
    ("name", ["'a name'", "'b'"]),
    ("bytea", ["'\\x00ff10'", "''"]),
    ("date", ["'2026-02-28'", "'0001-01-01'"]),
    ("date", ["'infinity'", "'0044-03-15 BC'"]),
    ("time", ["'00:00:00'", "'23:59:59.999999'"]),
    ("time", ["'24:00:00'", "'12:30:00.5'"]),
    ("timetz", ["'12:00:00+00'", "'23:59:59.1-05:30'"]),
    ("timestamp", ["'2026-02-28 12:34:56.789012'", "'1969-12-31 23:59:59'"]),
    ("timestamp", ["'-infinity'", "'0044-03-15 10:00:00 BC'"]),
    ("timestamptz", ["'2026-02-28 12:34:56.789+02'", "'0001-01-01 00:00:00+00'"]),
    ("timestamptz", ["'infinity'", "'0044-03-15 10:00:00+00 BC'"]),
    ("interval", ["'1 year 2 mons -3 days 04:05:06.7'", "'0'"]),
    ("json", ["'{\"a\":  [1, null, \"\\u00e4\"]}'", "'null'"]),
    ("jsonb", ["'{\"a\": [1, null, \"ä\"]}'", "'null'"]),
    ("jsonpath", ["'$.a[*]'", "'$'"]),
    ("uuid", ["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'00000000-0000-0000-0000-000000000000'"]),
    ("bit(3)", ["B'101'", "B'000'"]),
    ("varbit", ["B'10111'", "B''"]),
    ("inet", ["'192.168.0.1/24'", "'::1'"]),
    ("cidr", ["'10.0.0.0/8'", "'2001:db8::/32'"]),
    ("macaddr", ["'08:00:2b:01:02:03'", "'00:00:00:00:00:00'"]),
    ("macaddr8", ["'08:00:2b:01:02:03:04:05'", "'00:00:00:00:00:00:00:00'"]),
    ("point", ["'(1,2.5)'", "'(0,0)'"]),
    ("line", ["'{1,2,3}'", "'{0,1,0}'"]),
    ("lseg", ["'[(0,0),(1,1)]'", "'[(1,2),(3,4)]'"]),
    ("box", ["'(1,1),(0,0)'", "'(2,2),(2,2)'"]),
    ("path", ["'[(0,0),(1,1)]'", "'((0,0),(1,1))'"]),
    ("polygon", ["'((0,0),(1,1),(1,0))'", "'((0,0))'"]),
    ("circle", ["'<(1,2),3>'", "'<(0,0),0>'"]),
    ("tsvector", ["'a fat cat'::tsvector", "''"]),
    ("tsquery", ["'fat & rat'", "'cat'"]),
    ("pg_lsn", ["'16/B374D848'", "'0/0'"]),
    ("txid_snapshot", ["'10:20:10,14'", "'1:1:'"]),
    ("pg_snapshot", ["'10:20:10,14'", "'1:1:'"]),
    ("oid", ["0", "4294967295"]),
    ("xid", ["'7'", "'4294967295'"]),
    ("xid8", ["'7'", "'18446744073709551615'"]),
    ("cid", ["'7'", "'0'"]),
    ("tid", ["'(0,1)'", "'(4294967295,65535)'"]),
    ("regclass", ["'pg_class'", "'pg_type'"]),
    ("regtype", ["'integer'", "'text'"]),
    ("regproc", ["'now'", "'pi'"]),
    ("regrole", ["'postgres'", "'postgres'"]),
    ("oidvector", ["'1 2 3'", "''"]),
    ("int2vector", ["'1 2 3'", "''"]),
    ("refcursor", ["'c'", "''"]),
    ("int4range", ["'[1,5)'", "'empty'"]),
    ("int8range", ["'(,5)'", "'[1,)'"]),
    ("numrange", ["'[1.50,2.5]'", "'(,)'"]),
    ("tsrange", ["'[2026-01-01,2026-02-01)'", "'empty'"]),
    ("tstzrange", ["'[2026-01-01 00:00:00+00,)'", "'empty'"]),
    ("daterange", ["'[2026-01-01,2026-02-01)'", "'empty'"]),
    ("int4multirange", ["'{[1,3),[5,7)}'", "'{}'"]),
    ("tstzmultirange", ["'{[2026-01-01 00:00:00+00,)}'", "'{}'"]),
    ("int[]", ["'{1,NULL,3}'", "'{}'"]),
    ("int[]", ["'{{1,2},{3,4}}'", "'[0:1]={7,8}'"]),
    ("text[]", ["ARRAY['a\"b', 'c,d', '', NULL, 'null']", "'{}'"]),
    ("timestamptz[]", ["ARRAY[timestamptz '2026-01-01 00:00:00+00']", "'{}'"]),
    ("mood", ["'happy'", "'it''s ok'"]),
    ("mood[]", ["'{sad,happy}'", "'{}'"]),
    ("small", ["42", "-1"]),
    ("flag", ["true", "false"]),
    ("pair", ["ROW(1, 'x, \"y\"')", "ROW(NULL, '')"]),
    ("pair[]", ["ARRAY[ROW(1, 'x')::pair]", "'{}'"]),
    ("floats", ["'[0.1,2)'", "'empty'"]),
    ("hstore", ["'a=>1, b=>NULL, \"c d\"=>\"x\"'", "''"]),
    ("citext", ["'MiXed'", "''"]),
];

/// Creates extensions, types and the table, with REPLICA IDENTITY FULL and a column for each type
/// that the server knows.
///
/// # Errors
/// When PostgreSQL refuses.
pub fn create(client: &mut Client) -> Result<()> {
    client.batch_execute(TYPES)?;
    let mut table = format!("CREATE TABLE {TABLE} (id int PRIMARY KEY, \"o.dd \"\"Näme\" text");
    let server = major(client)?;
    for (number, (name, values)) in COLUMNS.iter().enumerate() {
        if since(name, values) <= server {
            write!(table, ", c{number} {name}")?;
        }
    }
    client.batch_execute(&format!("{table}); ALTER TABLE {TABLE} REPLICA IDENTITY FULL"))?;
    Ok(())
}

/// The version of a server, without its minor one.
pub(crate) fn major(client: &mut Client) -> Result<u32> {
    let row =
        client.query_one("SELECT current_setting('server_version_num')::int4 / 10000", &[])?;
    Ok(u32::try_from(row.get::<_, i32>(0))?)
}

/// The version of PostgreSQL in which a type came, or the first of its values.
fn since(name: &str, values: &[&str; 2]) -> u32 {
    match name {
        "int4multirange" | "tstzmultirange" => 14,
        "numeric" if values.contains(&"'Infinity'") => 14,
        "pg_snapshot" | "xid8" => 13,
        _ => 12,
    }
}

/// The columns of types, and the values of each, in the table of this server.
///
/// # Errors
/// When PostgreSQL does not answer.
pub fn columns_of(client: &mut Client) -> Result<Vec<(String, [&'static str; 2])>> {
    let server = major(client)?;
    let known = COLUMNS.iter().enumerate();
    let known = known.filter(|(_, (name, values))| since(name, values) <= server);
    Ok(known.map(|(number, (_, values))| (format!("c{number}"), *values)).collect())
}

/// Inserts a row for each of the values and one of NULLs, updates, changes keys and deletes.
///
/// # Errors
/// When PostgreSQL refuses.
pub fn change(client: &mut Client) -> Result<()> {
    for row in 0..2 {
        let values: Vec<_> = COLUMNS.iter().map(|(_, values)| values[row]).collect();
        let statement = format!("INSERT INTO {TABLE} VALUES ({row}, 'x', {})", values.join(", "));
        client.batch_execute(&statement).with_context(|| statement.clone())?;
    }
    client.batch_execute(&format!("INSERT INTO {TABLE} (id) VALUES (2)"))?;
    // The long text does not change: it is not in the log, but in the old row.
    client.batch_execute(&format!("UPDATE {TABLE} SET c1 = 5 WHERE id < 2"))?;
    client.batch_execute(&format!("UPDATE {TABLE} SET id = id + 10"))?;
    client.batch_execute(&format!("DELETE FROM {TABLE}"))?;
    Ok(())
}
