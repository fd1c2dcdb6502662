//! The one place where names become SQL.
//!
//! Names in replication commands and DDL cannot be parameters, so every one of them passes here.

use tidewire_shared::spec::TableName;
use tidewire_shared::{Fault, FaultKind};

/// A name in double quotes, as PostgreSQL's `quote_ident` writes it when it must.
///
/// # Errors
/// `Configuration` for an empty name or one with a NUL, which no PostgreSQL object can have.
pub fn identifier(name: &str) -> Result<String, Fault> {
    doubled(name, '"')
}

/// A table in double quotes with its schema.
///
/// # Errors
/// As [`identifier`].
pub fn table(name: &TableName) -> Result<String, Fault> {
    Ok(format!("{}.{}", identifier(&name.schema)?, identifier(&name.table)?))
}

/// A text as a string literal, which no setting of the session reads another way.
///
/// # Errors
/// `Configuration` for an empty text or one with a NUL.
pub fn literal(text: &str) -> Result<String, Fault> {
    let literal = doubled(text, '\'')?;
    Ok(match literal.contains('\\') {
        true => format!("E{}", literal.replace('\\', "\\\\")),
        false => literal,
    })
}

/// The value of `publication_names`: identifiers in a list, the list as a string literal.
///
/// The replication grammar knows no backslash escapes, so doubling the quotes is enough.
///
/// # Errors
/// As [`identifier`]; `Configuration` when the list is empty.
pub fn publication_names(names: &[&str]) -> Result<String, Fault> {
    let quoted = names.iter().map(|name| identifier(name)).collect::<Result<Vec<_>, _>>()?;
    doubled(&quoted.join(","), '\'')
}

/// A slot name as PostgreSQL accepts it, `[a-z0-9_]{1,63}`, fit to be written without quotes.
///
/// # Errors
/// `Configuration` when the name breaks that rule.
pub fn slot(name: &str) -> Result<&str, Fault> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if (1..=63).contains(&name.len()) && name.bytes().all(inner) {
        return Ok(name);
    }
    Err(Fault::new(FaultKind::Configuration, format!("slot {name}"), "its name is not valid")
        .remedy("use 1 to 63 characters a-z, 0-9 and _"))
}

fn doubled(text: &str, quote: char) -> Result<String, Fault> {
    if text.is_empty() || text.contains('\0') {
        let message = "a name is empty or holds a NUL character";
        return Err(Fault::new(
            FaultKind::Configuration,
            format!("name `{}`", text.escape_debug()),
            message,
        ));
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        if c == quote {
            out.push(quote);
        }
        out.push(c);
    }
    out.push(quote);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_inside_names_are_doubled() {
        assert_eq!(identifier("a\"b").expect("name"), "\"a\"\"b\"");
        assert_eq!(publication_names(&["p'1", "q\"2"]).expect("list"), "'\"p''1\",\"q\"\"2\"'");
        let name = TableName { schema: "S".into(), table: "t t".into() };
        assert_eq!(table(&name).expect("table"), "\"S\".\"t t\"");
    }

    #[test]
    fn impossible_names_are_refused() {
        assert!(identifier("").is_err());
        assert!(identifier("a\0b").is_err());
        assert!(publication_names(&[]).is_err());
    }

    #[test]
    fn slot_names_keep_postgresqls_rule() {
        assert_eq!(slot("tidewire_k3v9").expect("slot"), "tidewire_k3v9");
        for bad in ["", "A", "a-b", "a b", "a;b", &"x".repeat(64)] {
            assert!(slot(bad).is_err(), "{bad}");
        }
    }
}
