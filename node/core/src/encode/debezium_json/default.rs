//! The default of a column as a value, where its expression is a plain literal.

use super::kind::Kind;
use super::number::Scratch;

impl Kind {
    /// The JSON of DEFAULT `expression` as `pg_get_expr` prints it; `None` when Debezium knows none:
    /// of functions but for `now()`, which it takes for the beginning of 1970, and of bytes.
    pub(super) fn default(&self, expression: &str) -> Option<Vec<u8>> {
        if matches!(self, Self::Bytes(_) | Self::Unknown(_) | Self::Array(_)) {
            return None;
        }
        let text = match (expression, self) {
            ("true", Self::Bool) => "t".to_owned(),
            ("false", Self::Bool) => "f".to_owned(),
            ("now()" | "CURRENT_TIMESTAMP", Self::ZonedTimestamp(_)) => {
                "1970-01-01 00:00:00+00".to_owned()
            }
            _ => literal(expression)?,
        };
        let text = match self {
            Self::Decimal(_, numeric) => numeric.scaled(&text),
            _ => text,
        };
        let (mut out, mut work) = (Vec::new(), Scratch::default());
        self.write(&mut out, text.as_bytes(), &mut work)?;
        Some(out)
    }
}

/// The text of `1.5`, `(-5)` or `'it''s'::text`.
fn literal(expression: &str) -> Option<String> {
    let inner = expression.strip_prefix('(').and_then(|e| e.strip_suffix(')'));
    let plain = inner.unwrap_or(expression);
    let digits = plain.strip_prefix('-').unwrap_or(plain);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return Some(plain.to_owned());
    }
    let (quoted, cast) = expression.strip_prefix('\'')?.rsplit_once('\'')?;
    let whole = !quoted.replace("''", "").contains('\'');
    (whole && cast.starts_with("::")).then(|| quoted.replace("''", "'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_literals_have_a_value() {
        for (expression, text) in [
            ("1", Some("1")),
            ("1.5", Some("1.5")),
            ("(-5)", Some("-5")),
            ("'none'::text", Some("none")),
            ("'it''s'::character varying(9)", Some("it's")),
            ("nextval('s'::regclass)", None),
            ("('a'::text || 'b'::text)", None),
            ("'a'::text || 'b'::text", None),
            ("NULL::text", None),
        ] {
            assert_eq!(literal(expression).as_deref(), text, "{expression}");
        }
    }
}
