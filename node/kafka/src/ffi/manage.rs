//! Topics are made, get more partitions, and lose records.

use std::ptr;
use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;

use super::client::Client;
use super::configs::Altered;
use super::partitions::{Element, Partitions, elements};
use super::request::{Options, Owned, Queue, ask, ask_so, unexpected};
use super::{array, c_string, code_error, text_of};
use crate::config::Isolation;
use crate::fault::KafkaError;

/// A topic to be made.
#[derive(Clone, Debug)]
pub(crate) struct TopicPlan<'a> {
    pub(crate) name: &'a str,
    pub(crate) partitions: u32,
    /// None: as many as the brokers make by themselves (from 2.4).
    pub(crate) replicas: Option<u32>,
    pub(crate) config: Vec<(&'a str, &'a str)>,
}

/// Whether a change is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is.
    Make,
    /// Brokers say only what they would do.
    Try,
}

impl Change {
    fn options(
        self,
        client: &Client,
        operation: sys::rd_kafka_admin_op_t,
        timeout: Duration,
    ) -> Options {
        let options = Options::new(client, operation, timeout);
        if self == Self::Try {
            options.change_nothing();
        }
        options
    }
}

/// Offset of a partition, or why there is none.
pub(crate) type Offset = (String, i32, Result<i64, KafkaError>);

impl Client {
    /// Makes topics, and waits until the controller has them (brokers from 0.10.1; to try from 0.10.2).
    pub(crate) fn create_topics(
        &self,
        plans: &[TopicPlan<'_>],
        change: Change,
        timeout: Duration,
    ) -> Result<Altered, KafkaError> {
        let plans = plans.iter().map(new_topic).collect::<Result<Vec<_>, _>>()?;
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATETOPICS;
        let (options, create) =
            (change.options(self, operation, timeout), sys::rd_kafka_CreateTopics);
        // SAFETY: function and operation belong together; the request copies what it needs.
        let event = unsafe { ask_so(self, &options, create, &plans, timeout) }?;
        // SAFETY: the event is live; null when it is of another kind.
        let result = unsafe { sys::rd_kafka_event_CreateTopics_result(event.ptr()) };
        if result.is_null() {
            return Err(unexpected());
        }
        let mut count = 0;
        // SAFETY: a live result; the array lives as long as the event.
        let topics = unsafe { sys::rd_kafka_CreateTopics_result_topics(result, &raw mut count) };
        Ok(array(topics, count).iter().map(|topic| outcome(*topic)).collect())
    }

    /// Raises numbers of partitions to these totals (brokers from 1.0).
    pub(crate) fn create_partitions(
        &self,
        totals: &[(&str, u32)],
        change: Change,
        timeout: Duration,
    ) -> Result<Altered, KafkaError> {
        let totals = totals.iter().map(new_partitions).collect::<Result<Vec<_>, _>>()?;
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATEPARTITIONS;
        let (options, create) =
            (change.options(self, operation, timeout), sys::rd_kafka_CreatePartitions);
        // SAFETY: function and operation belong together; the request copies what it needs.
        let event = unsafe { ask_so(self, &options, create, &totals, timeout) }?;
        // SAFETY: the event is live; null when it is of another kind.
        let result = unsafe { sys::rd_kafka_event_CreatePartitions_result(event.ptr()) };
        if result.is_null() {
            return Err(unexpected());
        }
        let mut count = 0;
        // SAFETY: a live result; the array lives as long as the event.
        let topics =
            unsafe { sys::rd_kafka_CreatePartitions_result_topics(result, &raw mut count) };
        Ok(array(topics, count).iter().map(|topic| outcome(*topic)).collect())
    }

    /// Deletes the records below the offsets of the list; gives where the partitions begin then
    /// (brokers from 0.11).
    pub(crate) fn delete_records(
        &self,
        below: &Partitions,
        timeout: Duration,
    ) -> Result<Vec<Offset>, KafkaError> {
        // SAFETY: the list is live; it is copied.
        let native = unsafe { sys::rd_kafka_DeleteRecords_new(below.ptr()) };
        let refused = "an empty list of partitions";
        // SAFETY: just made, and nobody else's.
        let request = unsafe { Owned::new(native, sys::rd_kafka_DeleteRecords_destroy, refused) }?;
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DELETERECORDS;
        // SAFETY: function and operation belong together; the request copies what it needs.
        let event =
            unsafe { ask(self, operation, sys::rd_kafka_DeleteRecords, &[request], timeout) }?;
        // SAFETY: the event is live; null when it is of another kind.
        let result = unsafe { sys::rd_kafka_event_DeleteRecords_result(event.ptr()) };
        if result.is_null() {
            return Err(unexpected());
        }
        // SAFETY: a live result; the list lives as long as the event.
        let list = unsafe { sys::rd_kafka_DeleteRecords_result_offsets(result) };
        // SAFETY: as above.
        Ok(unsafe { elements(list) }.map(offset).collect())
    }

    /// The offsets that the list asks for, one request per leader: −2 for the first, −1 for the end, a
    /// time for the first record that is not older (−1 where there is none).
    pub(crate) fn list_offsets(
        &self,
        asked: &Partitions,
        isolation: Isolation,
        timeout: Duration,
    ) -> Result<Vec<Offset>, KafkaError> {
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS;
        let options = Options::new(self, operation, timeout);
        options.see(isolation);
        let queue = Queue::new(self);
        // SAFETY: all four are live; the request copies what it needs.
        unsafe {
            sys::rd_kafka_ListOffsets(self.ptr(), asked.ptr(), options.ptr(), queue.ptr());
        };
        let event = queue.wait(self, timeout)?;
        // SAFETY: the event is live; null when it is of another kind.
        let result = unsafe { sys::rd_kafka_event_ListOffsets_result(event.ptr()) };
        if result.is_null() {
            return Err(unexpected());
        }
        let mut count = 0;
        // SAFETY: a live result; the array lives as long as the event.
        let infos = unsafe { sys::rd_kafka_ListOffsets_result_infos(result, &raw mut count) };
        let offset_of = |info: &*const sys::rd_kafka_ListOffsetsResultInfo_t| {
            // SAFETY: a live answer; the partition lives as long as it.
            let partition = unsafe { sys::rd_kafka_ListOffsetsResultInfo_topic_partition(*info) };
            // SAFETY: as above.
            unsafe { partition.as_ref() }.map(|partition| offset(Element::of(partition)))
        };
        Ok(array(infos, count).iter().filter_map(offset_of).collect())
    }
}

fn offset(element: Element<'_>) -> Offset {
    let outcome = element.error().map_or_else(|| Ok(element.offset()), Err);
    (element.topic(), element.partition(), outcome)
}

fn outcome(topic: *const sys::rd_kafka_topic_result_t) -> (String, Result<(), KafkaError>) {
    // SAFETY: a live answer, here and below.
    let name = unsafe { sys::rd_kafka_topic_result_name(topic) };
    // SAFETY: the name lives as long as the answer.
    let name = unsafe { text_of(name) };
    // SAFETY: as above.
    let native = unsafe { sys::rd_kafka_topic_result_error(topic) };
    let code = Code::from(native);
    if code == Code::NoError {
        return (name, Ok(()));
    }
    // SAFETY: as above.
    let text = unsafe { sys::rd_kafka_topic_result_error_string(topic) };
    // SAFETY: the text, or null, lives as long as the answer.
    let text = unsafe { text_of(text) };
    let error = if text.is_empty() { code_error(native) } else { KafkaError { code, text } };
    (name, Err(error))
}

fn new_topic(plan: &TopicPlan<'_>) -> Result<Owned<sys::rd_kafka_NewTopic_t>, KafkaError> {
    let name = c_string(plan.name)?;
    let partitions = i32::try_from(plan.partitions).map_err(|_| too_many("partitions"))?;
    let replicas = plan.replicas.map_or(Ok(-1), i32::try_from).map_err(|_| too_many("replicas"))?;
    // SAFETY: the name is copied; without a buffer no text is written.
    let native = unsafe {
        sys::rd_kafka_NewTopic_new(name.as_ptr(), partitions, replicas, ptr::null_mut(), 0)
    };
    let refused = "not a name, or not a number of partitions or replicas, that a topic can have";
    // SAFETY: just made, and nobody else's.
    let topic = unsafe { Owned::new(native, sys::rd_kafka_NewTopic_destroy, refused) }?;
    for (key, value) in &plan.config {
        let (key, value) = (c_string(key)?, c_string(value)?);
        // SAFETY: the topic is live; both strings are copied.
        let code =
            unsafe { sys::rd_kafka_NewTopic_set_config(topic.ptr(), key.as_ptr(), value.as_ptr()) };
        if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(code_error(code));
        }
    }
    Ok(topic)
}

fn new_partitions(
    (name, total): &(&str, u32),
) -> Result<Owned<sys::rd_kafka_NewPartitions_t>, KafkaError> {
    let name = c_string(name)?;
    let total = usize::try_from(*total).map_err(|_| too_many("partitions"))?;
    // SAFETY: the name is copied; without a buffer no text is written.
    let native =
        unsafe { sys::rd_kafka_NewPartitions_new(name.as_ptr(), total, ptr::null_mut(), 0) };
    let refused = "not a number of partitions that a topic can have";
    // SAFETY: just made, and nobody else's.
    unsafe { Owned::new(native, sys::rd_kafka_NewPartitions_destroy, refused) }
}

fn too_many(what: &str) -> KafkaError {
    KafkaError { code: Code::InvalidArgument, text: format!("{what} are too many") }
}
