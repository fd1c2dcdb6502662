//! A list of partitions, which many of librdkafka's questions take and answer.

use std::ptr::NonNull;

use rdkafka_sys as sys;
use rdkafka_sys::rd_kafka_resp_err_t as Resp;

use super::{array, c_string, code_error, text_of};
use crate::fault::KafkaError;

/// A list of ours.
#[derive(Debug)]
pub(crate) struct Partitions(NonNull<sys::rd_kafka_topic_partition_list_t>);

impl Partitions {
    pub(crate) fn with_capacity(count: usize) -> Self {
        let count = i32::try_from(count).unwrap_or(i32::MAX);
        // SAFETY: a count is all it takes; it aborts on lack of memory.
        let native = unsafe { sys::rd_kafka_topic_partition_list_new(count) };
        Self(NonNull::new(native).unwrap_or_else(|| std::process::abort()))
    }

    pub(super) fn ptr(&self) -> *mut sys::rd_kafka_topic_partition_list_t {
        self.0.as_ptr()
    }

    /// Adds a partition with an offset, and the leader epoch of the record before it.
    pub(crate) fn push(
        &mut self,
        topic: &str,
        partition: i32,
        offset: i64,
        leader_epoch: Option<i32>,
    ) -> Result<(), KafkaError> {
        let topic = c_string(topic)?;
        // SAFETY: list and name are live; the name is copied; the result is never null.
        let element = unsafe {
            sys::rd_kafka_topic_partition_list_add(self.ptr(), topic.as_ptr(), partition)
        };
        // SAFETY: the new element is live until the next one is added.
        unsafe { (*element).offset = offset };
        if let Some(epoch) = leader_epoch {
            // SAFETY: as above.
            unsafe { sys::rd_kafka_topic_partition_set_leader_epoch(element, epoch) };
        }
        Ok(())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Element<'_>> {
        // SAFETY: the list is live as long as it is borrowed.
        unsafe { elements(self.ptr()) }
    }
}

/// The elements of a list; none of a null one.
///
/// # Safety
///
/// `list` is null or lives as long as `'a`.
pub(super) unsafe fn elements<'a>(
    list: *const sys::rd_kafka_topic_partition_list_t,
) -> impl Iterator<Item = Element<'a>> {
    // SAFETY: the caller vouches for it.
    let list = unsafe { list.as_ref() };
    let elements = list.map_or(&[][..], |list| {
        array(list.elems.cast_const(), usize::try_from(list.cnt).unwrap_or(0))
    });
    elements.iter().map(Element)
}

impl Drop for Partitions {
    fn drop(&mut self) {
        // SAFETY: ours, and its last use.
        unsafe { sys::rd_kafka_topic_partition_list_destroy(self.ptr()) };
    }
}

/// One partition of a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a>(&'a sys::rd_kafka_topic_partition_t);

impl<'a> Element<'a> {
    /// A partition that belongs to something that outlives `'a`.
    pub(super) fn of(native: &'a sys::rd_kafka_topic_partition_t) -> Self {
        Self(native)
    }

    pub(crate) fn topic(&self) -> String {
        // SAFETY: the name lives as long as its element.
        unsafe { text_of(self.0.topic) }
    }

    pub(crate) fn partition(&self) -> i32 {
        self.0.partition
    }

    pub(crate) fn offset(&self) -> i64 {
        self.0.offset
    }

    pub(crate) fn error(&self) -> Option<KafkaError> {
        (self.0.err != Resp::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| code_error(self.0.err))
    }
}
