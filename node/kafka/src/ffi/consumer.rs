//! Many partitions into one queue: librdkafka's simple consumer, which needs no group and no rights
//! on one.

use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use rdkafka_sys as sys;

use super::client::{Client, Topic};
use super::message::Message;
use super::partitions::Partitions;
use super::{c_string, code_error, millis};
use crate::fault::KafkaError;

/// Where the messages of all partitions arrive, each partition's in its order.
#[derive(Debug)]
pub(crate) struct Inbox {
    native: NonNull<sys::rd_kafka_queue_t>,
    client: Arc<Client>,
    /// Room for what one call takes out.
    taken: Vec<*mut sys::rd_kafka_message_t>,
}

// SAFETY: librdkafka's queues are thread-safe, and `taken` is empty between calls.
unsafe impl Send for Inbox {}

impl Inbox {
    pub(crate) fn new(client: &Arc<Client>) -> Self {
        // SAFETY: the handle is live; `rd_kafka_queue_new` aborts on lack of memory.
        let native = unsafe { sys::rd_kafka_queue_new(client.ptr()) };
        let native = NonNull::new(native).unwrap_or_else(|| std::process::abort());
        Self { native, client: Arc::clone(client), taken: Vec::new() }
    }

    pub(crate) fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// Begins to read a partition at `offset`.
    pub(crate) fn start(
        &self,
        topic: &Topic,
        partition: i32,
        offset: i64,
    ) -> Result<(), KafkaError> {
        // SAFETY: topic and queue are live and of one consumer.
        let outcome = unsafe {
            sys::rd_kafka_consume_start_queue(topic.ptr(), partition, offset, self.native.as_ptr())
        };
        if outcome == 0 { Ok(()) } else { Err(last_error()) }
    }

    /// Ends the reading of a partition; what waits of it in the queue never comes out.
    pub(crate) fn stop(&self, topic: &Topic, partition: i32) {
        // SAFETY: the topic is live; a partition that was not started answers an error.
        unsafe { sys::rd_kafka_consume_stop(topic.ptr(), partition) };
    }

    /// Takes out what is there, at most `most` messages; if nothing is, waits for the first one.
    ///
    /// librdkafka itself would wait until all `most` are there.
    pub(crate) fn take(&mut self, most: usize, timeout: Duration, mut each: impl FnMut(Message)) {
        if self.take_once(most, Duration::ZERO, &mut each) == 0
            && self.take_once(1, timeout, &mut each) == 1
        {
            self.take_once(most.saturating_sub(1), Duration::ZERO, &mut each);
        }
    }

    fn take_once(
        &mut self,
        most: usize,
        timeout: Duration,
        each: &mut impl FnMut(Message),
    ) -> usize {
        self.taken.clear();
        self.taken.reserve(most);
        // SAFETY: the queue is live, the buffer has room for as many as are told.
        let count = unsafe {
            sys::rd_kafka_consume_batch_queue(
                self.native.as_ptr(),
                millis(timeout),
                self.taken.as_mut_ptr(),
                most,
            )
        };
        let count = usize::try_from(count).unwrap_or(0).min(most);
        // SAFETY: librdkafka has written that many.
        unsafe { self.taken.set_len(count) };
        for native in self.taken.drain(..) {
            // SAFETY: out of the queue, and in nobody else's hands.
            if let Some(message) = unsafe { Message::own(native) } {
                each(message);
            }
        }
        count
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        // SAFETY: its last use; the handle is still live.
        unsafe { sys::rd_kafka_queue_destroy(self.native.as_ptr()) };
    }
}

impl Client {
    /// Has librdkafka check positions against the leaders' epochs before it reads on from them. A log
    /// that took back what lies there is told by the queue.
    pub(crate) fn validate(
        &self,
        positions: &Partitions,
        timeout: Duration,
    ) -> Result<(), KafkaError> {
        // SAFETY: handle and list are live; the error, if any, becomes ours.
        let error =
            unsafe { sys::rd_kafka_seek_partitions(self.ptr(), positions.ptr(), millis(timeout)) };
        super::transaction::check(error).map_err(|refused| refused.error)?;
        positions.iter().find_map(|position| position.error()).map_or(Ok(()), Err)
    }

    /// Lowest offset and end of a partition as the last fetch told them, without asking anybody.
    pub(crate) fn known_ends(&self, topic: &str, partition: i32) -> Option<(i64, i64)> {
        let topic = c_string(topic).ok()?;
        let (mut low, mut end) = (-1, -1);
        // SAFETY: the handle and the name are live, the two results are ours.
        let code = unsafe {
            sys::rd_kafka_get_watermark_offsets(
                self.ptr(),
                topic.as_ptr(),
                partition,
                &raw mut low,
                &raw mut end,
            )
        };
        let known = code == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR;
        (known && low >= 0 && end >= 0).then_some((low, end))
    }
}

fn last_error() -> KafkaError {
    // SAFETY: no arguments; reads the calling thread's last error.
    code_error(unsafe { sys::rd_kafka_last_error() })
}
