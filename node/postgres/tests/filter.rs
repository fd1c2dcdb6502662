//! Conditions that we evaluate agree with the server, on random rows and random conditions, and those
//! that we hand to the server are taken as row filters.

use std::fmt::Write as _;

use postgres::{Client, SimpleQueryMessage};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use tidewire_node_core::change::Value;
use tidewire_node_core::filter::{Condition, FilterColumn};
use tidewire_testbed::servers::postgres::{Postgres, PostgresOptions};

/// Name, type, and values that meet at the edges of comparisons.
const COLUMNS: [(&str, &str, &[&str]); 11] = [
    ("i", "int", &["-1", "0", "2", "10", "2147483647"]),
    ("n", "numeric", &["-1", "0.0", "2.50", "10", "'NaN'", "12345678901234567890.5", "-0.1"]),
    ("f", "real", &["-1", "0.1", "2.5", "'NaN'", "'-Infinity'", "16777216"]),
    ("g", "double precision", &["-0.0", "0.1", "2.5", "'NaN'", "'Infinity'", "1e300"]),
    ("b", "boolean", &["true", "false"]),
    ("t", "text", &["''", "'a'", "'ab'", "'A%'", "'é_'", "E'x\\\\y'", "'it''s'"]),
    ("c", "char(4)", &["''", "'a'", "'ab'", "'ab c'"]),
    (
        "u",
        "uuid",
        &["'00000000-0000-0000-0000-000000000000'", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'"],
    ),
    ("d", "date", &["'2026-01-02'", "'0044-03-15 BC'", "'infinity'", "'10000-01-01'"]),
    ("ts", "timestamp", &["'2026-01-02 03:04:05'", "'2026-01-02 03:04:05.5'", "'-infinity'"]),
    ("Tz", "timestamptz", &["'2026-01-02 03:04:05+00'", "'2026-01-02 03:04:05.5-01'"]),
];

/// What a column is compared with, and what it may be matched with.
fn literals(column: &str) -> &'static [&'static str] {
    match column {
        "i" | "n" | "f" | "g" => &["-1", "0", "0.1", "2", "2.5", "10.0", "16777216", "+3"],
        "u" => {
            &["'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", "'00000000-0000-0000-0000-000000000000'"]
        }
        "d" => &["'2026-01-02'", "'2026-01-03'", "'0001-01-01'"],
        "ts" | "Tz" => &["'2026-01-02'", "'2026-01-02 03:04:05.50'", "'2026-01-02 04:04:05.5'"],
        _ => &["''", "'a'", "'ab'", "'A%'", "'ab  '", "'it''s'", "'é_'"],
    }
}

fn quoted(column: &str) -> String {
    format!("\"{column}\"")
}

fn leaf() -> impl Strategy<Value = String> {
    select(COLUMNS.as_slice()).prop_flat_map(|(name, _, _)| {
        let column = quoted(name);
        let null = select(vec![format!("{column} IS NULL"), format!("{column} IS NOT NULL")]);
        if name == "b" {
            let forms = ["b", "NOT b", "b = true", "b <> FALSE", "false", "b = b"];
            return prop_oneof![null, select(forms.map(str::to_owned).to_vec())].boxed();
        }
        let ordered = !matches!(name, "t" | "c");
        let operators: &[&str] =
            if ordered { &["=", "<>", "!=", "<", "<=", ">", ">="] } else { &["=", "<>"] };
        let value = || select(literals(name).to_vec());
        let one = column.clone();
        let compared = (select(operators.to_vec()), value(), any::<bool>()).prop_map(
            move |(operator, value, turned)| match turned {
                true => format!("{value} {operator} {one}"),
                false => format!("{one} {operator} {value}"),
            },
        );
        let (two, not) = (column.clone(), || select(vec!["", "NOT "]));
        let among = (not(), value(), value())
            .prop_map(move |(not, a, b)| format!("{two} {not}IN ({a}, {b})"));
        if ordered {
            let three = column;
            let between = (not(), value(), value())
                .prop_map(move |(not, a, b)| format!("{three} {not}BETWEEN {a} AND {b}"));
            let pair = select(vec!["i < n", "n >= i", "i <> n"]).prop_map(str::to_owned);
            return prop_oneof![null, compared, among, between, pair].boxed();
        }
        let patterns = ["'%'", "'a%'", "'_'", "'%b_'", "'A\\%'", "'é\\_'", "'ab  '", "'x\\\\%'"];
        let like = (not(), select(patterns.to_vec()))
            .prop_map(move |(not, pattern)| format!("{column} {not}LIKE {pattern}"));
        prop_oneof![null, compared, among, like].boxed()
    })
}

fn condition() -> impl Strategy<Value = String> {
    leaf().prop_recursive(4, 12, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a}) AND {b}")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} OR {b})")),
            inner.prop_map(|a| format!("NOT ({a})")),
        ]
    })
}

fn row() -> impl Strategy<Value = Vec<&'static str>> {
    COLUMNS
        .iter()
        .map(|(_, _, values)| prop_oneof![1 => Just("NULL"), 4 => select(values.to_vec())])
        .collect::<Vec<_>>()
}

fn texts(client: &mut Client, query: &str) -> Vec<Vec<Option<String>>> {
    let messages = client.simple_query(query).expect(query).into_iter();
    messages
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect())
            }
            _ => None,
        })
        .collect()
}

fn filled(client: &mut Client, runner: &mut TestRunner) {
    let mut script = "SET TimeZone = 'UTC'; SET extra_float_digits = 3; SET DateStyle = 'ISO';\
                      CREATE TABLE t (id serial PRIMARY KEY"
        .to_owned();
    for (name, of, _) in COLUMNS {
        write!(script, ", {} {of}", quoted(name)).expect("text");
    }
    script.push_str("); CREATE PUBLICATION p FOR TABLE t;");
    let names = COLUMNS.map(|(name, ..)| quoted(name)).join(", ");
    for _ in 0..150 {
        let values = row().new_tree(runner).expect("row").current().join(", ");
        write!(script, "INSERT INTO t ({names}) VALUES ({values});").expect("text");
    }
    client.batch_execute(&script).expect("table");
}

#[test]
fn conditions_agree_with_the_server() {
    let options = PostgresOptions { version: "15.14.0".to_owned(), settings: Vec::new() };
    let server = Postgres::start(options).expect("server");
    let mut client = server.connect().expect("client");
    let mut runner = TestRunner::new(Config::default());
    filled(&mut client, &mut runner);
    let names = COLUMNS.map(|(name, ..)| quoted(name)).join(", ");
    let rows = texts(&mut client, &format!("SELECT id, {names} FROM t ORDER BY id"));
    let oids = texts(
        &mut client,
        "SELECT atttypid FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 1 \
         ORDER BY attnum",
    );
    let columns: Vec<_> = COLUMNS
        .iter()
        .zip(&oids)
        .map(|((name, ..), oid)| FilterColumn {
            name,
            type_oid: oid[0].as_deref().expect("oid").parse().expect("number"),
            type_kind: 'b',
            domain: false,
        })
        .collect();
    for case in 0..400 {
        let text = condition().new_tree(&mut runner).expect("condition").current();
        let bound = Condition::parse(&text)
            .and_then(|condition| condition.bind(&columns))
            .unwrap_or_else(|what| panic!("{text}: {what}"));
        let ours: Vec<_> = rows
            .iter()
            .filter(|row| {
                let value = |at: usize| match &row[at + 1] {
                    Some(text) => Value::Text(text.as_bytes()),
                    None => Value::Null,
                };
                bound.matches(&value).unwrap_or_else(|told| panic!("{text}: {told:?} of {row:?}"))
            })
            .map(|row| row[0].clone())
            .collect();
        let sql = bound.sql().expect("built-in types alone");
        for written in [text.as_str(), sql] {
            let query = format!("SELECT id FROM t WHERE {written} ORDER BY id");
            let theirs: Vec<_> =
                texts(&mut client, &query).into_iter().map(|row| row[0].clone()).collect();
            assert_eq!(ours, theirs, "{written}");
        }
        if case % 8 == 0 {
            let statement = format!("ALTER PUBLICATION p SET TABLE t WHERE ({sql})");
            client.batch_execute(&statement).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        }
    }
}
