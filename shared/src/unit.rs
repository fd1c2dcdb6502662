//! Quantities as people write them: `64KiB`, `720m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A text that is not a quantity of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}; write it as {example}")]
pub struct InvalidQuantity {
    text: String,
    what: &'static str,
    example: &'static str,
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit))
}

macro_rules! quantity {
    ($name:ident, $what:literal, $example:literal, $units:expr) => {
        impl $name {
            const UNITS: &'static [(&'static str, u64)] = $units;
        }

        impl FromStr for $name {
            type Err = InvalidQuantity;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                number_and_unit(text)
                    .and_then(|(number, unit)| {
                        let (_, scale) = Self::UNITS.iter().find(|(name, _)| *name == unit)?;
                        number.checked_mul(*scale).map(Self)
                    })
                    .or_else(|| (text == "0").then_some(Self(0)))
                    .ok_or_else(|| InvalidQuantity {
                        text: text.to_owned(),
                        what: $what,
                        example: $example,
                    })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let exact = |scale: u64| self.0 >= scale && self.0.is_multiple_of(scale);
                match Self::UNITS.iter().rev().find(|(_, scale)| exact(*scale)) {
                    Some((unit, scale)) => write!(f, "{}{unit}", self.0 / scale),
                    None => write!(f, "{}", self.0),
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidQuantity;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(quantity: $name) -> Self {
                quantity.to_string()
            }
        }
    };
}

/// A number of bytes, written with binary units.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct ByteSize(pub u64);

quantity!(
    ByteSize,
    "size",
    "64KiB, 1MiB or 10GiB",
    &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)]
);

/// A span of time in whole milliseconds.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Period(pub u64);

quantity!(
    Period,
    "duration",
    "500ms, 10s, 5m or 12h",
    &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)]
);

impl Period {
    /// A period of whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1_000)
    }

    /// A period of whole minutes.
    #[must_use]
    pub const fn from_mins(minutes: u64) -> Self {
        Self(minutes * 60_000)
    }

    /// The same span as the standard library has it.
    #[must_use]
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl ByteSize {
    /// A measured size as people read it: down to whole MiB, where there are any.
    #[must_use]
    pub fn rounded(self) -> Self {
        if self.0 < 1 << 20 { self } else { Self(self.0 >> 20 << 20) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_as_they_print() {
        for text in ["1MiB", "64KiB", "10GiB", "3B", "0"] {
            assert_eq!(text.parse::<ByteSize>().expect(text).to_string(), text);
        }
        assert_eq!("720m".parse::<Period>().expect("period"), Period::from_mins(720));
        assert_eq!(Period::from_mins(720).to_string(), "12h");
        for bad in ["1MB", "1 MiB", "-1s", "1", "5min", "99999999999TiB", ""] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad}");
        }
        for bad in ["10", "5min", "1d", "s"] {
            assert!(bad.parse::<Period>().is_err(), "{bad}");
        }
    }
}
