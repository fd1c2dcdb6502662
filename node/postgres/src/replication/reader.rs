//! The reading half of a stream.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use postgres_protocol::message::backend::Message;
use tidewire_shared::{Fault, Lsn};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::feedback::{Feedback, Outlet, Progress, keep_reporting};
use super::frames::front;
use super::inlet::{Inlet, Paced};
use super::wire::Wire;
use crate::fault::{ServerError, broken, garbled, of_io};
use crate::transport::Transport;

/// A batch is cut when it has grown to this.
const FULL: usize = 1 << 20;
/// The least room that is made for what comes.
const LEAST: usize = 16 << 10;
/// A stream is given up when nothing came for this many times `wal_sender_timeout`…
const SILENT_TIMEOUTS: u32 = 2;
/// …but not before it was asked twice…
const SILENT_LEAST: Duration = Duration::from_secs(25);
/// …and after this where the server has no timeout: it may decode for long without a word.
const SILENT_UNTIMED: Duration = Duration::from_secs(600);
/// How long a server may take to end a stream.
const FAREWELL: Duration = Duration::from_secs(5);

/// What the server sent since the last batch: whole CopyData frames (tag and length included), in
/// order, keepalives among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawBatch {
    /// The frames: about 1 MiB at most, or one frame of up to 1 GiB; never a part of one.
    pub bytes: Bytes,
    /// A keepalive in it asked for an answer. [`Feedback`] has repeated the old position already;
    /// this is the moment to persist a newer one and report it.
    pub reply_requested: bool,
}

/// The reading half of a stream. Dropping it ends the connection and its feedback.
#[derive(Debug)]
pub struct StreamReader {
    inlet: Inlet,
    inbox: Vec<u8>,
    /// What the last batch held: about as much comes next.
    last: usize,
    progress: Arc<Progress>,
    reporter: JoinHandle<Option<Outlet>>,
    host: String,
    session: String,
    /// How long the server may send nothing at all.
    silence: Duration,
}

impl StreamReader {
    pub(super) fn begin(wire: Wire, timeout_ms: u64) -> Result<(Self, Feedback), Fault> {
        let Wire { transport, inbox, host, session } = wire;
        let split = || match transport {
            Transport::Plain(socket) => {
                let socket = socket.into_std()?;
                let writer = socket.try_clone()?;
                Ok((Inlet::Plain(Paced::new(socket)), Outlet::Plain(writer)))
            }
            Transport::Tls(stream) => {
                let (reader, writer) = tokio::io::split(*stream);
                Ok((Inlet::Tls(reader), Outlet::Tls(writer)))
            }
        };
        let (inlet, outlet) = split().map_err(|error| of_io(&error, &host))?;
        let progress = Arc::new(Progress::default());
        let feedback = Feedback::new(Arc::clone(&progress));
        let reporter = tokio::spawn(keep_reporting(outlet, Arc::clone(&progress), timeout_ms));
        let inbox = inbox.to_vec();
        let silence = match Duration::from_millis(timeout_ms) {
            Duration::ZERO => SILENT_UNTIMED,
            limit => SILENT_LEAST.max(limit * SILENT_TIMEOUTS),
        };
        Ok((Self { inlet, inbox, last: 0, progress, reporter, host, session, silence }, feedback))
    }

    /// Takes what is there; waits for something, but not for ever. The status updates ask a silent
    /// server to answer, so that one that does not is gone or stuck, whatever the socket says.
    async fn fill(&mut self) -> Result<(), Fault> {
        self.progress.waits();
        match timeout(self.silence, self.inlet.fill(&mut self.inbox)).await {
            Ok(filled) => filled.map_err(|error| self.lost(&error))?,
            Err(_) => {
                let silence = self.silence;
                let message = format!("the stream is open but nothing came for {silence:?}");
                return Err(broken(&self.host, message).remedy(
                    "look whether the walsender still runs and the network lets its packets pass",
                ));
            }
        }
        self.progress.heard();
        Ok(())
    }

    /// The next frames; waits for some. Cancel safe: what was received is kept for the next call.
    ///
    /// # Errors
    /// `SourceUnreachable` when the connection breaks or the server ends the stream, the server's own
    /// error when it gives one, `Decode` when the bytes are not PostgreSQL's.
    pub async fn next(&mut self) -> Result<RawBatch, Fault> {
        loop {
            let front = front(&self.inbox).map_err(|error| garbled(&self.host, error.0))?;
            if front.whole > 0 {
                self.progress.saw(front.seen, front.reply_requested);
                let bytes = self.cut(front.whole);
                return Ok(RawBatch { bytes, reply_requested: front.reply_requested });
            }
            let missing = match front.behind {
                Some((tag, length)) if tag != b'd' && length <= self.inbox.len() => {
                    let aside = self.cut(length);
                    self.pass(tag, aside)?;
                    continue;
                }
                Some((_, length)) => length - self.inbox.len(),
                None => LEAST,
            };
            self.make_room(missing);
            self.fill().await?;
        }
    }

    /// The highest LSN that the server has named on this connection.
    #[must_use]
    pub fn seen(&self) -> Lsn {
        self.progress.seen()
    }

    /// Ends the stream in good order (last report, CopyDone, CommandComplete), within 5 s. Frames on
    /// their way are thrown away.
    ///
    /// # Errors
    /// `SourceUnreachable` when the server does not end it in time; the connection is closed in any
    /// case.
    pub async fn stop(mut self) -> Result<(), Fault> {
        self.progress.end();
        let farewell = async {
            let written = (&mut self.reporter).await.ok().flatten();
            let Some(mut outlet) = written else {
                return Err(broken(&self.host, "the connection broke while ending the stream"));
            };
            while self.still_streams().await? {}
            outlet.terminate().await.map_err(|error| of_io(&error, &self.host))
        };
        let in_time = timeout(FAREWELL, farewell).await;
        in_time.unwrap_or_else(|_| {
            Err(broken(&self.host, format!("the stream was not ended within {FAREWELL:?}")))
        })
    }

    /// Takes what is there and throws it away; false once the command is complete.
    async fn still_streams(&mut self) -> Result<bool, Fault> {
        let front = front(&self.inbox).map_err(|error| garbled(&self.host, error.0))?;
        if front.whole > 0 {
            self.cut(front.whole);
            return Ok(true);
        }
        match front.behind {
            Some((tag, length)) if tag != b'd' && length <= self.inbox.len() => {
                let aside = self.cut(length);
                match tag {
                    b'C' | b'Z' => return Ok(false),
                    b'c' => {}
                    _ => self.pass(tag, aside)?,
                }
            }
            behind => {
                let missing = behind.map_or(LEAST, |(_, length)| length - self.inbox.len());
                self.make_room(missing);
                self.fill().await?;
            }
        }
        Ok(true)
    }

    /// Cuts the first `whole` bytes off the inbox, without copying them.
    fn cut(&mut self, whole: usize) -> Bytes {
        let room = self.last.clamp(LEAST, FULL);
        let mut rest = Vec::with_capacity(room.max(self.inbox.len() - whole));
        rest.extend_from_slice(self.inbox.get(whole..).unwrap_or_default());
        self.inbox.truncate(whole);
        self.last = whole.saturating_mul(2);
        Bytes::from(std::mem::replace(&mut self.inbox, rest))
    }

    /// Makes room for more. A long frame gets room as it comes, not as it claims to be.
    fn make_room(&mut self, missing: usize) {
        if self.inbox.capacity() - self.inbox.len() < LEAST.min(missing) {
            let more = missing.clamp(LEAST, self.inbox.len().max(LEAST));
            self.inbox.reserve_exact(more);
        }
    }

    /// A message that is not CopyData.
    fn pass(&self, tag: u8, bytes: Bytes) -> Result<(), Fault> {
        match tag {
            b'N' | b'S' | b'A' => Ok(()),
            b'E' => {
                let message = Message::parse(&mut BytesMut::from(bytes.chunk()));
                let Ok(Some(Message::ErrorResponse(body))) = message else {
                    return Err(garbled(&self.host, "an error that does not parse"));
                };
                Err(ServerError::from_response(&body).fault(&self.host, &self.session))
            }
            b'c' | b'C' | b'Z' => Err(broken(&self.host, "the server ended the stream")),
            _ => Err(garbled(&self.host, "an unexpected message in the stream")),
        }
    }

    fn lost(&self, error: &std::io::Error) -> Fault {
        match error.kind() {
            std::io::ErrorKind::UnexpectedEof => {
                broken(&self.host, "the server closed the connection")
            }
            _ => of_io(error, &self.host),
        }
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        self.reporter.abort();
    }
}
