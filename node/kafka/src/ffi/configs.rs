//! DescribeConfigs over a handle that is kept: `rdkafka`'s admin client would be a connection and a
//! thread for each question, which a takeover would wait for.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;

use super::client::Client;
use super::request::{Options, Queue, array, unexpected};
use super::{c_string, text_of};
use crate::fault::KafkaError;

/// The configuration of one topic, by key; keys without a value are left out.
pub(crate) type Config = BTreeMap<String, String>;

/// One answer per topic.
pub(crate) type Configs = BTreeMap<String, Result<Config, KafkaError>>;

impl Client {
    /// The configurations of topics.
    pub(crate) fn topic_configs(
        &self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Configs, KafkaError> {
        let resources: Vec<Resource> =
            names.iter().map(|name| Resource::new(name)).collect::<Result<_, _>>()?;
        let mut pointers: Vec<_> = resources.iter().map(|resource| resource.0).collect();
        let options = Options::new(
            self,
            sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS,
            timeout,
        );
        let queue = Queue::new(self);
        // SAFETY: all are live, array and count belong together; the request copies what it needs.
        unsafe {
            sys::rd_kafka_DescribeConfigs(
                self.ptr(),
                pointers.as_mut_ptr(),
                pointers.len(),
                options.ptr(),
                queue.ptr(),
            );
        };
        let event = queue.wait(self, timeout)?;
        // SAFETY: the event is live; null when it is of another kind.
        let result = unsafe { sys::rd_kafka_event_DescribeConfigs_result(event.ptr()) };
        if result.is_null() {
            return Err(unexpected());
        }
        let mut count = 0;
        // SAFETY: a live result; the array lives as long as the event.
        let answers =
            unsafe { sys::rd_kafka_DescribeConfigs_result_resources(result, &raw mut count) };
        Ok(array(answers, count).iter().map(|answer| config_of(*answer)).collect())
    }
}

fn config_of(
    resource: *const sys::rd_kafka_ConfigResource_t,
) -> (String, Result<Config, KafkaError>) {
    // SAFETY: a live resource, here and below.
    let name = unsafe { sys::rd_kafka_ConfigResource_name(resource) };
    // SAFETY: the name lives as long as the resource.
    let name = unsafe { text_of(name) };
    // SAFETY: as above.
    let code = Code::from(unsafe { sys::rd_kafka_ConfigResource_error(resource) });
    if code != Code::NoError {
        // SAFETY: as above.
        let text = unsafe { sys::rd_kafka_ConfigResource_error_string(resource) };
        // SAFETY: the text lives as long as the resource.
        let text = unsafe { text_of(text) };
        return (name, Err(KafkaError { code, text }));
    }
    let mut count = 0;
    // SAFETY: as above.
    let entries = unsafe { sys::rd_kafka_ConfigResource_configs(resource, &raw mut count) };
    (name, Ok(array(entries, count).iter().filter_map(|entry| entry_of(*entry)).collect()))
}

fn entry_of(entry: *const sys::rd_kafka_ConfigEntry_t) -> Option<(String, String)> {
    // SAFETY: a live entry, here and below.
    let value = unsafe { sys::rd_kafka_ConfigEntry_value(entry) };
    if value.is_null() {
        return None;
    }
    // SAFETY: as above.
    let key = unsafe { sys::rd_kafka_ConfigEntry_name(entry) };
    // SAFETY: the key lives as long as the entry.
    let key = unsafe { text_of(key) };
    // SAFETY: not null, and it lives as long as the entry.
    Some((key, unsafe { text_of(value) }))
}

/// A topic to ask for.
struct Resource(*mut sys::rd_kafka_ConfigResource_t);

impl Resource {
    fn new(topic: &str) -> Result<Self, KafkaError> {
        let name = c_string(topic)?;
        let kind = sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
        // SAFETY: the name is copied.
        let native = unsafe { sys::rd_kafka_ConfigResource_new(kind, name.as_ptr()) };
        if native.is_null() {
            return Err(KafkaError {
                code: Code::InvalidTopic,
                text: "not a name that a topic can have".to_owned(),
            });
        }
        Ok(Self(native))
    }
}

impl Drop for Resource {
    fn drop(&mut self) {
        // SAFETY: its last use.
        unsafe { sys::rd_kafka_ConfigResource_destroy(self.0) };
    }
}
