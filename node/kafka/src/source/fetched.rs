//! What came out of the source at once.

use std::slice;
use std::sync::Arc;

use tidewire_shared::PartitionPosition;

use crate::ffi::{Client, HeaderList, Message};
use crate::record::Timestamp;

/// Records and ends of partitions in the order in which they came; each partition's in its order.
///
/// It holds librdkafka's own messages: nothing is copied, and its memory is free when it is dropped. It
/// may outlive its consumer, and go to another thread.
#[derive(Debug)]
pub struct Fetched {
    // The messages go before the handle they belong to.
    messages: Vec<Message>,
    bytes: usize,
    _client: Arc<Client>,
}

/// One thing that came out of the source.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// A record.
    Record(SourceRecord<'a>),
    /// The reader stands at the end of a partition.
    Reached {
        /// The partition.
        slot: usize,
        /// The next offset to be read: behind markers and aborted records too.
        offset: i64,
    },
}

/// A record as it was read, borrowed from its [`Fetched`].
#[derive(Clone, Copy, Debug)]
pub struct SourceRecord<'a> {
    /// The partition, as it was assigned.
    pub slot: usize,
    /// Where it stands in its partition.
    pub offset: i64,
    /// Epoch of the leader that took it; brokers before 0.11 and old message formats do not say.
    pub leader_epoch: Option<i32>,
    /// When it is from.
    pub timestamp: Timestamp,
    /// Absent is not the same as empty.
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// Its headers.
    pub headers: HeaderList<'a>,
}

/// Consecutive items of one partition, as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// The partition.
    pub(super) slot: usize,
    /// Memory that its records took while they waited: keys and values, and what librdkafka keeps of each.
    pub(super) weight: u64,
    /// The place behind it.
    pub(super) at: PartitionPosition,
}

/// What librdkafka keeps beside a record, bytes.
const BESIDE_RECORD: u64 = 300;

impl Fetched {
    pub(super) fn new(messages: Vec<Message>, client: Arc<Client>) -> Self {
        let bytes = messages.iter().map(size).sum();
        Self { messages, bytes, _client: client }
    }

    /// Number of its items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Bytes of keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Its items by partition, as long as one partition's follow one another.
    pub(super) fn stretches(&self) -> impl Iterator<Item = Stretch> {
        self.messages.chunk_by(|one, next| one.slot == next.slot).filter_map(|messages| {
            Some(Stretch {
                slot: messages.first()?.slot as usize,
                weight: messages.iter().map(weight).sum(),
                at: messages.iter().map(behind).reduce(PartitionPosition::then)?,
            })
        })
    }

    /// Its items; may be asked again.
    #[must_use]
    pub fn items(&self) -> Items<'_> {
        Items(self.messages.iter())
    }
}

impl<'a> IntoIterator for &'a Fetched {
    type Item = Item<'a>;
    type IntoIter = Items<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.items()
    }
}

/// The items of a [`Fetched`].
#[derive(Clone, Debug)]
pub struct Items<'a>(slice::Iter<'a, Message>);

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let message = self.0.next()?;
        let slot = message.slot as usize;
        Some(match message.news() {
            Some(_) => Item::Reached { slot, offset: message.offset() },
            None => Item::Record(SourceRecord {
                slot,
                offset: message.offset(),
                leader_epoch: message.leader_epoch(),
                timestamp: message.timestamp(),
                key: message.key(),
                value: message.value(),
                headers: HeaderList::of(message),
            }),
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

/// Bytes of key and value; news have neither.
fn size(message: &Message) -> usize {
    match message.news() {
        Some(_) => 0,
        None => length(message.key()) + length(message.value()),
    }
}

/// Memory that it takes while it waits.
fn weight(message: &Message) -> u64 {
    match message.news() {
        Some(_) => 0,
        None => size(message) as u64 + BESIDE_RECORD,
    }
}

/// The place behind a record, or the end that was reached.
fn behind(message: &Message) -> PartitionPosition {
    match message.news() {
        Some(_) => PartitionPosition { next: message.offset(), leader_epoch: None },
        None => {
            PartitionPosition { next: message.offset() + 1, leader_epoch: message.leader_epoch() }
        }
    }
}

fn length(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(0, <[u8]>::len)
}
