//! The two admin requests that `rdkafka` has in its safe interface: topic configurations, and making
//! a topic. A client is made for each question and goes with the answer.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::executor::block_on;
use rdkafka::admin::{
    AdminClient, AdminOptions, NewTopic, OwnedResourceSpecifier, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::types::RDKafkaErrorCode as Code;
use tidewire_shared::{Fault, FaultKind};

use crate::config::Settings;
use crate::fault::KafkaError;

/// The configuration of one topic, by key.
pub(crate) type Config = BTreeMap<String, String>;

/// A topic to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TopicPlan<'a> {
    pub(crate) name: &'a str,
    pub(crate) partitions: u32,
    pub(crate) replicas: u32,
    pub(crate) config: &'a [(&'a str, &'a str)],
}

/// Whether a topic was made by us or was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Created {
    Made,
    Existed,
}

/// The configurations of topics. A topic that vanished meanwhile is missing in the answer.
pub(crate) fn topic_configs(
    settings: &Settings,
    names: &[&str],
    timeout: Duration,
) -> Result<BTreeMap<String, Config>, Fault> {
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let client = client(settings)?;
    let resources: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    let options = AdminOptions::new().request_timeout(Some(timeout));
    let answers = block_on(client.describe_configs(&resources, &options))
        .map_err(|error| fault(&error, "target", settings))?;
    let mut configs = BTreeMap::new();
    for answer in answers {
        match answer {
            Ok(resource) => {
                let OwnedResourceSpecifier::Topic(name) = resource.specifier else { continue };
                let entries = resource.entries.into_iter();
                let config = entries.filter_map(|entry| Some((entry.name, entry.value?))).collect();
                configs.insert(name, config);
            }
            Err(Code::UnknownTopicOrPartition) => {}
            Err(code) => {
                let object = format!("configuration of topics {}", names.join(", "));
                return Err(KafkaError { code, text: code.to_string() }.fault(object));
            }
        }
    }
    Ok(configs)
}

/// Makes a topic and waits until the controller has it.
pub(crate) fn create_topic(
    settings: &Settings,
    plan: &TopicPlan<'_>,
    timeout: Duration,
) -> Result<Created, Fault> {
    let object = format!("topic {}", plan.name);
    let too_many = |what: &str| {
        Fault::new(FaultKind::Configuration, object.as_str(), format!("{what} are too many"))
    };
    let partitions = i32::try_from(plan.partitions).map_err(|_| too_many("partitions"))?;
    let replicas = i32::try_from(plan.replicas).map_err(|_| too_many("replicas"))?;
    let topic = plan.config.iter().fold(
        NewTopic::new(plan.name, partitions, TopicReplication::Fixed(replicas)),
        |topic, (key, value)| topic.set(key, value),
    );
    let options =
        AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout));
    let answers = block_on(client(settings)?.create_topics([&topic], &options))
        .map_err(|error| fault(&error, &object, settings))?;
    match answers.into_iter().next() {
        Some(Ok(_)) => Ok(Created::Made),
        Some(Err((_, Code::TopicAlreadyExists))) => Ok(Created::Existed),
        Some(Err((_, code))) => Err(KafkaError { code, text: code.to_string() }.fault(object)),
        None => Err(Fault::new(FaultKind::TargetBusy, object, "no answer about the topic")),
    }
}

/// A client that logs nothing: nobody serves its queue of log lines, and errors come as answers.
fn client(settings: &Settings) -> Result<AdminClient<DefaultClientContext>, Fault> {
    let mut config = ClientConfig::new();
    for (key, value) in settings.base().iter() {
        config.set(key, value);
    }
    config.set_log_level(RDKafkaLogLevel::Emerg);
    config.create().map_err(|error| fault(&error, "target.properties", settings))
}

fn fault(error: &rdkafka::error::KafkaError, object: &str, settings: &Settings) -> Fault {
    use rdkafka::error::KafkaError as Wrapped;
    let code = match error {
        Wrapped::AdminOp(code) => Some(*code),
        Wrapped::ClientConfig(..) | Wrapped::ClientCreation(_) => Some(Code::InvalidConfig),
        Wrapped::Nul(_) => Some(Code::InvalidArgument),
        other => other.rdkafka_error_code(),
    };
    // A request that found no broker in time ends as a timeout of the request.
    let code = match code {
        Some(Code::OperationTimedOut | Code::RequestTimedOut) | None => Code::AllBrokersDown,
        Some(code) => code,
    };
    let text = format!("{error} (brokers {})", settings.brokers());
    KafkaError { code, text }.fault(object)
}
