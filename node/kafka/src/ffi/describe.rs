//! DescribeTopics and DescribeCluster, which rdkafka's safe admin client lacks.

use std::ffi::CString;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;
use rdkafka_sys::rd_kafka_AclOperation_t as Acl;
use tidewire_node_core::facts::{ClusterFacts, Operation};

use super::client::Client;
use super::request::{Options, Queue, error_of, unexpected};
use super::{array, c_string, text_of};
use crate::fault::KafkaError;

/// A topic as one broker describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DescribedTopic {
    pub(crate) name: String,
    /// Topic id as two halves; zero where brokers have none.
    pub(crate) id: (i64, i64),
    pub(crate) partitions: usize,
    pub(crate) replicas_of_first: usize,
    /// Kafka's own.
    pub(crate) internal: bool,
    /// Partitions that no broker leads.
    pub(crate) leaderless: Vec<u32>,
    /// Replicas in sync, of the partition that has the fewest.
    pub(crate) least_in_sync: Option<usize>,
    /// What our user may do with it; empty where brokers do not say.
    pub(crate) operations: Vec<Operation>,
}

/// One answer per topic, in the order of the question.
pub(crate) type Described = Vec<(String, Result<DescribedTopic, KafkaError>)>;

impl Client {
    /// Describes topics. A topic that is not there answers `UnknownTopicOrPartition`.
    ///
    /// librdkafka sets memory aside by the size of the answer, and takes one that tells of nothing but
    /// absent topics, without ids (brokers before 2.8), for broken: those are asked for in halves.
    pub(crate) fn describe_topics(
        &self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Described, KafkaError> {
        let deadline = Instant::now() + timeout;
        match self.describe_at_once(names, timeout) {
            Err(error) if error.code == Code::BadMessage && names.len() > 1 => {
                let (first, second) = names.split_at(names.len() / 2);
                let left = || deadline.saturating_duration_since(Instant::now());
                let mut described = self.describe_topics(first, left())?;
                described.extend(self.describe_topics(second, left())?);
                Ok(described)
            }
            answered => answered,
        }
    }

    fn describe_at_once(&self, names: &[&str], timeout: Duration) -> Result<Described, KafkaError> {
        let collection = Collection::new(names)?;
        let options =
            Options::new(self, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, timeout);
        options.include_operations();
        let queue = Queue::new(self);
        // SAFETY: all four are live; the request copies what it needs.
        unsafe {
            sys::rd_kafka_DescribeTopics(self.ptr(), collection.0, options.ptr(), queue.ptr());
        };
        let event = queue.wait(self, timeout)?;
        // SAFETY: the event is live; null when it is of another kind.
        let result = unsafe { sys::rd_kafka_event_DescribeTopics_result(event.ptr()) };
        if result.is_null() {
            return Err(unexpected());
        }
        let mut count = 0;
        // SAFETY: a live result; the array lives as long as the event.
        let topics = unsafe { sys::rd_kafka_DescribeTopics_result_topics(result, &raw mut count) };
        Ok(array(topics, count).iter().map(|topic| describe(*topic)).collect())
    }

    /// The cluster: its id, and `host:port` of every broker, as they call themselves.
    pub(crate) fn cluster(&self, timeout: Duration) -> Result<ClusterFacts, KafkaError> {
        let options = Options::new(
            self,
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER,
            timeout,
        );
        let queue = Queue::new(self);
        // SAFETY: all three are live.
        unsafe { sys::rd_kafka_DescribeCluster(self.ptr(), options.ptr(), queue.ptr()) };
        let event = queue.wait(self, timeout)?;
        // SAFETY: the event is live; null when it is of another kind.
        let result = unsafe { sys::rd_kafka_event_DescribeCluster_result(event.ptr()) };
        if result.is_null() {
            return Err(unexpected());
        }
        let mut count = 0;
        // SAFETY: a live result; the array lives as long as the event.
        let nodes = unsafe { sys::rd_kafka_DescribeCluster_result_nodes(result, &raw mut count) };
        let addresses = array(nodes, count).iter().map(|node| address(*node)).collect();
        // SAFETY: a live result; null where brokers tell no id.
        let id = unsafe { sys::rd_kafka_DescribeCluster_result_cluster_id(result) };
        // SAFETY: not null then, and it lives as long as the event.
        let id = (!id.is_null()).then(|| unsafe { text_of(id) });
        Ok(ClusterFacts { id: id.filter(|id| !id.is_empty()), addresses })
    }
}

fn address(node: *const sys::rd_kafka_Node_t) -> String {
    // SAFETY: a live node, here and below.
    let host = unsafe { sys::rd_kafka_Node_host(node) };
    // SAFETY: the text lives as long as the node.
    let host = unsafe { text_of(host) };
    // SAFETY: as above.
    let port = unsafe { sys::rd_kafka_Node_port(node) };
    format!("{host}:{port}")
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
        leaderless: partitions.iter().filter_map(|partition| leaderless(*partition)).collect(),
        least_in_sync: partitions.iter().map(|partition| in_sync(*partition)).min(),
        // SAFETY: as above.
        internal: unsafe { sys::rd_kafka_TopicDescription_is_internal(topic) } != 0,
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

/// The number of a partition that no broker leads.
fn leaderless(partition: *const sys::rd_kafka_TopicPartitionInfo_t) -> Option<u32> {
    // SAFETY: a live partition of a live description.
    let leader = unsafe { sys::rd_kafka_TopicPartitionInfo_leader(partition) };
    let led = !leader.is_null()
        // SAFETY: not null, and it lives as long as the description.
        && unsafe { sys::rd_kafka_Node_id(leader) } >= 0;
    // SAFETY: as above.
    let number = unsafe { sys::rd_kafka_TopicPartitionInfo_partition(partition) };
    (!led).then(|| u32::try_from(number).unwrap_or_default())
}

fn in_sync(partition: *const sys::rd_kafka_TopicPartitionInfo_t) -> usize {
    let mut count = 0;
    // SAFETY: a live partition of a live description.
    unsafe { sys::rd_kafka_TopicPartitionInfo_isr(partition, &raw mut count) };
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
            Acl::RD_KAFKA_ACL_OPERATION_READ => Operation::Read,
            Acl::RD_KAFKA_ACL_OPERATION_WRITE => Operation::Write,
            Acl::RD_KAFKA_ACL_OPERATION_CREATE => Operation::Create,
            Acl::RD_KAFKA_ACL_OPERATION_DELETE => Operation::Delete,
            Acl::RD_KAFKA_ACL_OPERATION_ALTER => Operation::Alter,
            Acl::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS => Operation::DescribeConfigs,
            Acl::RD_KAFKA_ACL_OPERATION_ALTER_CONFIGS => Operation::AlterConfigs,
            Acl::RD_KAFKA_ACL_OPERATION_DESCRIBE => Operation::Describe,
            _ => Operation::Other,
        })
        .collect()
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
