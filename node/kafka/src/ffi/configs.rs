//! Configurations of topics, over a handle that is kept: `rdkafka`'s admin client would be a
//! connection and a thread for each question, which a takeover would wait for.

use std::collections::BTreeMap;
use std::ptr;
use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka_sys as sys;
use tidewire_node_core::facts::{Setting, TopicSettings};

use super::client::Client;
use super::request::{Owned, ask, unexpected};
use super::transaction::check;
use super::{array, c_string, code_error, text_of};
use crate::fault::KafkaError;

/// The configuration of one topic, by key; keys without a value are left out.
pub type Config = BTreeMap<String, String>;

/// Settings to be made, or (none) to be taken away.
pub type Changes = BTreeMap<String, Option<String>>;

/// One outcome per topic.
pub(crate) type Altered = Vec<(String, Result<(), KafkaError>)>;

/// One answer per topic.
pub(crate) type Settings = BTreeMap<String, Result<TopicSettings, KafkaError>>;

impl Client {
    /// The settings of topics (brokers from 0.11).
    pub(crate) fn topic_settings(
        &self,
        names: &[&str],
        timeout: Duration,
    ) -> Result<Settings, KafkaError> {
        let resources = names.iter().map(|name| resource(name)).collect::<Result<Vec<_>, _>>()?;
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS;
        // SAFETY: function and operation belong together; the request copies what it needs.
        let event =
            unsafe { ask(self, operation, sys::rd_kafka_DescribeConfigs, &resources, timeout) }?;
        // SAFETY: the event is live; null when it is of another kind.
        let result = unsafe { sys::rd_kafka_event_DescribeConfigs_result(event.ptr()) };
        if result.is_null() {
            return Err(unexpected());
        }
        let mut count = 0;
        // SAFETY: a live result; the array lives as long as the event.
        let answers =
            unsafe { sys::rd_kafka_DescribeConfigs_result_resources(result, &raw mut count) };
        Ok(array(answers, count).iter().map(|answer| settings_of(*answer)).collect())
    }

    /// Changes single settings of topics and leaves the others as they are (brokers from 2.3).
    pub(crate) fn alter_configs(
        &self,
        changes: &[(&str, &Changes)],
        timeout: Duration,
    ) -> Result<Altered, KafkaError> {
        use sys::rd_kafka_AlterConfigOpType_t as Change;
        let change = |(name, changes): &(&str, &Changes)| {
            let resource = resource(name)?;
            for (key, value) in *changes {
                let change = match value {
                    Some(_) => Change::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET,
                    None => Change::RD_KAFKA_ALTER_CONFIG_OP_TYPE_DELETE,
                };
                let (key, value) = (c_string(key)?, value.as_deref().map(c_string).transpose()?);
                let value = value.as_ref().map_or(ptr::null(), |value| value.as_ptr());
                // SAFETY: the resource is live; both strings are copied.
                let error = unsafe {
                    sys::rd_kafka_ConfigResource_add_incremental_config(
                        resource.ptr(),
                        key.as_ptr(),
                        change,
                        value,
                    )
                };
                check(error).map_err(|refused| refused.error)?;
            }
            Ok(resource)
        };
        let resources = changes.iter().map(change).collect::<Result<Vec<_>, KafkaError>>()?;
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS;
        let function = sys::rd_kafka_IncrementalAlterConfigs;
        // SAFETY: function and operation belong together; the request copies what it needs.
        let event = unsafe { ask(self, operation, function, &resources, timeout) }?;
        // SAFETY: the event is live; null when it is of another kind.
        let result = unsafe { sys::rd_kafka_event_IncrementalAlterConfigs_result(event.ptr()) };
        if result.is_null() {
            return Err(unexpected());
        }
        let mut count = 0;
        // SAFETY: a live result; the array lives as long as the event.
        let answers = unsafe {
            sys::rd_kafka_IncrementalAlterConfigs_result_resources(result, &raw mut count)
        };
        Ok(array(answers, count).iter().map(|answer| outcome_of(*answer)).collect())
    }

    /// Gives topics exactly these settings of their own, and no others (brokers from 0.11).
    pub(crate) fn replace_configs(
        &self,
        configs: &[(&str, &Config)],
        timeout: Duration,
    ) -> Result<Altered, KafkaError> {
        let whole = |(name, config): &(&str, &Config)| {
            let resource = resource(name)?;
            for (key, value) in *config {
                let (key, value) = (c_string(key)?, c_string(value)?);
                // SAFETY: the resource is live; both strings are copied.
                let code = unsafe {
                    sys::rd_kafka_ConfigResource_set_config(
                        resource.ptr(),
                        key.as_ptr(),
                        value.as_ptr(),
                    )
                };
                if code != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                    return Err(code_error(code));
                }
            }
            Ok(resource)
        };
        let resources = configs.iter().map(whole).collect::<Result<Vec<_>, KafkaError>>()?;
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_ALTERCONFIGS;
        // SAFETY: function and operation belong together; the request copies what it needs.
        let event =
            unsafe { ask(self, operation, sys::rd_kafka_AlterConfigs, &resources, timeout) }?;
        // SAFETY: the event is live; null when it is of another kind.
        let result = unsafe { sys::rd_kafka_event_AlterConfigs_result(event.ptr()) };
        if result.is_null() {
            return Err(unexpected());
        }
        let mut count = 0;
        // SAFETY: a live result; the array lives as long as the event.
        let answers =
            unsafe { sys::rd_kafka_AlterConfigs_result_resources(result, &raw mut count) };
        Ok(array(answers, count).iter().map(|answer| outcome_of(*answer)).collect())
    }
}

/// Name of a resource, and whether the brokers said no.
fn outcome_of(resource: *const sys::rd_kafka_ConfigResource_t) -> (String, Result<(), KafkaError>) {
    // SAFETY: a live resource, here and below.
    let name = unsafe { sys::rd_kafka_ConfigResource_name(resource) };
    // SAFETY: the name lives as long as the resource.
    let name = unsafe { text_of(name) };
    // SAFETY: as above.
    let code = Code::from(unsafe { sys::rd_kafka_ConfigResource_error(resource) });
    if code == Code::NoError {
        return (name, Ok(()));
    }
    // SAFETY: as above.
    let text = unsafe { sys::rd_kafka_ConfigResource_error_string(resource) };
    // SAFETY: the text lives as long as the resource.
    let text = unsafe { text_of(text) };
    (name, Err(KafkaError { code, text }))
}

fn settings_of(
    resource: *const sys::rd_kafka_ConfigResource_t,
) -> (String, Result<TopicSettings, KafkaError>) {
    let (name, outcome) = outcome_of(resource);
    if let Err(error) = outcome {
        return (name, Err(error));
    }
    let mut count = 0;
    // SAFETY: a live resource; the array lives as long as it.
    let entries = unsafe { sys::rd_kafka_ConfigResource_configs(resource, &raw mut count) };
    (name, Ok(array(entries, count).iter().filter_map(|entry| entry_of(*entry)).collect()))
}

/// Whether a setting was made for its topic. Brokers before 1.1 tell only that it is no default.
fn is_own(entry: *const sys::rd_kafka_ConfigEntry_t) -> bool {
    use sys::rd_kafka_ConfigSource_t as Source;
    // SAFETY: a live entry, here and below.
    match unsafe { sys::rd_kafka_ConfigEntry_source(entry) } {
        Source::RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG => true,
        Source::RD_KAFKA_CONFIG_SOURCE_UNKNOWN_CONFIG => {
            // SAFETY: as above.
            unsafe { sys::rd_kafka_ConfigEntry_is_default(entry) == 0 }
        }
        _ => false,
    }
}

fn entry_of(entry: *const sys::rd_kafka_ConfigEntry_t) -> Option<(String, Setting)> {
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
    let value = unsafe { text_of(value) };
    Some((key, Setting { value, own: is_own(entry) }))
}

type Resource = Owned<sys::rd_kafka_ConfigResource_t>;

/// A topic to ask for.
fn resource(topic: &str) -> Result<Resource, KafkaError> {
    let name = c_string(topic)?;
    let kind = sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
    // SAFETY: the name is copied.
    let native = unsafe { sys::rd_kafka_ConfigResource_new(kind, name.as_ptr()) };
    let refused = "not a name that a topic can have";
    // SAFETY: just made, and nobody else's.
    unsafe { Owned::new(native, sys::rd_kafka_ConfigResource_destroy, refused) }
}
