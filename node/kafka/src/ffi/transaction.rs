//! Transactions and records of a producer handle.

use std::ffi::{c_char, c_void};
use std::ptr::NonNull;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;
use rdkafka_sys::rd_kafka_resp_err_t as Resp;
use rdkafka_sys::rd_kafka_vtype_t as Vtype;

use super::client::{Client, Topic, watch_of};
use super::{millis, text_of};
use crate::fault::KafkaError;
use crate::record::{self, Record};

/// The opaque value of marked records; it is never followed.
const MARK: *mut c_void = std::ptr::without_provenance_mut(1);

/// The first record that Kafka did not take.
#[derive(Clone, Debug)]
pub(crate) struct FailedDelivery {
    pub(crate) topic: String,
    pub(crate) partition: u32,
    /// Bytes of key and value.
    pub(crate) size: usize,
    pub(crate) error: KafkaError,
}

impl FailedDelivery {
    /// Whether it only followed from the failure of the transaction.
    pub(crate) fn is_consequence(&self) -> bool {
        matches!(self.error.code, Code::PurgeQueue | Code::PurgeInflight)
    }

    /// Whether a later failure tells more: a cause more than a consequence, and of the records of a
    /// batch that is too large the largest.
    fn yields_to(&self, error: &KafkaError, size: usize) -> bool {
        let both_too_large =
            self.error.code == Code::MessageSizeTooLarge && error.code == Code::MessageSizeTooLarge;
        self.is_consequence() || (both_too_large && self.size < size)
    }
}

/// What a transactional call answered, with librdkafka's own judgement of it.
#[derive(Clone, Debug)]
pub(crate) struct CallError {
    pub(crate) error: KafkaError,
    /// The same call may be made again.
    pub(crate) retriable: bool,
    /// The transaction can only be aborted.
    pub(crate) requires_abort: bool,
}

impl Client {
    pub(crate) fn init_transactions(&self, timeout: Duration) -> Result<(), CallError> {
        // SAFETY: the handle is live; the error, if any, becomes ours.
        check(unsafe { sys::rd_kafka_init_transactions(self.ptr(), millis(timeout)) })
    }

    pub(crate) fn begin_transaction(&self) -> Result<(), CallError> {
        // SAFETY: as above.
        check(unsafe { sys::rd_kafka_begin_transaction(self.ptr()) })
    }

    pub(crate) fn commit_transaction(&self, timeout: Duration) -> Result<(), CallError> {
        // SAFETY: as above.
        check(unsafe { sys::rd_kafka_commit_transaction(self.ptr(), millis(timeout)) })
    }

    pub(crate) fn abort_transaction(&self, timeout: Duration) -> Result<(), CallError> {
        // SAFETY: as above.
        check(unsafe { sys::rd_kafka_abort_transaction(self.ptr(), millis(timeout)) })
    }

    /// What made the open transaction fail, if anything. Asks to begin another one, which librdkafka
    /// refuses inside a transaction and while a commit is undecided: with the cause where there is
    /// one, without effect always.
    pub(crate) fn failed_transaction(&self) -> Option<CallError> {
        let usual = |code| matches!(code, Code::State | Code::Conflict);
        self.begin_transaction().err().filter(|refusal| !usual(refusal.error.code))
    }

    /// What made the handle unusable for good, if anything: behind it hides that we were fenced.
    pub(crate) fn fatal(&self) -> Option<KafkaError> {
        let mut message = [0 as c_char; 512];
        // SAFETY: the handle is live, the buffer has the length that is told.
        let code =
            unsafe { sys::rd_kafka_fatal_error(self.ptr(), message.as_mut_ptr(), message.len()) };
        if code == Resp::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        // SAFETY: librdkafka ends the text in a zero byte within the buffer.
        let text = unsafe { text_of(message.as_ptr()) };
        Some(KafkaError { code: Code::from(code), text })
    }

    /// Offset of the last marked record that was delivered.
    pub(crate) fn marked_offset(&self) -> Option<i64> {
        Some(self.watch.marked_offset.load(Ordering::Acquire)).filter(|offset| *offset >= 0)
    }

    /// The first failed delivery since the handle was made. It stays.
    pub(crate) fn failed_delivery(&self) -> Option<FailedDelivery> {
        self.watch.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Topic {
    /// Copies a record into the queue of the topic's client. Of a marked one the offset at which it
    /// arrives is remembered.
    pub(crate) fn produce(&self, record: &Record<'_>, marked: bool) -> Result<(), CallError> {
        let partition = i32::try_from(record.partition)
            .map_err(|_| invalid("a partition that Kafka cannot number"))?;
        let headers = Headers::new(record.headers)?;
        let mut arguments = Arguments::new();
        arguments.push(Vtype::RD_KAFKA_VTYPE_RKT, |u| u.rkt = self.ptr());
        arguments.push(Vtype::RD_KAFKA_VTYPE_PARTITION, |u| u.i32_ = partition);
        arguments.push(Vtype::RD_KAFKA_VTYPE_MSGFLAGS, |u| u.i = sys::RD_KAFKA_MSG_F_COPY);
        if let Some(value) = record.value {
            arguments.push(Vtype::RD_KAFKA_VTYPE_VALUE, |u| u.mem = memory(value));
        }
        if let Some(key) = record.key {
            arguments.push(Vtype::RD_KAFKA_VTYPE_KEY, |u| u.mem = memory(key));
        }
        if let Some(headers) = &headers {
            arguments.push(Vtype::RD_KAFKA_VTYPE_HEADERS, |u| u.headers = headers.0.as_ptr());
        }
        if let Some(timestamp) = record.timestamp {
            arguments.push(Vtype::RD_KAFKA_VTYPE_TIMESTAMP, |u| u.i64_ = timestamp);
        }
        if marked {
            arguments.push(Vtype::RD_KAFKA_VTYPE_OPAQUE, |u| u.ptr = MARK);
        }
        // SAFETY: the first `count` arguments are set, what they point to is live for the call, and
        // MSG_F_COPY makes librdkafka keep nothing of it but the headers.
        let outcome = check(unsafe {
            sys::rd_kafka_produceva(self.client.ptr(), arguments.items.as_ptr(), arguments.count)
        });
        if outcome.is_ok() {
            // The queued message owns its headers.
            std::mem::forget(headers);
        }
        outcome
    }
}

/// The arguments of one `rd_kafka_produceva`.
struct Arguments {
    items: [sys::rd_kafka_vu_t; 8],
    count: usize,
}

impl Arguments {
    fn new() -> Self {
        let empty = sys::rd_kafka_vu_t {
            vtype: Vtype::RD_KAFKA_VTYPE_END,
            u: sys::rd_kafka_vu_s__bindgen_ty_1 { i64_: 0 },
        };
        Self { items: [empty; 8], count: 0 }
    }

    fn push(&mut self, vtype: Vtype, set: impl FnOnce(&mut sys::rd_kafka_vu_s__bindgen_ty_1)) {
        if let Some(item) = self.items.get_mut(self.count) {
            item.vtype = vtype;
            set(&mut item.u);
            self.count += 1;
        }
    }
}

fn memory(bytes: &[u8]) -> sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
    sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
        ptr: bytes.as_ptr().cast_mut().cast::<c_void>(),
        size: bytes.len(),
    }
}

/// Headers that no message owns yet.
struct Headers(NonNull<sys::rd_kafka_headers_t>);

impl Headers {
    fn new(headers: record::Headers<'_>) -> Result<Option<Self>, CallError> {
        match headers {
            record::Headers::None | record::Headers::Pairs([]) => Ok(None),
            record::Headers::Pairs(pairs) => Self::of_pairs(pairs).map(Some),
            record::Headers::Of(list) => {
                let own = list.own().map_err(|_| invalid("headers that do not decode"))?;
                Ok(own.map(Self))
            }
        }
    }

    fn of_pairs(headers: &[(&str, &[u8])]) -> Result<Self, CallError> {
        // SAFETY: a count is all it takes.
        let native = unsafe { sys::rd_kafka_headers_new(headers.len()) };
        let list = Self(NonNull::new(native).ok_or_else(|| invalid("no memory for headers"))?);
        for (name, value) in headers {
            let too_large = |_| invalid("a header that is too large");
            let name_size = isize::try_from(name.len()).map_err(too_large)?;
            let value_size = isize::try_from(value.len()).map_err(too_large)?;
            // SAFETY: the list is live; name and value are copied with the lengths that are told.
            let code = unsafe {
                sys::rd_kafka_header_add(
                    list.0.as_ptr(),
                    name.as_ptr().cast(),
                    name_size,
                    value.as_ptr().cast(),
                    value_size,
                )
            };
            if code != Resp::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(invalid("a header that Kafka does not take"));
            }
        }
        Ok(list)
    }
}

impl Drop for Headers {
    fn drop(&mut self) {
        // SAFETY: no message took the list over, else it would have been forgotten.
        unsafe { sys::rd_kafka_headers_destroy(self.0.as_ptr()) };
    }
}

fn invalid(text: &str) -> CallError {
    CallError {
        error: KafkaError { code: Code::InvalidArgument, text: text.to_owned() },
        retriable: false,
        requires_abort: false,
    }
}

/// Takes over and frees an error object; null is success.
pub(super) fn check(error: *mut sys::rd_kafka_error_t) -> Result<(), CallError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: a live error object of ours.
    let code = Code::from(unsafe { sys::rd_kafka_error_code(error) });
    // SAFETY: as above.
    let text = unsafe { sys::rd_kafka_error_string(error) };
    // SAFETY: the string lives as long as the error.
    let text = unsafe { text_of(text) };
    // SAFETY: as above.
    let retriable = unsafe { sys::rd_kafka_error_is_retriable(error) } != 0;
    // SAFETY: as above.
    let requires_abort = unsafe { sys::rd_kafka_error_txn_requires_abort(error) } != 0;
    // SAFETY: its last use.
    unsafe { sys::rd_kafka_error_destroy(error) };
    Err(CallError { error: KafkaError { code, text }, retriable, requires_abort })
}

/// Notes the first failed delivery and where marked records arrive. Called from polls and from the flush inside a commit.
pub(super) unsafe extern "C" fn on_delivery(
    _rk: *mut sys::rd_kafka_t,
    message: *const sys::rd_kafka_message_t,
    opaque: *mut c_void,
) {
    // SAFETY: librdkafka's message is live for the callback.
    let message = unsafe { &*message };
    let code = message.err;
    if code == Resp::RD_KAFKA_RESP_ERR_NO_ERROR && message._private != MARK {
        return;
    }
    // SAFETY: `opaque` is the address given at installation.
    let watch = unsafe { watch_of(opaque) };
    if code == Resp::RD_KAFKA_RESP_ERR_NO_ERROR {
        watch.marked_offset.store(message.offset, Ordering::Release);
        return;
    }
    let mut failed = watch.failed.lock().unwrap_or_else(PoisonError::into_inner);
    let size = message.len.saturating_add(message.key_len);
    let error = super::code_error(code);
    if failed.as_ref().is_none_or(|first| first.yields_to(&error, size)) {
        // SAFETY: a delivery report always carries its topic.
        let name = unsafe { sys::rd_kafka_topic_name(message.rkt) };
        // SAFETY: the name lives as long as the topic.
        let topic = unsafe { text_of(name) };
        let partition = u32::try_from(message.partition).unwrap_or(u32::MAX);
        *failed = Some(FailedDelivery { topic, partition, size, error });
    }
}
