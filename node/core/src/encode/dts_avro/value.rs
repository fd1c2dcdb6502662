//! One column value as a branch of the union of an image, chosen once per column.
//!
//! Input is PostgreSQL's output text under the settings that the session pins (CONTRACT §6).

use super::datetime::{self, Parsed};
use crate::encode::avro;

/// A text that is not of its column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Invalid {
    /// The column.
    pub(crate) index: usize,
    /// What was expected.
    pub(crate) what: &'static str,
}

/// Which branch a column takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValueKind {
    Integer,
    Character,
    Decimal,
    Float,
    Date,
    Time,
    TimeWithZone,
    Timestamp,
    TimestampWithZone,
    Bytea,
    Jsonb,
    /// TextObject, with its type name.
    Text(&'static [u8]),
}

/// The type name of everything that has no branch of its own.
const XTYPE: &[u8] = b"XTYPE";

/// Branches of the union of a value.
const INTEGER: u8 = 1;
const CHARACTER: u8 = 2;
const DECIMAL: u8 = 3;
const FLOAT: u8 = 4;
const DATE_TIME: u8 = 6;
const TIMESTAMP_WITH_TIME_ZONE: u8 = 7;
const BINARY_OBJECT: u8 = 10;
const TEXT_OBJECT: u8 = 11;

/// A branch number on the wire: a zigzag `long` of one byte.
const fn branch(number: u8) -> u8 {
    number * 2
}

impl ValueKind {
    /// The branch for a type: its base type's object id and `pg_type.typtype`.
    pub(super) fn of(type_oid: u32, type_kind: char) -> Self {
        match type_oid {
            20 | 21 | 23 => Self::Integer,
            18 | 25 | 1042 | 1043 => Self::Character,
            1700 => Self::Decimal,
            700 | 701 => Self::Float,
            1082 => Self::Date,
            1083 => Self::Time,
            1266 => Self::TimeWithZone,
            1114 => Self::Timestamp,
            1184 => Self::TimestampWithZone,
            17 => Self::Bytea,
            3802 => Self::Jsonb,
            16 => Self::Text(b"BOOL"),
            114 => Self::Text(b"JSON"),
            142 => Self::Text(b"XML"),
            2950 => Self::Text(b"UUID"),
            _ if type_kind == 'e' => Self::Text(b"ENUM"),
            _ => Self::Text(XTYPE),
        }
    }

    /// Writes a value with its branch.
    #[inline]
    pub(super) fn write(self, out: &mut Vec<u8>, text: &[u8]) -> Result<(), &'static str> {
        match self {
            Self::Integer => return integer(out, text),
            Self::Character => {
                out.extend_from_slice(&[branch(CHARACTER), 8]);
                out.extend_from_slice(b"utf8");
                avro::bytes(out, text);
            }
            Self::Decimal => return decimal(out, text),
            Self::Float => return float(out, text),
            Self::Date => {
                return date_time(out, text, DATE_TIME, datetime::date(text), "a date");
            }
            Self::Time => {
                return date_time(out, text, DATE_TIME, datetime::time(text), "a time");
            }
            Self::Timestamp => {
                return date_time(out, text, DATE_TIME, datetime::timestamp(text), "a timestamp");
            }
            Self::TimeWithZone => {
                let parsed = datetime::time_with_zone(text);
                return date_time(out, text, TIMESTAMP_WITH_TIME_ZONE, parsed, "a time with zone");
            }
            Self::TimestampWithZone => {
                let parsed = datetime::timestamp_with_zone(text);
                return date_time(
                    out,
                    text,
                    TIMESTAMP_WITH_TIME_ZONE,
                    parsed,
                    "a timestamp with zone",
                );
            }
            Self::Bytea => return bytea(out, text),
            Self::Jsonb => {
                object(out, BINARY_OBJECT, b"JSON");
                avro::bytes(out, text);
            }
            Self::Text(name) => text_object(out, name, text),
        }
        Ok(())
    }
}

fn object(out: &mut Vec<u8>, kind: u8, name: &[u8]) {
    out.push(branch(kind));
    avro::bytes(out, name);
}

fn text_object(out: &mut Vec<u8>, name: &[u8], text: &[u8]) {
    object(out, TEXT_OBJECT, name);
    avro::bytes(out, text);
}

fn integer(out: &mut Vec<u8>, text: &[u8]) -> Result<(), &'static str> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err("an integer");
    }
    // Precision is always 0.
    out.extend_from_slice(&[branch(INTEGER), 0]);
    avro::bytes(out, text);
    Ok(())
}

/// Precision and scale are those that Java's `BigDecimal` finds in the text. NaN and the infinities,
/// on which the official consumer's Decimal fails, go as text.
fn decimal(out: &mut Vec<u8>, text: &[u8]) -> Result<(), &'static str> {
    if matches!(text, b"NaN" | b"Infinity" | b"-Infinity") {
        text_object(out, XTYPE, text);
        return Ok(());
    }
    let (precision, scale) = precision_and_scale(text).ok_or("a numeric")?;
    out.push(branch(DECIMAL));
    avro::bytes(out, text);
    avro::long(out, precision);
    avro::long(out, scale);
    Ok(())
}

fn precision_and_scale(text: &[u8]) -> Option<(i64, i64)> {
    let number = text.strip_prefix(b"-").unwrap_or(text);
    let (mut digits, mut precision, mut point) = (0, 0, None);
    for byte in number {
        match byte {
            b'0'..=b'9' => {
                digits += 1;
                // Leading zeros have no precision.
                if precision > 0 || *byte != b'0' {
                    precision += 1;
                }
            }
            b'.' if point.is_none() => point = Some(digits),
            _ => return None,
        }
    }
    let scale = point.map_or(0, |before| digits - before);
    (digits > 0).then_some((precision.max(1), scale))
}

/// A float4 becomes the double that is nearest to its shortest text.
fn float(out: &mut Vec<u8>, text: &[u8]) -> Result<(), &'static str> {
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
    out.push(branch(FLOAT));
    avro::double(out, number.ok_or("a floating-point number")?);
    // Precision 8 and scale 15, as the reference's own writer has them for every float.
    out.extend_from_slice(&[16, 30]);
    Ok(())
}

#[inline]
fn date_time(
    out: &mut Vec<u8>,
    text: &[u8],
    kind: u8,
    parsed: Parsed,
    what: &'static str,
) -> Result<(), &'static str> {
    match parsed {
        Parsed::Value(value) => {
            out.push(branch(kind));
            value.write(out, kind == TIMESTAMP_WITH_TIME_ZONE);
            Ok(())
        }
        Parsed::Unrepresentable => {
            text_object(out, XTYPE, text);
            Ok(())
        }
        Parsed::Malformed => Err(what),
    }
}

/// `\x` and two digits a byte, as `bytea_output=hex` writes it.
fn bytea(out: &mut Vec<u8>, text: &[u8]) -> Result<(), &'static str> {
    const WHAT: &str = "bytea in hex form";
    let (pairs, rest) = text.strip_prefix(b"\\x").ok_or(WHAT)?.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(WHAT);
    }
    object(out, BINARY_OBJECT, b"BYTEA");
    avro::long(out, i64::try_from(pairs.len()).unwrap_or(i64::MAX));
    let start = out.len();
    let digit = |byte: u8| HEX_DIGITS[usize::from(byte)];
    // Digits are below 16: anything else shows in the high half of the sum.
    let mut seen = 0;
    out.extend(pairs.iter().map(|[high, low]| {
        let (high, low) = (digit(*high), digit(*low));
        seen |= high | low;
        (high << 4) | (low & 15)
    }));
    if seen > 15 {
        out.truncate(start);
        return Err(WHAT);
    }
    Ok(())
}

/// The value of each hexadecimal digit; 255 for every other byte.
const HEX_DIGITS: [u8; 256] = {
    let mut table = [255; 256];
    let mut digit: u8 = 0;
    while digit < 16 {
        let bytes = b"0123456789abcdef0123456789ABCDEF";
        table[bytes[digit as usize] as usize] = digit;
        table[bytes[digit as usize + 16] as usize] = digit;
        digit += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_and_scale_are_those_of_big_decimal() {
        for (text, expected) in [
            ("0", (1, 0)),
            ("0.00", (1, 2)),
            ("0.05", (1, 2)),
            ("-12.50", (4, 2)),
            ("1000", (4, 0)),
            ("123456789012345678901234567890.1", (31, 1)),
        ] {
            assert_eq!(precision_and_scale(text.as_bytes()), Some(expected), "{text}");
        }
        for bad in ["", "-", ".", "1.2.3", "1e5", "x"] {
            assert_eq!(precision_and_scale(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_text_that_is_not_of_its_type_is_refused() {
        for (kind, text) in [
            (ValueKind::Integer, "1.5"),
            (ValueKind::Integer, "-"),
            (ValueKind::Decimal, "1e9"),
            (ValueKind::Float, "abc"),
            (ValueKind::Date, "10/08/2026"),
            (ValueKind::Timestamp, "2026-08-10"),
            (ValueKind::Bytea, "abc"),
            (ValueKind::Bytea, "\\x1"),
            (ValueKind::Bytea, "\\x1g"),
        ] {
            assert!(kind.write(&mut Vec::new(), text.as_bytes()).is_err(), "{kind:?} {text}");
        }
    }
}
