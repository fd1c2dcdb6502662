//! DescribeTopics and DescribeCluster, which rdkafka's safe admin client lacks.

use std::ffi::CString;
use std::ptr::NonNull;
use std::slice;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;
use rdkafka_sys::rd_kafka_AclOperation_t as Acl;

use super::client::Client;
use super::{c_string, code_error, millis, text_of};
use crate::fault::KafkaError;

/// Something that our user may do with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Write,
    Describe,
    Other,
}

/// A topic as one broker describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DescribedTopic {
    pub(crate) name: String,
    /// Topic id as two halves; zero where brokers have none.
    pub(crate) id: (i64, i64),
    pub(crate) partitions: usize,
    pub(crate) replicas_of_first: usize,
    /// What our user may do with it; empty where brokers do not say.
    pub(crate) operations: Vec<Operation>,
}

/// One answer per topic, in the order of the question.
pub(crate) type Described = Vec<(String, Result<DescribedTopic, KafkaError>)>;

impl Client {
    /// Describes topics. A topic that is not there answers `UnknownTopicOrPartition`.
    pub(crate) fn describe_topics(
        &self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Described, KafkaError> {
        let collection = Collection::new(names)?;
        let options =
            Options::new(self, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, timeout);
        options.include_operations();
        let queue = Queue::new(self);
        // SAFETY: all four are live; the request copies what it needs.
        unsafe {
            sys::rd_kafka_DescribeTopics(self.ptr(), collection.0, options.0, queue.0.as_ptr());
        };
        let event = queue.wait(self, timeout)?;
        // SAFETY: the event is live; null when it is of another kind.
        let result = unsafe { sys::rd_kafka_event_DescribeTopics_result(event.0) };
        if result.is_null() {
            return Err(unexpected());
        }
        let mut count = 0;
        // SAFETY: a live result; the array lives as long as the event.
        let topics = unsafe { sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count) };
        Ok(array(topics, count).iter().map(|topic| describe(*topic)).collect())
    }

    /// Number of brokers in the cluster.
    pub(crate) fn count_brokers(&self, timeout: Duration) -> Result<u32, KafkaError> {
        let options = Options::new(
            self,
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER,
            timeout,
        );
        let queue = Queue::new(self);
        // SAFETY: all three are live.
        unsafe { sys::rd_kafka_DescribeCluster(self.ptr(), options.0, queue.0.as_ptr()) };
        let event = queue.wait(self, timeout)?;
        // SAFETY: the event is live; null when it is of another kind.
        let result = unsafe { sys::rd_kafka_event_DescribeCluster_result(event.0) };
        if result.is_null() {
            return Err(unexpected());
        }
        let mut count = 0;
        // SAFETY: a live result.
        unsafe { sys::rd_kafka_DescribeCluster_result_nodes(result, &raw mut count) };
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }
}

fn describe(
    topic: *const sys::rd_kafka_TopicDescription_t,
) -> (String, Result<DescribedTopic, KafkaError>) {
    // SAFETY: a live description, here and below.
    let name = unsafe { sys::rd_kafka_TopicDescription_name(topic) };
    // SAFETY: the name lives as long as the description.
    let name = unsafe { text_of(name) };
    // SAFETY: as above.
    let error = unsafe { sys::rd_kafka_TopicDescription_error(topic) };
    if let Some(error) = error_of(error) {
        return (name, Err(error));
    }
    // SAFETY: as above.
    let id = unsafe { sys::rd_kafka_TopicDescription_topic_id(topic) };
    let mut count = 0;
    // SAFETY: as above.
    let partitions = unsafe { sys::rd_kafka_TopicDescription_partitions(topic, &raw mut count) };
    let partitions = array(partitions, count);
    let described = DescribedTopic {
        name: name.clone(),
        id: halves(id),
        partitions: partitions.len(),
        replicas_of_first: partitions.first().map_or(0, |first| replicas(*first)),
        operations: operations(topic),
    };
    (name, Ok(described))
}

fn halves(id: *const sys::rd_kafka_Uuid_t) -> (i64, i64) {
    if id.is_null() {
        return (0, 0);
    }
    // SAFETY: not null, and it lives as long as the description.
    let high = unsafe { sys::rd_kafka_Uuid_most_significant_bits(id) };
    // SAFETY: as above.
    let low = unsafe { sys::rd_kafka_Uuid_least_significant_bits(id) };
    (high, low)
}

fn replicas(partition: *const sys::rd_kafka_TopicPartitionInfo_t) -> usize {
    let mut count = 0;
    // SAFETY: a live partition of a live description.
    unsafe { sys::rd_kafka_TopicPartitionInfo_replicas(partition, &raw mut count) };
    count
}

fn operations(topic: *const sys::rd_kafka_TopicDescription_t) -> Vec<Operation> {
    let mut count = 0;
    // SAFETY: a live description.
    let list =
        unsafe { sys::rd_kafka_TopicDescription_authorized_operations(topic, &raw mut count) };
    array(list, count)
        .iter()
        .map(|operation| match operation {
            Acl::RD_KAFKA_ACL_OPERATION_WRITE => Operation::Write,
            Acl::RD_KAFKA_ACL_OPERATION_DESCRIBE => Operation::Describe,
            _ => Operation::Other,
        })
        .collect()
}

/// A C array of librdkafka that lives as long as the event it belongs to.
fn array<'a, T>(start: *const T, count: usize) -> &'a [T] {
    if start.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: librdkafka tells start and count together; all callers use it before the event goes.
    unsafe { slice::from_raw_parts(start, count) }
}

fn error_of(error: *const sys::rd_kafka_error_t) -> Option<KafkaError> {
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

fn unexpected() -> KafkaError {
    KafkaError { code: Code::Fail, text: "an answer to another question".to_owned() }
}

/// Names of topics to ask for.
struct Collection(*mut sys::rd_kafka_TopicCollection_t);

impl Collection {
    fn new(names: &[&str]) -> Result<Self, KafkaError> {
        let names: Vec<CString> =
            names.iter().map(|name| c_string(name)).collect::<Result<_, _>>()?;
        let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        // SAFETY: the names are copied; count and array belong together.
        Ok(Self(unsafe {
            sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len())
        }))
    }
}

impl Drop for Collection {
    fn drop(&mut self) {
        // SAFETY: its last use.
        unsafe { sys::rd_kafka_TopicCollection_destroy(self.0) };
    }
}

/// Options of one request.
struct Options(*mut sys::rd_kafka_AdminOptions_t);

impl Options {
    fn new(client: &Client, operation: sys::rd_kafka_admin_op_t, timeout: Duration) -> Self {
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
        options
    }

    fn include_operations(&self) {
        // SAFETY: the options are live.
        let error =
            unsafe { sys::rd_kafka_AdminOptions_set_include_authorized_operations(self.0, 1) };
        if !error.is_null() {
            // SAFETY: an error object of ours; its last use.
            unsafe { sys::rd_kafka_error_destroy(error) };
        }
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: its last use.
        unsafe { sys::rd_kafka_AdminOptions_destroy(self.0) };
    }
}

/// Where answers arrive.
struct Queue(NonNull<sys::rd_kafka_queue_t>);

impl Queue {
    fn new(client: &Client) -> Self {
        // SAFETY: the handle is live; `rd_kafka_queue_new` aborts on lack of memory.
        let native = unsafe { sys::rd_kafka_queue_new(client.ptr()) };
        Self(NonNull::new(native).unwrap_or_else(|| std::process::abort()))
    }

    /// The answer. Ends early when the brokers refuse our credentials, which librdkafka would
    /// otherwise try again until the timeout.
    fn wait(&self, client: &Client, timeout: Duration) -> Result<Event, KafkaError> {
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
struct Event(*mut sys::rd_kafka_event_t);

impl Event {
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
