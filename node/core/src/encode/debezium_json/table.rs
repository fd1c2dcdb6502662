//! What is worked out once per table: the kinds and names of its columns, and all that every record
//! of it has in common.

use tidewire_shared::spec::{DebeziumOptions, DecimalMode};

use super::kind::{Kind, Numeric};
use super::schema::{self, Schemas};
use crate::encode::columns::quoted;
use crate::schema::Relation;

/// How to write the records of one table.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What stands before the envelope.
    pub(super) before: Vec<u8>,
    /// What stands behind it.
    pub(super) after: Vec<u8>,
    pub(super) columns: Vec<Column>,
    pub(super) key: Option<Key>,
    /// From `source` to before the commit time.
    pub(super) source: Vec<u8>,
    /// From `snapshot` to before the sequence.
    pub(super) database: Vec<u8>,
    /// From `schema` to before the transaction id.
    pub(super) names: Vec<u8>,
}

/// The key of a table.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) before: Vec<u8>,
    pub(super) after: Vec<u8>,
    pub(super) columns: Vec<Column>,
}

/// One column that goes out.
#[derive(Clone, Debug)]
pub(super) struct Column {
    /// Place in the images.
    pub(super) index: usize,
    /// `"name":`
    pub(super) name: Vec<u8>,
    pub(super) kind: Kind,
    /// What stands for a value that is there and did not come.
    pub(super) unavailable: Vec<u8>,
    /// What stands for a value that an old row does not have.
    pub(super) absent: Vec<u8>,
    /// Headers show its text as a number.
    pub(super) plain_in_header: bool,
    /// NOT NULL.
    pub(super) required: bool,
    /// Its name.
    pub(super) field: String,
    /// Its default, as JSON.
    pub(super) default: Option<Vec<u8>>,
}

impl Plan {
    pub(crate) fn new(database: &str, relation: &Relation, options: &DebeziumOptions) -> Self {
        let columns: Vec<_> = (0..relation.columns.len())
            .filter_map(|index| Column::new(relation, index, options))
            .collect();
        let in_key = |index: &usize| columns.iter().find(|column| column.index == *index).cloned();
        let key: Option<Vec<_>> = relation.key.iter().map(in_key).collect();
        let key = key.filter(|columns| !columns.is_empty());
        let prefix = options.topic_prefix.as_deref().unwrap_or_default();
        let in_key = key.as_deref().unwrap_or_default();
        let schemas = options.schemas.then(|| Schemas::new(prefix, relation, &columns, in_key));
        let (before, after) = schema::around(schemas.as_ref().map(Schemas::value));
        let (before_key, after_key) = schema::around(schemas.as_ref().map(Schemas::key));
        let text = |pieces: &[&[u8]]| pieces.concat();
        Self {
            before,
            after,
            key: key.map(|columns| Key { before: before_key, after: after_key, columns }),
            columns,
            source: text(&[
                b",\"source\":{\"version\":",
                &quoted(env!("CARGO_PKG_VERSION")),
                b",\"connector\":\"postgresql\",\"name\":",
                &quoted(prefix),
                b",\"ts_ms\":",
            ]),
            database: text(&[
                b",\"snapshot\":\"false\",\"db\":",
                &quoted(relation.database(database)),
                b",\"sequence\":\"[\\\"",
            ]),
            names: text(&[
                b",\"schema\":",
                &quoted(&relation.out_name.schema),
                b",\"table\":",
                &quoted(&relation.out_name.table),
                b",\"txId\":",
            ]),
        }
    }
}

impl Column {
    fn new(relation: &Relation, index: usize, options: &DebeziumOptions) -> Option<Self> {
        let column = relation.columns.get(index)?;
        let kind = Kind::of(column, options)?;
        let mut name = quoted(&column.out_name);
        name.push(b':');
        let required = column.detail.not_null;
        let default = column.detail.default.as_deref().and_then(|text| kind.default(text));
        let absent = match &default {
            _ if !required => b"null".to_vec(),
            Some(default) => default.clone(),
            None => kind.absent(),
        };
        Some(Self {
            index,
            name,
            unavailable: kind.unavailable(),
            absent,
            plain_in_header: matches!(
                kind,
                Kind::Decimal(DecimalMode::Precise, Numeric::Fixed { .. })
            ),
            kind,
            required,
            field: column.out_name.clone(),
            default,
        })
    }
}
