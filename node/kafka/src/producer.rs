//! A transactional producer that knows whether a transaction ended cleanly.
//!
//! librdkafka sends EndTxn again by itself after a lost connection or a timeout and reports plain
//! success; a late copy then ends the *next* transaction. So the end of a transaction counts as clean
//! only if the call succeeded and exactly one EndTxn was sent since it began (none where nothing was
//! produced). After any other end, and after every abort, the producer is spent (docs/delivery.md).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::types::RDKafkaErrorCode as Code;
use tidewire_shared::spec::Compression;
use tidewire_shared::{Fault, FaultKind};

use crate::config::{BATCH_BYTES, Settings, Side};
use crate::destination::Destination;
use crate::fault::{KafkaError, is_unknown, kind_of, not_known_yet};
use crate::ffi::{CallError, Client, Kind};
use crate::positions::TOPIC;
use crate::record::{Headers, Record};
use crate::settle::Sending;

/// Sends between two looks for delivery reports: often enough that the queue does not fill with
/// reports, seldom enough that a look costs nothing per record.
const SENDS_PER_POLL: u32 = 64;

/// Longest single call into librdkafka; between calls errors of the connection are looked at.
const CALL: Duration = Duration::from_secs(1);

/// Longest wait for the abort of a transaction that cannot be committed.
const ABORT: Duration = Duration::from_secs(5);

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It is in the queue; whether it arrived is told by the commit.
    Queued,
    /// The queue is full, the record is not in it: [`TransactionalProducer::wait_for_room`], then
    /// send it again.
    Full,
}

/// How a transaction ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct End {
    /// Whether the producer's later transactions are out of reach of this one's requests.
    pub clean: bool,
    /// What the call answered. `Ok` without `clean` means that the transaction ended as asked, and
    /// yet the producer must be dropped.
    pub outcome: Result<(), Fault>,
    /// EndTxn requests sent since the transaction began.
    pub end_requests: u32,
}

/// A topic that a producer looked up. It is worth nothing to another producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicHandle {
    producer: u64,
    index: usize,
}

/// A producer with a `transactional.id`. Its calls block and are made from one thread at a time.
///
/// Dropping it throws away what is queued, in well under 200 ms; an open transaction stays open until
/// the next producer of the same id is initialised, so abort first where there is time.
#[derive(Debug)]
pub struct TransactionalProducer {
    // Topics go before the handle they belong to.
    topics: Vec<Destination>,
    /// Whether the open transaction has records for them, in the same order.
    touched: Vec<bool>,
    client: Arc<Client>,
    transactional_id: String,
    record_bytes: u64,
    number: u64,
    phase: Phase,
    /// Records sent since the transaction began.
    sent: u64,
    sending: Sending,
    sends_since_poll: u32,
}

/// What calls are legal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Created,
    Ready,
    InTransaction,
    Spent,
}

impl Phase {
    fn as_str(self) -> &'static str {
        match self {
            Self::Created => "not initialised",
            Self::Ready => "outside a transaction",
            Self::InTransaction => "inside a transaction",
            Self::Spent => "spent: its last transaction was aborted or did not end cleanly",
        }
    }
}

impl TransactionalProducer {
    /// Makes a producer; nothing is sent yet.
    ///
    /// # Errors
    ///
    /// `Configuration`, naming the property that librdkafka refuses.
    pub fn create(settings: &Settings, transactional_id: &str) -> Result<Self, Fault> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let client = Client::new(Kind::Producer, &settings.producer(transactional_id))
            .map_err(|error| error.fault("target.properties"))?;
        Ok(Self {
            topics: Vec::new(),
            touched: Vec::new(),
            client: Arc::new(client),
            transactional_id: transactional_id.to_owned(),
            record_bytes: settings.record_bytes(),
            number: NUMBER.fetch_add(1, Ordering::Relaxed),
            phase: Phase::Created,
            sent: 0,
            sending: Sending::default(),
            sends_since_poll: 0,
        })
    }

    /// InitProducerId: ends what an earlier owner of the `transactional.id` left open, and fences it.
    ///
    /// # Errors
    ///
    /// `TargetDenied`, `TargetUnreachable` or `TargetBusy`; after an error the producer is dropped.
    pub fn init(&mut self, timeout: Duration) -> Result<(), Fault> {
        self.expect(Phase::Created)?;
        let deadline = Instant::now() + timeout;
        let outcome = match self.client.connect(timeout.min(CALL)) {
            Ok(()) => {
                let left = deadline.saturating_duration_since(Instant::now());
                self.until(left, Client::init_transactions).map_err(|error| self.fault(&error))
            }
            Err(refused) => Err(refused.fault(self.object())),
        };
        self.phase = if outcome.is_ok() { Phase::Ready } else { Phase::Spent };
        outcome
    }

    /// Looks a topic up, once; the handle is for [`Self::send`].
    pub fn topic(&mut self, name: &str) -> TopicHandle {
        self.look_up(name, None)
    }

    /// As [`Self::topic`], with a compression of its own; that of the first look-up holds.
    pub fn topic_compressed(&mut self, name: &str, compression: Compression) -> TopicHandle {
        self.look_up(name, Some(compression))
    }

    fn look_up(&mut self, name: &str, compression: Option<Compression>) -> TopicHandle {
        let known = self.topics.iter().position(|known| known.name == name);
        let index = known.unwrap_or_else(|| {
            self.topics.push(Destination::new(name, compression));
            self.touched.push(false);
            self.topics.len() - 1
        });
        TopicHandle { producer: self.number, index }
    }

    /// Begins a transaction. Nothing is sent to Kafka before the first record.
    ///
    /// # Errors
    ///
    /// `Fenced` when a newer owner was seen; `Internal` in the wrong phase.
    pub fn begin(&mut self) -> Result<(), Fault> {
        self.expect(Phase::Ready)?;
        self.client.take_end_requests();
        self.client.begin_transaction().map_err(|error| self.fault(&error))?;
        self.sent = 0;
        self.touched.fill(false);
        self.phase = Phase::InTransaction;
        Ok(())
    }

    /// Copies a record into the queue.
    ///
    /// # Errors
    ///
    /// The fault of the first failed delivery of this transaction, or why the record cannot be
    /// queued: `Encode` for one that is too large, `TargetState` for an unknown topic or partition.
    /// What is left to do is [`Self::abort`] and drop.
    pub fn send(
        &mut self,
        topic: &TopicHandle,
        partition: u32,
        key: Option<&[u8]>,
        value: &[u8],
        headers: &[(&str, &[u8])],
    ) -> Result<Sent, Fault> {
        self.enqueue(topic, &record(partition, key, Some(value), headers), false)
    }

    /// As [`Self::send`], with all that a record can have.
    ///
    /// # Errors
    ///
    /// As [`Self::send`].
    pub fn send_record(&mut self, topic: &TopicHandle, record: &Record<'_>) -> Result<Sent, Fault> {
        self.enqueue(topic, record, false)
    }

    /// As [`Self::send`], and remembers where the record arrives: see [`Self::marked_offset`].
    ///
    /// # Errors
    ///
    /// As [`Self::send`].
    pub fn send_marked(
        &mut self,
        topic: &TopicHandle,
        partition: u32,
        key: Option<&[u8]>,
        value: &[u8],
    ) -> Result<Sent, Fault> {
        self.enqueue(topic, &record(partition, key, Some(value), &[]), true)
    }

    /// Offset of the last marked record that Kafka has; after a commit, that of the last one sent.
    #[must_use]
    pub fn marked_offset(&self) -> Option<i64> {
        self.client.marked_offset()
    }

    /// As [`Self::send`], a record without value: it deletes its key from a compacted topic.
    ///
    /// # Errors
    ///
    /// As [`Self::send`].
    pub fn send_tombstone(
        &mut self,
        topic: &TopicHandle,
        partition: u32,
        key: Option<&[u8]>,
        headers: &[(&str, &[u8])],
    ) -> Result<Sent, Fault> {
        self.enqueue(topic, &record(partition, key, None, headers), false)
    }

    fn enqueue(
        &mut self,
        handle: &TopicHandle,
        record: &Record<'_>,
        marked: bool,
    ) -> Result<Sent, Fault> {
        self.expect(Phase::InTransaction)?;
        self.sends_since_poll += 1;
        if self.sends_since_poll >= SENDS_PER_POLL {
            self.sends_since_poll = 0;
            self.client.poll(Duration::ZERO);
            self.delivered()?;
        }
        let own = handle.producer == self.number;
        let Some(to) = self.topics.get_mut(handle.index).filter(|_| own) else {
            return Err(self.misuse("topic handle of another producer"));
        };
        let size = record.size();
        if u64::try_from(size).unwrap_or(u64::MAX) > self.record_bytes {
            let bound = format!("limits.recordBytes is {}", self.record_bytes);
            return Err(too_large(&to.name, size, &bound));
        }
        match to.topic(&self.client)?.produce(record, marked) {
            Ok(()) => {
                self.sent += 1;
                self.sending.note(handle.index, record);
                if let Some(touched) = self.touched.get_mut(handle.index) {
                    *touched = true;
                }
                Ok(Sent::Queued)
            }
            Err(call) if call.error.code == Code::QueueFull => Ok(Sent::Full),
            Err(call) => {
                self.client.poll(Duration::ZERO);
                self.alive()?;
                self.delivered()?;
                self.intact()?;
                let name = self.topics.get(handle.index).map_or("", |to| &to.name);
                Err(refused_record(name, record.partition, size, &call.error))
            }
        }
    }

    /// Waits until an eighth of what is queued has left, or for `timeout`. `false` means that
    /// nothing left: Kafka does not take records right now.
    ///
    /// # Errors
    ///
    /// The fault of the first failed delivery.
    pub fn wait_for_room(&mut self, timeout: Duration) -> Result<bool, Fault> {
        let before = self.client.outstanding();
        let enough = before - before / 8;
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            self.client.poll(left.min(Duration::from_millis(20)));
            self.delivered()?;
            let now = self.client.outstanding();
            if now <= enough {
                return Ok(true);
            }
            if left.is_zero() {
                return Ok(now < before);
            }
        }
    }

    /// Ends the transaction so that its records are seen. A commit whose outcome stays open is
    /// asked for again until `timeout` is over; one that cannot succeed is aborted.
    pub fn commit(&mut self, timeout: Duration) -> End {
        if let Err(fault) = self.expect(Phase::InTransaction) {
            return self.end(Err(fault), false);
        }
        let deadline = Instant::now() + timeout;
        self.client.poll(Duration::ZERO);
        self.sending.settle(&self.client, deadline);
        if let Err(fault) = self.delivered() {
            self.abandon();
            return self.end(Err(fault), false);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        match self.until(left, Client::commit_transaction) {
            Ok(()) => self.end(Ok(()), true),
            Err(call) => {
                let fault = self.delivered().err().unwrap_or_else(|| self.fault(&call));
                if call.requires_abort {
                    self.abandon();
                }
                self.end(Err(fault), false)
            }
        }
    }

    /// Ends the transaction so that its records are never seen. The producer is spent afterwards.
    pub fn abort(&mut self, timeout: Duration) -> End {
        if let Err(fault) = self.expect(Phase::InTransaction) {
            return self.end(Err(fault), false);
        }
        let outcome =
            self.until(timeout, Client::abort_transaction).map_err(|error| self.fault(&error));
        let end = self.end(outcome, true);
        self.phase = Phase::Spent;
        end
    }

    /// Records and delivery reports that are not through yet.
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        self.client.outstanding()
    }

    /// Whether only a drop is left.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.phase == Phase::Spent
    }

    fn end(&mut self, outcome: Result<(), Fault>, may_be_clean: bool) -> End {
        let end_requests = self.client.take_end_requests();
        let counted = end_requests == 1 || (end_requests == 0 && self.sent == 0);
        let clean = may_be_clean && outcome.is_ok() && counted;
        self.phase = if clean { Phase::Ready } else { Phase::Spent };
        End { clean, outcome, end_requests }
    }

    /// Aborts what cannot be committed, so that readers are not held until its timeout. The producer
    /// is spent either way.
    fn abandon(&self) {
        if let Err(call) = self.client.abort_transaction(ABORT) {
            tracing::debug!(id = self.transactional_id, error = call.error.text, "abort failed");
        }
    }

    /// Makes a call again while it may be made again and there is time.
    fn until(
        &self,
        timeout: Duration,
        call: impl Fn(&Client, Duration) -> Result<(), CallError>,
    ) -> Result<(), CallError> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let outcome = call(&self.client, left.min(CALL));
            self.client.poll(Duration::ZERO);
            match outcome {
                Err(error) if error.retriable => {
                    if let Err(error) = self.client.refused() {
                        return Err(CallError { error, retriable: false, requires_abort: false });
                    }
                    if Instant::now() >= deadline {
                        return Err(error);
                    }
                }
                outcome => return outcome,
            }
        }
    }

    /// An error when the producer is dead, or a record of it was not delivered. What failed first is
    /// told: a fence or a failed transaction before the deliveries that failed because of it.
    fn delivered(&self) -> Result<(), Fault> {
        let Some(failed) = self.client.failed_delivery() else { return Ok(()) };
        self.alive()?;
        if failed.is_consequence() {
            self.intact()?;
        }
        Err(refused_record(&failed.topic, failed.partition, failed.size, &failed.error))
    }

    /// An error when the open transaction failed, with its cause.
    fn intact(&self) -> Result<(), Fault> {
        self.client.failed_transaction().map_or(Ok(()), |cause| Err(self.fault(&cause)))
    }

    fn alive(&self) -> Result<(), Fault> {
        match self.client.fatal() {
            Some(error) => Err(error.fault(self.object())),
            None => Ok(()),
        }
    }

    /// The fault of a transactional call. A bare timeout is explained by what the connection reported.
    fn fault(&self, call: &CallError) -> Fault {
        if let Err(fault) = self.alive() {
            return fault;
        }
        // Which of the topics went is not said: the next start looks at each of them, and tells.
        if is_unknown(call.error.code) {
            return not_known_yet(Side::Target, self.written_topics());
        }
        let object = match call.error.code {
            Code::TopicAuthorizationFailed => self.written_topics(),
            _ => self.object(),
        };
        let vague = kind_of(call.error.code) == FaultKind::TargetBusy;
        match self.client.trouble() {
            Some(trouble) if vague && kind_of(trouble.code) != FaultKind::TargetBusy => {
                trouble.fault(object)
            }
            _ => call.error.fault(object),
        }
    }

    fn expect(&self, phase: Phase) -> Result<(), Fault> {
        if self.phase == phase {
            return Ok(());
        }
        Err(self.misuse(self.phase.as_str()))
    }

    fn misuse(&self, what: &str) -> Fault {
        Fault::new(FaultKind::Internal, self.object(), what)
    }

    fn object(&self) -> String {
        format!("producer {}", self.transactional_id)
    }

    /// The topics of the open transaction: a refusal of the whole does not say which it is about.
    fn written_topics(&self) -> String {
        const NAMED: usize = 10;
        let touched = self.topics.iter().zip(&self.touched).filter(|(_, touched)| **touched);
        let names: Vec<&str> = touched.map(|(topic, _)| topic.name.as_str()).collect();
        let first = names.get(..NAMED).unwrap_or(&names).join(", ");
        match names.len() {
            0 => self.object(),
            1 => format!("topic {first}"),
            2..=NAMED => format!("one of the topics {first}"),
            more => format!("one of the topics {first} and {} more", more - NAMED),
        }
    }
}

pub(crate) fn record<'a>(
    partition: u32,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: &'a [(&'a str, &'a [u8])],
) -> Record<'a> {
    Record { partition, key, value, headers: Headers::Pairs(headers), timestamp: None }
}

/// The fault of a record that Kafka, or librdkafka on its behalf, did not take.
pub(crate) fn refused_record(
    topic: &str,
    partition: u32,
    size: usize,
    error: &KafkaError,
) -> Fault {
    let of_size = matches!(
        error.code,
        Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize
    );
    if of_size {
        const BOUND: &str = "the topic's max.message.bytes, batch framing included, is less";
        // Brokers hold it against whole batches, which gather records until they are that large.
        return match size as u64 >= BATCH_BYTES {
            true => too_large(topic, size, BOUND),
            false => batch_too_large(topic, size, BOUND),
        };
    }
    let object = format!("topic {topic}, partition {partition}");
    // That the positions went with their topic is told by the next start, which looks for them.
    if error.code == Code::UnknownPartition || (topic == TOPIC && is_unknown(error.code)) {
        return not_known_yet(Side::Target, object);
    }
    error.fault(object)
}

fn batch_too_large(topic: &str, size: usize, bound: &str) -> Fault {
    let message = format!("a batch whose largest record has {size} bytes is too large: {bound}");
    Fault::new(FaultKind::Encode, format!("topic {topic}"), message).remedy(format!(
        "raise max.message.bytes of the topic to {} at least, and above limits.recordBytes of the task",
        2 * BATCH_BYTES
    ))
}

pub(crate) fn too_large(topic: &str, size: usize, bound: &str) -> Fault {
    Fault::new(
        FaultKind::Encode,
        format!("topic {topic}"),
        format!("a record of {size} bytes is too large: {bound}"),
    )
    .remedy("raise limits.recordBytes of the task and max.message.bytes of the topic")
}
