//! A record on its way into Kafka, and what of it comes from another Kafka.

pub use crate::ffi::HeaderList;

/// One record on its way to a producer's queue; everything is copied there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Record<'a> {
    /// Number of the partition.
    pub partition: u32,
    /// Absent is not the same as empty.
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Headers in their order.
    pub headers: Headers<'a>,
    /// Milliseconds since 1970, also negative ones; absent: the moment of the call. −1, Kafka's word
    /// for a record without a timestamp, stays; 0 is written as now (docs/delivery.md).
    pub timestamp: Option<i64>,
}

impl Record<'_> {
    /// Bytes of key and value.
    #[must_use]
    pub fn size(&self) -> usize {
        let length = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
        length(self.key).saturating_add(length(self.value))
    }
}

/// The headers of a record.
#[derive(Clone, Copy, Debug, Default)]
pub enum Headers<'a> {
    /// None.
    #[default]
    None,
    /// Names and values.
    Pairs(&'a [(&'a str, &'a [u8])]),
    /// Those of a record that was read, as they are: repeated names, null values and all.
    Of(HeaderList<'a>),
}

/// When a record that was read says it is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timestamp {
    /// It does not say: −1, or a message format from before timestamps.
    None,
    /// When it was made, in milliseconds since 1970.
    Create(i64),
    /// When the broker got it.
    LogAppend(i64),
}

impl Timestamp {
    /// As Kafka writes it; −1 is none.
    #[must_use]
    pub fn millis(self) -> i64 {
        match self {
            Self::None => -1,
            Self::Create(millis) | Self::LogAppend(millis) => millis,
        }
    }
}
