//! The text of PostgreSQL's plugin `test_decoding`, read strictly.
//!
//! ```text
//! BEGIN 741
//! table public.t: INSERT: id[integer]:1 note[text]:'it''s' tags[text[]]:null
//! table public."Mixed Case": UPDATE: old-key: id[integer]:1 new-tuple: id[integer]:2 …
//! table public.t: DELETE: id[integer]:2
//! table public.t, public.u: TRUNCATE: restart_seqs cascade
//! COMMIT 741
//! ```
//!
//! Source of the format: `contrib/test_decoding/test_decoding.c`.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};

use super::truth::Names;
use super::{Datum, Operation, Row};

/// One line of the plugin.
#[derive(Debug)]
pub(super) enum Line {
    Begin,
    Commit { xid: u32 },
    Message,
    Change { table: Arc<str>, operation: Operation, before: Option<Row>, after: Option<Row> },
    Truncate { tables: Vec<Arc<str>> },
}

pub(super) fn parse(text: &str, names: &mut Names) -> Result<Line> {
    if text.starts_with("message: ") {
        return Ok(Line::Message);
    }
    if text.starts_with("BEGIN ") {
        return Ok(Line::Begin);
    }
    if let Some(xid) = text.strip_prefix("COMMIT ") {
        return Ok(Line::Commit { xid: xid.parse()? });
    }
    let mut rest = Rest(text.strip_prefix("table ").context("no such line")?);
    let table = rest.table(names)?;
    if rest.0.starts_with(", ") || rest.0.starts_with(": TRUNCATE: ") {
        return rest.truncate(table, names);
    }
    rest.expect(": ")?;
    let (operation, before, after) = if rest.take("INSERT: ") {
        (Operation::Insert, None, Some(rest.row(names)?))
    } else if rest.take("DELETE: ") {
        (Operation::Delete, rest.before(names)?, None)
    } else {
        rest.expect("UPDATE: ")?;
        let before = if rest.take("old-key: ") {
            let row = rest.row(names)?;
            rest.expect("new-tuple: ")?;
            Some(row)
        } else {
            None
        };
        (Operation::Update, before, Some(rest.row(names)?))
    };
    match rest.0 {
        "" => Ok(Line::Change { table, operation, before, after }),
        more => bail!("{} bytes more than expected", more.len()),
    }
}

const TRUNCATE_FLAGS: [&str; 3] = ["(no-flags)", "restart_seqs", "cascade"];

/// The part of a line that is not read yet.
struct Rest<'a>(&'a str);

impl Rest<'_> {
    fn take(&mut self, word: &str) -> bool {
        match self.0.strip_prefix(word) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, word: &str) -> Result<()> {
        if self.take(word) { Ok(()) } else { Err(anyhow!("no {word:?} where it belongs")) }
    }

    /// `schema.table`.
    fn table(&mut self, names: &mut Names) -> Result<Arc<str>> {
        let schema = self.identifier()?;
        self.expect(".")?;
        Ok(names.keep(format!("{schema}.{}", self.identifier()?)))
    }

    /// What follows the first table of a TRUNCATE: further tables, and how they were truncated.
    fn truncate(mut self, first: Arc<str>, names: &mut Names) -> Result<Line> {
        let mut tables = vec![first];
        while self.take(", ") {
            tables.push(self.table(names)?);
        }
        self.expect(": TRUNCATE: ")?;
        match self.0.split_whitespace().find(|flag| !TRUNCATE_FLAGS.contains(flag)) {
            None => Ok(Line::Truncate { tables }),
            Some(flag) => bail!("a TRUNCATE with {flag}"),
        }
    }

    /// A name as `quote_identifier` writes it.
    fn identifier(&mut self) -> Result<String> {
        if self.0.starts_with('"') {
            return self.quoted('"');
        }
        let end = self
            .0
            .find(|letter: char| !(letter.is_alphanumeric() || matches!(letter, '_' | '$')))
            .unwrap_or(self.0.len());
        let (name, rest) = self.0.split_at(end);
        if name.is_empty() {
            bail!("no name where one belongs");
        }
        self.0 = rest;
        Ok(name.to_owned())
    }

    /// Text in quotes, in which a quote stands twice.
    fn quoted(&mut self, quote: char) -> Result<String> {
        let mut text = String::new();
        let mut letters = self.0.char_indices().skip(1).peekable();
        while let Some((at, letter)) = letters.next() {
            if letter != quote {
                text.push(letter);
            } else if letters.next_if(|(_, next)| *next == quote).is_some() {
                text.push(quote);
            } else {
                self.0 = self.0.get(at + quote.len_utf8()..).unwrap_or_default();
                return Ok(text);
            }
        }
        Err(anyhow!("a quote without its end"))
    }

    fn before(&mut self, names: &mut Names) -> Result<Option<Row>> {
        if self.take("(no-tuple-data)") { Ok(None) } else { self.row(names).map(Some) }
    }

    /// Columns up to the end of the line or to `new-tuple:`, which no unquoted name can be.
    fn row(&mut self, names: &mut Names) -> Result<Row> {
        let mut row = Row::new();
        while !self.0.is_empty() && !self.0.starts_with("new-tuple: ") {
            let name = names.keep(self.identifier()?);
            let type_name = self.type_name()?;
            self.expect(":")?;
            let value = self.value(type_name)?;
            row.push((name, value));
            if !self.take(" ") {
                break;
            }
        }
        Ok(row)
    }
}

impl<'a> Rest<'a> {
    /// `[type]`, where the type may hold brackets and quoted names of its own.
    fn type_name(&mut self) -> Result<&'a str> {
        self.expect("[")?;
        let (mut depth, mut quoted) = (1, false);
        let line = self.0;
        for (at, byte) in line.bytes().enumerate() {
            match byte {
                b'"' => quoted = !quoted,
                b'[' if !quoted => depth += 1,
                b']' if !quoted => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                self.0 = line.get(at + 1..).unwrap_or_default();
                return Ok(line.get(..at).unwrap_or_default());
            }
        }
        Err(anyhow!("a type without its end"))
    }

    fn value(&mut self, type_name: &str) -> Result<Datum> {
        if self.0.starts_with('\'') {
            return self.quoted('\'').map(|text| Datum::Text(text.into()));
        }
        if self.take("B'") {
            let (bits, rest) = self.0.split_once('\'').context("bits without their end")?;
            self.0 = rest;
            return Ok(Datum::Text(bits.into()));
        }
        let (word, rest) = self.0.split_at(self.0.find(' ').unwrap_or(self.0.len()));
        self.0 = rest;
        Ok(match (word, type_name) {
            ("null", _) => Datum::Null,
            ("unchanged-toast-datum", _) => Datum::Missing,
            ("true", "boolean") => Datum::Text("t".into()),
            ("false", "boolean") => Datum::Text("f".into()),
            ("", _) => bail!("no value where one belongs"),
            (number, _) => Datum::Text(number.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(columns: &[(&str, Datum)]) -> Row {
        columns.iter().map(|(name, datum)| (Arc::from(*name), datum.clone())).collect()
    }

    fn text(text: &str) -> Datum {
        Datum::Text(text.into())
    }

    #[test]
    fn every_kind_of_value_is_read() {
        let line = "table public.\"Mixed \"\"Case\": INSERT: id[integer]:-1 n[numeric]:NaN \
            note[character varying]:'it''s\n[x]: y' tags[text[]]:'{a,\"b]\"}' b[bit varying]:B'01' \
            ok[boolean]:true \"the Type\"[public.\"we[ird\"]:'v' big[text]:unchanged-toast-datum \
            gone[text]:null word[text]:'null'";
        let Line::Change { table, operation, before, after } =
            parse(line, &mut Names::default()).unwrap()
        else {
            panic!("no change")
        };
        assert_eq!(&*table, "public.Mixed \"Case");
        assert_eq!((operation, before), (Operation::Insert, None));
        let expected = row(&[
            ("id", text("-1")),
            ("n", text("NaN")),
            ("note", text("it's\n[x]: y")),
            ("tags", text("{a,\"b]\"}")),
            ("b", text("01")),
            ("ok", text("t")),
            ("the Type", text("v")),
            ("big", Datum::Missing),
            ("gone", Datum::Null),
            ("word", text("null")),
        ]);
        assert_eq!(after, Some(expected));
    }

    #[test]
    fn an_update_with_its_old_key_is_read() {
        let line = "table a.t: UPDATE: old-key: id[integer]:1 new-tuple: id[integer]:2 x[text]:''";
        let Line::Change { before, after, .. } = parse(line, &mut Names::default()).unwrap() else {
            panic!("no change")
        };
        assert_eq!(before, Some(row(&[("id", text("1"))])));
        assert_eq!(after, Some(row(&[("id", text("2")), ("x", text(""))])));
    }

    #[test]
    fn the_tables_of_a_truncate_are_read() {
        for (line, expected) in [
            ("table a.t: TRUNCATE: (no-flags)", vec!["a.t"]),
            ("table a.t, a.\"U, x\": TRUNCATE: restart_seqs cascade", vec!["a.t", "a.U, x"]),
        ] {
            let Line::Truncate { tables } = parse(line, &mut Names::default()).unwrap() else {
                panic!("no truncate")
            };
            assert_eq!(tables.iter().map(|table| &**table).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in [
            "table a.t: INSERT: id[integer]:",
            "table a.t: INSERT: id[integer]:'1",
            "table a.t: INSERT: id[integer:1",
            "table a.t: MERGE: id[integer]:1",
            "table a.t: INSERT: id[integer]:1 new-tuple: id[integer]:1",
            "table a.t, a.u: TRUNCATE: backwards",
            "table a.t, a.u: INSERT: id[integer]:1",
            "COMMIT x",
            "",
        ] {
            assert!(parse(line, &mut Names::default()).is_err(), "{line}");
        }
    }
}
