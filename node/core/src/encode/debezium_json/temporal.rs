//! Reads PostgreSQL's ISO dates, times and intervals, and writes them as Debezium's temporal types.
//!
//! Source: `io.debezium.time` of Debezium 3.7, seen by `cargo x parity`.

use crate::encode::text;

const DAY_US: i64 = 86_400_000_000;

/// What Debezium writes for the infinite dates: what Java's types and the driver's make of them.
const FUTURE_DAY: i64 = 2_146_033_979;
const PAST_DAY: i64 = -2_147_472_691;
/// The same of infinite timestamps, in milliseconds; in microseconds it is the last number there is.
const FUTURE_MS: i64 = 9_223_372_036_825_200_000;
const PAST_MS: i64 = -9_223_372_036_832_400_000;

/// A moment, or one of the two that PostgreSQL calls infinite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Instant {
    /// Days since 1970-01-01 and microseconds in the day, UTC.
    At(i64, i64),
    /// `infinity`.
    Future,
    /// `-infinity`.
    Past,
}

/// Reads forward; every method is `None` when the text is not what it wants.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl Cursor<'_> {
    fn expect(&mut self, byte: u8) -> Option<()> {
        self.rest = self.rest.strip_prefix(&[byte])?;
        Some(())
    }

    /// A number of `width` digits or, of a year, more.
    fn digits(&mut self, width: usize, more: bool) -> Option<i64> {
        let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let count = if more { count } else { count.min(width) };
        if count < width || count > 9 {
            return None;
        }
        let (digits, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(digits.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
    }

    /// Days since 1970 of a date whose year counts from Christ.
    fn date(&mut self, before_christ: bool) -> Option<i64> {
        let year = self.digits(4, true)?;
        self.expect(b'-')?;
        let month = self.digits(2, false)?;
        self.expect(b'-')?;
        let day = self.digits(2, false)?;
        Some(days(if before_christ { 1 - year } else { year }, month, day))
    }

    /// Microseconds of `06:16:00.123456`.
    fn time(&mut self) -> Option<i64> {
        let hours = self.digits(2, false)?;
        self.expect(b':')?;
        let minutes = self.digits(2, false)?;
        self.expect(b':')?;
        let seconds = self.digits(2, false)?;
        Some((hours * 3_600 + minutes * 60 + seconds) * 1_000_000 + self.fraction()?)
    }

    /// Microseconds of `.5`, if that comes next.
    fn fraction(&mut self) -> Option<i64> {
        if self.expect(b'.').is_none() {
            return Some(0);
        }
        let before = self.rest.len();
        let number = self.digits(1, true)?;
        let missing = 6_usize.checked_sub(before - self.rest.len())?;
        Some(number * 10_i64.pow(u32::try_from(missing).ok()?))
    }

    /// Seconds east of UTC of `+02`, `-05:30` or `+01:02:03`.
    fn zone(&mut self) -> Option<i64> {
        let (sign, rest) = self.rest.split_first()?;
        self.rest = rest;
        let mut seconds = self.digits(2, false)? * 3_600;
        for unit in [60, 1] {
            if self.expect(b':').is_some() {
                seconds += self.digits(2, false)? * unit;
            }
        }
        match sign {
            b'+' => Some(seconds),
            b'-' => Some(-seconds),
            _ => None,
        }
    }

    fn end(&self) -> Option<()> {
        self.rest.is_empty().then_some(())
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar, whose year 0 is 1 BC.
///
/// Counts in eras of 400 years that begin on a 1 March, so that the leap day is the last of its year.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let from_march = (month + 9).rem_euclid(12);
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn infinite(text: &[u8]) -> Option<Instant> {
    match text {
        b"infinity" => Some(Instant::Future),
        b"-infinity" => Some(Instant::Past),
        _ => None,
    }
}

/// `2026-08-10`, `0044-03-15 BC`, an infinity.
pub(super) fn date(text: &[u8]) -> Option<Instant> {
    if let Some(infinite) = infinite(text) {
        return Some(infinite);
    }
    let stripped = text.strip_suffix(b" BC");
    let mut cursor = Cursor { rest: stripped.unwrap_or(text) };
    let day = cursor.date(stripped.is_some())?;
    cursor.end()?;
    Some(Instant::At(day, 0))
}

/// `2026-08-10 06:16:00.123456`, perhaps with an offset, in UTC then.
pub(super) fn timestamp(text: &[u8], with_zone: bool) -> Option<Instant> {
    if let Some(infinite) = infinite(text) {
        return Some(infinite);
    }
    let stripped = text.strip_suffix(b" BC");
    let mut cursor = Cursor { rest: stripped.unwrap_or(text) };
    let day = cursor.date(stripped.is_some())?;
    cursor.expect(b' ')?;
    let time = cursor.time()?;
    let zone = if with_zone { cursor.zone()? } else { 0 };
    cursor.end()?;
    let time = time - zone * 1_000_000;
    Some(Instant::At(day + time.div_euclid(DAY_US), time.rem_euclid(DAY_US)))
}

/// Microseconds of `06:16:00.123456`; `24:00:00` is a whole day.
pub(super) fn time(text: &[u8]) -> Option<i64> {
    let mut cursor = Cursor { rest: text };
    let time = cursor.time()?;
    cursor.end()?;
    Some(time)
}

/// Microseconds and offset in seconds of `06:16:00.123456+02`.
pub(super) fn time_with_zone(text: &[u8]) -> Option<(i64, i64)> {
    let mut cursor = Cursor { rest: text };
    let (time, zone) = (cursor.time()?, cursor.zone()?);
    cursor.end()?;
    Some((time, zone))
}

/// An interval: months, days, microseconds.
///
/// Text: `1 year 2 mons -3 days +04:05:06.7`, every part with its own sign.
pub(super) fn interval(text: &[u8]) -> Option<[i64; 3]> {
    let (mut months, mut days, mut time) = (0, 0, 0);
    let mut words = text.split(|byte| *byte == b' ');
    while let Some(word) = words.next() {
        let (negative, digits) = match word.split_first()? {
            (b'-', rest) => (true, rest),
            (b'+', rest) => (false, rest),
            _ => (false, word),
        };
        let sign = if negative { -1 } else { 1 };
        if let Some(colon) = digits.iter().position(|byte| *byte == b':') {
            let mut cursor = Cursor { rest: digits };
            let hours = cursor.digits(colon, false)?;
            cursor.expect(b':')?;
            let minutes = cursor.digits(2, false)?;
            cursor.expect(b':')?;
            let seconds = cursor.digits(2, false)? * 1_000_000 + cursor.fraction()?;
            cursor.end()?;
            time = sign * ((hours * 60 + minutes) * 60_000_000 + seconds);
            continue;
        }
        let mut cursor = Cursor { rest: digits };
        let number = sign * cursor.digits(1, true)?;
        cursor.end()?;
        match words.next()? {
            b"year" | b"years" => months += 12 * number,
            b"mon" | b"mons" => months += number,
            b"day" | b"days" => days += number,
            _ => return None,
        }
    }
    Some([months, days, time])
}

/// Microseconds of an interval, a month taken as a twelfth of 365.25 days.
pub(super) fn interval_micros([months, days, time]: [i64; 3]) -> i64 {
    // 30.4375 days are a whole number of microseconds.
    const MONTH_US: i64 = 2_629_800_000_000;
    months.saturating_mul(MONTH_US).saturating_add(days.saturating_mul(DAY_US)).saturating_add(time)
}

/// Writes an interval as `P1Y2M-3DT4H5M6.7S`, every part in it.
pub(super) fn iso_interval(out: &mut Vec<u8>, [months, days, time]: [i64; 3]) {
    out.push(b'P');
    for (number, unit) in [(months / 12, b'Y'), (months % 12, b'M'), (days, b'D')] {
        text::number(out, number);
        out.push(unit);
    }
    out.push(b'T');
    let seconds = time % 60_000_000;
    for (number, unit) in [(time / 3_600_000_000, b'H'), (time / 60_000_000 % 60, b'M')] {
        text::number(out, number);
        out.push(unit);
    }
    if seconds < 0 {
        out.push(b'-');
    }
    let seconds = seconds.unsigned_abs();
    text::number(out, seconds / 1_000_000);
    fraction(out, seconds % 1_000_000, 0);
    out.push(b'S');
}

impl Instant {
    /// Days since 1970.
    pub(super) fn days(self) -> i64 {
        match self {
            Self::At(day, _) => day,
            Self::Future => FUTURE_DAY,
            Self::Past => PAST_DAY,
        }
    }

    /// Microseconds since 1970, or with `unit` 1,000 milliseconds.
    pub(super) fn epoch(self, unit: i64) -> i64 {
        match self {
            Self::At(day, time) => {
                day.saturating_mul(DAY_US / unit).saturating_add(time.div_euclid(unit))
            }
            Self::Future if unit == 1 => i64::MAX,
            Self::Future => FUTURE_MS,
            Self::Past if unit == 1 => i64::MIN,
            Self::Past => PAST_MS,
        }
    }

    /// Writes `2026-08-10T06:16:00.123456Z` with at least `digits` digits of the fraction.
    pub(super) fn iso(self, out: &mut Vec<u8>, digits: usize) {
        match self {
            Self::At(day, time) => {
                iso_date(out, day);
                out.push(b'T');
                iso_time(out, time, digits);
                out.push(b'Z');
            }
            Self::Future => out.extend_from_slice(b"+292278994-08-16T23:00:00Z"),
            Self::Past => out.extend_from_slice(b"-292275055-05-16T23:00:00Z"),
        }
    }
}

/// Writes a day as Java's ISO dates: `2026-08-10`, `-0043-03-15`, `+10000-01-01`.
pub(super) fn iso_date(out: &mut Vec<u8>, day: i64) {
    let (year, month, day) = text::civil_date(day);
    if year < 0 {
        out.push(b'-');
    } else if year > 9_999 {
        out.push(b'+');
    }
    let part = |value: i64| u32::try_from(value).unwrap_or(0);
    text::padded(out, part(year.abs()), 4);
    out.push(b'-');
    text::padded(out, part(month), 2);
    out.push(b'-');
    text::padded(out, part(day), 2);
}

/// Writes a time of day with at least `digits` digits of its fraction and no zeros after those.
pub(super) fn iso_time(out: &mut Vec<u8>, time_us: i64, digits: usize) {
    let part = |value: i64| u32::try_from(value).unwrap_or(0);
    text::padded(out, part(time_us / 3_600_000_000), 2);
    out.push(b':');
    text::padded(out, part(time_us / 60_000_000 % 60), 2);
    out.push(b':');
    text::padded(out, part(time_us / 1_000_000 % 60), 2);
    fraction(out, time_us.rem_euclid(1_000_000).unsigned_abs(), digits);
}

/// Writes `.123456` without zeros at the end, but with at least `digits` digits.
fn fraction(out: &mut Vec<u8>, micros: u64, digits: usize) {
    let start = out.len();
    out.push(b'.');
    text::padded(out, u32::try_from(micros).unwrap_or(0), 6);
    while out.len() > start + 1 + digits && out.last() == Some(&b'0') {
        out.pop();
    }
    if out.len() == start + 1 {
        out.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_counted_from_1970() {
        for (text, day) in [
            ("1970-01-01", 0),
            ("2026-02-28", 20_512),
            ("0001-01-01", -719_162),
            ("0044-03-15 BC", -735_160),
            ("2000-02-29", 11_016),
        ] {
            assert_eq!(date(text.as_bytes()), Some(Instant::At(day, 0)), "{text}");
        }
        let at = timestamp(b"2026-02-28 12:34:56.789+02", true).expect("a timestamp");
        assert_eq!(at.epoch(1), 1_772_274_896_789_000);
        assert_eq!(timestamp(b"1969-12-31 23:59:59.9995", false).expect("one").epoch(1_000), -1);
        for wrong in ["", "2026", "2026-01-01x", "2026-01-01 10:00:00", "99999999999-01-01"] {
            assert_eq!(date(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn intervals_are_read_part_by_part() {
        let read = |text: &str| interval(text.as_bytes());
        assert_eq!(read("1 year 2 mons -3 days +04:05:06.7"), Some([14, -3, 14_706_700_000]));
        assert_eq!(read("-1 mons +3 days -00:00:00.000001"), Some([-1, 3, -1]));
        assert_eq!(read("00:00:00"), Some([0, 0, 0]));
        assert_eq!(read("PT1S"), None);
        assert_eq!(interval_micros([14, -3, 14_706_700_000]), 36_572_706_700_000);
        let mut out = Vec::new();
        iso_interval(&mut out, [14, -3, 14_706_700_000]);
        assert_eq!(out, b"P1Y2M-3DT4H5M6.7S");
    }
}
