//! Makes topics. The client goes with the answer: a target gets its positions topic once.

use std::time::Duration;

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::types::RDKafkaErrorCode as Code;
use tidewire_shared::{Fault, FaultKind};

use crate::config::Settings;
use crate::fault::KafkaError;

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
pub(crate) fn client(settings: &Settings) -> Result<AdminClient<DefaultClientContext>, Fault> {
    let mut config = ClientConfig::new();
    for (key, value) in settings.base().iter() {
        config.set(key, value);
    }
    config.set_log_level(RDKafkaLogLevel::Emerg);
    config.create().map_err(|error| fault(&error, "target.properties", settings))
}

pub(crate) fn fault(error: &rdkafka::error::KafkaError, object: &str, settings: &Settings) -> Fault {
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
