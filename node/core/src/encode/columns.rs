//! The columns of a row as members of a JSON object, values as text: what `shareplex_json` and
//! `canal_json` share.

use super::json;
use super::row::OldImage;
use crate::change::Value;
use crate::schema::Relation;

/// `"name":` of each column of a table.
#[derive(Debug)]
pub(crate) struct Columns(Vec<Vec<u8>>);

impl Columns {
    pub(crate) fn new(relation: &Relation) -> Self {
        let names = relation.columns.iter().map(|column| {
            let mut name = quoted(&column.out_name);
            name.push(b':');
            name
        });
        Self(names.collect())
    }

    /// Each `"name":`, in column order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }

    /// Writes the members of an object; columns that were not sent are left out.
    #[inline]
    pub(crate) fn members<'a>(&self, out: &mut Vec<u8>, value: impl Fn(usize) -> Value<'a>) {
        let mut first = true;
        for (index, name) in self.0.iter().enumerate() {
            let value = value(index);
            if value == Value::Missing {
                continue;
            }
            if !first {
                out.push(b',');
            }
            first = false;
            out.extend_from_slice(name);
            match value {
                Value::Text(text) => json::string(out, text),
                Value::Null | Value::Missing => out.extend_from_slice(b"null"),
            }
        }
    }
}

/// `text` as a JSON string.
pub(crate) fn quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    json::string(&mut out, text.as_bytes());
    out
}

/// The old value of the column at `index`.
#[inline]
pub(crate) fn old<'a>(relation: &Relation, before: &OldImage<'a>, index: usize) -> Value<'a> {
    relation.columns.get(index).map_or(Value::Missing, |column| before.value(index, column))
}
