//! A librdkafka handle of ours: made from properties, its errors and requests watched.

use std::ffi::{c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;
use rdkafka_sys::rd_kafka_resp_err_t as Resp;
use tidewire_shared::FaultKind;

use super::certificate::on_certificate;
use super::transaction::{FailedDelivery, on_delivery};
use super::{c_string, millis, text_of};
use crate::config::Properties;
use crate::fault::{KafkaError, kind_of, sharpened};

/// `ApiKey` of EndTxn in Kafka's protocol.
const END_TXN: i16 = 26;

/// Longest single question for the brokers; between two the connection's errors are looked at.
const LOOK: Duration = Duration::from_millis(250);

/// What a handle is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Producer,
    Consumer,
}

/// What callbacks write and calls read. Its address is known to librdkafka.
#[derive(Debug)]
pub(super) struct Watch {
    end_requests: AtomicU32,
    /// −1 before the first.
    pub(super) marked_offset: AtomicI64,
    pub(super) failed: Mutex<Option<FailedDelivery>>,
    trouble: Mutex<Option<KafkaError>>,
    /// Why a broker's certificate was last refused.
    pub(super) certificate: Mutex<Option<&'static str>>,
}

/// A librdkafka handle. All its functions may be called from any thread.
#[derive(Debug)]
pub(crate) struct Client {
    native: NonNull<sys::rd_kafka_t>,
    pub(super) watch: Arc<Watch>,
}

// SAFETY: librdkafka's handle is thread-safe as a whole, and `Watch` is made of atomics and mutexes.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

impl Client {
    /// Makes a handle; connections are made in the background.
    pub(crate) fn new(kind: Kind, properties: &Properties) -> Result<Self, KafkaError> {
        let conf = Conf::new(properties)?;
        let watch = Arc::new(Watch {
            end_requests: AtomicU32::new(0),
            marked_offset: AtomicI64::new(-1),
            failed: Mutex::new(None),
            trouble: Mutex::new(None),
            certificate: Mutex::new(None),
        });
        let opaque = Arc::as_ptr(&watch).cast_mut().cast::<c_void>();
        conf.install(kind, opaque);
        let native_kind = match kind {
            Kind::Producer => sys::rd_kafka_type_t::RD_KAFKA_PRODUCER,
            Kind::Consumer => sys::rd_kafka_type_t::RD_KAFKA_CONSUMER,
        };
        let mut message = [0 as c_char; 512];
        // SAFETY: `conf` is a live configuration, the buffer has the length that is told.
        let native =
            unsafe { sys::rd_kafka_new(native_kind, conf.0, message.as_mut_ptr(), message.len()) };
        let Some(native) = NonNull::new(native) else {
            // SAFETY: librdkafka ends the text in a zero byte within the buffer.
            let text = unsafe { text_of(message.as_ptr()) };
            return Err(KafkaError { code: Code::InvalidConfig, text });
        };
        // The handle owns the configuration from here on.
        std::mem::forget(conf);
        Ok(Self { native, watch })
    }

    pub(super) fn ptr(&self) -> *mut sys::rd_kafka_t {
        self.native.as_ptr()
    }

    /// Serves delivery reports and errors, waiting at most `timeout` for the first.
    pub(crate) fn poll(&self, timeout: Duration) -> u32 {
        // SAFETY: the handle is live.
        let served = unsafe { sys::rd_kafka_poll(self.ptr(), millis(timeout)) };
        u32::try_from(served).unwrap_or_default()
    }

    /// The trouble that librdkafka reported last, unless brokers refused us: that stays.
    pub(crate) fn trouble(&self) -> Option<KafkaError> {
        self.watch.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An error when the brokers refused our credentials.
    pub(crate) fn refused(&self) -> Result<(), KafkaError> {
        match self.trouble() {
            Some(trouble) if denies(trouble.code) => Err(trouble),
            _ => Ok(()),
        }
    }

    /// EndTxn requests that were sent since the last call.
    pub(crate) fn take_end_requests(&self) -> u32 {
        self.watch.end_requests.swap(0, Ordering::AcqRel)
    }

    /// Sends what is queued without lingering, and waits at most `timeout` until all of it is answered.
    pub(crate) fn flush(&self, timeout: Duration) {
        // SAFETY: the handle is live. What is left over is told by `outstanding`.
        unsafe { sys::rd_kafka_flush(self.ptr(), millis(timeout)) };
    }

    /// Messages and reports that wait for something.
    pub(crate) fn outstanding(&self) -> u32 {
        // SAFETY: the handle is live.
        let waiting = unsafe { sys::rd_kafka_outq_len(self.ptr()) };
        u32::try_from(waiting).unwrap_or_default()
    }

    /// Waits until a broker by its own name is connected, or one refuses us.
    ///
    /// The connection to a bootstrap address is given up as soon as it told the brokers' names, and
    /// an InitProducerId that falls into the gap waits half a second for its next look. The first
    /// question may be answered in that last moment; the second leaves a connection that stays.
    pub(crate) fn connect(&self, timeout: Duration) -> Result<(), KafkaError> {
        let deadline = Instant::now() + timeout;
        let mut answered = 0;
        while answered < 2 && Instant::now() < deadline {
            if self.brokers_answer(timeout.min(LOOK)) {
                answered += 1;
            }
            self.poll(Duration::ZERO);
            self.refused()?;
        }
        Ok(())
    }

    fn brokers_answer(&self, timeout: Duration) -> bool {
        let mut answer: *const sys::rd_kafka_metadata = ptr::null();
        // SAFETY: the handle is live; no topic is asked for; the result becomes ours.
        let code = unsafe {
            sys::rd_kafka_metadata(self.ptr(), 0, ptr::null_mut(), &raw mut answer, millis(timeout))
        };
        if code != Resp::RD_KAFKA_RESP_ERR_NO_ERROR {
            return false;
        }
        // SAFETY: a result of ours; its last use.
        unsafe { sys::rd_kafka_metadata_destroy(answer) };
        true
    }

    /// Lowest offset and end of a partition, as the handle's isolation level sees them.
    pub(crate) fn watermarks(
        &self,
        topic: &str,
        partition: i32,
        timeout: Duration,
    ) -> Result<(i64, i64), KafkaError> {
        let topic = c_string(topic)?;
        let (mut low, mut high) = (-1, -1);
        // SAFETY: the handle and the name are live, the two results are ours.
        let code = unsafe {
            sys::rd_kafka_query_watermark_offsets(
                self.ptr(),
                topic.as_ptr(),
                partition,
                &raw mut low,
                &raw mut high,
                millis(timeout),
            )
        };
        match code {
            Resp::RD_KAFKA_RESP_ERR_NO_ERROR => Ok((low, high)),
            code => Err(super::code_error(code)),
        }
    }
}

impl Drop for Client {
    /// Throws away what is queued and in flight, so that the handle goes at once. The purge only
    /// asks; destroying the handle does not wait for anyone's answer.
    fn drop(&mut self) {
        let all = sys::RD_KAFKA_PURGE_F_QUEUE
            | sys::RD_KAFKA_PURGE_F_INFLIGHT
            | sys::RD_KAFKA_PURGE_F_NON_BLOCKING;
        // SAFETY: the handle is live; on a consumer the call answers an error and does nothing.
        unsafe { sys::rd_kafka_purge(self.ptr(), all) };
        // SAFETY: topics and readers borrow the client, so nothing refers to the handle any more.
        unsafe {
            sys::rd_kafka_destroy_flags(self.ptr(), sys::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
        };
    }
}

/// A topic of one client, looked up once. It must be given back before the client goes.
#[derive(Debug)]
pub(crate) struct Topic {
    native: NonNull<sys::rd_kafka_topic_t>,
    /// Held so that the handle outlives its topics.
    pub(super) client: Arc<Client>,
}

// SAFETY: librdkafka's topic handles are reference-counted and thread-safe.
unsafe impl Send for Topic {}
// SAFETY: as above.
unsafe impl Sync for Topic {}

impl Topic {
    pub(crate) fn new(client: &Arc<Client>, name: &str) -> Result<Self, KafkaError> {
        let name = c_string(name)?;
        // SAFETY: handle and name are live; no topic configuration is given.
        let native =
            unsafe { sys::rd_kafka_topic_new(client.ptr(), name.as_ptr(), ptr::null_mut()) };
        match NonNull::new(native) {
            Some(native) => Ok(Self { native, client: Arc::clone(client) }),
            None => Err(KafkaError {
                code: Code::InvalidTopic,
                text: "not a name that a topic can have".to_owned(),
            }),
        }
    }

    pub(super) fn ptr(&self) -> *mut sys::rd_kafka_topic_t {
        self.native.as_ptr()
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: the topic is live, and this is its last use by us.
        unsafe { sys::rd_kafka_topic_destroy(self.ptr()) };
    }
}

/// A configuration that no handle owns yet.
struct Conf(*mut sys::rd_kafka_conf_t);

impl Conf {
    fn new(properties: &Properties) -> Result<Self, KafkaError> {
        // SAFETY: no arguments; the result is never null.
        let conf = Self(unsafe { sys::rd_kafka_conf_new() });
        for (key, value) in properties.iter() {
            conf.set(key, value)?;
        }
        Ok(conf)
    }

    fn set(&self, key: &str, value: &str) -> Result<(), KafkaError> {
        let mut message = [0 as c_char; 512];
        let (name, value) = (c_string(key)?, c_string(value)?);
        // SAFETY: all strings are live, the buffer has the length that is told.
        let outcome = unsafe {
            sys::rd_kafka_conf_set(
                self.0,
                name.as_ptr(),
                value.as_ptr(),
                message.as_mut_ptr(),
                message.len(),
            )
        };
        if outcome == sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
            return Ok(());
        }
        // SAFETY: librdkafka ends the text in a zero byte within the buffer.
        let text = unsafe { text_of(message.as_ptr()) };
        Err(KafkaError { code: Code::InvalidConfig, text: format!("property {key}: {text}") })
    }

    /// Callbacks; `opaque` is the address of a [`Watch`] that outlives the handle.
    fn install(&self, kind: Kind, opaque: *mut c_void) {
        // SAFETY: the configuration is live.
        unsafe { sys::rd_kafka_conf_set_opaque(self.0, opaque) };
        // SAFETY: the callback has the declared signature and never unwinds.
        unsafe { sys::rd_kafka_conf_set_log_cb(self.0, Some(on_log)) };
        // SAFETY: as above.
        unsafe { sys::rd_kafka_conf_set_error_cb(self.0, Some(on_error)) };
        // SAFETY: as above; it is called on TLS connections only.
        unsafe { sys::rd_kafka_conf_set_ssl_cert_verify_cb(self.0, Some(on_certificate)) };
        if kind == Kind::Producer {
            // SAFETY: as above.
            unsafe { sys::rd_kafka_conf_set_dr_msg_cb(self.0, Some(on_delivery)) };
            // SAFETY: as above; the name is a literal with its zero byte.
            unsafe {
                sys::rd_kafka_conf_interceptor_add_on_new(
                    self.0,
                    c"tidewire".as_ptr(),
                    Some(on_new),
                    opaque,
                )
            };
        }
    }
}

impl Drop for Conf {
    fn drop(&mut self) {
        // SAFETY: no handle took the configuration over, else it would have been forgotten.
        unsafe { sys::rd_kafka_conf_destroy(self.0) };
    }
}

/// The [`Watch`] behind an opaque pointer.
///
/// # Safety
///
/// `opaque` is what [`Conf::install`] was given, and the handle is live.
pub(super) unsafe fn watch_of<'a>(opaque: *mut c_void) -> &'a Watch {
    // SAFETY: the client holds the `Arc` until after its handle is destroyed.
    unsafe { &*opaque.cast::<Watch>() }
}

/// Adds the request interceptor, which librdkafka takes only while the handle is made.
unsafe extern "C" fn on_new(
    rk: *mut sys::rd_kafka_t,
    _conf: *const sys::rd_kafka_conf_t,
    opaque: *mut c_void,
    _message: *mut c_char,
    _message_size: usize,
) -> Resp {
    // SAFETY: called by librdkafka with a handle in the making; the name is a literal.
    unsafe {
        sys::rd_kafka_interceptor_add_on_request_sent(
            rk,
            c"tidewire".as_ptr(),
            Some(on_request_sent),
            opaque,
        )
    }
}

/// Counts EndTxn. Called in a broker's thread after the last byte went to the socket.
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
    if api_key == END_TXN {
        // SAFETY: `opaque` is the address given at installation.
        let watch = unsafe { watch_of(opaque) };
        watch.end_requests.fetch_add(1, Ordering::AcqRel);
    }
    Resp::RD_KAFKA_RESP_ERR_NO_ERROR
}

unsafe extern "C" fn on_error(
    _rk: *mut sys::rd_kafka_t,
    code: c_int,
    reason: *const c_char,
    opaque: *mut c_void,
) {
    // SAFETY: librdkafka's reason is a string that outlives the callback.
    let text = unsafe { text_of(reason) };
    let code = local_code(code);
    tracing::debug!(target: "librdkafka", ?code, "{text}");
    // SAFETY: `opaque` is the address given at installation.
    let watch = unsafe { watch_of(opaque) };
    let certificate = *watch.certificate.lock().unwrap_or_else(PoisonError::into_inner);
    let mut trouble = watch.trouble.lock().unwrap_or_else(PoisonError::into_inner);
    // That no broker is left says less than what happened to one.
    let stays = |seen: &KafkaError| denies(seen.code) || code == Code::AllBrokersDown;
    if !trouble.as_ref().is_some_and(stays) {
        *trouble = Some(sharpened(KafkaError { code, text }, certificate));
    }
}

fn denies(code: Code) -> bool {
    matches!(kind_of(code), FaultKind::TargetDenied | FaultKind::TargetLogin)
}

/// The codes that matter when a call only says that it timed out.
fn local_code(code: c_int) -> Code {
    const CODES: [(Resp, Code); 7] = [
        (Resp::RD_KAFKA_RESP_ERR__AUTHENTICATION, Code::Authentication),
        (Resp::RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED, Code::SaslAuthenticationFailed),
        (Resp::RD_KAFKA_RESP_ERR__SSL, Code::SSL),
        (Resp::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, Code::AllBrokersDown),
        (Resp::RD_KAFKA_RESP_ERR__TRANSPORT, Code::BrokerTransportFailure),
        (Resp::RD_KAFKA_RESP_ERR__RESOLVE, Code::Resolve),
        (Resp::RD_KAFKA_RESP_ERR__FATAL, Code::Fatal),
    ];
    CODES
        .iter()
        .find(|(native, _)| *native as c_int == code)
        .map_or(Code::Unknown, |(_, code)| *code)
}

unsafe extern "C" fn on_log(
    _rk: *const sys::rd_kafka_t,
    level: c_int,
    facility: *const c_char,
    message: *const c_char,
) {
    // SAFETY: both are strings that outlive the callback.
    let facility = unsafe { text_of(facility) };
    // SAFETY: as above.
    let message = unsafe { text_of(message) };
    match level {
        0..=2 => tracing::error!(target: "librdkafka", facility, "{message}"),
        // librdkafka calls every lost connection an error; who retries decides what it means.
        3 | 4 => tracing::warn!(target: "librdkafka", facility, "{message}"),
        5 | 6 => tracing::info!(target: "librdkafka", facility, "{message}"),
        _ => tracing::debug!(target: "librdkafka", facility, "{message}"),
    }
}
