//! One admin request: its options, the queue where the answer arrives, and the answer.

use std::ptr::NonNull;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;

use super::client::Client;
use super::{code_error, millis, text_of};
use crate::config::Isolation;
use crate::fault::KafkaError;

/// Options of one request.
pub(super) struct Options(*mut sys::rd_kafka_AdminOptions_t);

impl Options {
    pub(super) fn new(
        client: &Client,
        operation: sys::rd_kafka_admin_op_t,
        timeout: Duration,
    ) -> Self {
        // SAFETY: the handle is live; the result is null only for an unknown operation.
        let options = Self(unsafe { sys::rd_kafka_AdminOptions_new(client.ptr(), operation) });
        // SAFETY: the options are live; without a buffer no text is written. A timeout out of range
        // leaves the default, and the wait for the answer has a bound of its own.
        unsafe {
            sys::rd_kafka_AdminOptions_set_request_timeout(
                options.0,
                millis(timeout),
                std::ptr::null_mut(),
                0,
            )
        };
        // SAFETY: as above; requests without an operation to wait for refuse the option, and go without.
        unsafe {
            sys::rd_kafka_AdminOptions_set_operation_timeout(
                options.0,
                millis(timeout),
                std::ptr::null_mut(),
                0,
            )
        };
        options
    }

    pub(super) fn ptr(&self) -> *const sys::rd_kafka_AdminOptions_t {
        self.0
    }

    pub(super) fn include_operations(&self) {
        // SAFETY: the options are live.
        forget(unsafe { sys::rd_kafka_AdminOptions_set_include_authorized_operations(self.0, 1) });
    }

    /// The request changes nothing: brokers say only what they would do.
    pub(super) fn change_nothing(&self) {
        // SAFETY: the options are live; without a buffer no text is written. Only requests that know the
        // option are made with it.
        unsafe {
            sys::rd_kafka_AdminOptions_set_validate_only(self.0, 1, std::ptr::null_mut(), 0);
        }
    }

    pub(super) fn see(&self, isolation: Isolation) {
        let level = match isolation {
            Isolation::Committed => {
                sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED
            }
            Isolation::Uncommitted => {
                sys::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED
            }
        };
        // SAFETY: the options are live.
        forget(unsafe { sys::rd_kafka_AdminOptions_set_isolation_level(self.0, level) });
    }
}

/// Frees an error that tells only that an option does not apply.
fn forget(error: *mut sys::rd_kafka_error_t) {
    if !error.is_null() {
        // SAFETY: an error object of ours; its last use.
        unsafe { sys::rd_kafka_error_destroy(error) };
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: its last use.
        unsafe { sys::rd_kafka_AdminOptions_destroy(self.0) };
    }
}

/// Something of librdkafka's that is ours until it is dropped.
pub(super) struct Owned<T> {
    native: *mut T,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// Takes `native` over; `refused` says what it means that there is none.
    ///
    /// # Safety
    ///
    /// `native` is null, or nobody else's and to be destroyed by `destroy`.
    pub(super) unsafe fn new(
        native: *mut T,
        destroy: unsafe extern "C" fn(*mut T),
        refused: &str,
    ) -> Result<Self, KafkaError> {
        if native.is_null() {
            return Err(KafkaError { code: Code::InvalidArgument, text: refused.to_owned() });
        }
        Ok(Self { native, destroy })
    }

    pub(super) fn ptr(&self) -> *mut T {
        self.native
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: ours, of the kind that `destroy` takes, and its last use.
        unsafe { (self.destroy)(self.native) };
    }
}

/// An admin function of librdkafka that takes a list.
type Function<T> = unsafe extern "C" fn(
    *mut sys::rd_kafka_t,
    *mut *mut T,
    usize,
    *const sys::rd_kafka_AdminOptions_t,
    *mut sys::rd_kafka_queue_t,
);

/// Asks for something about a list, and waits for the answer.
///
/// # Safety
///
/// `function` is an admin function of librdkafka for `operation`, which copies what it needs.
pub(super) unsafe fn ask<T>(
    client: &Client,
    operation: sys::rd_kafka_admin_op_t,
    function: Function<T>,
    list: &[Owned<T>],
    timeout: Duration,
) -> Result<Event, KafkaError> {
    let options = Options::new(client, operation, timeout);
    // SAFETY: as the caller vouches.
    unsafe { ask_so(client, &options, function, list, timeout) }
}

/// As [`ask`], with options.
///
/// # Safety
///
/// As for [`ask`]; the options are for the operation.
pub(super) unsafe fn ask_so<T>(
    client: &Client,
    options: &Options,
    function: Function<T>,
    list: &[Owned<T>],
    timeout: Duration,
) -> Result<Event, KafkaError> {
    let queue = Queue::new(client);
    let mut natives: Vec<*mut T> = list.iter().map(Owned::ptr).collect();
    // SAFETY: all are live, array and count belong together; the caller vouches for the function.
    unsafe {
        function(client.ptr(), natives.as_mut_ptr(), natives.len(), options.ptr(), queue.ptr());
    };
    queue.wait(client, timeout)
}

/// Where answers arrive.
pub(super) struct Queue(NonNull<sys::rd_kafka_queue_t>);

impl Queue {
    pub(super) fn new(client: &Client) -> Self {
        // SAFETY: the handle is live; `rd_kafka_queue_new` aborts on lack of memory.
        let native = unsafe { sys::rd_kafka_queue_new(client.ptr()) };
        Self(NonNull::new(native).unwrap_or_else(|| std::process::abort()))
    }

    pub(super) fn ptr(&self) -> *mut sys::rd_kafka_queue_t {
        self.0.as_ptr()
    }

    /// The answer. Ends early when the brokers refuse our credentials, which librdkafka would
    /// otherwise try again until the timeout.
    pub(super) fn wait(&self, client: &Client, timeout: Duration) -> Result<Event, KafkaError> {
        let slice = Duration::from_millis(50);
        let deadline = Instant::now() + timeout + slice;
        loop {
            // SAFETY: the queue is live.
            let event = unsafe { sys::rd_kafka_queue_poll(self.0.as_ptr(), millis(slice)) };
            client.poll(Duration::ZERO);
            if !event.is_null() {
                return Event(event).checked();
            }
            client.refused()?;
            if Instant::now() >= deadline {
                return Err(code_error(sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TIMED_OUT));
            }
        }
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: its last use.
        unsafe { sys::rd_kafka_queue_destroy(self.0.as_ptr()) };
    }
}

/// An answer.
pub(super) struct Event(*mut sys::rd_kafka_event_t);

impl Event {
    pub(super) fn ptr(&self) -> *mut sys::rd_kafka_event_t {
        self.0
    }

    fn checked(self) -> Result<Self, KafkaError> {
        // SAFETY: the event is live.
        let code = Code::from(unsafe { sys::rd_kafka_event_error(self.0) });
        if code == Code::NoError {
            return Ok(self);
        }
        // SAFETY: as above.
        let text = unsafe { sys::rd_kafka_event_error_string(self.0) };
        // SAFETY: the string lives as long as the event.
        Err(KafkaError { code, text: unsafe { text_of(text) } })
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: its last use.
        unsafe { sys::rd_kafka_event_destroy(self.0) };
    }
}

pub(super) fn error_of(error: *const sys::rd_kafka_error_t) -> Option<KafkaError> {
    if error.is_null() {
        return None;
    }
    // SAFETY: not null, and it lives as long as its owner.
    let code = Code::from(unsafe { sys::rd_kafka_error_code(error) });
    if code == Code::NoError {
        return None;
    }
    // SAFETY: as above.
    let text = unsafe { sys::rd_kafka_error_string(error) };
    // SAFETY: the string lives as long as the error.
    let text = unsafe { text_of(text) };
    Some(KafkaError { code, text })
}

pub(super) fn unexpected() -> KafkaError {
    KafkaError { code: Code::Fail, text: "an answer to another question".to_owned() }
}
