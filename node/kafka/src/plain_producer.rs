//! A producer without transactions, for at_least_once: what Kafka has is told by acknowledgements.
//!
//! Brokers from 0.11 on drop what a producer sends twice by itself, so its order holds; older ones get
//! one request at a time. The first record that is not acknowledged ends the producer: whoever owns it
//! goes back to the last position where everything was (docs/delivery.md).

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;
use tidewire_shared::spec::Compression;
use tidewire_shared::{Fault, FaultKind};

use crate::config::Settings;
use crate::destination::Destination;
use crate::fault::kind_of;
use crate::ffi::{Client, Kind};
use crate::producer::{Sent, record, refused_record, too_large};
use crate::record::Record;
use crate::settle::Sending;

/// Sends between two looks for acknowledgements.
const SENDS_PER_POLL: u32 = 64;
/// Longest single call into librdkafka.
const CALL: Duration = Duration::from_millis(500);

/// Whether brokers can tell a repeated request from a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idempotence {
    /// They can: 0.11 and later.
    On,
    /// They cannot.
    Off,
}

/// A producer for a list of topics. Its calls block and are made from one thread at a time.
///
/// Dropping it throws away what is queued, in well under 200 ms.
#[derive(Debug)]
pub struct PlainProducer {
    // Topics go before the handle they belong to.
    topics: Vec<Destination>,
    client: Arc<Client>,
    record_bytes: u64,
    sending: Sending,
    sends_since_poll: u32,
}

impl PlainProducer {
    /// Makes a producer for `topics`; connections are made in the background.
    ///
    /// # Errors
    ///
    /// `Configuration`, naming the property that librdkafka refuses.
    pub fn create(
        settings: &Settings,
        topics: &[String],
        idempotence: Idempotence,
    ) -> Result<Self, Fault> {
        let client = Client::new(Kind::Producer, &settings.plain_producer(idempotence))
            .map_err(|error| error.fault("target.properties"))?;
        Ok(Self {
            topics: topics.iter().map(|name| Destination::new(name, None)).collect(),
            client: Arc::new(client),
            record_bytes: settings.record_bytes(),
            sending: Sending::default(),
            sends_since_poll: 0,
        })
    }

    /// Adds a topic behind those that the producer has, and gives its place in the list; with a
    /// compression of its own where one is given.
    pub fn topic(&mut self, name: &str, compression: Option<Compression>) -> usize {
        self.topics.push(Destination::new(name, compression));
        self.topics.len() - 1
    }

    /// Copies a record for the topic of this place in the list into the queue. Without a value it deletes
    /// its key from a compacted topic.
    ///
    /// # Errors
    ///
    /// The fault of the first record that was not acknowledged, or why this one cannot be queued:
    /// `Encode` for one that is too large, `TargetState` for an unknown topic or partition. What is left
    /// to do is to drop the producer.
    pub fn send(
        &mut self,
        topic: usize,
        partition: u32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) -> Result<Sent, Fault> {
        self.send_record(topic, &record(partition, key, value, headers))
    }

    /// As [`Self::send`], with all that a record can have.
    ///
    /// # Errors
    ///
    /// As [`Self::send`].
    pub fn send_record(&mut self, topic: usize, record: &Record<'_>) -> Result<Sent, Fault> {
        self.sends_since_poll += 1;
        if self.sends_since_poll >= SENDS_PER_POLL {
            self.sends_since_poll = 0;
            self.client.poll(Duration::ZERO);
            self.acknowledged()?;
        }
        let to = self.topics.get_mut(topic).ok_or_else(|| {
            Fault::new(FaultKind::Internal, "producer", "was asked for a topic it does not know")
        })?;
        let size = record.size();
        if u64::try_from(size).unwrap_or(u64::MAX) > self.record_bytes {
            let bound = format!("limits.recordBytes is {}", self.record_bytes);
            return Err(too_large(&to.name, size, &bound));
        }
        match to.topic(&self.client)?.produce(record, false) {
            Ok(()) => {
                self.sending.note(topic, record);
                Ok(Sent::Queued)
            }
            Err(call) if call.error.code == Code::QueueFull => Ok(Sent::Full),
            Err(call) => {
                self.client.poll(Duration::ZERO);
                self.acknowledged()?;
                let name = self.topics.get(topic).map_or("", |to| &to.name);
                Err(refused_record(name, record.partition, size, &call.error))
            }
        }
    }

    /// Waits until an eighth of what is queued has left, or for `timeout`. `false` means that
    /// nothing left: Kafka does not take records right now.
    ///
    /// # Errors
    ///
    /// The fault of the first record that was not acknowledged.
    pub fn wait_for_room(&mut self, timeout: Duration) -> Result<bool, Fault> {
        let before = self.client.outstanding();
        let enough = before - before / 8;
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            self.client.poll(left.min(Duration::from_millis(20)));
            self.acknowledged()?;
            let now = self.client.outstanding();
            if now <= enough || left.is_zero() {
                return Ok(now < before);
            }
        }
    }

    /// Waits until Kafka has everything that was sent, asking `go_on` between two short waits.
    ///
    /// # Errors
    ///
    /// The fault of the first record that was not acknowledged, that of `go_on`, or, when `timeout` is
    /// over, what keeps the brokers from answering.
    pub fn flush(
        &mut self,
        timeout: Duration,
        mut go_on: impl FnMut() -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let deadline = Instant::now() + timeout;
        loop {
            go_on()?;
            let left = deadline.saturating_duration_since(Instant::now());
            self.sending.settle(&self.client, Instant::now() + left.min(CALL));
            self.client.flush(left.min(CALL));
            self.acknowledged()?;
            if self.client.outstanding() == 0 {
                return Ok(());
            }
            if let Err(refused) = self.client.refused() {
                return Err(refused.fault("producer"));
            }
            if left.is_zero() {
                return Err(self.late());
            }
        }
    }

    fn late(&self) -> Fault {
        let message = format!("{} records were not acknowledged", self.client.outstanding());
        match self.client.trouble() {
            Some(trouble) if kind_of(trouble.code) != FaultKind::TargetBusy => {
                trouble.fault("producer")
            }
            _ => Fault::new(FaultKind::TargetBusy, "producer", message)
                .remedy("see that the brokers are up and have their replicas in sync"),
        }
    }

    /// An error when the producer is dead, or a record of it was not acknowledged.
    fn acknowledged(&self) -> Result<(), Fault> {
        let failed = self.client.failed_delivery().filter(|failed| !failed.is_consequence());
        if let Some(failed) = failed {
            return Err(refused_record(
                &failed.topic,
                failed.partition,
                failed.size,
                &failed.error,
            ));
        }
        match self.client.fatal() {
            Some(error) => Err(error.fault("producer")),
            None => Ok(()),
        }
    }
}
