//! Status updates, sent from a task of their own so that they go out while the reader is held back.
//!
//! Only the flush position matters to a logical slot: the server forgets everything before it, and
//! accepts any value at all. What is sent is therefore never above what the server itself has named
//! on this connection, whatever was reported.

use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::{BufMut, BytesMut};
use postgres_protocol::message::frontend;
use tidewire_shared::Lsn;
use tokio::io::{AsyncWriteExt, WriteHalf};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use tokio_rustls::client::TlsStream;

/// How long a changed position may wait.
const CHANGED: Duration = Duration::from_secs(1);
/// How long an unchanged position may wait.
const UNCHANGED: Duration = Duration::from_secs(10);
/// Seconds from 1970 to 2000, where PostgreSQL's clock begins.
const EPOCH: Duration = Duration::from_secs(946_684_800);

/// Tells the server how far we are. Clones report to the same stream.
///
/// The task behind it lives as long as the stream's reader.
#[derive(Clone, Debug)]
pub struct Feedback {
    progress: Arc<Progress>,
}

impl Feedback {
    pub(super) fn new(progress: Arc<Progress>) -> Self {
        Self { progress }
    }

    /// Everything before `flush` is durable. A lower value than before changes nothing; a value
    /// above what the server has named waits until it names it. Sent at once after a reply was
    /// requested, else within 1 s.
    pub fn report(&self, flush: Lsn) {
        let before = self.progress.flush.fetch_max(flush.0, Ordering::AcqRel);
        if before < flush.0 && self.progress.awaited.swap(false, Ordering::AcqRel) {
            self.progress.due.store(true, Ordering::Release);
            self.progress.wake.notify_one();
        }
    }
}

impl Feedback {
    /// What the server may forget, as it was or will be told within a second.
    #[must_use]
    pub fn flushed(&self) -> Lsn {
        self.progress.flush()
    }

    /// The place that the server has named last, while the reader waits for more from it; `None`
    /// while there is something to read. At the beginning of a stream it goes back: the server
    /// reads its log again from `restart_lsn`, which may take longer than anything else.
    #[must_use]
    pub fn waits_at(&self) -> Option<Lsn> {
        self.progress.waiting.load(Ordering::Acquire).then(|| self.progress.named())
    }
}

/// What reader, reporter and owner of a stream know of its positions.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Reported as durable.
    flush: AtomicU64,
    /// The highest that the server has named.
    seen: AtomicU64,
    /// What it has named last.
    named: AtomicU64,
    /// A status update is due now.
    due: AtomicBool,
    /// The server asked, and no newer position was reported since.
    awaited: AtomicBool,
    /// Something came from the server since the last status update.
    heard: AtomicBool,
    /// The reader waits for the server.
    waiting: AtomicBool,
    /// The stream shall end.
    ended: AtomicBool,
    wake: Notify,
}

impl Progress {
    /// The server named `lsn`, and perhaps wants to hear from us.
    pub(super) fn saw(&self, lsn: Lsn, reply_requested: bool) {
        self.seen.fetch_max(lsn.0, Ordering::AcqRel);
        // Some messages name no place.
        if lsn > Lsn::ZERO {
            self.named.store(lsn.0, Ordering::Release);
        }
        if reply_requested {
            self.awaited.store(true, Ordering::Release);
            self.due.store(true, Ordering::Release);
            self.wake.notify_one();
        }
    }

    /// The reader begins to wait for the server.
    pub(super) fn waits(&self) {
        self.waiting.store(true, Ordering::Release);
    }

    /// Something came from the server, whatever it was.
    pub(super) fn heard(&self) {
        self.waiting.store(false, Ordering::Release);
        self.heard.store(true, Ordering::Release);
    }

    fn named(&self) -> Lsn {
        Lsn(self.named.load(Ordering::Acquire))
    }

    pub(super) fn seen(&self) -> Lsn {
        Lsn(self.seen.load(Ordering::Acquire))
    }

    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// What may be sent: durable, and named by the server.
    fn flush(&self) -> Lsn {
        Lsn(self.flush.load(Ordering::Acquire)).min(self.seen())
    }
}

/// Sends status updates until the stream ends; then says so and hands the socket back. `None` when
/// the connection breaks, which the reader finds out as well.
pub(super) async fn keep_reporting(
    mut outlet: Outlet,
    progress: Arc<Progress>,
    sender_timeout_ms: u64,
) -> Option<Outlet> {
    let unchanged = match Duration::from_millis(sender_timeout_ms) {
        Duration::ZERO => UNCHANGED,
        limit => UNCHANGED.min(limit / 3),
    };
    let mut sent = Lsn::ZERO;
    let mut at = Instant::now();
    loop {
        tokio::select! {
            () = progress.wake.notified() => {}
            () = sleep(CHANGED.min(unchanged)) => {}
        }
        let ended = progress.ended.load(Ordering::Acquire);
        let flush = progress.flush();
        let late = at.elapsed() >= unchanged;
        let changed = flush > sent && at.elapsed() >= CHANGED;
        if !(ended || progress.due.swap(false, Ordering::AcqRel) || late || changed) {
            continue;
        }
        let mut message = BytesMut::new();
        // A server that hears from us in time sends nothing by itself while nothing happens: then it
        // is asked, so that its silence means something (`StreamReader::next`).
        let ask = !progress.heard.swap(false, Ordering::AcqRel);
        status(progress.seen(), flush, ask, &mut message);
        if ended {
            frontend::copy_done(&mut message);
        }
        if let Err(error) = outlet.send(&message).await {
            tracing::debug!(%error, "status update not sent");
            return None;
        }
        if ended {
            return Some(outlet);
        }
        (sent, at) = (flush, Instant::now());
    }
}

/// A standby status update in CopyData: `r`, written, flushed, applied, clock, whether to reply.
fn status(seen: Lsn, flush: Lsn, ask: bool, out: &mut BytesMut) {
    let clock = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().saturating_sub(EPOCH);
    out.put_u8(b'd');
    out.put_u32(4 + 34);
    out.put_u8(b'r');
    out.put_u64(seen.0);
    out.put_u64(flush.0);
    out.put_u64(flush.0);
    out.put_u64(u64::try_from(clock.as_micros()).unwrap_or(0));
    out.put_u8(u8::from(ask));
}

/// The sending side of a connection.
#[derive(Debug)]
pub(super) enum Outlet {
    Plain(TcpStream),
    Tls(WriteHalf<TlsStream<tokio::net::TcpStream>>),
}

impl Outlet {
    async fn send(&mut self, mut message: &[u8]) -> io::Result<()> {
        let socket = match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => {
                stream.write_all(message).await?;
                return stream.flush().await;
            }
        };
        // Not in the poller, where it would be woken for what arrives; a full send buffer is rare.
        while !message.is_empty() {
            match socket.write(message) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => message = message.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    sleep(Duration::from_millis(20)).await;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Tells the server that the session is over.
    pub(super) async fn terminate(&mut self) -> io::Result<()> {
        let mut message = BytesMut::new();
        frontend::terminate(&mut message);
        self.send(&message).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_reads_its_log_again_is_seen_to_move() {
        let progress = Arc::new(Progress::default());
        let feedback = Feedback::new(Arc::clone(&progress));
        progress.saw(Lsn(500), false);
        progress.waits();
        assert_eq!(feedback.waits_at(), Some(Lsn(500)));
        progress.saw(Lsn(100), false);
        progress.saw(Lsn::ZERO, false);
        assert_eq!(feedback.waits_at(), Some(Lsn(100)));
        assert_eq!(progress.seen(), Lsn(500));
        progress.heard();
        assert_eq!(feedback.waits_at(), None);
    }
}
