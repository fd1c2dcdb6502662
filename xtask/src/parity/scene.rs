//! The tables and changes of the comparison: what the corpus of types leaves out of operations,
//! keys and replica identities.

use anyhow::Result;
use postgres::Client;
use tidewire_testbed::corpus;

/// The compared tables. The last one ends the run: its record comes after all others.
pub(super) const TABLES: &[&str] = &[
    corpus::TABLE,
    "public.plain",
    "public.whole",
    "public.pair_key",
    "public.odd_keys",
    "public.by_index",
    "public.keyless",
    "public.long_values",
    "public.with_defaults",
    "public.MixedCase",
    "public.edges",
    "public.required",
    "public.finish",
];

const CREATE: &str = r#"
    CREATE TABLE plain (id bigint PRIMARY KEY, note text, amount numeric(12,2), at timestamptz);
    CREATE TABLE whole (id int PRIMARY KEY, note text, day date);
    ALTER TABLE whole REPLICA IDENTITY FULL;
    CREATE TABLE pair_key (a text, b int, c text NOT NULL, d int, PRIMARY KEY (b, a));
    CREATE TABLE odd_keys (n numeric(10,2), u uuid, t timestamptz, w timestamp, d date, y bytea,
        f float8, o boolean, v int, PRIMARY KEY (n, u, t, w, d, y, f, o));
    CREATE TABLE by_index (a int NOT NULL, b text NOT NULL, c text);
    CREATE UNIQUE INDEX by_index_b ON by_index (b);
    ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_b;
    CREATE TABLE keyless (a int, b text);
    ALTER TABLE keyless REPLICA IDENTITY FULL;
    CREATE TABLE long_values (id int PRIMARY KEY, t text, y bytea, j jsonb, ta text[], ia int[],
        la bigint[], v varchar, n numeric, h hstore, x xml, z int, f float8[], da date[],
        ba boolean[], ua uuid[], ra numeric[], ja jsonb[], tsa timestamptz[], r int4multirange, m tsvector);
    ALTER TABLE long_values ALTER t SET STORAGE EXTERNAL, ALTER y SET STORAGE EXTERNAL,
        ALTER j SET STORAGE EXTERNAL, ALTER ta SET STORAGE EXTERNAL, ALTER ia SET STORAGE EXTERNAL,
        ALTER la SET STORAGE EXTERNAL, ALTER v SET STORAGE EXTERNAL, ALTER n SET STORAGE EXTERNAL,
        ALTER h SET STORAGE EXTERNAL, ALTER x SET STORAGE EXTERNAL, ALTER f SET STORAGE EXTERNAL,
        ALTER da SET STORAGE EXTERNAL, ALTER ba SET STORAGE EXTERNAL, ALTER ua SET STORAGE EXTERNAL,
        ALTER ra SET STORAGE EXTERNAL, ALTER ja SET STORAGE EXTERNAL, ALTER tsa SET STORAGE EXTERNAL,
        ALTER r SET STORAGE EXTERNAL, ALTER m SET STORAGE EXTERNAL;
    CREATE TABLE with_defaults (id int PRIMARY KEY DEFAULT 7, a int NOT NULL DEFAULT 1,
        b text DEFAULT 'none', c timestamptz DEFAULT now(), d numeric(6,2) NOT NULL DEFAULT 1.5,
        e boolean DEFAULT true, f date DEFAULT '2020-01-01', g text NOT NULL, h jsonb DEFAULT '{}',
        i bytea DEFAULT '\x01', j timestamp(3) DEFAULT '2020-01-01 10:00:00', k time(0), l bit(1),
        m bit(7), n varchar(9), o numeric(4), p timestamp(6), q timestamp(0), r time(3),
        s timestamptz(3), t smallint DEFAULT 3, u bigint NOT NULL DEFAULT 9, v real DEFAULT 0.5);
    CREATE TABLE "MixedCase" ("Id" int PRIMARY KEY, "Some Name" text, "ünï-cöde" text);
    CREATE TABLE edges (id int PRIMARY KEY, d date, ts timestamp, ts3 timestamp(3), tz timestamptz,
        tz0 timestamptz(0), tz3 timestamptz(3), t time, t3 time(3), tt timetz, tt3 timetz(3),
        i interval, n numeric, n2 numeric(8,2), nn numeric(5,-2), f4 float4, f8 float8, b8 bit(8),
        b20 bit(20), vb1 varbit(1), vb9 varbit(9), m money, h hstore, y bytea, na numeric[],
        tsa timestamp[], ta time[], f4a float4[], f8a float8[], ya bytea[], oa boolean[],
        ba bit(3)[], ina interval[], pa point[], xa xml[], ma money[], naa name[], ca citext[],
        ha hstore[], oida oid[], da date[], tta timetz[], n2a numeric(8,2)[], ja jsonb[],
        neta inet[], ra int4range[], sa small[], va varchar(9)[], ca5 char(5)[], cca "char"[]);
    CREATE TABLE required (id int PRIMARY KEY, o boolean NOT NULL, s smallint NOT NULL,
        b bigint NOT NULL, n numeric NOT NULL, n2 numeric(8,2) NOT NULL, f4 real NOT NULL,
        f8 float8 NOT NULL, t text NOT NULL, y bytea NOT NULL, d date NOT NULL, ts timestamp NOT NULL,
        ts3 timestamp(3) NOT NULL, tz timestamptz NOT NULL, tz3 timestamptz(3) NOT NULL, ti time NOT NULL,
        tt timetz NOT NULL, i interval NOT NULL, m money NOT NULL, j jsonb NOT NULL, u uuid NOT NULL,
        b1 bit(1) NOT NULL, b9 bit(9) NOT NULL, net inet NOT NULL, p point NOT NULL, l line NOT NULL,
        c circle NOT NULL, x xml NOT NULL, h hstore NOT NULL, ia int[] NOT NULL, ta text[] NOT NULL,
        e mood NOT NULL, ea mood[] NOT NULL, tsv tsvector NOT NULL, q tsquery NOT NULL,
        ci citext NOT NULL, r int4range NOT NULL, oi oid NOT NULL, bo box NOT NULL, pa path NOT NULL);
    CREATE TABLE finish (id int PRIMARY KEY);
"#;

const CHANGES: &[&str] = &[
    "INSERT INTO plain VALUES (1, 'first', 12.50, '2026-08-10 06:15:59.5+00'), (2, NULL, NULL, NULL)",
    "UPDATE plain SET note = 'second' WHERE id = 1",
    "UPDATE plain SET id = 3 WHERE id = 2",
    "UPDATE plain SET id = id WHERE id = 3",
    "DELETE FROM plain WHERE id = 1",
    "INSERT INTO whole VALUES (1, 'a', '2026-01-01'), (2, NULL, NULL)",
    "UPDATE whole SET note = 'b'",
    "UPDATE whole SET id = 20, note = NULL WHERE id = 2",
    "DELETE FROM whole WHERE id = 1",
    "INSERT INTO pair_key VALUES ('x\"\\', 1, 'c', 5)",
    "UPDATE pair_key SET d = NULL",
    "UPDATE pair_key SET a = 'y', d = 7",
    "DELETE FROM pair_key",
    "INSERT INTO odd_keys VALUES (1.5, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', \
        '2026-02-28 12:34:56.789+02', '2026-02-28 12:34:56.789', '2026-02-28', '\\x00ff', 0.25, true, 1)",
    "UPDATE odd_keys SET n = 2.25, f = 1e300",
    "DELETE FROM odd_keys",
    "INSERT INTO by_index VALUES (1, 'b', 'c')",
    "UPDATE by_index SET c = 'd'",
    "UPDATE by_index SET b = 'bb'",
    "DELETE FROM by_index",
    "INSERT INTO keyless VALUES (1, 'b'), (NULL, NULL)",
    "UPDATE keyless SET b = 'c' WHERE a = 1",
    "DELETE FROM keyless",
    "INSERT INTO long_values VALUES (1, repeat('t', 5000), decode(repeat('61', 5000), 'hex'), \
        to_jsonb(repeat('j', 5000)), ARRAY[repeat('a', 5000)], array_fill(7, ARRAY[2000]), \
        array_fill(8::bigint, ARRAY[2000]), repeat('v', 5000), repeat('9', 9000)::numeric, \
        hstore('k', repeat('h', 5000)), xmlparse(content repeat('x', 5000)), 0, \
        array_fill(0.5::float8, ARRAY[1000]), array_fill('2020-01-01'::date, ARRAY[2000]), \
        array_fill(true, ARRAY[5000]), array_fill('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, ARRAY[500]), \
        array_fill(1.5::numeric, ARRAY[2000]), ARRAY[to_jsonb(repeat('j', 5000))], \
        array_fill('2020-01-01 00:00:00+00'::timestamptz, ARRAY[1000]), \
        (SELECT range_agg(int4range(i*2, i*2+1)) FROM generate_series(1, 800) i), \
        (SELECT string_agg('w' || i, ' ')::tsvector FROM generate_series(1, 900) i))",
    "UPDATE long_values SET z = 1",
    "UPDATE long_values SET t = 'short', z = 2",
    "UPDATE long_values SET id = 2",
    "DELETE FROM long_values",
    "INSERT INTO with_defaults (g) VALUES ('g')",
    "UPDATE with_defaults SET b = NULL, c = '2026-01-01 00:00:00+00', e = NULL, f = NULL, h = NULL, \
        i = NULL, j = NULL, k = '10:11:12', l = B'1', m = B'1010101', n = 'n', o = 1234, \
        p = '2026-01-01 00:00:00.123456', q = '2026-01-01 00:00:01', r = '10:11:12.345', \
        s = '2026-01-01 00:00:00.120+00', t = NULL, v = NULL",
    "UPDATE with_defaults SET id = 8",
    "DELETE FROM with_defaults",
    "INSERT INTO \"MixedCase\" VALUES (1, 'a', 'b')",
    "DELETE FROM \"MixedCase\"",
    "INSERT INTO edges VALUES (1, '-infinity', 'infinity', 'infinity', '-infinity', 'infinity', NULL, \
        '12:00:00', '12:00:00.1', '24:00:00+00', '23:30:00-01:30', '-1 mons +3 days -00:00:00.000001', \
        '-Infinity', 'NaN', 12345, 'Infinity', '-Infinity', B'00000001', B'10000000000000000001', B'1', \
        B'101', 1234567.89, '', '', '{1.5,NaN,NULL}', '{infinity,2026-01-01 10:00:00.5}', '{10:00:00,24:00:00}', \
        '{1,NULL,1e10}', '{1e-5,NaN}', '{\"\\\\x00ff\",NULL}', '{t,f,NULL}', '{101,000}', '{1 day}', \
        '{\"(1,2)\"}', '{<a/>}', '{1.5}', '{a,b}', '{AbC}', ARRAY['a=>1'::hstore], '{1,4294967295}', \
        '{2026-01-01,infinity}', '{10:00:00+01}', '{1.5,NULL}', ARRAY['{}'::jsonb], '{10.0.0.1}', \
        '{\"[1,2)\"}', '{1,2}', '{a,\"b c\"}', '{ab}', '{x}')",
    "INSERT INTO edges VALUES (2, '9999-12-31', '0001-01-01 00:00:00 BC', '2026-01-01 00:00:00.9995', \
        '294276-12-31 23:59:59.999999+00', '2026-01-01 00:00:00.5+00', '10000-01-01 00:00:00+00', \
        '00:00:00.000001', '23:59:59.9996', '12:00:00.123456+05:30', '12:00:00.1-00:30', \
        '1 year 2 mons 3 days 04:05:06.000007', '0.000', '123456.70', 12350, -0.0, 1e7, B'10000000', \
        B'00000000000000000000', B'0', B'000000001', -1.5, hstore('a', 'x\"\\y'), '\\x', '{}', '{}', '{}', '{}', '{}', \
        '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', '{}', \
        '{}', '{}', '{}', '{}', '{}')",
    "INSERT INTO edges (id, d, i, n, f4, f8, m, h) VALUES (3, '-infinity', '-00:00:01.5', 1e30, 1e-4, 123456789, 0, \
        'b=>1, a=>2'), (4, '10000-01-01', '100 years', -0.5, 1234567.9, 0.001, -1234.5, NULL), \
        (5, '4713-01-01 BC', '-1 year -1 days', 100, 9999999, 12345678.9, 1, NULL), \
        (6, NULL, '1 mon', -128, 1e10, 1e21, NULL, NULL), (7, NULL, '00:00:00.1', 128, 0.001, 100, NULL, NULL), \
        (8, NULL, '36:00:00', 255, 3e-45, 5e-324, NULL, NULL)",
    "DELETE FROM edges",
    "INSERT INTO required VALUES (1, true, 1, 2, 3, 4, 5, 6, 't', '\\x01', '2026-01-01', '2026-01-01', \
        '2026-01-01', '2026-01-01', '2026-01-01', '10:00:00', '10:00:00+00', '1 day', 1, '{}', \
        'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', B'1', B'101010101', '10.0.0.1', '(1,2)', '{1,2,3}', \
        '<(1,2),3>', '<a/>', 'a=>1', '{1}', '{a}', 'sad', '{sad}', 'a', 'a', 'a', '[1,2)', 1, \
        '(1,1),(0,0)', '[(0,0),(1,1)]')",
    "DELETE FROM required",
    "BEGIN; INSERT INTO plain VALUES (10, 'x', 0, NULL); UPDATE plain SET note = 'y' WHERE id = 10; \
        DELETE FROM plain WHERE id = 10; COMMIT",
    "TRUNCATE plain",
    "TRUNCATE whole, keyless",
];

/// Creates the tables.
pub(super) fn create(client: &mut Client) -> Result<()> {
    corpus::create(client)?;
    client.batch_execute(CREATE)?;
    Ok(())
}

/// Makes the changes, the one that ends the run last.
pub(super) fn change(client: &mut Client) -> Result<()> {
    corpus::change(client)?;
    for statement in CHANGES {
        client.batch_execute(statement)?;
    }
    client.batch_execute("INSERT INTO finish VALUES (1)")?;
    Ok(())
}
