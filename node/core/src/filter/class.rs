//! How values of each type are compared: as PostgreSQL compares them, from their output text.

use std::cmp::Ordering;

/// Types that are compared alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// `int2`, `int4`, `int8`, `numeric`: by value, exactly.
    Exact,
    /// `float4`: as the `float8` of the same value.
    Float4,
    /// `float8`.
    Float8,
    Bool,
    /// `text`, `varchar`: equal by bytes; their order depends on a collation.
    Text,
    /// `char(n)`: blanks at the end do not count.
    Padded,
    Uuid,
    Date,
    Timestamp,
    /// In UTC, as our sessions write it.
    TimestampTz,
    /// An enum: equal by label; the order of labels is the catalog's.
    Label,
    /// Anything else: only NULL or not.
    Opaque,
}

impl Class {
    /// The class of a base type, by its object id and `pg_type.typtype`.
    pub(super) fn of(type_oid: u32, kind: char) -> Self {
        match type_oid {
            20 | 21 | 23 | 1700 => Self::Exact,
            700 => Self::Float4,
            701 => Self::Float8,
            16 => Self::Bool,
            25 | 1043 => Self::Text,
            1042 => Self::Padded,
            2950 => Self::Uuid,
            1082 => Self::Date,
            1114 => Self::Timestamp,
            1184 => Self::TimestampTz,
            _ if kind == 'e' => Self::Label,
            _ => Self::Opaque,
        }
    }

    /// Whether `<` has one meaning here.
    pub(super) fn is_ordered(self) -> bool {
        !matches!(self, Self::Text | Self::Padded | Self::Label | Self::Opaque)
    }

    /// The order of two values; `None` for a text that is no value of the class.
    pub(super) fn compare(self, left: &str, right: &str) -> Option<Ordering> {
        match self {
            Self::Exact => exact(left, right),
            Self::Float4 => Some(floats(float4(left)?, float4(right)?)),
            Self::Float8 => Some(floats(float8(left)?, float8(right)?)),
            Self::Padded => Some(left.trim_end_matches(' ').cmp(right.trim_end_matches(' '))),
            Self::Bool | Self::Text | Self::Uuid | Self::Label => Some(left.cmp(right)),
            Self::Date | Self::Timestamp | Self::TimestampTz => {
                Some(moment(left)?.cmp(&moment(right)?))
            }
            Self::Opaque => None,
        }
    }
}

/// The value of a `float4`; a literal is not rounded to its precision first, so it is marked by a
/// sign in front that PostgreSQL never writes.
fn float4(text: &str) -> Option<f64> {
    match text.strip_prefix('+') {
        Some(literal) => literal.parse().ok(),
        None => text.parse::<f32>().ok().map(f64::from),
    }
}

fn float8(text: &str) -> Option<f64> {
    text.strip_prefix('+').unwrap_or(text).parse().ok()
}

/// NaN equals itself and is above everything.
fn floats(left: f64, right: f64) -> Ordering {
    match (left.is_nan(), right.is_nan()) {
        (false, false) => left.partial_cmp(&right).unwrap_or(Ordering::Equal),
        (left, right) => left.cmp(&right),
    }
}

/// Compares decimal numbers of any length; NaN is above infinity.
fn exact(left: &str, right: &str) -> Option<Ordering> {
    let rank = |text: &str| match text {
        "-Infinity" => -1_i8,
        "Infinity" => 1,
        "NaN" => 2,
        _ => 0,
    };
    let (left_rank, right_rank) = (rank(left), rank(right));
    if left_rank != 0 || right_rank != 0 {
        return Some(left_rank.cmp(&right_rank));
    }
    let (left, right) = (Decimal::read(left)?, Decimal::read(right)?);
    Some(match (left.is_negative(), right.is_negative()) {
        (false, false) => left.magnitude(&right),
        (true, true) => right.magnitude(&left),
        (left, right) => right.cmp(&left),
    })
}

struct Decimal<'a> {
    negative: bool,
    /// Without zeros in front.
    whole: &'a str,
    /// Without zeros at the end.
    fraction: &'a str,
}

impl<'a> Decimal<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if !plain(whole) || !plain(fraction) || digits.len() == usize::from(digits.contains('.')) {
            return None;
        }
        let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
        Some(Self { negative, whole, fraction })
    }

    /// Zero has no sign.
    fn is_negative(&self) -> bool {
        self.negative && !(self.whole.is_empty() && self.fraction.is_empty())
    }

    fn magnitude(&self, other: &Self) -> Ordering {
        let by_length = self.whole.len().cmp(&other.whole.len());
        by_length.then(self.whole.cmp(other.whole)).then(self.fraction.cmp(other.fraction))
    }
}

/// A date or time as a thing that sorts: year, month, day, time of the day as text, which is in fixed
/// width but for zeros at the end of its fraction.
fn moment(text: &str) -> Option<(i64, &str, &str)> {
    match text {
        "infinity" => return Some((i64::MAX, "", "")),
        "-infinity" => return Some((i64::MIN, "", "")),
        _ => {}
    }
    let (text, before_christ) = text.strip_suffix(" BC").map_or((text, false), |rest| (rest, true));
    let (date, time) = text.split_once(' ').unwrap_or((text, ""));
    let (year, day) = date.split_once('-')?;
    let year: i64 = year.parse().ok()?;
    let time = time.strip_suffix("+00").unwrap_or(time);
    Some((if before_christ { 1 - year } else { year }, day, time))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_by_value() {
        for (left, order, right) in [
            ("10", Ordering::Greater, "9"),
            ("-10", Ordering::Less, "9"),
            ("-10", Ordering::Less, "-9"),
            ("1.50", Ordering::Equal, "01.5"),
            ("0.1", Ordering::Greater, "0.09"),
            ("-0.0", Ordering::Equal, "0"),
            (".5", Ordering::Equal, "0.5"),
            ("NaN", Ordering::Greater, "Infinity"),
            ("-Infinity", Ordering::Less, "-99999999999999999999999"),
            ("99999999999999999999999.1", Ordering::Greater, "99999999999999999999999"),
        ] {
            assert_eq!(Class::Exact.compare(left, right), Some(order), "{left} {right}");
        }
        assert_eq!(Class::Exact.compare("1e3", "1"), None);
        assert_eq!(Class::Exact.compare("", "1"), None);
    }

    #[test]
    fn floats_have_their_own_precision() {
        assert_eq!(Class::Float4.compare("0.1", "+0.1"), Some(Ordering::Greater));
        assert_eq!(Class::Float4.compare("0.5", "+0.5"), Some(Ordering::Equal));
        assert_eq!(Class::Float8.compare("0.1", "+0.1"), Some(Ordering::Equal));
        assert_eq!(Class::Float8.compare("NaN", "Infinity"), Some(Ordering::Greater));
        assert_eq!(Class::Float8.compare("-0", "0"), Some(Ordering::Equal));
    }

    #[test]
    fn moments_are_compared_by_the_calendar() {
        for (earlier, later) in [
            ("0044-03-15 BC", "0001-01-01"),
            ("0044-03-15 BC", "0043-01-01 BC"),
            ("2024-01-31", "2024-02-01"),
            ("9999-12-31", "10000-01-01"),
            ("-infinity", "0044-03-15 BC"),
            ("2024-01-01 10:00:00+00", "2024-01-01 10:00:00.5+00"),
            ("2024-01-01 10:00:00", "infinity"),
        ] {
            assert_eq!(Class::TimestampTz.compare(earlier, later), Some(Ordering::Less));
        }
    }
}
