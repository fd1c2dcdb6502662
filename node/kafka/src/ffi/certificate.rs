//! Why a broker's certificate is not accepted: librdkafka itself only says that it is not.

use std::ffi::{c_char, c_int, c_void};
use std::sync::PoisonError;

use rdkafka_sys as sys;

use super::client::watch_of;

/// OpenSSL's verdicts (`x509_vfy.h`) in words.
fn verdict(code: c_int) -> &'static str {
    match code {
        9 => "it is not valid yet",
        10 => "it has expired",
        18 | 19 => "nobody vouches for it: it is self-signed, or its authority is not trusted",
        20 | 21 => "its authority is not trusted",
        23 => "it was revoked",
        26 => "it was not made for servers",
        62 | 64 => "it was made for another host",
        _ => "it does not pass the check",
    }
}

/// Called in a broker's thread for each certificate of the chain with OpenSSL's own verdict, which
/// stands; only its reason is noted.
pub(super) unsafe extern "C" fn on_certificate(
    _rk: *mut sys::rd_kafka_t,
    _broker: *const c_char,
    _broker_id: i32,
    error: *mut c_int,
    _depth: c_int,
    _certificate: *const c_char,
    _size: usize,
    _message: *mut c_char,
    _message_size: usize,
    opaque: *mut c_void,
) -> c_int {
    // SAFETY: librdkafka points to a variable of its own that outlives the call.
    let code = unsafe { error.read() };
    if code == 0 {
        return 1;
    }
    // SAFETY: `opaque` is the address given at installation.
    let watch = unsafe { watch_of(opaque) };
    *watch.certificate.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict(code));
    0
}
