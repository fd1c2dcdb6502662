//! Busy partitions that have a client to themselves: nothing is lost or doubled on their way, and nobody
//! waits for it.

use std::time::{Duration, Instant};

use tidewire_kafka::{Apart, Consumer, Item, SourceLimits};
use tidewire_shared::FaultKind;
use tidewire_testbed::process::{self, Signal};
use tidewire_testbed::proxy::KafkaProxy;
use tidewire_testbed::servers::kafka::{Kafka, KafkaOptions};
use tidewire_testbed::writer::{Writer, Written};

use crate::broker::{SOON, broker, fresh, fresh_topic};
use crate::source::{from, quick, read_to_ends, source};

/// How long a partition is quiet before it goes back.
const QUIET: Duration = Duration::from_secs(2);
/// Busy is what takes as much in a second; few bytes, so that tests are light.
const BUSY_BYTES: u64 = 64 << 10;
const SHORT: Duration = Duration::from_millis(50);

fn limits() -> SourceLimits {
    let apart = Apart { busy_bytes: BUSY_BYTES, quiet: QUIET };
    SourceLimits { busy_apart: Some(apart), ..quick() }
}

/// Numbered records into the partitions of a topic, and how far they were read.
struct Flow {
    topic: String,
    writer: Writer,
    consumer: Consumer,
    written: Vec<usize>,
    read: Vec<usize>,
}

impl Flow {
    /// Slots have the numbers of their partitions.
    fn start(kafka: &Kafka, partitions: u32) -> Self {
        let topic = fresh_topic(kafka, partitions);
        let mut consumer = Consumer::open(&source(kafka), limits()).expect("consumer");
        let all: Vec<_> = (0..partitions).map(|partition| from(&topic, partition, 0)).collect();
        consumer.assign(&all, SOON).expect("slots");
        let none = vec![0; all.len()];
        let writer = Writer::start(kafka, "none", None).expect("writer");
        Self { topic, writer, consumer, written: none.clone(), read: none }
    }

    fn write(&mut self, partition: usize, count: usize, padding: usize) {
        let from = self.written[partition];
        self.written[partition] += count;
        let value = |n: usize| Written {
            partition: u32::try_from(partition).expect("small"),
            ..Written::value(format!("{n:0padding$}"))
        };
        let records: Vec<_> = (from..from + count).map(value).collect();
        self.writer.send(&self.topic, &records).expect("sent");
    }

    /// So little that it is quiet, however fast it is done again.
    fn drip(&mut self, partition: usize) {
        self.write(partition, 1, 0);
        std::thread::sleep(SHORT);
    }

    /// Enough to be busy.
    fn pour(&mut self, partition: usize) {
        self.write(partition, 20, 10_000);
    }

    /// Reads what comes next, which is the next record of its partition.
    fn read(&mut self) {
        let fetched = self.consumer.next(SHORT).expect("next");
        for item in fetched.iter().flatten() {
            let Item::Record(record) = item else { continue };
            let number = std::str::from_utf8(record.value.expect("a value")).expect("text");
            assert_eq!(number.parse(), Ok(self.read[record.slot]), "of slot {}", record.slot);
            self.read[record.slot] += 1;
        }
    }

    /// Reads and does something in turn, until it is done.
    fn until(&mut self, mut turn: impl FnMut(&mut Self), done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + 2 * SOON;
        while !done(self) {
            let (clients, read) = (self.consumer.clients(), &self.read);
            assert!(Instant::now() < deadline, "{clients} clients, read {read:?}");
            turn(self);
            self.read();
        }
    }

    fn run(&mut self, time: Duration, turn: impl FnMut(&mut Self)) {
        let end = Instant::now() + time;
        self.until(turn, |_| Instant::now() >= end);
    }

    /// Has partitions read apart.
    fn apart(&mut self, partitions: &[usize]) {
        let turn = |flow: &mut Self| partitions.iter().for_each(|it| flow.pour(*it));
        self.until(turn, |flow| flow.consumer.clients() == 2);
    }

    fn drain(&mut self) {
        self.until(|_| (), |flow| flow.read == flow.written);
    }
}

#[test]
fn a_partition_that_is_busy_is_read_apart_and_goes_on_where_it_stood() {
    let kafka = broker();
    let mut flow = Flow::start(&kafka, 3);
    let mut requests = 0;
    for clients in [2, 1, 2] {
        let turn = |flow: &mut Flow| {
            if clients == 2 {
                flow.pour(0);
            }
            flow.drip(0);
            flow.drip(1);
        };
        flow.until(turn, |flow| flow.consumer.clients() == clients);
        assert!(
            flow.consumer.metadata_requests() > requests,
            "a client that begins asks for topics"
        );
        requests = flow.consumer.metadata_requests() - 1;
        assert!((0..3).all(|slot| flow.consumer.ends(slot).is_some()));
    }
    flow.write(0, 1, 0);
    flow.write(1, 1, 0);
    flow.drain();
}

#[test]
fn a_transaction_that_outlived_its_leader_is_no_loss_on_the_way_between_clients() {
    let kafka = Kafka::start(KafkaOptions::default()).expect("a broker of its own");
    let topic = fresh_topic(&kafka, 1);
    let mut writer = Writer::start(&kafka, "none", Some(&fresh("id"))).expect("writer");
    let mut consumer = Consumer::open(&source(&kafka), limits()).expect("consumer");
    consumer.assign(&[from(&topic, 0, 0)], SOON).expect("slots");
    writer.begin().expect("begin");
    let records = vec![Written::value([7; 10_000]); 100];
    writer.send(&topic, &records).expect("sent");
    // Its marker is written by a later leader than its records.
    kafka.stop_broker(0);
    kafka.restart_broker(0).expect("restarted");
    writer.commit().expect("commit");

    let (mut read, mut reached, mut epoch) = (0, 0, None);
    let deadline = Instant::now() + 2 * SOON;
    for clients in [2, 1] {
        while consumer.clients() != clients {
            assert!(Instant::now() < deadline, "{} clients, read {read}", consumer.clients());
            for item in consumer.next(SHORT).expect("no record was taken back").iter().flatten() {
                match item {
                    Item::Record(record) => (read, epoch) = (read + 1, record.leader_epoch),
                    Item::Reached { offset, .. } => reached = offset,
                }
            }
        }
    }
    assert_eq!((read, reached), (100, 101));
    writer.begin().expect("begin");
    writer.send(&topic, &[Written::value("later")]).expect("sent");
    writer.commit().expect("commit");
    // The end that was told before may stand in front of it.
    let mut later = Vec::new();
    while later.is_empty() && Instant::now() < deadline {
        later = read_to_ends(&mut consumer, 0..1).0;
    }
    assert_eq!(later.len(), 1, "{later:?}");
    assert!(later[0].leader_epoch > epoch, "the restart made an epoch: {epoch:?}");
}

#[test]
fn a_second_client_that_gets_no_connection_holds_nobody_up_and_is_tried_again() {
    let proxy = KafkaProxy::reserve(1).expect("port");
    let advertised = Some(proxy.ports().expect("port"));
    let kafka = Kafka::start(KafkaOptions { advertised, ..KafkaOptions::default() });
    let kafka = kafka.expect("a broker of its own");
    proxy.serve(&kafka.broker_ports()).expect("serve");
    let mut flow = Flow::start(&kafka, 2);
    flow.write(0, 1, 0);
    flow.drain();

    proxy.refuse(true);
    let mut last = Instant::now();
    let turn = |flow: &mut Flow| {
        assert!(last.elapsed() < Duration::from_secs(5), "reading stood still");
        last = Instant::now();
        flow.pour(0);
        flow.write(1, 1, 0);
        std::thread::sleep(SHORT);
    };
    // Longer than a client has time to connect.
    flow.run(Duration::from_secs(14), turn);
    flow.drain();
    assert_eq!(flow.consumer.clients(), 1);
    assert!(flow.consumer.unreachable().is_none(), "one of the two was never needed");

    proxy.refuse(false);
    flow.apart(&[0]);
    flow.drain();
}

#[test]
fn the_end_of_a_partition_that_went_back_is_that_of_its_present_client() {
    let kafka = broker();
    let mut flow = Flow::start(&kafka, 2);
    flow.apart(&[0, 1]);
    // The other one keeps the client of the busy alive.
    flow.run(3 * QUIET, |flow| flow.pour(0));
    assert_eq!(flow.consumer.clients(), 2);
    flow.write(1, 9, 0);
    flow.drain();
    let end = i64::try_from(flow.written[1]).expect("few");
    assert_eq!(flow.consumer.ends(1), Some((0, end)));
}

#[test]
fn a_consumer_whose_busy_partition_was_lost_stays_ended() {
    let kafka = broker();
    let mut flow = Flow::start(&kafka, 2);
    flow.apart(&[0]);
    // More than is read ahead, so that what is deleted was not read.
    for _ in 0..6 {
        flow.write(0, 500, 10_000);
    }
    let end = u64::try_from(flow.written[0]).expect("few");
    kafka.delete_records(&flow.topic, 0, end).expect("deleted");
    let deadline = Instant::now() + SOON;
    let fault = loop {
        assert!(Instant::now() < deadline, "goes on and on");
        if let Err(fault) = flow.consumer.next(SHORT) {
            break fault;
        }
    };
    assert_eq!(fault.kind, FaultKind::SourceHistory, "{fault:?}");
    flow.write(1, 100, 0);
    for _ in 0..20 {
        assert_eq!(flow.consumer.next(SHORT).expect_err("it has ended"), fault);
    }
}

#[test]
fn a_partition_that_is_read_apart_and_given_anew_comes_once() {
    let kafka = broker();
    let mut flow = Flow::start(&kafka, 2);
    flow.apart(&[0]);
    flow.drain();
    let next = i64::try_from(flow.written[0]).expect("few");
    let slots = flow.consumer.assign(&[from(&flow.topic, 0, next)], SOON).expect("slots");
    assert_eq!(slots, 2..3);
    flow.write(0, 3, 0);
    let mut places = Vec::new();
    // Time enough for another client to give the same.
    let end = Instant::now() + SOON / 10;
    while places.len() < 3 || Instant::now() < end {
        assert!(Instant::now() < end + SOON, "{places:?}");
        for item in flow.consumer.next(SHORT).expect("next").iter().flatten() {
            if let Item::Record(record) = item {
                places.push((record.slot, record.offset));
            }
        }
    }
    assert_eq!(places, [(2, next), (2, next + 1), (2, next + 2)]);
}

#[test]
fn a_frozen_broker_is_told_while_records_flow_from_another_one() {
    let kafka = Kafka::start(KafkaOptions { brokers: 3, ..KafkaOptions::default() });
    let kafka = kafka.expect("brokers of its own");
    let topic = fresh_topic(&kafka, 3);
    let leaders: Vec<_> =
        (0..3).map(|partition| kafka.leader_of(&topic, partition).expect("a leader")).collect();
    let (flowing, frozen) = (0, (1..3).find(|it| leaders[*it as usize] != leaders[0]));
    let frozen = frozen.expect("more than one leader");
    let mut writer = Writer::start(&kafka, "none", None).expect("writer");
    // So small that the queue is never full of them: then nobody would ask the frozen broker.
    let record = Written { partition: flowing, ..Written::value([7; 100]) };
    for _ in 0..5 {
        writer.send(&topic, &vec![record.clone(); 500]).expect("sent");
    }
    let limits = SourceLimits { batch_records: 16, batch_bytes: 1, ..quick() };
    let mut consumer = Consumer::open(&source(&kafka), limits).expect("consumer");
    let slots = consumer.assign(&[from(&topic, frozen, 0)], SOON).expect("slots");
    read_to_ends(&mut consumer, slots);
    consumer.assign(&[from(&topic, flowing, 0)], SOON).expect("slots");
    assert!(consumer.silent().is_none());

    let pid = kafka.broker_pid(leaders[frozen as usize]).expect("runs");
    process::signal(pid, Signal::STOP).expect("stopped");
    let since = Instant::now();
    let mut flowed = since;
    let told = loop {
        assert!(since.elapsed() < SOON, "never told");
        if consumer.next(SHORT).expect("no fault").is_some() {
            flowed = Instant::now();
        }
        if let Some(told) = consumer.silent() {
            break told;
        }
        std::thread::sleep(2 * SHORT);
    };
    assert!(flowed.elapsed() < Duration::from_secs(1), "nothing flowed any more");
    process::signal(pid, Signal::CONT).expect("goes on");
    assert_eq!(told.fault.kind, FaultKind::SourceUnreachable, "{told:?}");
    assert!(told.since + Duration::from_secs(1) > since);
}
