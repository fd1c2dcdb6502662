//! Numbers as Java writes them: `double` and `float` as `Double.toString`, `BigDecimal` as the
//! bytes of its unscaled value.

use crate::encode::text;

/// The digits of a decimal text: sign, significant digits, and where the point stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decimal<'a> {
    pub(super) negative: bool,
    /// Digits before the point.
    pub(super) whole: &'a [u8],
    /// Digits after it.
    pub(super) fraction: &'a [u8],
    /// Power of ten.
    exponent: i32,
}

impl<'a> Decimal<'a> {
    /// Reads `-12.50` or `1.5e-07`; `None` when it is something else, `NaN` among it.
    pub(super) fn parse(text: &'a [u8]) -> Option<Self> {
        let (negative, rest) = match text.strip_prefix(b"-") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match rest.iter().position(|byte| *byte == b'e') {
            Some(at) => {
                let exponent = std::str::from_utf8(rest.get(at + 1..)?).ok()?;
                (rest.get(..at)?, exponent.parse().ok()?)
            }
            None => (rest, 0),
        };
        let point = mantissa.iter().position(|byte| *byte == b'.');
        let whole = mantissa.get(..point.unwrap_or(mantissa.len()))?;
        let fraction = point.map_or(Some(&[][..]), |at| mantissa.get(at + 1..))?;
        let all_digits = whole.iter().chain(fraction).all(u8::is_ascii_digit);
        (all_digits && !mantissa.is_empty()).then_some(Self { negative, whole, fraction, exponent })
    }

    fn digits(&self) -> impl Iterator<Item = u8> + use<'a> {
        self.whole.iter().chain(self.fraction).copied()
    }

    /// The same number without zeros at the end of its fraction.
    pub(super) fn stripped(self) -> Self {
        let end = self.fraction.iter().rposition(|digit| *digit != b'0').map_or(0, |at| at + 1);
        Self { fraction: self.fraction.get(..end).unwrap_or_default(), ..self }
    }

    /// Writes a `double` as `Double.toString` does: from 0.001 up to 10,000,000 as decimals, else
    /// with an exponent.
    pub(super) fn java(&self, out: &mut Vec<u8>) {
        if self.negative {
            out.push(b'-');
        }
        let leading = self.digits().take_while(|digit| *digit == b'0').count();
        let count = self.digits().count();
        let zeros = self.digits().collect_tail_zeros(count, leading);
        let significant = count - leading - zeros;
        if significant == 0 {
            out.extend_from_slice(b"0.0");
            return;
        }
        // The number is 0.DIGITS times ten to this power.
        let whole = i32::try_from(self.whole.len()).unwrap_or(i32::MAX);
        let leading_zeros = i32::try_from(leading).unwrap_or(i32::MAX);
        let power = whole.saturating_sub(leading_zeros).saturating_add(self.exponent);
        let digits = || self.digits().skip(leading).take(significant);
        match power {
            -2..=0 => {
                out.extend_from_slice(b"0.");
                out.extend((power..0).map(|_| b'0'));
                out.extend(digits());
            }
            1..=7 => {
                let before = usize::try_from(power).unwrap_or(0);
                out.extend(digits().chain(std::iter::repeat(b'0')).take(before));
                out.push(b'.');
                if significant > before {
                    out.extend(digits().skip(before));
                } else {
                    out.push(b'0');
                }
            }
            _ => {
                out.extend(digits().take(1));
                out.push(b'.');
                if significant > 1 {
                    out.extend(digits().skip(1));
                } else {
                    out.push(b'0');
                }
                out.push(b'E');
                text::number(out, power.saturating_sub(1));
            }
        }
    }

    /// The unscaled value as Java's `BigInteger.toByteArray`, with `scale` digits after the point
    /// (a negative scale leaves out digits before it).
    pub(super) fn unscaled(&self, scale: i32, scratch: &mut Scratch) {
        let wanted = usize::try_from(scale).unwrap_or(0);
        let dropped = usize::try_from(-scale.min(0)).unwrap_or(0);
        let count = self.whole.len().saturating_sub(dropped);
        let fraction = self.fraction.iter().copied().chain(std::iter::repeat(b'0')).take(wanted);
        let digits = self.whole.iter().copied().take(count).chain(fraction);
        scratch.limbs.clear();
        let (mut group, mut base) = (0_u64, 1_u64);
        for digit in digits {
            group = group * 10 + u64::from(digit.wrapping_sub(b'0'));
            base *= 10;
            if base == 1_000_000_000 {
                push_group(&mut scratch.limbs, base, group);
                (group, base) = (0, 1);
            }
        }
        push_group(&mut scratch.limbs, base, group);
        two_complement(scratch, self.negative);
    }
}

/// Counts the zeros at the end of a run of digits.
trait TailZeros: Iterator<Item = u8> + Sized {
    fn collect_tail_zeros(self, count: usize, leading: usize) -> usize {
        let mut zeros = 0;
        for digit in self.take(count).skip(leading) {
            zeros = if digit == b'0' { zeros + 1 } else { 0 };
        }
        zeros
    }
}

impl<I: Iterator<Item = u8>> TailZeros for I {}

/// Work space, kept so that a row needs no heap.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// A number in base 2³², the lowest limb first.
    limbs: Vec<u32>,
    /// Bytes before they are written as text.
    pub(super) bytes: Vec<u8>,
    /// An unquoted key or value of an hstore, an amount of money.
    pub(super) piece: Vec<u8>,
    /// An unquoted element of an array.
    pub(super) element: Vec<u8>,
}

/// `limbs * base + group`.
fn push_group(limbs: &mut Vec<u32>, base: u64, group: u64) {
    let mut carry = group;
    for limb in limbs.iter_mut() {
        let value = u64::from(*limb) * base + carry;
        *limb = low(value);
        carry = value >> 32;
    }
    if carry > 0 {
        limbs.push(low(carry));
    }
}

fn low(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// Writes the limbs as big-endian two's complement, as short as it can be.
fn two_complement(scratch: &mut Scratch, negative: bool) {
    let Scratch { limbs, bytes, .. } = scratch;
    bytes.clear();
    bytes.push(0);
    bytes.extend(limbs.iter().rev().flat_map(|limb| limb.to_be_bytes()));
    if negative {
        let mut carry = true;
        for byte in bytes.iter_mut().rev() {
            let (value, over) = (!*byte).overflowing_add(u8::from(carry));
            (*byte, carry) = (value, over);
        }
    }
    let redundant = |pair: &[u8]| matches!(pair, [0, 0..=127] | [255, 128..=255]);
    let extra = bytes.windows(2).take_while(|pair| redundant(pair)).count();
    bytes.drain(..extra);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn java(text: &str) -> String {
        let mut out = Vec::new();
        Decimal::parse(text.as_bytes()).expect("a number").java(&mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn doubles_are_written_as_java_writes_them() {
        for (text, expected) in [
            ("0", "0.0"),
            ("-0", "-0.0"),
            ("1", "1.0"),
            ("100", "100.0"),
            ("0.1", "0.1"),
            ("0.001", "0.001"),
            ("0.0001", "1.0E-4"),
            ("1e-05", "1.0E-5"),
            ("1234567.9", "1234567.9"),
            ("9999999", "9999999.0"),
            ("10000000", "1.0E7"),
            ("12345678.9", "1.23456789E7"),
            ("1e+300", "1.0E300"),
            ("2.2250738585072014e-308", "2.2250738585072014E-308"),
            ("-3.4028235e+38", "-3.4028235E38"),
            ("12e2147483647", "1.2E2147483646"),
            ("0.01e-2147483648", "1.0E-2147483648"),
        ] {
            assert_eq!(java(text), expected, "{text}");
        }
        for wrong in ["", "NaN", "1x", "-Infinity"] {
            assert_eq!(Decimal::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn unscaled_values_are_those_of_a_big_integer() {
        let bytes = |text: &str, scale| {
            let mut scratch = Scratch::default();
            Decimal::parse(text.as_bytes()).expect("a number").unscaled(scale, &mut scratch);
            scratch.bytes
        };
        assert_eq!(bytes("0", 0), [0]);
        assert_eq!(bytes("12.50", 2), [0x04, 0xE2]);
        assert_eq!(bytes("12.5", 2), [0x04, 0xE2]);
        assert_eq!(bytes("128", 0), [0, 128]);
        assert_eq!(bytes("-128", 0), [128]);
        assert_eq!(bytes("-129", 0), [255, 127]);
        assert_eq!(bytes("12300", -2), [123]);
        assert_eq!(bytes("-0.01", 2), [255]);
        let large = "12345678901234567890.1234567890123456789";
        let expected = 123_456_789_012_345_678_901_234_567_890_123_456_789_i128.to_be_bytes();
        assert_eq!(bytes(large, 19), expected);
    }
}
