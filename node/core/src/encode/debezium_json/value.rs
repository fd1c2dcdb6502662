//! One value as JSON.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use tidewire_shared::spec::{BinaryMode, DecimalMode, HstoreMode, IntervalMode};

use super::geometry;
use super::kind::{Kind, Numeric, Precision};
use super::number::{Decimal, Scratch};
use super::temporal;
use crate::encode::{json, text as texts};

/// What Debezium writes for a value that the source did not send.
const UNAVAILABLE: &[u8] = b"__debezium_unavailable_value";

impl Kind {
    /// Writes PostgreSQL's text of a value; `None` when the text is not of the type.
    pub(super) fn write(&self, out: &mut Vec<u8>, text: &[u8], work: &mut Scratch) -> Option<()> {
        match self {
            Self::Integer(_) => out.extend_from_slice(text),
            Self::Bool => out.extend_from_slice(truth(text, b"t", b"f")?),
            Self::Bit => out.extend_from_slice(truth(text, b"1", b"0")?),
            Self::Float(_) => float(out, text)?,
            Self::Text(_) | Self::Enum(_) => json::string(out, text),
            Self::Decimal(mode, numeric) => decimal(out, text, *mode, *numeric, work)?,
            Self::Money(mode) => money(out, text, *mode, work)?,
            Self::Bytes(mode) => {
                hex_bytes(text, &mut work.bytes)?;
                bytes(out, &work.bytes, *mode);
            }
            Self::Unknown(mode) => bytes(out, text, *mode),
            Self::Bits(_) => {
                bits(text, &mut work.bytes)?;
                bytes(out, &work.bytes, BinaryMode::Bytes);
            }
            Self::Date(precision) => date(out, text, *precision)?,
            Self::Time(precision) => time(out, text, *precision)?,
            Self::Timestamp(precision) => timestamp(out, text, *precision)?,
            Self::ZonedTimestamp(digits) => zoned_timestamp(out, text, *digits)?,
            Self::ZonedTime => zoned_time(out, text)?,
            Self::Interval(mode) => interval(out, text, *mode)?,
            Self::Point => geometry::point(out, text, work)?,
            Self::Line => geometry::line(out, text)?,
            Self::Segment => geometry::line_string(out, text, "lseg", work)?,
            Self::Path => geometry::line_string(out, text, "path", work)?,
            Self::Rectangle => geometry::rectangle(out, text, work)?,
            Self::Polygon => geometry::polygon(out, text, work)?,
            Self::Circle => geometry::circle(out, text, work)?,
            Self::Hstore(HstoreMode::Map) => hstore(out, text, &mut work.piece)?,
            Self::Hstore(HstoreMode::Json) => {
                work.bytes.clear();
                hstore(&mut work.bytes, text, &mut work.piece)?;
                json::string(out, &work.bytes);
            }
            Self::Array(element) => array(out, text, element, work)?,
            Self::Vector(_) => vector(out, text),
        }
        Some(())
    }

    /// What stands for a value that did not come with its row although it is there.
    pub(super) fn unavailable(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Bytes(mode) | Self::Unknown(mode) if *mode == BinaryMode::Bytes => {
                bytes(&mut out, UNAVAILABLE, *mode);
            }
            Self::Hstore(mode) => {
                let mut map = b"{".to_vec();
                json::string(&mut map, UNAVAILABLE);
                map.push(b':');
                json::string(&mut map, UNAVAILABLE);
                map.push(b'}');
                match mode {
                    HstoreMode::Map => out = map,
                    HstoreMode::Json => json::string(&mut out, &map),
                }
            }
            Self::Array(element) => {
                out.push(b'[');
                match **element {
                    Self::Text("io.debezium.data.Uuid") => {
                        // The name-based UUID that Java makes of the text.
                        json::string(&mut out, b"b68a35a7-17ad-35b3-af2a-ae46edb4545a");
                    }
                    Self::Integer("int32" | "int64") | Self::Date(Precision::Millis) => {
                        for (place, byte) in UNAVAILABLE.iter().enumerate() {
                            if place > 0 {
                                out.push(b',');
                            }
                            texts::number(&mut out, *byte);
                        }
                    }
                    _ => json::string(&mut out, UNAVAILABLE),
                }
                out.push(b']');
            }
            _ => json::string(&mut out, UNAVAILABLE),
        }
        out
    }

    /// What stands for a value of a NOT NULL column in an old row that did not come whole.
    pub(super) fn absent(&self) -> Vec<u8> {
        let scaled;
        let zero: &[u8] = match self {
            Self::Integer(_) => b"0",
            Self::Bool => b"f",
            Self::Bit => b"0",
            Self::Float(_) => b"0",
            Self::Decimal(_, numeric) => {
                scaled = numeric.scaled("0");
                scaled.as_bytes()
            }
            Self::Money(_) => b"$0.00",
            Self::Bytes(_) => b"\\x",
            Self::Date(_) => b"1970-01-01",
            Self::Time(_) => b"00:00:00",
            Self::Timestamp(_) => b"1970-01-01 00:00:00",
            Self::ZonedTimestamp(_) => return b"\"1970-01-01T00:00:00Z\"".to_vec(),
            Self::ZonedTime => b"00:00:00+00",
            Self::Interval(_) => b"00:00:00",
            Self::Point => b"(0,0)",
            Self::Line => b"{0,1,0}",
            Self::Segment => b"[(0,0),(1,0)]",
            Self::Path => b"[(0,0),(1,0)]",
            Self::Rectangle => b"(0,0),(1,1)",
            Self::Polygon => b"((0,0),(1,0),(1,1))",
            Self::Circle => b"<(0,0),0>",
            Self::Array(_) => b"{}",
            Self::Text(_) | Self::Enum(_) | Self::Unknown(_) | Self::Bits(_) => b"",
            Self::Hstore(_) | Self::Vector(_) => b"",
        };
        let (mut out, mut work) = (Vec::new(), Scratch::default());
        if self.write(&mut out, zero, &mut work).is_none() {
            out = b"null".to_vec();
        }
        if *self == Self::Path {
            // Debezium does not say of the path that stands for none whether it is closed.
            out = String::from_utf8_lossy(&out).replace(",\"closed\":\"false\"", "").into_bytes();
        }
        out
    }
}

fn truth(text: &[u8], yes: &[u8], no: &[u8]) -> Option<&'static [u8]> {
    match text {
        _ if text == yes => Some(b"true"),
        _ if text == no => Some(b"false"),
        _ => None,
    }
}

/// A `double`; JSON has no word for those that are not numbers.
pub(super) fn float(out: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    if matches!(text, b"NaN" | b"Infinity" | b"-Infinity") {
        json::string(out, text);
        return Some(());
    }
    Decimal::parse(text)?.java(out);
    Some(())
}

fn decimal(
    out: &mut Vec<u8>,
    text: &[u8],
    mode: DecimalMode,
    numeric: Numeric,
    work: &mut Scratch,
) -> Option<()> {
    let Some(parsed) = Decimal::parse(text) else {
        let word: &[u8] = match (text, mode) {
            (b"NaN", DecimalMode::String) => b"NAN",
            (b"Infinity", DecimalMode::String) => b"POSITIVE_INFINITY",
            (b"-Infinity", DecimalMode::String) => b"NEGATIVE_INFINITY",
            (b"NaN" | b"Infinity" | b"-Infinity", _) => text,
            _ => return None,
        };
        json::string(out, word);
        return Some(());
    };
    match (mode, numeric) {
        (DecimalMode::String, _) => json::string(out, text),
        (DecimalMode::Double, _) => double_of(out, text)?,
        (DecimalMode::Precise, Numeric::Fixed { scale, .. }) => {
            parsed.unscaled(scale, work);
            bytes(out, &work.bytes, BinaryMode::Bytes);
        }
        (DecimalMode::Precise, Numeric::Variable) => {
            let parsed = parsed.stripped();
            let scale = i32::try_from(parsed.fraction.len()).ok()?;
            parsed.unscaled(scale, work);
            out.extend_from_slice(b"{\"scale\":");
            texts::number(out, scale);
            out.extend_from_slice(b",\"value\":");
            bytes(out, &work.bytes, BinaryMode::Bytes);
            out.push(b'}');
        }
    }
    Some(())
}

/// The `double` nearest to a decimal text.
fn double_of(out: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    if number.is_infinite() {
        json::string(out, if number > 0.0 { b"Infinity" } else { b"-Infinity" });
        return Some(());
    }
    let mut buffer = zmij::Buffer::new();
    Decimal::parse(buffer.format(number).as_bytes())?.java(out);
    Some(())
}

/// `-$1,234.56`, as `lc_monetary=C` prints it.
fn money(out: &mut Vec<u8>, text: &[u8], mode: DecimalMode, work: &mut Scratch) -> Option<()> {
    let mut amount = std::mem::take(&mut work.piece);
    amount.clear();
    amount.extend(text.iter().filter(|byte| !matches!(byte, b'$' | b',')));
    let numeric = Numeric::Fixed { precision: 19, scale: 2 };
    let written = decimal(out, &amount, mode, numeric, work);
    work.piece = amount;
    written
}

fn hex_bytes(text: &[u8], into: &mut Vec<u8>) -> Option<()> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let (pairs, rest) = text.strip_prefix(b"\\x")?.as_chunks::<2>();
    into.clear();
    for [high, low] in pairs {
        into.push(digit(*high)? << 4 | digit(*low)?);
    }
    rest.is_empty().then_some(())
}

/// Bits with the first of them highest, as bytes with the lowest first, without high zeros.
fn bits(text: &[u8], into: &mut Vec<u8>) -> Option<()> {
    into.clear();
    for group in text.rchunks(8) {
        let mut byte = 0;
        for bit in group {
            byte = byte << 1 | truth(&[*bit], b"1", b"0").map(|word| u8::from(word == b"true"))?;
        }
        into.push(byte);
    }
    while into.last() == Some(&0) {
        into.pop();
    }
    Some(())
}

/// Bytes as the text that `binary` asks for.
fn bytes(out: &mut Vec<u8>, bytes: &[u8], mode: BinaryMode) {
    out.push(b'"');
    match mode {
        BinaryMode::Hex => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            let digit = |nibble: u8| HEX[usize::from(nibble & 15)];
            out.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]));
        }
        BinaryMode::Bytes | BinaryMode::Base64 => base64(out, bytes, &STANDARD),
        BinaryMode::Base64UrlSafe => base64(out, bytes, &URL_SAFE),
    }
    out.push(b'"');
}

pub(super) fn base64(
    out: &mut Vec<u8>,
    bytes: &[u8],
    engine: &base64::engine::general_purpose::GeneralPurpose,
) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = out.get_mut(start..).map_or(0, |into| {
        // The room is exact: it is never too small.
        engine.encode_slice(bytes, into).unwrap_or(0)
    });
    out.truncate(start + written);
}

fn date(out: &mut Vec<u8>, text: &[u8], precision: Precision) -> Option<()> {
    let days = temporal::date(text)?.days();
    if precision == Precision::Iso {
        out.push(b'"');
        temporal::iso_date(out, days);
        out.extend_from_slice(b"Z\"");
    } else {
        texts::number(out, days);
    }
    Some(())
}

fn time(out: &mut Vec<u8>, text: &[u8], precision: Precision) -> Option<()> {
    let time = temporal::time(text)?;
    match precision {
        Precision::Iso => {
            out.push(b'"');
            temporal::iso_time(out, time, 0);
            out.extend_from_slice(b"Z\"");
        }
        Precision::Micros => texts::number(out, time),
        Precision::Millis | Precision::Connect => texts::number(out, time / 1_000),
    }
    Some(())
}

fn timestamp(out: &mut Vec<u8>, text: &[u8], precision: Precision) -> Option<()> {
    let at = temporal::timestamp(text, false)?;
    match precision {
        Precision::Micros => texts::number(out, at.epoch(1)),
        Precision::Millis | Precision::Connect => texts::number(out, at.epoch(1_000)),
        Precision::Iso => {
            out.push(b'"');
            at.iso(out, 0);
            out.push(b'"');
        }
    }
    Some(())
}

fn zoned_timestamp(out: &mut Vec<u8>, text: &[u8], digits: usize) -> Option<()> {
    let at = temporal::timestamp(text, true)?;
    if !matches!(at, temporal::Instant::At(..)) {
        json::string(out, text);
        return Some(());
    }
    out.push(b'"');
    at.iso(out, digits);
    out.push(b'"');
    Some(())
}

fn zoned_time(out: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    const DAY_US: i64 = 86_400_000_000;
    let (time, zone) = temporal::time_with_zone(text)?;
    let utc = time - zone * 1_000_000;
    let utc = if utc == DAY_US { utc } else { utc.rem_euclid(DAY_US) };
    out.push(b'"');
    temporal::iso_time(out, utc, 0);
    out.extend_from_slice(b"Z\"");
    Some(())
}

fn interval(out: &mut Vec<u8>, text: &[u8], mode: IntervalMode) -> Option<()> {
    let parts = temporal::interval(text)?;
    match mode {
        IntervalMode::Numeric => texts::number(out, temporal::interval_micros(parts)),
        IntervalMode::String => {
            out.push(b'"');
            temporal::iso_interval(out, parts);
            out.push(b'"');
        }
    }
    Some(())
}

/// `"a"=>"1", "b"=>NULL` as a JSON object.
fn hstore(out: &mut Vec<u8>, mut text: &[u8], piece: &mut Vec<u8>) -> Option<()> {
    out.push(b'{');
    let mut first = true;
    while !text.is_empty() {
        if !first {
            text = text.strip_prefix(b", ")?;
            out.push(b',');
        }
        first = false;
        text = quoted(text, piece)?;
        json::string(out, piece);
        out.push(b':');
        text = text.strip_prefix(b"=>")?;
        if let Some(rest) = text.strip_prefix(b"NULL") {
            out.extend_from_slice(b"null");
            text = rest;
        } else {
            text = quoted(text, piece)?;
            json::string(out, piece);
        }
    }
    out.push(b'}');
    Some(())
}

/// Reads a text in quotes, with backslashes before quotes and backslashes; gives what follows.
fn quoted<'a>(text: &'a [u8], piece: &mut Vec<u8>) -> Option<&'a [u8]> {
    piece.clear();
    let mut rest = text.strip_prefix(b"\"")?;
    loop {
        let special = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        let (plain, tail) = rest.split_at(special);
        piece.extend_from_slice(plain);
        match tail {
            [b'"', after @ ..] => return Some(after),
            [_, escaped, after @ ..] => {
                piece.push(*escaped);
                rest = after;
            }
            _ => return None,
        }
    }
}

/// An array literal, of any number of dimensions; bounds in front of it are left out.
fn array(out: &mut Vec<u8>, text: &[u8], element: &Kind, work: &mut Scratch) -> Option<()> {
    let delimiter = if *element == Kind::Rectangle { b';' } else { b',' };
    let mut rest = match text.first()? {
        b'[' => text.get(text.iter().position(|byte| *byte == b'=')? + 1..)?,
        _ => text,
    };
    let mut depth = 0_usize;
    let mut piece = std::mem::take(&mut work.element);
    let mut next = || {
        while let Some((byte, after)) = rest.split_first() {
            match byte {
                b'{' => (depth, rest) = (depth + 1, after),
                b'}' => (depth, rest) = (depth.checked_sub(1)?, after),
                _ if *byte == delimiter => rest = after,
                b'"' => {
                    rest = quoted(rest, &mut piece)?;
                    element.write(out, &piece, work)?;
                    continue;
                }
                _ => {
                    let end = |byte: &u8| *byte == delimiter || *byte == b'}';
                    let (plain, after) = rest.split_at(rest.iter().position(end)?);
                    rest = after;
                    if plain == b"NULL" {
                        out.extend_from_slice(b"null");
                    } else {
                        element.write(out, plain, work)?;
                    }
                    continue;
                }
            }
            out.push(match byte {
                b'{' => b'[',
                b'}' => b']',
                _ => b',',
            });
        }
        (depth == 0).then_some(())
    };
    let written = next();
    work.element = piece;
    written
}

fn vector(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'[');
    out.extend(text.iter().map(|byte| if *byte == b' ' { b',' } else { *byte }));
    out.push(b']');
}
