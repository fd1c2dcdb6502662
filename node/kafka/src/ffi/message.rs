//! One message of librdkafka's consumer: a record, or news about a partition.

use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::ptr::{self, NonNull};

use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;
use rdkafka_sys::rd_kafka_resp_err_t as Resp;
use rdkafka_sys::rd_kafka_timestamp_type_t as Kind;

use crate::fault::KafkaError;
use crate::record::Timestamp;

/// A message of ours; it goes back to librdkafka when dropped. The handle must outlive it.
#[derive(Debug)]
pub(crate) struct Message {
    native: NonNull<sys::rd_kafka_message_t>,
    /// Whose it is, for the owner of the queue.
    pub(crate) slot: u32,
    /// Whether its list of headers was lent to someone.
    lent: Cell<bool>,
}

// SAFETY: a message belongs to whoever took it out of a queue; what it shares with others
// (buffers, topics) is counted atomically. It is not `Sync`: headers are parsed at the first look.
unsafe impl Send for Message {}

impl Message {
    /// Takes a message over; `None` for null.
    ///
    /// # Safety
    ///
    /// `native` is null or came out of a consumer's queue and nobody else destroys it.
    pub(super) unsafe fn own(native: *mut sys::rd_kafka_message_t) -> Option<Self> {
        let native = NonNull::new(native)?;
        Some(Self { native, slot: 0, lent: Cell::new(false) })
    }

    fn raw(&self) -> &sys::rd_kafka_message_t {
        // SAFETY: ours until it is dropped.
        unsafe { self.native.as_ref() }
    }

    /// What it says instead of a record.
    pub(crate) fn news(&self) -> Option<Code> {
        match self.raw().err {
            Resp::RD_KAFKA_RESP_ERR_NO_ERROR => None,
            code => Some(Code::from(code)),
        }
    }

    /// The error that it is, with librdkafka's sentence about it.
    pub(crate) fn error(&self, code: Code) -> KafkaError {
        let text = self.value().map(String::from_utf8_lossy).unwrap_or_default();
        let text = text.trim_end_matches('\0');
        let text = if text.is_empty() { code.to_string() } else { text.to_owned() };
        KafkaError { code, text }
    }

    pub(crate) fn offset(&self) -> i64 {
        self.raw().offset
    }

    pub(crate) fn partition(&self) -> i32 {
        self.raw().partition
    }

    /// The index that its topic was given, if it has one.
    pub(crate) fn topic_index(&self) -> Option<usize> {
        let topic = self.raw().rkt;
        if topic.is_null() {
            return None;
        }
        // SAFETY: the topic lives as long as the message.
        let opaque = unsafe { sys::rd_kafka_topic_opaque(topic) };
        opaque.addr().checked_sub(1)
    }

    pub(crate) fn key(&self) -> Option<&[u8]> {
        bytes(self.raw().key, self.raw().key_len)
    }

    pub(crate) fn value(&self) -> Option<&[u8]> {
        bytes(self.raw().payload, self.raw().len)
    }

    pub(crate) fn leader_epoch(&self) -> Option<i32> {
        // SAFETY: a live message of a consumer.
        let epoch = unsafe { sys::rd_kafka_message_leader_epoch(self.native.as_ptr()) };
        (epoch >= 0).then_some(epoch)
    }

    pub(crate) fn timestamp(&self) -> Timestamp {
        let mut kind = Kind::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: a live message of a consumer.
        let millis =
            unsafe { sys::rd_kafka_message_timestamp(self.native.as_ptr(), &raw mut kind) };
        match kind {
            Kind::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE => Timestamp::None,
            Kind::RD_KAFKA_TIMESTAMP_CREATE_TIME if millis == -1 => Timestamp::None,
            Kind::RD_KAFKA_TIMESTAMP_CREATE_TIME => Timestamp::Create(millis),
            Kind::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME => Timestamp::LogAppend(millis),
        }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: ours, and its last use.
        unsafe { sys::rd_kafka_message_destroy(self.native.as_ptr()) };
    }
}

fn bytes<'a>(start: *mut c_void, length: usize) -> Option<&'a [u8]> {
    if start.is_null() {
        return None;
    }
    // SAFETY: librdkafka tells start and length of memory that lives as long as the message; callers
    // give it no longer life than their borrow of the message.
    Some(unsafe { std::slice::from_raw_parts(start.cast::<u8>(), length) })
}

/// The headers of a record that was read, in their order, as they are. Nothing is parsed before the
/// first look.
#[derive(Clone, Copy, Debug)]
pub struct HeaderList<'a> {
    message: &'a Message,
}

impl<'a> HeaderList<'a> {
    pub(crate) fn of(message: &'a Message) -> Self {
        Self { message }
    }

    /// Whether the record has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.native().is_none()
    }

    /// Name and value of each; names may repeat, values may be null. A name is told up to its first
    /// zero byte: what [`crate::Headers::Of`] hands on is whole.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        self.message.lent.set(true);
        let list = self.native();
        (0..).map_while(move |index| header(list?, index))
    }

    fn native(&self) -> Option<NonNull<sys::rd_kafka_headers_t>> {
        let mut list = ptr::null_mut();
        // SAFETY: a live message; the list, if any, stays the message's.
        let code =
            unsafe { sys::rd_kafka_message_headers(self.message.native.as_ptr(), &raw mut list) };
        NonNull::new(list).filter(|_| code == Resp::RD_KAFKA_RESP_ERR_NO_ERROR)
    }

    /// The headers as a list of the caller's; `None` where there are none. The message keeps the bytes
    /// from which the list was made, so that this may be asked again.
    pub(super) fn own(&self) -> Result<Option<NonNull<sys::rd_kafka_headers_t>>, Code> {
        if self.message.lent.get() {
            // Names and values of the message's own list may still be looked at.
            // SAFETY: a live list; the copy is the caller's.
            let copy = |list: NonNull<_>| unsafe { sys::rd_kafka_headers_copy(list.as_ptr()) };
            return Ok(self.native().map(copy).and_then(NonNull::new));
        }
        let mut list = ptr::null_mut();
        // SAFETY: a live message that no other thread looks at, whose list was lent to nobody; the
        // list, if any, becomes ours.
        let code = unsafe {
            sys::rd_kafka_message_detach_headers(self.message.native.as_ptr(), &raw mut list)
        };
        match code {
            Resp::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(NonNull::new(list)),
            Resp::RD_KAFKA_RESP_ERR__NOENT => Ok(None),
            code => Err(Code::from(code)),
        }
    }
}

/// One header of a list that was lent: it stays with its message as long as `'a` lasts.
fn header<'a>(
    list: NonNull<sys::rd_kafka_headers_t>,
    index: usize,
) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let mut name: *const c_char = ptr::null();
    let mut value: *const c_void = ptr::null();
    let mut size = 0;
    // SAFETY: a live list; the three results are ours.
    let code = unsafe {
        sys::rd_kafka_header_get_all(
            list.as_ptr(),
            index,
            &raw mut name,
            &raw mut value,
            &raw mut size,
        )
    };
    if code != Resp::RD_KAFKA_RESP_ERR_NO_ERROR {
        return None;
    }
    // SAFETY: librdkafka ends a name in a zero byte; it lives as long as the list.
    let name = unsafe { std::ffi::CStr::from_ptr(name) }.to_bytes();
    Some((name, bytes(value.cast_mut(), size)))
}
