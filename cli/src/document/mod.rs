//! Task documents: the YAML (or JSON) that people write becomes a [`TaskSpec`] here, and only here.
//!
//! The text becomes a tree whose values know their line and column ([`node`]), the tree is walked by
//! key ([`place`]), and every room of the document has a file of its own. Keys, words, units and
//! combinations that mean nothing are errors with place, path and the nearest valid name; what means
//! something in a later version says so.

mod alerts;
mod channel;
mod connection;
mod error;
mod explain;
mod format;
mod kafka_task;
mod node;
mod objects;
mod place;
mod postgres_task;
mod secret;
mod source;
mod table_name;
mod target;

#[cfg(test)]
mod tests;

use tidewire_shared::TaskSpec;

pub use channel::{ChannelDocument, ExplainedChannel};
pub use connection::{ConnectionDocument, ExplainedConnection};
pub use error::DocumentError;
pub use explain::Explained;
use place::Place;

/// A document that can be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The task it describes.
    pub spec: TaskSpec,
    /// What its author should know, as whole lines.
    pub warnings: Vec<String>,
}

impl Document {
    /// Reads a YAML or JSON text.
    ///
    /// # Errors
    /// The first thing that does not fit, with its line, column and path.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let node = node::read(text)?;
        let top = Place::top(&node);
        let kind = kind(&top)?;
        let mut warnings = Vec::new();
        let spec = match kind {
            Kind::PostgresToKafka => postgres_task::task(&top, &mut warnings)?.into(),
            Kind::KafkaToKafka => kafka_task::task(&top, &mut warnings)?.into(),
        };
        Ok(Self { spec, warnings })
    }
}

#[derive(Clone, Copy)]
enum Kind {
    PostgresToKafka,
    KafkaToKafka,
}

/// `apiVersion` and `kind` decide which keys are known, so they are read first.
fn kind(top: &Place<'_>) -> Result<Kind, DocumentError> {
    let heading = top.heading()?;
    heading.need("apiVersion")?.word(&[("tidewire/v1", ())])?;
    let kind = heading.need("kind")?;
    if matches!(kind.as_text(), Some("postgres_connection" | "kafka_connection")) {
        return kind.wrong("is a connection, not a task", "use `tidewire connection apply`");
    }
    if matches!(kind.as_text(), Some("webhook_channel" | "mail_channel")) {
        return kind.wrong("is a channel, not a task", "use `tidewire alert apply`");
    }
    kind.word(&[
        ("postgres_to_kafka", Kind::PostgresToKafka),
        ("kafka_to_kafka", Kind::KafkaToKafka),
    ])
}
