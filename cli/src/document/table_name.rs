//! Names of tables and columns by PostgreSQL's rule: unquoted ones fold to lower case, `"` keeps them.
//!
//! <https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS>

use tidewire_shared::spec::{NamePattern, TableName, TablePattern};

use super::place::{Place, Walk};

/// Longest identifier that PostgreSQL keeps whole (NAMEDATALEN less one), in bytes.
const LONGEST: usize = 63;

/// Reads `schema.table`, each part quoted (exact) or not (`*` and `?` make it a pattern).
pub(super) fn table_pattern(place: &Place<'_>) -> Walk<TablePattern> {
    let mut parts = identifiers(place, place.filled_text()?, Stars::Allowed)?.into_iter();
    match (parts.next(), parts.next(), parts.next()) {
        (Some(schema), Some(table), None) => Ok(TablePattern { schema, table }),
        (Some(table), None, None) => place.wrong(
            "has no schema",
            format!("write it with its schema, such as public.{}", pattern(&table)),
        ),
        _ => place.wrong("has more than two parts", "write SCHEMA.TABLE"),
    }
}

/// Reads `schema.table` of exactly one table.
pub(super) fn table(place: &Place<'_>) -> Walk<TableName> {
    match table_pattern(place)? {
        TablePattern { schema: NamePattern::Exact(schema), table: NamePattern::Exact(table) } => {
            Ok(TableName { schema, table })
        }
        _ => place.wrong("is a pattern", "name one table"),
    }
}

/// The pattern as [`table_pattern`] reads it back.
pub(super) fn pattern(name: &NamePattern) -> String {
    match name {
        NamePattern::Exact(name) => quoted(name),
        NamePattern::Glob(glob) => glob.clone(),
    }
}

/// Whether `*` and `?` have a meaning in bare names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stars {
    Allowed,
    Refused,
}

/// Reads one column name.
pub(super) fn column(place: &Place<'_>) -> Walk<String> {
    let mut parts = identifiers(place, place.filled_text()?, Stars::Refused)?;
    match (parts.pop(), parts.is_empty()) {
        (Some(NamePattern::Exact(column)), true) => Ok(column),
        _ => place.wrong("is not one column", "write the column alone, a dot inside in quotes"),
    }
}

/// The name as [`column`] and [`table`] read it back.
pub(super) fn quoted(name: &str) -> String {
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'$';
    if first && name.bytes().all(plain) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn identifiers(place: &Place<'_>, text: &str, stars: Stars) -> Walk<Vec<NamePattern>> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, after) = match rest.strip_prefix('"') {
            Some(inner) => {
                let (name, after) = in_quotes(place, inner)?;
                (NamePattern::Exact(name), after)
            }
            None => bare(place, rest, stars)?,
        };
        let (NamePattern::Exact(name) | NamePattern::Glob(name)) = &part;
        if name.len() > LONGEST {
            return place.wrong(
                format_args!("`{name}` is longer than 63 bytes"),
                "write the name as PostgreSQL shows it in pg_class",
            );
        }
        parts.push(part);
        if after.is_empty() {
            return Ok(parts);
        }
        let Some(next) = after.strip_prefix('.') else {
            return place.wrong("goes on after its closing quote", "separate the parts by a dot");
        };
        rest = next;
    }
}

/// The name up to its closing quote, where `""` is one quote, and what follows it.
fn in_quotes<'t>(place: &Place<'_>, text: &'t str) -> Walk<(String, &'t str)> {
    let mut name = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('"') {
        name.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                name.push('"');
                rest = more;
            }
            None if name.is_empty() => {
                return place.wrong("has an empty part", "write SCHEMA.TABLE");
            }
            None => return Ok((name, after)),
        }
    }
    place.wrong("lacks a closing quote", "close the quote, and write a quote inside as \"\"")
}

/// The name up to the next dot, folded, and what follows it.
fn bare<'t>(place: &Place<'_>, text: &'t str, stars: Stars) -> Walk<(NamePattern, &'t str)> {
    let end = text.find('.').unwrap_or(text.len());
    let (name, after) = text.split_at_checked(end).unwrap_or((text, ""));
    let star = |c: char| stars == Stars::Allowed && matches!(c, '*' | '?');
    let starts = |c: char| c.is_alphabetic() || c == '_' || star(c);
    let goes_on = |c: char| c.is_alphanumeric() || c == '_' || c == '$' || star(c);
    match name.chars().next() {
        None => place.wrong("has an empty part", "write SCHEMA.TABLE"),
        Some(first) if starts(first) && name.chars().all(goes_on) => {
            let folded = name.to_ascii_lowercase();
            let is_glob = name.contains(star);
            let form = if is_glob { NamePattern::Glob } else { NamePattern::Exact };
            Ok((form(folded), after))
        }
        Some(_) => place.wrong(
            format_args!("`{name}` is no plain name"),
            format!("put it in quotes: '\"{}\"'", name.replace('"', "\"\"")),
        ),
    }
}
