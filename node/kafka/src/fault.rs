//! From librdkafka's error codes to faults: one table.

use rdkafka::types::RDKafkaErrorCode as Code;
use tidewire_shared::{Fault, FaultKind};

use crate::config::Side;

/// An error as librdkafka tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KafkaError {
    pub(crate) code: Code,
    /// librdkafka's words; they hold names of brokers, topics and partitions, no payload.
    pub(crate) text: String,
}

impl KafkaError {
    /// The fault of a target.
    pub(crate) fn fault(&self, object: impl Into<String>) -> Fault {
        self.fault_at(Side::Target, object)
    }

    /// The fault of the cluster at this end of the task.
    pub(crate) fn fault_at(&self, side: Side, object: impl Into<String>) -> Fault {
        match side {
            Side::Target => Fault::new(kind_of(self.code), object, fragment(&self.text))
                .remedy(remedy_of(self.code)),
            Side::Source => Fault::new(source_kind_of(self.code), object, fragment(&self.text))
                .remedy(source_remedy_of(self.code)),
        }
    }
}

/// The kind of trouble that a code of a source stands for.
pub(crate) fn source_kind_of(code: Code) -> FaultKind {
    match code {
        Code::OffsetOutOfRange | Code::AutoOffsetReset | Code::LogTruncation => {
            FaultKind::SourceHistory
        }
        Code::BadMessage | Code::InvalidMessage | Code::BadCompression | Code::NotImplemented => {
            FaultKind::Decode
        }
        code => match kind_of(code) {
            FaultKind::TargetLogin => FaultKind::SourceLogin,
            FaultKind::TargetDenied => FaultKind::SourceDenied,
            FaultKind::TargetState | FaultKind::Encode => FaultKind::SourceState,
            FaultKind::TargetUnreachable => FaultKind::SourceUnreachable,
            FaultKind::TargetBusy | FaultKind::Fenced => FaultKind::SourceBusy,
            kind => kind,
        },
    }
}

fn source_remedy_of(code: Code) -> String {
    let words = match code {
        Code::TopicAuthorizationFailed => "grant the task's user Describe and Read on the topic",
        Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopicId
        | Code::UnknownPartition => "take the topic out of the task, or see why it is gone",
        Code::OffsetOutOfRange | Code::AutoOffsetReset => {
            "keep the topic's records longer (retention.ms, retention.bytes); to go on with the gap: \
             `tidewire task rewind NAME --to TOPIC/PARTITION=earliest --yes`, then resume"
        }
        Code::LogTruncation => {
            "the source took back records that were copied (an unclean leader election, or a topic \
             made again): to go on behind what it holds now: `tidewire task rewind NAME --to \
             TOPIC/PARTITION=latest --yes`, or name an offset to copy from, then resume"
        }
        Code::BadMessage | Code::InvalidMessage => {
            "the batch is damaged on the broker's disk or on the way: read it with \
             kafka-dump-log --deep-iteration; to step over it: `tidewire task rewind NAME --to \
             TOPIC/PARTITION=OFFSET --yes`, then resume"
        }
        Code::BadCompression | Code::NotImplemented => {
            "the batch is compressed or framed in a way that this version does not read: see who \
             wrote it, and step over it with tidewire task rewind"
        }
        Code::MessageSizeTooLarge | Code::InvalidMessageSize => "raise limits.recordBytes",
        Code::UnsupportedFeature | Code::UnsupportedVersion => {
            "the source's brokers are too old for it"
        }
        code => return remedy_of(code).replace("target", "source"),
    };
    words.to_owned()
}

/// Whether a broker knows nothing of what it was asked for.
pub(crate) fn is_unknown(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownTopicOrPartition
            | Code::UnknownTopic
            | Code::UnknownTopicId
            | Code::UnknownPartition
    )
}

/// The fault of a partition that was there when the task looked, and that a broker does not know. One
/// that went, with its topic, is told of by the next look.
pub(crate) fn not_known_yet(side: Side, object: String) -> Fault {
    let kind = match side {
        Side::Source => FaultKind::SourceBusy,
        Side::Target => FaultKind::TargetBusy,
    };
    Fault::new(kind, object, "is not known yet to the brokers that were asked")
        .remedy("nothing to do: the task tries again")
}

/// What a connection reported, with what librdkafka leaves out: why a certificate is refused, and
/// that a broker which ends the connection with a TLS alert refuses ours.
pub(crate) fn sharpened(error: KafkaError, certificate: Option<&str>) -> KafkaError {
    let broker = broker_of(&error.text);
    match (error.code, certificate) {
        (Code::SSL, Some(reason)) => KafkaError {
            code: Code::SSL,
            text: format!("the certificate of broker {broker} is not accepted: {reason}"),
        },
        (Code::SSL | Code::BrokerTransportFailure, _) if alerts(&error.text) => KafkaError {
            code: Code::SSL,
            text: format!("broker {broker} does not accept our client certificate, or wants one"),
        },
        _ => error,
    }
}

/// The TLS alerts that speak of certificates (RFC 8446 §6.2), in OpenSSL's words.
fn alerts(text: &str) -> bool {
    ["certificate", "unknown ca", "access denied"]
        .iter()
        .any(|what| text.contains("alert") && text.contains(what))
}

/// `host:port` out of librdkafka's `ssl://host:port/bootstrap: what happened`.
fn broker_of(text: &str) -> &str {
    let name = text.split_once("://").map_or(text, |(_, rest)| rest);
    name.split('/').next().unwrap_or(name)
}

/// The kind of trouble that a code stands for.
pub(crate) fn kind_of(code: Code) -> FaultKind {
    match code {
        Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch => FaultKind::Fenced,
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState
        | Code::SSL => FaultKind::TargetLogin,
        Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed
        | Code::SecurityDisabled
        | Code::PolicyViolation => FaultKind::TargetDenied,
        Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownPartition
        | Code::UnknownTopicId
        | Code::InvalidTopic => FaultKind::TargetState,
        Code::MessageSizeTooLarge
        | Code::MessageBatchTooLarge
        | Code::InvalidMessageSize
        | Code::InvalidTimestamp => FaultKind::Encode,
        Code::AllBrokersDown
        | Code::BrokerTransportFailure
        | Code::Resolve
        | Code::NetworkException
        | Code::BrokerNotAvailable => FaultKind::TargetUnreachable,
        Code::InvalidArgument
        | Code::InvalidConfig
        | Code::InvalidPartitions
        | Code::InvalidReplicationFactor
        | Code::InvalidTransactionTimeout => FaultKind::Configuration,
        Code::UnsupportedFeature | Code::UnsupportedVersion => FaultKind::TargetDenied,
        _ => FaultKind::TargetBusy,
    }
}

fn remedy_of(code: Code) -> &'static str {
    match code {
        Code::TopicAuthorizationFailed => "grant the task's user Describe and Write on the topic",
        Code::TransactionalIdAuthorizationFailed => {
            "grant the task's user Describe and Write on transactional ids that begin with `tidewire-`"
        }
        Code::ClusterAuthorizationFailed => "grant the task's user the right on the cluster",
        Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism => {
            "correct user, password or mechanism of the target"
        }
        Code::SSL => {
            "set target.security.ca to the authority that signed the brokers' certificates, name \
             the brokers as their certificates do, and give cert and key where they ask for them"
        }
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownTopicId => {
            "create the topic"
        }
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge => {
            "raise max.message.bytes of the topic to more than limits.recordBytes"
        }
        Code::InvalidTimestamp => {
            "a record is older or younger than the topic takes: raise its message.timestamp.before.max.ms \
             and message.timestamp.after.max.ms (before 3.6: message.timestamp.difference.max.ms)"
        }
        Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve => {
            "check target.brokers, that they are up and reachable from the node, and that \
             target.security.protocol is what they speak"
        }
        Code::InvalidTransactionTimeout => {
            "raise transaction.max.timeout.ms of the brokers to 30000 at least"
        }
        Code::PolicyViolation => "make the topic by hand as the brokers' policy wants it",
        Code::UnsupportedFeature | Code::UnsupportedVersion => {
            "exactly_once needs brokers from version 2.5"
        }
        _ => "",
    }
}

/// librdkafka's sentences as fragments: one line, no full stop.
fn fragment(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_of_codes_has_its_kind() {
        for (code, kind) in [
            (Code::Fenced, FaultKind::Fenced),
            (Code::TopicAuthorizationFailed, FaultKind::TargetDenied),
            (Code::UnknownTopicOrPartition, FaultKind::TargetState),
            (Code::MessageSizeTooLarge, FaultKind::Encode),
            (Code::AllBrokersDown, FaultKind::TargetUnreachable),
            (Code::NotEnoughReplicas, FaultKind::TargetBusy),
        ] {
            assert_eq!(kind_of(code), kind, "{code:?}");
        }
    }

    #[test]
    fn the_same_code_at_the_source_is_a_fault_of_the_source() {
        for (code, kind) in [
            (Code::AutoOffsetReset, FaultKind::SourceHistory),
            (Code::LogTruncation, FaultKind::SourceHistory),
            (Code::BadMessage, FaultKind::Decode),
            (Code::TopicAuthorizationFailed, FaultKind::SourceDenied),
            (Code::UnknownTopicOrPartition, FaultKind::SourceState),
            (Code::BrokerTransportFailure, FaultKind::SourceUnreachable),
            (Code::Authentication, FaultKind::SourceLogin),
            (Code::NotEnoughReplicas, FaultKind::SourceBusy),
        ] {
            let error = KafkaError { code, text: String::new() };
            let fault = error.fault_at(Side::Source, "x");
            assert_eq!(fault.kind, kind, "{code:?}");
            assert!(!fault.remedy.contains("target"), "{fault:?}");
        }
    }

    #[test]
    fn a_refused_certificate_is_told_with_its_reason_and_broker() {
        let text = "ssl://k1:9093/bootstrap: SSL handshake failed: error:0A000086".to_owned();
        let error = KafkaError { code: Code::SSL, text };
        let told = sharpened(error.clone(), Some("it has expired"));
        assert_eq!(told.text, "the certificate of broker k1:9093 is not accepted: it has expired");
        assert_eq!(sharpened(error.clone(), None), error);
    }

    #[test]
    fn an_alert_about_certificates_is_a_refusal_and_a_broken_connection_is_not() {
        let error =
            |text: &str| KafkaError { code: Code::BrokerTransportFailure, text: text.to_owned() };
        let alert = error("ssl://k1:9093/1: Receive failed: tlsv13 alert certificate required");
        assert_eq!(sharpened(alert, None).code, Code::SSL);
        let broken = error("ssl://k1:9093/1: Disconnected (after 3ms in state UP)");
        assert_eq!(sharpened(broken.clone(), None), broken);
    }

    #[test]
    fn a_fault_is_one_line_without_a_full_stop() {
        let error = KafkaError { code: Code::Fenced, text: "Gone.\nreally".to_owned() };
        assert_eq!(error.fault("producer x").message, "Gone");
    }
}
