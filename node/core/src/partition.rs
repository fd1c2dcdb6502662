//! Which partition of its topic a record goes to (CONTRACT §6, docs/formats.md).
//!
//! Two hashes: Java's `String.hashCode`, for the policies of the reference service, and murmur2 as
//! Kafka's own clients apply it to record keys. Neither allocates.

/// Stands between the values of a key in the text that is hashed.
const SEPARATOR: u16 = 0x1F;

/// Java's `String.hashCode`, fed piece by piece.
///
/// Source: Java documentation, `java.lang.String#hashCode`: `s[0]*31^(n-1) + … + s[n-1]` over UTF-16
/// code units, in 32-bit arithmetic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JavaHash(i32);

impl JavaHash {
    /// The hash of one whole text.
    #[must_use]
    pub fn of(text: &str) -> i32 {
        let mut hash = Self::default();
        hash.text(text.as_bytes());
        hash.value()
    }

    /// Adds UTF-8 text; anything else counts byte by byte.
    #[inline]
    pub fn text(&mut self, text: &[u8]) {
        match std::str::from_utf8(text) {
            Ok(text) if !text.is_ascii() => text.encode_utf16().for_each(|unit| self.unit(unit)),
            _ => text.iter().for_each(|byte| self.unit(u16::from(*byte))),
        }
    }

    /// Adds what stands between two values of a key.
    #[inline]
    pub fn separator(&mut self) {
        self.unit(SEPARATOR);
    }

    #[inline]
    fn unit(&mut self, unit: u16) {
        self.0 = self.0.wrapping_mul(31).wrapping_add(i32::from(unit));
    }

    /// The hash of what was added.
    #[must_use]
    pub fn value(self) -> i32 {
        self.0
    }
}

/// `|hash| mod partitions`, in 64 bits so that the smallest hash has an absolute value.
///
/// `partitions` is a partition count of Kafka: from 1 to `i32::MAX`.
#[must_use]
#[inline]
pub fn of_java_hash(hash: i32, partitions: i32) -> i32 {
    let remainder = i64::from(hash).abs() % i64::from(partitions.max(1));
    i32::try_from(remainder).unwrap_or(0)
}

/// The partition that Kafka's own clients choose for a record with this key.
#[must_use]
#[inline]
pub fn of_record_key(key: &[u8], partitions: i32) -> i32 {
    (murmur2(key) & 0x7FFF_FFFF).cast_signed() % partitions.max(1)
}

/// murmur2 with Kafka's seed.
///
/// Source: Apache Kafka, `org.apache.kafka.common.utils.Utils#murmur2`.
#[must_use]
pub fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_B28C;
    const M: u32 = 0x5BD1_E995;
    // Java's `int` length: a key is far shorter than 4 GiB.
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let (words, tail) = data.as_chunks::<4>();
    let mut hash = SEED ^ length;
    for word in words {
        let k = u32::from_le_bytes(*word).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ (k ^ (k >> 24)).wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (at, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_java() {
        for (text, hash) in [
            ("shop", 3_529_462),
            ("orders", -1_008_770_331),
            ("shop.orders", 570_428_637),
            ("shoporders", -335_106_725),
            ("shop.public.orders", -200_135_406),
            ("public.orders", 762_281_482),
            ("42", 1_662),
            ("", 0),
            // "polygenelubricants" is known for Integer.MIN_VALUE.
            ("polygenelubricants", i32::MIN),
            ("ä", 228),
            // Two UTF-16 units: D83D DE00.
            ("😀", 0xD83D * 31 + 0xDE00),
        ] {
            assert_eq!(JavaHash::of(text), hash, "{text}");
        }
    }

    #[test]
    fn hashing_in_pieces_is_hashing_the_whole() {
        let mut hash = JavaHash::default();
        hash.text(b"a");
        hash.separator();
        hash.text("é".as_bytes());
        assert_eq!(hash.value(), JavaHash::of("a\u{1f}é"));
    }

    #[test]
    fn the_smallest_hash_has_a_partition() {
        assert_eq!(of_java_hash(i32::MIN, 7), i32::try_from(2_147_483_648_i64 % 7).expect("small"));
        assert_eq!(of_java_hash(-7, 4), 3);
        assert_eq!(of_java_hash(5, 1), 0);
    }

    #[test]
    fn murmur2_gives_the_values_of_kafkas_own_test() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }
}
