//! What goes over the wire of a handle, as librdkafka's interceptors tell it: requests that matter to
//! us are counted, and it is known which broker owes an answer since when.

use std::collections::HashMap;
use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Instant;

use rdkafka_sys as sys;
use rdkafka_sys::rd_kafka_resp_err_t as Resp;

use super::client::watch_of;

/// `ApiKey`s of Kafka's protocol.
const METADATA: i16 = 3;
const END_TXN: i16 = 26;

/// The traffic of one handle.
#[derive(Debug, Default)]
pub(super) struct Contact {
    end_requests: AtomicU32,
    metadata_requests: AtomicU64,
    /// By the thread that librdkafka gives to each: their ids are not yet known at first, and change.
    brokers: Mutex<HashMap<ThreadId, Broker>>,
}

/// What one broker was asked and answered.
#[derive(Clone, Copy, Debug, Default)]
struct Broker {
    /// Requests whose answers are awaited.
    unanswered: u32,
    /// When the first of them was sent, or the one before it answered.
    awaited_since: Option<Instant>,
    answered: Option<Instant>,
}

impl Contact {
    /// EndTxn requests that were sent since the last call.
    pub(super) fn take_end_requests(&self) -> u32 {
        self.end_requests.swap(0, Ordering::AcqRel)
    }

    /// Metadata requests that were ever sent.
    pub(super) fn metadata_requests(&self) -> u64 {
        self.metadata_requests.load(Ordering::Acquire)
    }

    /// When a broker last answered.
    pub(super) fn last_answer(&self) -> Option<Instant> {
        self.brokers().values().filter_map(|broker| broker.answered).max()
    }

    /// Since when the most silent broker owes an answer.
    pub(super) fn silent_since(&self) -> Option<Instant> {
        let brokers = self.brokers();
        let waiting = brokers.values().filter(|broker| broker.unanswered > 0);
        waiting.filter_map(|broker| broker.awaited_since).min()
    }

    fn brokers(&self) -> MutexGuard<'_, HashMap<ThreadId, Broker>> {
        self.brokers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sent(&self, api_key: i16) {
        if api_key == END_TXN {
            self.end_requests.fetch_add(1, Ordering::AcqRel);
        } else if api_key == METADATA {
            self.metadata_requests.fetch_add(1, Ordering::AcqRel);
        }
        let mut brokers = self.brokers();
        let broker = brokers.entry(thread::current().id()).or_default();
        if broker.unanswered == 0 {
            broker.awaited_since = Some(Instant::now());
        }
        broker.unanswered += 1;
    }

    /// Answers to other threads are told once more there, when they are handled: nothing came then.
    fn received(&self, good: bool) {
        let mut brokers = self.brokers();
        let Some(broker) = brokers.get_mut(&thread::current().id()) else { return };
        let now = Some(Instant::now());
        // What failed before it was sent was never counted.
        broker.unanswered = broker.unanswered.saturating_sub(1);
        broker.awaited_since = now;
        if good {
            broker.answered = now;
        }
    }
}

/// Adds the interceptors, which librdkafka takes only while the handle is made.
pub(super) unsafe extern "C" fn on_new(
    rk: *mut sys::rd_kafka_t,
    _conf: *const sys::rd_kafka_conf_t,
    opaque: *mut c_void,
    _message: *mut c_char,
    _message_size: usize,
) -> Resp {
    let name = c"tidewire".as_ptr();
    // SAFETY: called by librdkafka with a handle in the making; the name is a literal.
    let code = unsafe {
        sys::rd_kafka_interceptor_add_on_request_sent(rk, name, Some(on_request_sent), opaque)
    };
    if code != Resp::RD_KAFKA_RESP_ERR_NO_ERROR {
        return code;
    }
    // SAFETY: as above.
    unsafe {
        sys::rd_kafka_interceptor_add_on_response_received(
            rk,
            name,
            Some(on_response_received),
            opaque,
        )
    }
}

/// Called in a broker's thread after the last byte went to the socket.
unsafe extern "C" fn on_request_sent(
    _rk: *mut sys::rd_kafka_t,
    _socket: c_int,
    _broker: *const c_char,
    _broker_id: i32,
    api_key: i16,
    _api_version: i16,
    _correlation: i32,
    _size: usize,
    opaque: *mut c_void,
) -> Resp {
    // SAFETY: `opaque` is the address given at installation.
    unsafe { watch_of(opaque) }.contact.sent(api_key);
    Resp::RD_KAFKA_RESP_ERR_NO_ERROR
}

/// Called in a broker's thread for every answer, and for every request that will get none.
unsafe extern "C" fn on_response_received(
    _rk: *mut sys::rd_kafka_t,
    _socket: c_int,
    _broker: *const c_char,
    _broker_id: i32,
    _api_key: i16,
    _api_version: i16,
    _correlation: i32,
    _size: usize,
    _round_trip: i64,
    error: Resp,
    opaque: *mut c_void,
) -> Resp {
    let good = error == Resp::RD_KAFKA_RESP_ERR_NO_ERROR;
    // SAFETY: `opaque` is the address given at installation.
    unsafe { watch_of(opaque) }.contact.received(good);
    Resp::RD_KAFKA_RESP_ERR_NO_ERROR
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the thread of another broker tells.
    fn elsewhere(told: impl FnOnce() + Send) {
        thread::scope(|scope| drop(scope.spawn(told)));
    }

    #[test]
    fn a_broker_is_silent_from_its_first_unanswered_request_on() {
        let contact = Contact::default();
        contact.sent(METADATA);
        let since = contact.silent_since().expect("asked");
        contact.sent(END_TXN);
        assert_eq!(contact.silent_since(), Some(since));
        assert_eq!(contact.last_answer(), None);
        contact.received(false);
        contact.received(false);
        assert_eq!((contact.silent_since(), contact.last_answer()), (None, None));
        elsewhere(|| contact.sent(METADATA));
        contact.sent(METADATA);
        contact.received(true);
        assert!(contact.silent_since().is_some() && contact.last_answer().is_some());
        assert_eq!((contact.take_end_requests(), contact.metadata_requests()), (1, 3));
        assert_eq!(contact.take_end_requests(), 0);
    }

    #[test]
    fn an_answer_to_one_request_leaves_the_others_awaited_since_then() {
        let contact = Contact::default();
        contact.sent(METADATA);
        contact.sent(METADATA);
        let first = contact.silent_since();
        contact.received(true);
        assert!(contact.silent_since() > first);
        assert_eq!(contact.silent_since(), contact.last_answer());
        elsewhere(|| contact.received(true));
        assert!(contact.silent_since().is_some(), "handled in another thread");
        contact.received(true);
        assert_eq!(contact.silent_since(), None);
    }
}
