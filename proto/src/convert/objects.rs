//! Which tables a task takes, what of them, and under which names they go out.

use tidewire_shared::spec::{
    ColumnChoice, NamePattern, ObjectRule, Operations, Rename, TableName, TablePattern,
};

use super::{ConvertError, each, required, text};
use crate::task::v1 as pb;

impl From<ObjectRule> for pb::ObjectRule {
    fn from(rule: ObjectRule) -> Self {
        Self {
            tables: rule.tables.into_iter().map(Into::into).collect(),
            patterns: rule.patterns.into_iter().map(Into::into).collect(),
            exclude: rule.exclude.into_iter().map(Into::into).collect(),
            topic: rule.topic,
            rename: Some(rule.rename.into()),
            include_columns: rule.columns.include,
            exclude_columns: rule.columns.exclude,
            filter: rule.filter,
            operations: Some(rule.operations.into()),
            partition_by: rule.partition_by,
        }
    }
}

impl TryFrom<pb::ObjectRule> for ObjectRule {
    type Error = ConvertError;

    fn try_from(rule: pb::ObjectRule) -> Result<Self, Self::Error> {
        if rule.tables.is_empty() && rule.patterns.is_empty() {
            return Err(ConvertError::new("tables", "is empty, and so is patterns"));
        }
        Ok(Self {
            tables: each("tables", rule.tables)?,
            patterns: each("patterns", rule.patterns)?,
            exclude: each("exclude", rule.exclude)?,
            topic: text("topic", rule.topic)?,
            rename: required("rename", rule.rename)?,
            columns: ColumnChoice { include: rule.include_columns, exclude: rule.exclude_columns },
            filter: rule.filter,
            operations: required("operations", rule.operations)?,
            partition_by: rule.partition_by,
        })
    }
}

impl From<TableName> for pb::TableName {
    fn from(name: TableName) -> Self {
        Self { schema: name.schema, table: name.table }
    }
}

impl TryFrom<pb::TableName> for TableName {
    type Error = ConvertError;

    fn try_from(name: pb::TableName) -> Result<Self, Self::Error> {
        Ok(Self { schema: text("schema", name.schema)?, table: text("table", name.table)? })
    }
}

impl From<TablePattern> for pb::TablePattern {
    fn from(pattern: TablePattern) -> Self {
        Self { schema: Some(pattern.schema.into()), table: Some(pattern.table.into()) }
    }
}

impl TryFrom<pb::TablePattern> for TablePattern {
    type Error = ConvertError;

    fn try_from(pattern: pb::TablePattern) -> Result<Self, Self::Error> {
        Ok(Self {
            schema: required("schema", pattern.schema)?,
            table: required("table", pattern.table)?,
        })
    }
}

impl From<NamePattern> for pb::NamePattern {
    fn from(pattern: NamePattern) -> Self {
        let form = match pattern {
            NamePattern::Exact(name) => pb::name_pattern::Form::Exact(name),
            NamePattern::Glob(glob) => pb::name_pattern::Form::Glob(glob),
        };
        Self { form: Some(form) }
    }
}

impl TryFrom<pb::NamePattern> for NamePattern {
    type Error = ConvertError;

    fn try_from(pattern: pb::NamePattern) -> Result<Self, Self::Error> {
        match pattern.form {
            Some(pb::name_pattern::Form::Exact(name)) => Ok(Self::Exact(text("exact", name)?)),
            Some(pb::name_pattern::Form::Glob(glob)) => Ok(Self::Glob(text("glob", glob)?)),
            None => Err(ConvertError::new("form", "is missing")),
        }
    }
}

impl From<Rename> for pb::Rename {
    fn from(rename: Rename) -> Self {
        Self {
            database: rename.database.unwrap_or_default(),
            schema: rename.schema.unwrap_or_default(),
            table: rename.table.unwrap_or_default(),
            columns: rename.columns.into_iter().collect(),
        }
    }
}

impl TryFrom<pb::Rename> for Rename {
    type Error = ConvertError;

    fn try_from(rename: pb::Rename) -> Result<Self, Self::Error> {
        let filled = |name: String| (!name.is_empty()).then_some(name);
        let column = |(from, to)| Ok((text("columns", from)?, text("columns", to)?));
        Ok(Self {
            database: filled(rename.database),
            schema: filled(rename.schema),
            table: filled(rename.table),
            columns: rename.columns.into_iter().map(column).collect::<Result<_, _>>()?,
        })
    }
}

impl From<Operations> for pb::Operations {
    fn from(operations: Operations) -> Self {
        let Operations { insert, update, delete, truncate } = operations;
        Self { insert, update, delete, truncate }
    }
}

impl TryFrom<pb::Operations> for Operations {
    type Error = ConvertError;

    fn try_from(operations: pb::Operations) -> Result<Self, Self::Error> {
        let pb::Operations { insert, update, delete, truncate } = operations;
        if !(insert || update || delete || truncate) {
            return Err(ConvertError::new("", "names no operation"));
        }
        Ok(Self { insert, update, delete, truncate })
    }
}
