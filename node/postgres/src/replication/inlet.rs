//! Takes bytes from the socket of a stream.

use std::future::poll_fn;
use std::io::{self, Read};
use std::net::TcpStream;
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Interest, ReadHalf};
use tokio::time::sleep_until;
use tokio_rustls::client::TlsStream;

use super::pace::Pace;

/// The receive buffer that is asked for, when the kernel allows it: what a busy walsender sends
/// while nobody reads.
const RECEIVE_BUFFER: usize = 4 << 20;

/// The receiving side of a connection.
#[derive(Debug)]
pub(super) enum Inlet {
    Plain(Paced),
    Tls(ReadHalf<TlsStream<tokio::net::TcpStream>>),
}

impl Inlet {
    /// Appends what is there to `buffer`, at most what its spare capacity holds (which must not be
    /// none), waiting for at least one byte. Cancel safe.
    pub(super) async fn fill(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.fill(buffer).await,
            Self::Tls(stream) => fill_decrypted(stream, buffer).await,
        }
    }
}

/// One record of TLS is at most 16 KiB, so records are taken until none is ready.
async fn fill_decrypted<S>(stream: &mut S, buffer: &mut Vec<u8>) -> io::Result<()>
where
    S: tokio::io::AsyncRead + Unpin,
{
    let before = buffer.len();
    poll_fn(|cx| {
        while buffer.len() < buffer.capacity() {
            let read = {
                let mut limited = bytes::BufMut::limit(&mut *buffer, 0);
                let spare = limited.get_ref().capacity() - limited.get_ref().len();
                limited.set_limit(spare);
                let mut next = pin!(stream.read_buf(&mut limited));
                Future::poll(next.as_mut(), cx)
            };
            match read {
                Poll::Ready(Ok(0)) if buffer.len() == before => {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                Poll::Ready(Ok(0)) => break,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if buffer.len() == before => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(()))
    })
    .await
}

/// A TCP socket that is in the poller only while it is waited for.
///
/// A socket in the poller wakes the runtime for every packet, read or not, and makes the walsender
/// pay for it. Under load it is therefore taken out and read once per nap.
#[derive(Debug)]
pub(super) struct Paced {
    socket: Watched,
    pace: Pace,
}

/// Exactly one of the two holds the socket; neither only while it passes between them.
#[derive(Debug)]
struct Watched {
    polled: Option<AsyncFd<TcpStream>>,
    alone: Option<TcpStream>,
}

impl Watched {
    fn socket(&self) -> io::Result<&TcpStream> {
        let held = self.polled.as_ref().map(AsyncFd::get_ref).or(self.alone.as_ref());
        held.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn polled(&mut self) -> io::Result<&AsyncFd<TcpStream>> {
        if let Some(socket) = self.alone.take() {
            self.polled = Some(AsyncFd::with_interest(socket, Interest::READABLE)?);
        }
        self.polled.as_ref().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn unpolled(&mut self) {
        if let Some(polled) = self.polled.take() {
            self.alone = Some(polled.into_inner());
        }
    }
}

impl Paced {
    pub(super) fn new(socket: TcpStream) -> Self {
        enlarge(&socket);
        let socket = Watched { polled: None, alone: Some(socket) };
        Self { socket, pace: Pace::new(Instant::now()) }
    }

    async fn fill(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        loop {
            if let Some(until) = self.pace.nap() {
                self.socket.unpolled();
                if until > Instant::now() {
                    sleep_until(until.into()).await;
                }
                if drain(self.socket.socket()?, buffer)? > 0 {
                    self.pace.read(Instant::now());
                    return Ok(());
                }
                self.pace.dry();
            }
            let mut ready = self.socket.polled()?.readable().await?;
            let read = drain(ready.get_inner(), buffer)?;
            if buffer.len() < buffer.capacity() {
                ready.clear_ready();
            }
            if read > 0 {
                self.pace.read(Instant::now());
                return Ok(());
            }
        }
    }
}

/// Reads into the spare capacity until it is full or the socket is empty; returns how much.
fn drain(socket: &TcpStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let before = buffer.len();
    let spare = u64::try_from(buffer.capacity() - before).unwrap_or(u64::MAX);
    // What was read before an error stays in the buffer.
    match socket.take(spare).read_to_end(buffer) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(read) => Ok(read),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(buffer.len() - before),
        Err(error) => Err(error),
    }
}

/// A buffer that is set is no longer grown by the kernel, so it is set only where the limit
/// (`net.core.rmem_max`) lets it be large.
fn enlarge(socket: &TcpStream) {
    let limit = std::fs::read_to_string("/proc/sys/net/core/rmem_max").ok();
    let limit = limit.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    if RECEIVE_BUFFER <= limit {
        let set = socket2::SockRef::from(socket).set_recv_buffer_size(RECEIVE_BUFFER);
        if let Err(error) = set {
            tracing::debug!(%error, "receive buffer stays as it is");
        }
    }
}
