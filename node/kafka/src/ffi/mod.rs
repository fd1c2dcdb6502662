//! The only code of the cluster with `unsafe`: thin, checked wrappers of librdkafka's C interface.
//!
//! Each wrapper takes and gives owned or borrowed Rust values; no raw pointer leaves this folder.
//! Source of every contract named in a `SAFETY:` comment: `rdkafka.h` of librdkafka 2.12.
#![allow(unsafe_code)]

mod certificate;
mod client;
mod configs;
mod consumer;
mod contact;
mod describe;
mod log_reader;
mod manage;
mod message;
mod metadata;
mod partitions;
mod request;
mod transaction;

pub(crate) use client::{Client, Kind, Topic, TopicOptions};
pub(crate) use configs::Altered;
pub use configs::{Changes, Config};
pub(crate) use consumer::Inbox;
pub(crate) use describe::{Described, DescribedTopic};
pub(crate) use log_reader::{Entry, PartitionReader};
pub(crate) use manage::{Change, TopicPlan};
pub use message::HeaderList;
pub(crate) use message::Message;
pub(crate) use metadata::{Asked, ToldTopic};
pub(crate) use partitions::Partitions;
pub(crate) use transaction::CallError;

use std::ffi::{CStr, CString, c_char};
use std::slice;
use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;

use crate::fault::KafkaError;

/// A C string, or the error that the text cannot be one.
fn c_string(text: &str) -> Result<CString, KafkaError> {
    CString::new(text).map_err(|_| KafkaError {
        code: Code::InvalidArgument,
        text: "a name with a zero byte".to_owned(),
    })
}

/// A timeout as librdkafka wants it; never −1, which means for ever.
fn millis(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}

/// An error that is only a code.
fn code_error(code: sys::rd_kafka_resp_err_t) -> KafkaError {
    let code = Code::from(code);
    KafkaError { code, text: code.to_string() }
}

/// A C array of librdkafka that lives as long as what it belongs to.
fn array<'a, T>(start: *const T, count: usize) -> &'a [T] {
    if start.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: librdkafka tells start and count together; all callers use it before its owner goes.
    unsafe { slice::from_raw_parts(start, count) }
}

/// Copies a C string of librdkafka; empty for null.
///
/// # Safety
///
/// `text` is null or points to a string that ends in a zero byte and outlives the call.
unsafe fn text_of(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: not null; the caller vouches for the rest.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
