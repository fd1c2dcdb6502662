//! What the server is asked to decode, as one number that a position record can hold.

use std::collections::BTreeMap;

/// What decides which rows a server sends, and in which order it numbers them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodingOptions {
    /// Options given to pgoutput, as sent (`proto_version`, `streaming`, …), without the names of the
    /// publications.
    pub options: BTreeMap<String, String>,
    /// Object id of the publication.
    pub publication: Option<u32>,
    /// Object id of the publication of inserts alone, where the task has one.
    pub inserts: Option<u32>,
    /// Major version of the server, like 15.
    pub server_major: u32,
}

/// Identity of what the server is asked to decode.
///
/// The upper 24 bits stand for the publication and the 16 below them for the publication of inserts:
/// neither may change, but the second may appear. The lower 24 stand for options and server version,
/// which may change between transactions but not inside one. Tables are not part of it: they are added
/// to a publication at a place in the log that every decoding sees alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(u64);

impl DecodingOptions {
    /// The fingerprint: FNV-1a, the same on every machine and in every release.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let oid = |oid: Option<u32>| {
            oid.map_or(0, |oid| {
                let mut fnv = Fnv::default();
                fnv.add(&oid.to_be_bytes());
                // Zero is left for "none".
                fnv.folded(16).max(1)
            })
        };
        let mut publication = Fnv::default();
        publication.add(&self.publication.unwrap_or(0).to_be_bytes());
        let mut options = Fnv::default();
        options.add(&self.server_major.to_be_bytes());
        for (name, value) in &self.options {
            options.add_text(name);
            options.add_text(value);
        }
        let upper = (publication.folded(24) << 16) | oid(self.inserts);
        Fingerprint((upper << 24) | options.folded(24))
    }
}

impl Fingerprint {
    /// Whether `now` stands for the same publications, but for one of inserts that was not there before.
    #[must_use]
    pub fn same_publications(self, now: Self) -> bool {
        let inserts = |it: Self| (it.0 >> 24) & 0xFFFF;
        self.0 >> 40 == now.0 >> 40 && (inserts(self) == 0 || inserts(self) == inserts(now))
    }

    /// Whether a transaction would be decoded as before.
    #[must_use]
    pub fn same_decoding(self, now: Self) -> bool {
        self.same_publications(now) && self.0 & 0xFF_FFFF == now.0 & 0xFF_FFFF
    }
}

impl From<u64> for Fingerprint {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl From<Fingerprint> for u64 {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.0
    }
}

/// FNV-1a, 64 bits (draft-eastlake-fnv).
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// Adds a text and its end, so that ("ab", "c") and ("a", "bc") differ.
    fn add_text(&mut self, text: &str) {
        self.add(text.as_bytes());
        self.add(&[0]);
    }

    /// Folded into fewer bits, as the draft does for shorter hashes.
    fn folded(&self, bits: u32) -> u64 {
        ((self.0 >> bits) ^ self.0) & ((1 << bits) - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(oid: u32, major: u32, streaming: &str) -> DecodingOptions {
        DecodingOptions {
            options: [("proto_version", "1"), ("streaming", streaming)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            publication: Some(oid),
            inserts: None,
            server_major: major,
        }
    }

    #[test]
    fn the_hash_is_the_published_one() {
        let mut fnv = Fnv::default();
        fnv.add(b"foobar");
        assert_eq!(fnv.0, 0x8594_4171_f739_67e8);
    }

    #[test]
    fn the_number_is_the_same_in_every_release() {
        let number: u64 = options(16_384, 15, "off").fingerprint().into();
        assert_eq!(number, options(16_384, 15, "off").fingerprint().0);
    }

    #[test]
    fn publications_and_options_are_told_apart() {
        let now = options(16_384, 15, "off").fingerprint();
        let inserts = DecodingOptions { inserts: Some(16_400), ..options(16_384, 15, "off") };
        let other = DecodingOptions { inserts: Some(16_401), ..inserts.clone() };
        assert!(now.same_decoding(inserts.fingerprint()), "tables we added are not part of it");
        assert!(!inserts.fingerprint().same_publications(now), "it was dropped");
        assert!(!inserts.fingerprint().same_publications(other.fingerprint()), "another one");
        for (other, same) in [
            (options(16_385, 15, "off"), false),
            (options(16_384, 16, "off"), true),
            (options(16_384, 15, "on"), true),
        ] {
            assert_ne!(now, other.fingerprint());
            assert_eq!(now.same_publications(other.fingerprint()), same);
        }
    }
}
