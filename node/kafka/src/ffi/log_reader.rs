//! Reads one partition from an offset on, and tells where in the log it stands.
//!
//! This is librdkafka's legacy consumer: it needs no group and no rights on one, and its
//! end-of-partition events carry the offset that the reader has reached, markers and aborted
//! records included, which `rdkafka`'s safe consumer does not pass on.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;
use rdkafka_sys::rd_kafka_resp_err_t as Resp;

use super::client::{Client, Topic};
use super::{code_error, millis};
use crate::fault::KafkaError;

/// What a reader met next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Record {
        offset: i64,
        key: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
    },
    /// Everything below the offset was seen.
    End {
        offset: i64,
    },
}

/// A partition that is being read; it stops when dropped.
#[derive(Debug)]
pub(crate) struct PartitionReader {
    topic: Topic,
    partition: i32,
}

impl PartitionReader {
    /// Begins to read at `offset`.
    pub(crate) fn start(
        client: &Arc<Client>,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<Self, KafkaError> {
        let topic = Topic::new(client, topic)?;
        // SAFETY: the topic is live and its handle a consumer.
        let outcome = unsafe { sys::rd_kafka_consume_start(topic.ptr(), partition, offset) };
        if outcome == 0 {
            return Ok(Self { topic, partition });
        }
        // SAFETY: no arguments; reads the calling thread's last error.
        Err(code_error(unsafe { sys::rd_kafka_last_error() }))
    }

    /// The next entry, or nothing within `timeout`.
    pub(crate) fn next(&self, timeout: Duration) -> Result<Option<Entry>, KafkaError> {
        // SAFETY: the topic is live and was started.
        let message =
            unsafe { sys::rd_kafka_consume(self.topic.ptr(), self.partition, millis(timeout)) };
        if message.is_null() {
            return Ok(None);
        }
        // SAFETY: not null, and ours until it is destroyed below.
        let entry = entry_of(unsafe { &*message });
        // SAFETY: its last use; the entry is a copy.
        unsafe { sys::rd_kafka_message_destroy(message) };
        entry.map(Some)
    }
}

impl Drop for PartitionReader {
    fn drop(&mut self) {
        // SAFETY: the topic is live and was started.
        unsafe { sys::rd_kafka_consume_stop(self.topic.ptr(), self.partition) };
    }
}

fn entry_of(message: &sys::rd_kafka_message_t) -> Result<Entry, KafkaError> {
    match message.err {
        Resp::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(Entry::Record {
            offset: message.offset,
            key: bytes_of(message.key.cast(), message.key_len),
            value: bytes_of(message.payload.cast(), message.len),
        }),
        Resp::RD_KAFKA_RESP_ERR__PARTITION_EOF => Ok(Entry::End { offset: message.offset }),
        // The payload of an error is librdkafka's sentence about it.
        code => Err(KafkaError {
            code: Code::from(code),
            text: bytes_of(message.payload.cast(), message.len)
                .map(|text| String::from_utf8_lossy(&text).trim_end_matches('\0').to_owned())
                .filter(|text| !text.is_empty())
                .unwrap_or_else(|| Code::from(code).to_string()),
        }),
    }
}

fn bytes_of(start: *const u8, length: usize) -> Option<Vec<u8>> {
    if start.is_null() {
        return None;
    }
    // SAFETY: librdkafka tells the start and length of memory that lives as long as the message.
    Some(unsafe { std::slice::from_raw_parts(start, length) }.to_vec())
}
