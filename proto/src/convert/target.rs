//! The Kafka side of a task.

use tidewire_shared::ConnectionName;
use tidewire_shared::spec::{
    Compression, CreateTopics, KafkaSecurity, KafkaTarget, Sasl, SaslMechanism, SecurityProtocol,
    TopicChange,
};

use super::{ConvertError, enumerated, named, optional, required, same_variants, text, texts};
use crate::task::v1 as pb;

same_variants!(Compression, pb::Compression, [None, Gzip, Snappy, Lz4, Zstd, Keep]);
same_variants!(TopicChange, pb::TopicChange, [Stop, AcceptGrowth, Accept]);
same_variants!(SecurityProtocol, pb::SecurityProtocol, [Plaintext, Ssl, SaslPlaintext, SaslSsl]);
same_variants!(SaslMechanism, pb::SaslMechanism, [Plain, ScramSha256, ScramSha512]);

impl From<KafkaTarget> for pb::KafkaTarget {
    fn from(target: KafkaTarget) -> Self {
        Self {
            connection: target.connection.map_or_else(String::new, Into::into),
            brokers: target.brokers,
            compression: pb::Compression::from(target.compression).into(),
            properties: target.properties.into_iter().collect(),
            security: Some(target.security.into()),
            create_topics: target.create_topics.map(Into::into),
            on_topic_change: pb::TopicChange::from(target.on_topic_change).into(),
        }
    }
}

impl TryFrom<pb::KafkaTarget> for KafkaTarget {
    type Error = ConvertError;

    fn try_from(target: pb::KafkaTarget) -> Result<Self, Self::Error> {
        let (connection, brokers) =
            named_or_inline(&target.connection, target.security.as_ref(), target.brokers)?;
        Ok(Self {
            brokers,
            connection,
            compression: enumerated::<pb::Compression, _>("compression", target.compression)?,
            properties: target.properties.into_iter().collect(),
            security: required("security", target.security)?,
            create_topics: optional("create_topics", target.create_topics)?,
            on_topic_change: on_topic_change(target.on_topic_change)?,
        })
    }
}

/// Earlier releases say nothing of it, and stopped.
fn on_topic_change(wire: i32) -> Result<TopicChange, ConvertError> {
    match wire {
        0 => Ok(TopicChange::Stop),
        said => enumerated::<pb::TopicChange, _>("on_topic_change", said),
    }
}

/// A Kafka cluster: the name of its connection, or its brokers and security in place.
pub(super) fn named_or_inline(
    connection: &str,
    security: Option<&pb::KafkaSecurity>,
    brokers: Vec<String>,
) -> Result<(Option<ConnectionName>, Vec<String>), ConvertError> {
    let connection = named(connection)?;
    let logs_in = security.is_some_and(|security| security.sasl.is_some());
    if connection.is_some() && (logs_in || !brokers.is_empty()) {
        return Err(ConvertError::new("connection", "stands beside inline fields"));
    }
    let brokers = match connection {
        None => texts("brokers", brokers)?,
        Some(_) => Vec::new(),
    };
    Ok((connection, brokers))
}

impl From<KafkaSecurity> for pb::KafkaSecurity {
    fn from(security: KafkaSecurity) -> Self {
        Self {
            protocol: pb::SecurityProtocol::from(security.protocol).into(),
            sasl: security.sasl.map(Into::into),
            ca: security.ca.map(Into::into),
            cert: security.cert.map(Into::into),
            key: security.key.map(Into::into),
        }
    }
}

impl TryFrom<pb::KafkaSecurity> for KafkaSecurity {
    type Error = ConvertError;

    fn try_from(security: pb::KafkaSecurity) -> Result<Self, Self::Error> {
        Ok(Self {
            protocol: enumerated::<pb::SecurityProtocol, _>("protocol", security.protocol)?,
            sasl: optional("sasl", security.sasl)?,
            ca: optional("ca", security.ca)?,
            cert: optional("cert", security.cert)?,
            key: optional("key", security.key)?,
        })
    }
}

impl From<Sasl> for pb::Sasl {
    fn from(sasl: Sasl) -> Self {
        Self {
            mechanism: pb::SaslMechanism::from(sasl.mechanism).into(),
            user: sasl.user,
            password: Some(sasl.password.into()),
        }
    }
}

impl TryFrom<pb::Sasl> for Sasl {
    type Error = ConvertError;

    fn try_from(sasl: pb::Sasl) -> Result<Self, Self::Error> {
        Ok(Self {
            mechanism: enumerated::<pb::SaslMechanism, _>("mechanism", sasl.mechanism)?,
            user: text("user", sasl.user)?,
            password: required("password", sasl.password)?,
        })
    }
}

impl From<CreateTopics> for pb::CreateTopics {
    fn from(topics: CreateTopics) -> Self {
        Self {
            partitions: topics.partitions,
            replication_factor: u32::from(topics.replication_factor),
        }
    }
}

impl TryFrom<pb::CreateTopics> for CreateTopics {
    type Error = ConvertError;

    fn try_from(topics: pb::CreateTopics) -> Result<Self, Self::Error> {
        if topics.partitions == 0 {
            return Err(ConvertError::new("partitions", "is 0"));
        }
        match u16::try_from(topics.replication_factor) {
            Ok(replication_factor @ 1..) => {
                Ok(Self { partitions: topics.partitions, replication_factor })
            }
            _ => Err(ConvertError::new("replication_factor", "is not from 1 to 65535")),
        }
    }
}
