//! Identifiers in SQL: the one place that quotes them.

use tidewire_shared::spec::TableName;

/// An SQL identifier, always quoted, so that no name can be read as anything else.
#[must_use]
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A table's qualified name, quoted.
#[must_use]
pub fn qualified(table: &TableName) -> String {
    format!("{}.{}", identifier(&table.schema), identifier(&table.table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_in_names_stay_inside_the_quotes() {
        assert_eq!(identifier("orders"), "\"orders\"");
        assert_eq!(identifier("a\"; DROP TABLE b; --"), "\"a\"\"; DROP TABLE b; --\"");
    }
}
