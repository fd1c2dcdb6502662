//! A proxy in front of Kafka's brokers that makes one fault at a time with EndTxn requests, and that can
//! refuse further connections.
//!
//! EndTxn commits or aborts a transaction. librdkafka sends it again by itself after a timeout or a
//! lost connection, and a late one would end the *next* transaction: these faults make it late.
//! No request is ever forwarded twice.
//!
//! The brokers must tell clients the proxies' ports: [`KafkaProxy::reserve`] comes first, then the
//! brokers start with [`KafkaProxy::ports`] advertised, then [`KafkaProxy::serve`] connects both.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail, ensure};

use crate::servers::free_listener;

/// What happens to the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndTxnFault {
    /// It reaches the broker only after this time.
    Hold(Duration),
    /// It reaches the broker; the answer does not reach the client, whose connection is cut.
    DropAnswer,
    /// The client's connection is cut at once; the request reaches the broker after this time.
    CutAndForwardLate(Duration),
}

/// Which way the transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The request commits.
    Commit,
    /// The request aborts.
    Abort,
}

/// A fault that took place. Times are µs since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultEvent {
    /// What was done.
    pub fault: EndTxnFault,
    /// What the request asked for.
    pub ending: Ending,
    /// Whose transaction it was.
    pub transactional_id: String,
    /// The producer's id.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// When the request came from the client.
    pub received_at_micros: u128,
    /// When it was forwarded to the broker; none as long as it is held.
    pub forwarded_at_micros: Option<u128>,
    /// How often the client sent the same request again, by connections that nothing happens to.
    pub repeated: u32,
}

impl FaultEvent {
    fn is_of(&self, end: &EndTxn) -> bool {
        (&*self.transactional_id, self.producer_id, self.producer_epoch, self.ending)
            == (&*end.transactional_id, end.producer_id, end.producer_epoch, end.ending)
    }
}

#[derive(Debug, Default)]
struct Plan {
    armed: Option<(EndTxnFault, Ending)>,
    events: Vec<FaultEvent>,
}

#[derive(Debug, Default)]
struct Shared {
    plan: Mutex<Plan>,
    end_requests: AtomicU64,
    refuses: AtomicBool,
    closed: AtomicBool,
}

impl Shared {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One proxy port per broker.
#[derive(Debug)]
pub struct KafkaProxy {
    listeners: Vec<TcpListener>,
    shared: Arc<Shared>,
}

const END_TXN: i16 = 26;
/// Larger than any request or answer that brokers allow by default.
const LARGEST_FRAME: usize = 128 << 20;

impl KafkaProxy {
    /// Takes a port for each broker.
    ///
    /// # Errors
    /// When no port is free.
    pub fn reserve(brokers: usize) -> Result<Self> {
        let listeners = (0..brokers).map(|_| free_listener()).collect::<Result<_>>()?;
        Ok(Self { listeners, shared: Arc::default() })
    }

    /// The ports, in the brokers' order.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn ports(&self) -> Result<Vec<u16>> {
        self.listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
    }

    /// Begins to forward each port to the broker's own.
    ///
    /// # Errors
    /// When the numbers differ.
    pub fn serve(&self, brokers: &[u16]) -> Result<()> {
        ensure!(brokers.len() == self.listeners.len(), "one port per broker");
        for (listener, port) in self.listeners.iter().zip(brokers) {
            let listener = listener.try_clone()?;
            let broker = SocketAddr::from(([127, 0, 0, 1], *port));
            let shared = Arc::clone(&self.shared);
            thread::spawn(move || accept(&listener, broker, &shared));
        }
        Ok(())
    }

    /// Makes `fault` with the next EndTxn request that ends its transaction in this way.
    pub fn arm(&self, fault: EndTxnFault, ending: Ending) {
        self.shared.plan().armed = Some((fault, ending));
    }

    /// Whether connections that clients open from now on are closed at once; those that they have stay.
    pub fn refuse(&self, refuses: bool) {
        self.shared.refuses.store(refuses, Ordering::Relaxed);
    }

    /// The faults that took place so far.
    #[must_use]
    pub fn events(&self) -> Vec<FaultEvent> {
        self.shared.plan().events.clone()
    }

    /// How many EndTxn requests came by.
    #[must_use]
    pub fn end_requests(&self) -> u64 {
        self.shared.end_requests.load(Ordering::Relaxed)
    }

    /// Waits until `count` faults took place and their requests were forwarded.
    ///
    /// # Errors
    /// When `limit` passes first.
    pub fn wait_events(&self, count: usize, limit: Duration) -> Result<Vec<FaultEvent>> {
        let end = Instant::now() + limit;
        loop {
            let events = self.events();
            let done = events.iter().filter(|event| event.forwarded_at_micros.is_some()).count();
            if done >= count {
                return Ok(events);
            }
            if Instant::now() > end {
                bail!("{done} of {count} faults took place in {limit:?}");
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for KafkaProxy {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        for listener in &self.listeners {
            // Wakes the thread that accepts, so that it sees the end.
            if let Ok(address) = listener.local_addr() {
                drop(TcpStream::connect(address));
            }
        }
    }
}

fn accept(listener: &TcpListener, broker: SocketAddr, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.closed.load(Ordering::Relaxed) {
            return;
        }
        let Ok(client) = client else { continue };
        if shared.refuses.load(Ordering::Relaxed) {
            continue;
        }
        // A broker that is down shows as a connection that closes at once.
        let Ok(broker) = TcpStream::connect(broker) else { continue };
        let shared = Arc::clone(shared);
        thread::spawn(move || {
            // An error is the end of one of the two connections; both are closed then.
            drop(Link::run(&client, &broker, &shared));
            drop(broker.shutdown(Shutdown::Both));
            drop(client.shutdown(Shutdown::Both));
        });
    }
}

/// What both directions of a connection know.
#[derive(Debug, Default)]
struct Link {
    /// The request whose answer is dropped, by correlation id.
    unanswered: Mutex<Option<i32>>,
    answers: AtomicU64,
}

impl Link {
    fn run(client: &TcpStream, broker: &TcpStream, shared: &Shared) -> Result<()> {
        client.set_nodelay(true)?;
        broker.set_nodelay(true)?;
        let link = Arc::new(Self::default());
        let (from, to) = (broker.try_clone()?, client.try_clone()?);
        let back = Arc::clone(&link);
        thread::spawn(move || back.answers(from, &to));
        link.requests(client, broker, shared)
    }

    fn requests(
        &self,
        mut client: &TcpStream,
        mut broker: &TcpStream,
        shared: &Shared,
    ) -> Result<()> {
        let mut frame = Vec::new();
        loop {
            read_frame(&mut client, &mut frame)?;
            let Some(end) = EndTxn::parse(&frame)? else {
                broker.write_all(&frame)?;
                continue;
            };
            shared.end_requests.fetch_add(1, Ordering::Relaxed);
            let Some((fault, event)) = take_fault(shared, &end) else {
                broker.write_all(&frame)?;
                continue;
            };
            match fault {
                EndTxnFault::Hold(time) => thread::sleep(time),
                EndTxnFault::DropAnswer => {
                    *self.unanswered.lock().unwrap_or_else(PoisonError::into_inner) =
                        Some(end.correlation_id);
                }
                EndTxnFault::CutAndForwardLate(time) => {
                    client.shutdown(Shutdown::Both)?;
                    thread::sleep(time);
                }
            }
            let answered = self.answers.load(Ordering::Acquire);
            broker.write_all(&frame)?;
            if let Some(event) = shared.plan().events.get_mut(event) {
                event.forwarded_at_micros = Some(now_micros());
            }
            if matches!(fault, EndTxnFault::CutAndForwardLate(_)) {
                // The broker may drop what it has not read when its connection closes: wait.
                let end = Instant::now() + Duration::from_secs(5);
                while self.answers.load(Ordering::Acquire) == answered && Instant::now() < end {
                    thread::sleep(Duration::from_millis(10));
                }
                return Ok(());
            }
        }
    }

    /// Forwards answers until the broker closes; those that a client cannot take any more are read
    /// nevertheless, so that a held request is still served.
    fn answers(&self, mut broker: TcpStream, mut client: &TcpStream) {
        let mut frame = Vec::new();
        while read_frame(&mut broker, &mut frame).is_ok() {
            self.answers.fetch_add(1, Ordering::Release);
            let mut unanswered = self.unanswered.lock().unwrap_or_else(PoisonError::into_inner);
            if unanswered.is_some_and(|id| frame.get(4..8) == Some(&id.to_be_bytes())) {
                *unanswered = None;
                drop(client.shutdown(Shutdown::Both));
            } else {
                drop(client.write_all(&frame));
            }
        }
        drop(client.shutdown(Shutdown::Both));
    }
}

fn take_fault(shared: &Shared, end: &EndTxn) -> Option<(EndTxnFault, usize)> {
    let mut plan = shared.plan();
    // No product under test may reuse the epoch after such an end: the same one is a repetition.
    for event in plan.events.iter_mut().filter(|event| event.is_of(end)) {
        event.repeated += 1;
    }
    let (fault, ending) = plan.armed?;
    if ending != end.ending {
        return None;
    }
    plan.armed = None;
    plan.events.push(FaultEvent {
        fault,
        ending,
        transactional_id: end.transactional_id.clone(),
        producer_id: end.producer_id,
        producer_epoch: end.producer_epoch,
        received_at_micros: now_micros(),
        forwarded_at_micros: None,
        repeated: 0,
    });
    Some((fault, plan.events.len() - 1))
}

fn now_micros() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros()
}

/// Reads a frame, its four bytes of length included.
fn read_frame(from: &mut impl std::io::Read, frame: &mut Vec<u8>) -> Result<()> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let size = usize::try_from(i32::from_be_bytes(length)).context("a negative length")?;
    ensure!(size <= LARGEST_FRAME, "a frame of {size} bytes");
    frame.clear();
    frame.extend_from_slice(&length);
    let read = from.take(u64::try_from(size)?).read_to_end(frame)?;
    ensure!(read == size, "the connection ended inside a frame");
    Ok(())
}

/// The request EndTxn; versions from 3 on have compact strings and tagged fields.
/// Source: Kafka's `EndTxnRequest.json` and `RequestHeader.json`.
#[derive(Debug, PartialEq, Eq)]
struct EndTxn {
    correlation_id: i32,
    transactional_id: String,
    producer_id: i64,
    producer_epoch: i16,
    ending: Ending,
}

impl EndTxn {
    /// The request in a frame, or none where the frame holds another one.
    fn parse(frame: &[u8]) -> Result<Option<Self>> {
        let mut rest = frame.get(4..).unwrap_or_default();
        if i16::from_be_bytes(take(&mut rest)?) != END_TXN {
            return Ok(None);
        }
        let flexible = i16::from_be_bytes(take(&mut rest)?) >= 3;
        let correlation_id = i32::from_be_bytes(take(&mut rest)?);
        let client_id = i16::from_be_bytes(take(&mut rest)?);
        take_slice(&mut rest, usize::try_from(client_id).unwrap_or(0))?;
        let length = if flexible {
            ensure!(uvarint(&mut rest)? == 0, "tagged fields in a request header");
            uvarint(&mut rest)?.checked_sub(1).context("no transactional id")?
        } else {
            usize::try_from(i16::from_be_bytes(take(&mut rest)?))?
        };
        let transactional_id = String::from_utf8(take_slice(&mut rest, length)?.to_vec())?;
        let producer_id = i64::from_be_bytes(take(&mut rest)?);
        let producer_epoch = i16::from_be_bytes(take(&mut rest)?);
        let [committed] = take(&mut rest)?;
        let ending = if committed == 0 { Ending::Abort } else { Ending::Commit };
        Ok(Some(Self { correlation_id, transactional_id, producer_id, producer_epoch, ending }))
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>().context("a request cut short")?;
    *rest = tail;
    Ok(*head)
}

fn take_slice<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(length).context("a request cut short")?;
    *rest = tail;
    Ok(head)
}

fn uvarint(rest: &mut &[u8]) -> Result<usize> {
    let mut number = 0;
    for shift in [0, 7, 14, 21] {
        let [byte] = take(rest)?;
        number |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    bail!("a number of more than four bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(version: i16, middle: &[u8], committed: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, 0, 0, 0, 26];
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&[0, 0, 0, 9, 0, 2, b'r', b'd']);
        frame.extend_from_slice(middle);
        frame.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 5, 0, 3, committed]);
        frame
    }

    #[test]
    fn both_forms_of_the_request_are_understood() {
        let old = EndTxn::parse(&frame(1, &[0, 2, b't', b'w'], 1)).unwrap().unwrap();
        let new = EndTxn::parse(&frame(3, &[0, 3, b't', b'w'], 1)).unwrap().unwrap();
        assert_eq!(old, new);
        assert_eq!(
            (old.transactional_id.as_str(), old.producer_id, old.producer_epoch),
            ("tw", 5, 3)
        );
        assert_eq!((old.correlation_id, old.ending), (9, Ending::Commit));
        let abort = EndTxn::parse(&frame(1, &[0, 2, b't', b'w'], 0)).unwrap().unwrap();
        assert_eq!(abort.ending, Ending::Abort);
    }

    #[test]
    fn other_requests_pass_and_broken_ones_are_refused() {
        assert_eq!(EndTxn::parse(&[0, 0, 0, 2, 0, 3]).unwrap(), None);
        assert!(EndTxn::parse(&[0, 0, 0, 2, 0, 26, 0, 1]).is_err());
        assert!(EndTxn::parse(&frame(1, &[0, 200, b't'], 1)).is_err());
    }

    /// A broker of this test: answers each request with its correlation id.
    fn broker() -> (u16, std::sync::mpsc::Receiver<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, received) = std::sync::mpsc::sync_channel(16);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, sender) = (stream.unwrap(), sender.clone());
                thread::spawn(move || {
                    let mut frame = Vec::new();
                    while read_frame(&mut stream, &mut frame).is_ok() {
                        sender.send(frame.clone()).unwrap();
                        let answer = [&[0, 0, 0, 4], &frame[8..12]].concat();
                        drop(stream.write_all(&answer));
                    }
                });
            }
        });
        (port, received)
    }

    fn request(ending: u8) -> Vec<u8> {
        let mut request = frame(1, &[0, 2, b't', b'w'], ending);
        let length = u32::try_from(request.len() - 4).unwrap();
        request[..4].copy_from_slice(&length.to_be_bytes());
        request
    }

    #[test]
    fn each_fault_happens_once_and_forwards_the_request_once() {
        let (port, received) = broker();
        let proxy = KafkaProxy::reserve(1).unwrap();
        proxy.serve(&[port]).unwrap();
        let address = ("127.0.0.1", proxy.ports().unwrap()[0]);
        let late = Duration::from_millis(300);
        let faults = [
            EndTxnFault::Hold(late),
            EndTxnFault::DropAnswer,
            EndTxnFault::CutAndForwardLate(late),
        ];
        for (round, fault) in faults.into_iter().enumerate() {
            proxy.arm(fault, Ending::Abort);
            let mut client = TcpStream::connect(address).unwrap();
            let mut answer = Vec::new();
            client.write_all(&request(1)).unwrap();
            read_frame(&mut client, &mut answer).unwrap();
            client.write_all(&request(0)).unwrap();
            let answered = read_frame(&mut client, &mut answer).is_ok();
            assert_eq!(answered, matches!(fault, EndTxnFault::Hold(_)), "{fault:?}");
            let events = proxy.wait_events(round + 1, Duration::from_secs(5)).unwrap();
            let event = &events[round];
            assert_eq!((event.fault, event.ending), (fault, Ending::Abort));
            let held = event.forwarded_at_micros.unwrap() - event.received_at_micros;
            assert_eq!(held >= late.as_micros(), fault != EndTxnFault::DropAnswer);
            for ending in [1, 0] {
                let seen = received.recv_timeout(Duration::from_secs(5)).unwrap();
                assert_eq!(seen, request(ending));
            }
        }
        assert!(received.recv_timeout(Duration::from_millis(100)).is_err());
        assert_eq!(proxy.end_requests(), 6);
    }
}
