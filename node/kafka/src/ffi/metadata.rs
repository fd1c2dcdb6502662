//! What brokers tell of topics in their oldest words: names, partitions, replicas. Every version has them.

use std::ptr;
use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;
use rdkafka_sys::rd_kafka_resp_err_t as Resp;

use super::client::Client;
use super::{array, code_error, millis, text_of};
use crate::fault::KafkaError;

/// A topic as metadata tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ToldTopic {
    pub(crate) name: String,
    pub(crate) partitions: usize,
    pub(crate) replicas_of_first: usize,
    /// Why nothing is known of it.
    pub(crate) error: Option<Code>,
}

/// Which topics are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// All that our account sees.
    All,
    /// Those that the handle was told of.
    Known,
}

impl Client {
    /// Asks for topics; the handle learns their leaders by it.
    pub(crate) fn told_topics(
        &self,
        asked: Asked,
        timeout: Duration,
    ) -> Result<Vec<ToldTopic>, KafkaError> {
        let all = i32::from(asked == Asked::All);
        let mut answer: *const sys::rd_kafka_metadata = ptr::null();
        // SAFETY: the handle is live; the result becomes ours.
        let code = unsafe {
            sys::rd_kafka_metadata(
                self.ptr(),
                all,
                ptr::null_mut(),
                &raw mut answer,
                millis(timeout),
            )
        };
        if code != Resp::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(code_error(code));
        }
        // SAFETY: a live result of ours.
        let metadata = unsafe { &*answer };
        let count = usize::try_from(metadata.topic_cnt).unwrap_or(0);
        let topics = array(metadata.topics.cast_const(), count).iter().map(told).collect();
        // SAFETY: a result of ours; its last use.
        unsafe { sys::rd_kafka_metadata_destroy(answer) };
        Ok(topics)
    }
}

fn told(topic: &sys::rd_kafka_metadata_topic) -> ToldTopic {
    let partitions =
        array(topic.partitions.cast_const(), usize::try_from(topic.partition_cnt).unwrap_or(0));
    let replicas = partitions.first().map_or(0, |first| first.replica_cnt);
    ToldTopic {
        // SAFETY: the name lives as long as the metadata.
        name: unsafe { text_of(topic.topic) },
        partitions: partitions.len(),
        replicas_of_first: usize::try_from(replicas).unwrap_or(0),
        error: match topic.err {
            Resp::RD_KAFKA_RESP_ERR_NO_ERROR => None,
            code => Some(Code::from(code)),
        },
    }
}
