//! Which tables a task takes, what of them, and under which names they go out.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Tables that are treated alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectRule {
    /// Exact tables.
    pub tables: Vec<TableName>,
    /// Further tables, by pattern; those that appear later are taken too.
    #[serde(default)]
    pub patterns: Vec<TablePattern>,
    /// Tables that the patterns must not take.
    #[serde(default)]
    pub exclude: Vec<TablePattern>,
    /// The topic they go to, or a template: `{database}`, `{schema}` and `{table}` stand for the
    /// names in the source.
    pub topic: String,
    /// Names inside the records.
    #[serde(default)]
    pub rename: Rename,
    /// Which columns go out.
    #[serde(default)]
    pub columns: ColumnChoice,
    /// SQL condition on the rows that go out; empty: all of them.
    #[serde(default)]
    pub filter: String,
    /// Which operations go out.
    #[serde(default)]
    pub operations: Operations,
    /// Columns that decide the partition under [`super::PartitionPolicy::ByPrimaryKey`]; empty: the
    /// key.
    pub partition_by: Vec<String>,
}

/// A table by its schema and name, as PostgreSQL stores them (no quotes).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableName {
    /// Schema.
    pub schema: String,
    /// Table.
    pub table: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

/// Tables whose schema and name both fit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TablePattern {
    /// Which schemas.
    pub schema: NamePattern,
    /// Which names.
    pub table: NamePattern,
}

impl TablePattern {
    /// Whether `name` is one of those tables.
    #[must_use]
    pub fn fits(&self, name: &TableName) -> bool {
        self.schema.fits(&name.schema) && self.table.fits(&name.table)
    }
}

/// One name, or every name of a form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum NamePattern {
    /// This name.
    Exact(String),
    /// `*` stands for any number of characters, `?` for one.
    Glob(String),
}

impl fmt::Display for TablePattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.schema, self.table)
    }
}

/// As it is stored: without quotes, as messages name it.
impl fmt::Display for NamePattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Exact(name) | Self::Glob(name)) = self;
        out.write_str(name)
    }
}

impl NamePattern {
    /// Whether `name` fits.
    #[must_use]
    pub fn fits(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == name,
            Self::Glob(glob) => {
                let glob: Vec<char> = glob.chars().collect();
                let name: Vec<char> = name.chars().collect();
                glob_fits(&glob, &name)
            }
        }
    }
}

/// Matches greedily and goes back to the last `*` when the rest does not fit: linear for names.
fn glob_fits(glob: &[char], name: &[char]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while from < name.len() {
        match glob.get(at) {
            Some('*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(c) if *c == '?' || name.get(from) == Some(c) => {
                at += 1;
                from += 1;
            }
            _ => {
                let Some((star_at, taken)) = star else { return false };
                star = Some((star_at, taken + 1));
                at = star_at + 1;
                from = taken + 1;
            }
        }
    }
    glob.get(at..).unwrap_or_default().iter().all(|c| *c == '*')
}

/// Names that records carry instead of those of the source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rename {
    /// Instead of the database's.
    pub database: Option<String>,
    /// Instead of the schema's.
    pub schema: Option<String>,
    /// Instead of the table's.
    pub table: Option<String>,
    /// Instead of the columns'.
    pub columns: BTreeMap<String, String>,
}

/// Which columns go out; at most one of the two lists is filled.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ColumnChoice {
    /// These alone; empty: all.
    pub include: Vec<String>,
    /// All but these.
    pub exclude: Vec<String>,
}

/// Which operations of a table go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Operations {
    /// Inserts.
    pub insert: bool,
    /// Updates.
    pub update: bool,
    /// Deletes.
    pub delete: bool,
    /// Truncates.
    pub truncate: bool,
}

impl Default for Operations {
    fn default() -> Self {
        Self { insert: true, update: true, delete: true, truncate: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_take_what_they_say() {
        let fits = |glob: &str, name| NamePattern::Glob(glob.to_owned()).fits(name);
        assert!(fits("order_*", "order_") && fits("order_*", "order_7") && fits("*", ""));
        assert!(fits("*a*b", "xaab") && fits("a?c", "abc") && fits("**", "é"));
        assert!(!fits("order_*", "orders") && !fits("a?c", "ac") && !fits("*a*b", "ba"));
        assert!(!NamePattern::Exact("order_*".to_owned()).fits("order_7"));
    }
}
