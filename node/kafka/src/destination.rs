//! A topic that a producer may write to. librdkafka hears of it with the first record: for every topic that
//! it knows it keeps up all partitions, and looks through them whenever it sends anything.

use std::sync::Arc;

use tidewire_shared::Fault;
use tidewire_shared::spec::Compression;

use crate::ffi::{Client, Topic, TopicOptions};

/// A topic by its name, and its handle once there is one.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) name: String,
    compression: Option<Compression>,
    topic: Option<Topic>,
}

impl Destination {
    /// A topic, with a compression of its own where one is given.
    pub(crate) fn new(name: &str, compression: Option<Compression>) -> Self {
        Self { name: name.to_owned(), compression, topic: None }
    }

    /// The handle.
    ///
    /// # Errors
    ///
    /// `TargetState` for a name that no topic can have.
    pub(crate) fn topic(&mut self, client: &Arc<Client>) -> Result<&Topic, Fault> {
        match &mut self.topic {
            Some(topic) => Ok(topic),
            none => {
                let options =
                    TopicOptions { compression: self.compression, ..TopicOptions::default() };
                let topic = Topic::with(client, &self.name, options)
                    .map_err(|error| error.fault(format!("topic {}", self.name)))?;
                Ok(none.insert(topic))
            }
        }
    }
}
