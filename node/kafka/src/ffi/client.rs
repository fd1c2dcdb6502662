//! A librdkafka handle of ours: made from properties, its errors and requests watched.

use std::collections::BTreeMap;
use std::ffi::{c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;
use rdkafka_sys::rd_kafka_resp_err_t as Resp;
use tidewire_node_core::facts::Release;
use tidewire_shared::FaultKind;
use tidewire_shared::spec::Compression;

use super::certificate::on_certificate;
use super::contact::{Contact, on_new};
use super::metadata::Asked;
use super::transaction::{FailedDelivery, on_delivery};
use super::{c_string, millis, text_of};
use crate::codec::{Codecs, FETCHED_LINE};
use crate::config::Properties;
use crate::fault::{KafkaError, kind_of, sharpened};
use crate::release::{Known, VERSIONS_LINE};

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
    pub(super) contact: Contact,
    /// −1 before the first.
    pub(super) marked_offset: AtomicI64,
    pub(super) failed: Mutex<Option<FailedDelivery>>,
    trouble: Mutex<Option<(Instant, KafkaError)>>,
    /// A topic of which brokers said that it is not there, with their words.
    absent: Mutex<Option<(String, KafkaError)>>,
    /// Codecs of the batches that were read, by topic; only for a handle that was asked to look.
    pub(super) codecs: Mutex<Codecs>,
    /// Requests that brokers know; only for a handle that was asked to look.
    known: Mutex<Known>,
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
            contact: Contact::default(),
            marked_offset: AtomicI64::new(-1),
            failed: Mutex::new(None),
            trouble: Mutex::new(None),
            absent: Mutex::new(None),
            codecs: Mutex::default(),
            known: Mutex::default(),
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
        self.last_trouble().map(|(_, error)| error)
    }

    fn last_trouble(&self) -> Option<(Instant, KafkaError)> {
        self.watch.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Since when the brokers cannot be reached, and why. `patience` is how long a broker may take
    /// for an answer: a frozen one breaks no connection.
    pub(crate) fn unreachable(&self, patience: Duration) -> Option<(Instant, KafkaError)> {
        let answered = self.watch.contact.last_answer();
        if let Some((at, error)) = self.last_trouble()
            && answered.is_none_or(|answered| answered < at)
        {
            return Some((answered.unwrap_or(at), error));
        }
        self.silent(patience)
    }

    /// Since when a broker takes requests and does not answer, whatever the others do.
    pub(crate) fn silent(&self, patience: Duration) -> Option<(Instant, KafkaError)> {
        let since = self.watch.contact.silent_since().filter(|since| since.elapsed() > patience)?;
        let text = "a broker takes requests and does not answer".to_owned();
        Some((since, KafkaError { code: Code::BrokerTransportFailure, text }))
    }

    /// A topic that is read and that brokers do not know any more, once.
    pub(crate) fn take_absent(&self) -> Option<(String, KafkaError)> {
        self.watch.absent.lock().unwrap_or_else(PoisonError::into_inner).take()
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
        self.watch.contact.take_end_requests()
    }

    /// Metadata requests that were ever sent.
    pub(crate) fn metadata_requests(&self) -> u64 {
        self.watch.contact.metadata_requests()
    }

    /// The release that every broker has reached; only a handle that was asked to tell tells any.
    pub(crate) fn release(&self) -> Option<Release> {
        self.watch.known.lock().unwrap_or_else(PoisonError::into_inner).release()
    }

    /// Codecs of what was read, by topic; only a handle that was asked to tell tells any.
    pub(crate) fn codecs(&self) -> BTreeMap<String, Compression> {
        self.watch.codecs.lock().unwrap_or_else(PoisonError::into_inner).all()
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
            if self.told_topics(Asked::Known, timeout.min(LOOK)).is_ok() {
                answered += 1;
            }
            self.poll(Duration::ZERO);
            self.refused()?;
        }
        Ok(())
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

/// What one topic has differently from its handle.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TopicOptions {
    /// Told by every message of the topic.
    pub(crate) index: Option<usize>,
    /// How its records are compressed.
    pub(crate) compression: Option<Compression>,
}

impl TopicOptions {
    /// A configuration of the caller's; null for that of the handle.
    fn conf(self, client: &Client) -> Result<*mut sys::rd_kafka_topic_conf_t, KafkaError> {
        if self.index.is_none() && self.compression.is_none() {
            return Ok(ptr::null_mut());
        }
        // SAFETY: the handle is live; the result is never null.
        let conf = unsafe { sys::rd_kafka_default_topic_conf_dup(client.ptr()) };
        if let Some(index) = self.index {
            let opaque = ptr::without_provenance_mut(index + 1);
            // SAFETY: the configuration is live; the value is never followed.
            unsafe { sys::rd_kafka_topic_conf_set_opaque(conf, opaque) };
        }
        if let Some(compression) = self.compression {
            let codec = c_string(compression.as_str())?;
            let key = c"compression.codec".as_ptr();
            // SAFETY: configuration and strings are live; without a buffer no text is written.
            unsafe { sys::rd_kafka_topic_conf_set(conf, key, codec.as_ptr(), ptr::null_mut(), 0) };
        }
        Ok(conf)
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
        Self::with(client, name, TopicOptions::default())
    }

    /// A topic with options of its own. A name that the handle still knows keeps its first options.
    pub(crate) fn with(
        client: &Arc<Client>,
        name: &str,
        options: TopicOptions,
    ) -> Result<Self, KafkaError> {
        let name = c_string(name)?;
        let conf = options.conf(client)?;
        // SAFETY: handle and name are live; the configuration, if any, becomes librdkafka's.
        let native = unsafe { sys::rd_kafka_topic_new(client.ptr(), name.as_ptr(), conf) };
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
        }
        let name = c"tidewire".as_ptr();
        // SAFETY: as above; the name is a literal with its zero byte.
        unsafe { sys::rd_kafka_conf_interceptor_add_on_new(self.0, name, Some(on_new), opaque) };
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
    if let Some(topic) = absent_topic(code, &text) {
        let mut absent = watch.absent.lock().unwrap_or_else(PoisonError::into_inner);
        *absent = Some((topic.to_owned(), KafkaError { code, text }));
        return;
    }
    let certificate = *watch.certificate.lock().unwrap_or_else(PoisonError::into_inner);
    let mut trouble = watch.trouble.lock().unwrap_or_else(PoisonError::into_inner);
    // That no broker is left says less than what happened to one.
    let stays = |seen: &KafkaError| denies(seen.code) || code == Code::AllBrokersDown;
    match trouble.as_mut() {
        // Its cause stays; that it goes on is news.
        Some((at, seen)) if stays(seen) => *at = Instant::now(),
        _ => *trouble = Some((Instant::now(), sharpened(KafkaError { code, text }, certificate))),
    }
}

/// The topic that `NAME [PARTITION]: topic does not exist` speaks of. librdkafka has no message for a
/// partition that is read whose topic goes, only this.
fn absent_topic(code: Code, text: &str) -> Option<&str> {
    let says = matches!(
        code,
        Code::UnknownTopicOrPartition | Code::UnknownTopicId | Code::UnknownPartition
    );
    says.then(|| text.split_once(" [").map(|(topic, _)| topic)).flatten()
}

fn denies(code: Code) -> bool {
    matches!(kind_of(code), FaultKind::TargetDenied | FaultKind::TargetLogin)
}

/// The codes that matter when a call only says that it timed out.
fn local_code(code: c_int) -> Code {
    const CODES: [(Resp, Code); 10] = [
        (Resp::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, Code::UnknownTopicOrPartition),
        (Resp::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID, Code::UnknownTopicId),
        (Resp::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION, Code::UnknownPartition),
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
    rk: *const sys::rd_kafka_t,
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
        _ if facility == FETCHED_LINE => {
            // SAFETY: a handle of ours, or none while it is made.
            if let Some(watch) = unsafe { watch_of_handle(rk) } {
                watch.codecs.lock().unwrap_or_else(PoisonError::into_inner).note(&message);
            }
        }
        _ if facility == VERSIONS_LINE => {
            // SAFETY: as above.
            if let Some(watch) = unsafe { watch_of_handle(rk) } {
                watch.known.lock().unwrap_or_else(PoisonError::into_inner).note(&message);
            }
        }
        _ => tracing::debug!(target: "librdkafka", facility, "{message}"),
    }
}

/// The [`Watch`] of a handle.
///
/// # Safety
///
/// `rk` is null, or a live handle whose opaque value is what [`Conf::install`] was given.
unsafe fn watch_of_handle<'a>(rk: *const sys::rd_kafka_t) -> Option<&'a Watch> {
    if rk.is_null() {
        return None;
    }
    // SAFETY: the caller vouches for it.
    let opaque = unsafe { sys::rd_kafka_opaque(rk) };
    // SAFETY: as above; the client holds the `Arc` until after its handle is destroyed.
    (!opaque.is_null()).then(|| unsafe { watch_of(opaque) })
}
