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
    let answers = create_topics(settings, std::slice::from_ref(plan), timeout)?;
    answers.into_iter().next().ok_or_else(|| {
        Fault::new(
            FaultKind::TargetBusy,
            format!("topic {}", plan.name),
            "no answer about the topic",
        )
    })
}

/// Makes topics and waits until the controller has them; the first that cannot be made is the fault.
pub(crate) fn create_topics(
    settings: &Settings,
    plans: &[TopicPlan<'_>],
    timeout: Duration,
) -> Result<Vec<Created>, Fault> {
    let topics = plans.iter().map(new_topic).collect::<Result<Vec<_>, _>>()?;
    let options =
        AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout));
    let object = plans.first().map_or_else(String::new, |plan| format!("topic {}", plan.name));
    let answers = block_on(client(settings)?.create_topics(&topics, &options))
        .map_err(|error| fault(&error, &object, settings))?;
    let created = answers.into_iter().map(|answer| match answer {
        Ok(_) => Ok(Created::Made),
        Err((_, Code::TopicAlreadyExists)) => Ok(Created::Existed),
        Err((name, code)) => {
            Err(KafkaError { code, text: code.to_string() }.fault(format!("topic {name}")))
        }
    });
    created.collect()
}

fn new_topic<'a>(plan: &TopicPlan<'a>) -> Result<NewTopic<'a>, Fault> {
    let too_many = |what: &str| {
        let object = format!("topic {}", plan.name);
        Fault::new(FaultKind::Configuration, object, format!("{what} are too many"))
    };
    let partitions = i32::try_from(plan.partitions).map_err(|_| too_many("partitions"))?;
    let replicas = i32::try_from(plan.replicas).map_err(|_| too_many("replicas"))?;
    let topic = NewTopic::new(plan.name, partitions, TopicReplication::Fixed(replicas));
    Ok(plan.config.iter().fold(topic, |topic, (key, value)| topic.set(key, value)))
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

pub(crate) fn fault(
    error: &rdkafka::error::KafkaError,
    object: &str,
    settings: &Settings,
) -> Fault {
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
