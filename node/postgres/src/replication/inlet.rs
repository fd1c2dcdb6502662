//! Takes bytes from the socket of a stream.

use std::future::poll_fn;
use std::io::{self, Read};
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use bytes::BufMut;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, Interest, ReadHalf};
use tokio::net::TcpStream;
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
    Tls(ReadHalf<TlsStream<TcpStream>>),
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
                let spare = buffer.capacity() - buffer.len();
                let mut limited = (&mut *buffer).limit(spare);
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
    socket: Socket,
    pace: Pace,
}

#[derive(Debug)]
enum Socket {
    Polled(TcpStream),
    Alone(std::net::TcpStream),
    /// Lost to an error on its way into the poller or out of it.
    Lost,
}

impl Socket {
    fn polled(&mut self) -> io::Result<&TcpStream> {
        if let Self::Alone(_) = self {
            let Self::Alone(socket) = std::mem::replace(self, Self::Lost) else {
                return Err(io::ErrorKind::NotConnected.into());
            };
            *self = Self::Polled(TcpStream::from_std(socket)?);
        }
        match self {
            Self::Polled(socket) => Ok(socket),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn alone(&mut self) -> io::Result<&std::net::TcpStream> {
        if let Self::Polled(_) = self {
            let Self::Polled(socket) = std::mem::replace(self, Self::Lost) else {
                return Err(io::ErrorKind::NotConnected.into());
            };
            *self = Self::Alone(socket.into_std()?);
        }
        match self {
            Self::Alone(socket) => Ok(socket),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

impl Paced {
    pub(super) fn new(socket: std::net::TcpStream) -> Self {
        enlarge(&socket);
        Self { socket: Socket::Alone(socket), pace: Pace::new(Instant::now()) }
    }

    async fn fill(&mut self, buffer: &mut Vec<u8>) -> io::Result<()> {
        let before = buffer.len();
        while buffer.len() == before {
            let drained = match self.pace.nap() {
                Some(until) => {
                    let socket = self.socket.alone()?;
                    if until > Instant::now() {
                        sleep_until(until.into()).await;
                    }
                    drain(&SockRef::from(socket), buffer)
                }
                None => {
                    let socket = self.socket.polled()?;
                    socket.readable().await?;
                    // An empty socket is reported from inside, so that readiness is cleared.
                    let drain = || drain(&SockRef::from(socket), buffer);
                    socket.try_io(Interest::READABLE, drain)
                }
            };
            match drained {
                _ if buffer.len() > before => self.pace.read(Instant::now()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.pace.dry(),
                Err(error) => return Err(error),
                Ok(()) => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        Ok(())
    }
}

/// Reads until the spare capacity is full; `WouldBlock` when the socket is empty before that. What
/// was read before an error stays in the buffer.
fn drain(mut socket: &socket2::Socket, buffer: &mut Vec<u8>) -> io::Result<()> {
    let spare = u64::try_from(buffer.capacity() - buffer.len()).unwrap_or(u64::MAX);
    socket.by_ref().take(spare).read_to_end(buffer).map(|_| ())
}

/// A buffer that is set is no longer grown by the kernel, so it is set only where the limit
/// (`net.core.rmem_max`) lets it be large.
fn enlarge(socket: &std::net::TcpStream) {
    let limit = std::fs::read_to_string("/proc/sys/net/core/rmem_max").ok();
    let limit = limit.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    if RECEIVE_BUFFER <= limit {
        let set = SockRef::from(socket).set_recv_buffer_size(RECEIVE_BUFFER);
        if let Err(error) = set {
            tracing::debug!(%error, "receive buffer stays as it is");
        }
    }
}
