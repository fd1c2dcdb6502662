//! Avro's binary encoding of primitives.
//!
//! Source: Apache Avro specification, "Binary Encoding".

/// An `int` or a `long`: zigzag, then seven bits a byte, lowest first.
#[inline]
pub(crate) fn long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    loop {
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

/// A length: a `long` that is not negative.
#[inline]
fn length(out: &mut Vec<u8>, length: usize) {
    long(out, i64::try_from(length).unwrap_or(i64::MAX));
}

/// A `string` or `bytes`.
#[inline]
pub(crate) fn bytes(out: &mut Vec<u8>, value: &[u8]) {
    length(out, value.len());
    out.extend_from_slice(value);
}

/// A `double`.
#[inline]
pub(crate) fn double(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

/// The head of an array that is written as one block. An array ends with [`END`].
#[inline]
pub(crate) fn block(out: &mut Vec<u8>, items: usize) {
    if items > 0 {
        length(out, items);
    }
}

/// The end of an array or map.
pub(crate) const END: u8 = 0;
/// The first branch of a union, where that is `null`.
pub(crate) const NULL: u8 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_specification() {
        for (value, wire) in [
            (0, vec![0x00]),
            (-1, vec![0x01]),
            (1, vec![0x02]),
            (-64, vec![0x7F]),
            (64, vec![0x80, 0x01]),
            (8192, vec![0x80, 0x80, 0x01]),
        ] {
            let mut out = Vec::new();
            long(&mut out, value);
            assert_eq!(out, wire, "{value}");
        }
    }

    #[test]
    fn the_largest_numbers_fit() {
        for value in [i64::MIN, i64::MAX] {
            let mut out = Vec::new();
            long(&mut out, value);
            assert_eq!(out.len(), 10);
        }
    }
}
