//! Short texts that are not row values: log positions, numbers, times. Written without `fmt`, which
//! would cost more than the row.

use tidewire_shared::Lsn;

/// Writes `0/16B3748`.
pub(crate) fn lsn(out: &mut Vec<u8>, lsn: Lsn) {
    hex(out, lsn.0 >> 32);
    out.push(b'/');
    hex(out, lsn.0 & 0xFFFF_FFFF);
}

fn hex(out: &mut Vec<u8>, number: u64) {
    let count = (u64::BITS - number.leading_zeros()).div_ceil(4).max(1);
    out.extend((0..count).rev().map(|place| {
        let [digit, ..] = ((number >> (4 * place)) & 15).to_le_bytes();
        if digit < 10 { b'0' + digit } else { b'A' + digit - 10 }
    }));
}

/// Writes a decimal number.
#[inline]
pub(crate) fn number(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Writes a number with leading zeros, at least `width` (up to 6) digits.
pub(crate) fn padded(out: &mut Vec<u8>, number: u32, width: usize) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(number).as_bytes();
    let zeros = width.saturating_sub(digits.len());
    out.extend_from_slice(b"000000".get(..zeros).unwrap_or(b"000000"));
    out.extend_from_slice(digits);
}

/// Writes a time as `2026-08-10T06:16:00.123456Z`.
pub(crate) fn utc_time(out: &mut Vec<u8>, unix_us: i64) {
    let seconds = unix_us.div_euclid(1_000_000);
    let (year, month, day) = civil_date(seconds.div_euclid(86_400));
    let in_day = seconds.rem_euclid(86_400);
    let part = |value: i64| u32::try_from(value).unwrap_or(0);
    if year < 0 {
        out.push(b'-');
    }
    padded(out, part(year.abs()), 4);
    out.push(b'-');
    padded(out, part(month), 2);
    out.push(b'-');
    padded(out, part(day), 2);
    out.push(b'T');
    padded(out, part(in_day / 3_600), 2);
    out.push(b':');
    padded(out, part(in_day / 60 % 60), 2);
    out.push(b':');
    padded(out, part(in_day % 60), 2);
    out.push(b'.');
    padded(out, part(unix_us.rem_euclid(1_000_000)), 6);
    out.push(b'Z');
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar.
///
/// Counts in eras of 400 years that begin on a 1 March, so that the leap day is the last of its year.
pub(crate) fn civil_date(day: i64) -> (i64, i64, i64) {
    let shifted = day + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn positions_print_as_postgresql_prints_them() {
        for position in [0, 1, 0x16B_3748, 0xFF_0000_0001, u64::MAX, 0x1_0000_0000] {
            assert_eq!(written(|out| lsn(out, Lsn(position))), Lsn(position).to_string());
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (unix_us, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (1_786_342_560_123_456, "2026-08-10T06:16:00.123456Z"),
            (4_107_542_399_000_001, "2100-02-28T23:59:59.000001Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
        ] {
            assert_eq!(written(|out| utc_time(out, unix_us)), text);
        }
    }

    #[test]
    fn any_time_can_be_written() {
        for extreme in [i64::MIN, i64::MAX] {
            assert!(written(|out| utc_time(out, extreme)).ends_with('Z'));
        }
    }
}
