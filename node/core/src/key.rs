//! The key of a record: a JSON object of the key columns in key order, values as text
//! (`{"id":"42"}`, CONTRACT §7).

use crate::batch::Image;
use crate::change::Value;
use crate::encode::json;
use crate::schema::Relation;

/// How to write the record keys of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyPlan {
    /// Column index, and everything that stands before its value.
    columns: Vec<(usize, Vec<u8>)>,
}

impl KeyPlan {
    pub(crate) fn new(relation: &Relation) -> Self {
        let columns = relation.key.iter().enumerate().map(|(place, index)| {
            let mut prefix = vec![if place == 0 { b'{' } else { b',' }];
            json::string(&mut prefix, relation.columns[*index].out_name.as_bytes());
            prefix.push(b':');
            (*index, prefix)
        });
        Self { columns: columns.collect() }
    }

    /// Writes the key of a row; `false` when the table has none.
    #[inline]
    pub(crate) fn write(&self, out: &mut Vec<u8>, image: Image<'_>) -> bool {
        for (index, prefix) in &self.columns {
            out.extend_from_slice(prefix);
            match image.value(*index) {
                Value::Text(text) => json::string(out, text),
                Value::Null | Value::Missing => out.extend_from_slice(b"null"),
            }
        }
        if !self.columns.is_empty() {
            out.push(b'}');
        }
        !self.columns.is_empty()
    }
}
