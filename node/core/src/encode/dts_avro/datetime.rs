//! Reads PostgreSQL's ISO dates and times and writes them as `DateTime`, without a heap and without
//! a calendar: the parts go over as they stand.

use crate::encode::avro;

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// Parts that `DateTime` holds.
    Value(DateTime),
    /// An infinity, or a year before Christ.
    Unrepresentable,
    /// Not in ISO form.
    Malformed,
}

/// Date, time of day, both, and perhaps an offset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DateTime {
    date: Option<[i32; 3]>,
    /// Hour, minute, second, microsecond.
    time: Option<[i32; 4]>,
    zone: Option<Zone>,
}

/// An offset from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Zone {
    sign: u8,
    /// Hours, minutes, seconds: two digits each.
    parts: [[u8; 2]; 3],
}

/// `2026-08-10`
pub(super) fn date(text: &[u8]) -> Parsed {
    parsed(text, |cursor| Some(DateTime { date: Some(cursor.date()?), ..DateTime::default() }))
}

/// `06:16:00.123456`
pub(super) fn time(text: &[u8]) -> Parsed {
    parsed(text, |cursor| Some(DateTime { time: Some(cursor.time()?), ..DateTime::default() }))
}

/// `06:16:00.123456+02`
pub(super) fn time_with_zone(text: &[u8]) -> Parsed {
    parsed(text, |cursor| {
        Some(DateTime { date: None, time: Some(cursor.time()?), zone: Some(cursor.zone()?) })
    })
}

/// `2026-08-10 06:16:00.123456`
pub(super) fn timestamp(text: &[u8]) -> Parsed {
    parsed(text, |cursor| {
        let date = Some(cursor.date()?);
        cursor.expect(b' ')?;
        Some(DateTime { date, time: Some(cursor.time()?), zone: None })
    })
}

/// `2026-08-10 06:16:00.123456+00`
pub(super) fn timestamp_with_zone(text: &[u8]) -> Parsed {
    parsed(text, |cursor| {
        let date = Some(cursor.date()?);
        cursor.expect(b' ')?;
        Some(DateTime { date, time: Some(cursor.time()?), zone: Some(cursor.zone()?) })
    })
}

#[inline]
fn parsed(text: &[u8], read: impl FnOnce(&mut Cursor<'_>) -> Option<DateTime>) -> Parsed {
    let mut cursor = Cursor { rest: text };
    match read(&mut cursor) {
        Some(value) if cursor.rest.is_empty() => Parsed::Value(value),
        Some(_) if cursor.rest == b" BC" => Parsed::Unrepresentable,
        None if matches!(text, b"infinity" | b"-infinity") => Parsed::Unrepresentable,
        _ => Parsed::Malformed,
    }
}

impl DateTime {
    /// Writes year to microsecond, each null where there is none, then perhaps the offset.
    pub(super) fn write(&self, out: &mut Vec<u8>, with_zone: bool) {
        parts(out, self.date);
        parts(out, self.time);
        if with_zone {
            self.zone.unwrap_or(Zone { sign: b'+', parts: [*b"00"; 3] }).write(out);
        }
    }
}

#[inline]
fn parts<const N: usize>(out: &mut Vec<u8>, values: Option<[i32; N]>) {
    match values {
        None => out.extend_from_slice(&[avro::NULL; N]),
        Some(values) => {
            for value in values {
                // Branch 1: an int.
                out.push(2);
                avro::long(out, i64::from(value));
            }
        }
    }
}

impl Zone {
    /// Writes `+08:00`, with seconds only where there are some.
    fn write(&self, out: &mut Vec<u8>) {
        let [hours, minutes, seconds] = self.parts;
        let has_seconds = seconds != *b"00";
        // The length, zigzag: 6 or 9.
        out.push(if has_seconds { 18 } else { 12 });
        out.extend_from_slice(&[self.sign, hours[0], hours[1], b':', minutes[0], minutes[1]]);
        if has_seconds {
            out.extend_from_slice(&[b':', seconds[0], seconds[1]]);
        }
    }
}

/// Reads forward; every method is `None` when the text is not what it wants.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl Cursor<'_> {
    #[inline]
    fn expect(&mut self, byte: u8) -> Option<()> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        (*first == byte).then_some(())
    }

    /// Takes `byte` if it comes next.
    #[inline]
    fn accept(&mut self, byte: u8) -> bool {
        let next = self.rest.strip_prefix(&[byte]);
        self.rest = next.unwrap_or(self.rest);
        next.is_some()
    }

    #[inline]
    fn two(&mut self) -> Option<[u8; 2]> {
        let (digits, rest) = self.rest.split_first_chunk::<2>()?;
        self.rest = rest;
        digits.iter().all(u8::is_ascii_digit).then_some(*digits)
    }

    #[inline]
    fn two_digits(&mut self, least: i32, most: i32) -> Option<i32> {
        let [tens, ones] = self.two()?;
        let value = i32::from(tens - b'0') * 10 + i32::from(ones - b'0');
        (least..=most).contains(&value).then_some(value)
    }

    /// A run of digits as a number, and how many they were.
    #[inline]
    fn digits(&mut self) -> Option<(i32, usize)> {
        let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.rest.split_at(count);
        self.rest = rest;
        // Nine digits fit.
        if !(1..=9).contains(&count) {
            return None;
        }
        let number = digits.iter().fold(0, |n, digit| n * 10 + i32::from(digit - b'0'));
        Some((number, count))
    }

    fn date(&mut self) -> Option<[i32; 3]> {
        let (year, count) = self.digits()?;
        if count < 4 {
            return None;
        }
        self.expect(b'-')?;
        let month = self.two_digits(1, 12)?;
        self.expect(b'-')?;
        Some([year, month, self.two_digits(1, 31)?])
    }

    /// `24:00:00` is a time of PostgreSQL, and so is a second of 60 on input only.
    fn time(&mut self) -> Option<[i32; 4]> {
        let hour = self.two_digits(0, 24)?;
        self.expect(b':')?;
        let minute = self.two_digits(0, 59)?;
        self.expect(b':')?;
        let second = self.two_digits(0, 60)?;
        let mut micro = 0;
        if self.accept(b'.') {
            let (fraction, count) = self.digits()?;
            let missing = 6_u32.checked_sub(u32::try_from(count).ok()?)?;
            micro = fraction * 10_i32.pow(missing);
        }
        Some([hour, minute, second, micro])
    }

    fn zone(&mut self) -> Option<Zone> {
        let (sign, rest) = self.rest.split_first()?;
        if !matches!(sign, b'+' | b'-') {
            return None;
        }
        self.rest = rest;
        let mut parts = [*b"00"; 3];
        parts[0] = self.two()?;
        for part in parts.iter_mut().skip(1) {
            if !self.accept(b':') {
                break;
            }
            *part = self.two()?;
        }
        Some(Zone { sign: *sign, parts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(parsed: Parsed) -> DateTime {
        match parsed {
            Parsed::Value(value) => value,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn parts_go_over_as_they_stand() {
        let whole = value(timestamp_with_zone(b"2026-08-10 06:16:00.1204+00"));
        assert_eq!(whole.date, Some([2026, 8, 10]));
        assert_eq!(whole.time, Some([6, 16, 0, 120_400]));
        assert_eq!(value(date(b"294276-12-31")).date, Some([294_276, 12, 31]));
        assert_eq!(value(date(b"5874897-12-31")).date, Some([5_874_897, 12, 31]));
        assert_eq!(value(time(b"24:00:00")).time, Some([24, 0, 0, 0]));
        assert_eq!(value(timestamp(b"0001-01-01 00:00:00")).date, Some([1, 1, 1]));
    }

    #[test]
    fn offsets_are_written_with_as_many_parts_as_they_need() {
        for (text, written) in [
            (&b"01:02:03+00"[..], &b"\x0c+00:00"[..]),
            (b"01:02:03-05:30", b"\x0c-05:30"),
            (b"01:02:03+02:30:15", b"\x12+02:30:15"),
        ] {
            let mut out = Vec::new();
            value(time_with_zone(text)).zone.expect("zone").write(&mut out);
            assert_eq!(out, written);
        }
    }

    #[test]
    fn what_date_time_cannot_hold_is_told_apart_from_nonsense() {
        for text in [&b"infinity"[..], b"-infinity", b"0044-03-15 BC"] {
            assert_eq!(date(text), Parsed::Unrepresentable);
        }
        assert_eq!(timestamp(b"0044-03-15 01:02:03.5 BC"), Parsed::Unrepresentable);
        assert_eq!(timestamp_with_zone(b"0044-03-15 01:02:03+00 BC"), Parsed::Unrepresentable);
        for text in
            [&b""[..], b"2026", b"2026-13-01", b"26-01-01", b"2026-01-01 AD", b"0x2026-01-01"]
        {
            assert_eq!(date(text), Parsed::Malformed);
        }
        for text in [&b"1:2:3"[..], b"25:00:00", b"01:02:03.", b"01:02:03.1234567", b"01:02:03+00"]
        {
            assert_eq!(time(text), Parsed::Malformed);
        }
    }
}
