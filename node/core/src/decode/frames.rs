//! Cuts a byte buffer of the replication connection into whole frames, without copying.
//!
//! A frame is a CopyData message: `d`, length (itself included, the tag not), then either
//! `w` XLogData (start, end, server time, payload) or `k` keepalive (end, server time, reply flag).
//! Source: PostgreSQL documentation, "Streaming Replication Protocol".

use tidewire_shared::Lsn;

/// One replication message of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A logical message of the output plugin.
    XLogData {
        /// End of WAL on the server when it was sent.
        wal_end: Lsn,
        /// The message.
        payload: &'a [u8],
    },
    /// Everything before `wal_end` has been decoded and sent.
    Keepalive {
        /// See above.
        wal_end: Lsn,
        /// The server wants a status reply at once.
        reply_requested: bool,
    },
}

/// What the beginning of a buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A frame, and how many bytes it takes.
    Frame(Frame<'a>, usize),
    /// Only a part of a frame, or nothing.
    Partial,
    /// Not a frame of the replication stream.
    Malformed(&'static str),
}

/// Tag, length, and the shortest payload that tells its kind.
const COPY_DATA_HEADER: usize = 5;
const XLOG_DATA_HEADER: usize = 25;
const KEEPALIVE: usize = 18;

/// Looks at the frame that `buffer` begins with.
#[must_use]
#[inline]
pub fn next(buffer: &[u8]) -> Next<'_> {
    let Some((header, rest)) = buffer.split_first_chunk::<COPY_DATA_HEADER>() else {
        return match buffer.first() {
            Some(tag) if *tag != b'd' => Next::Malformed("message is not CopyData"),
            _ => Next::Partial,
        };
    };
    let [tag, length @ ..] = *header;
    if tag != b'd' {
        return Next::Malformed("message is not CopyData");
    }
    let length = u32::from_be_bytes(length) as usize;
    let Some(body_length) = length.checked_sub(4).filter(|n| *n > 0) else {
        return Next::Malformed("CopyData is shorter than its header");
    };
    let Some(body) = rest.get(..body_length) else { return Next::Partial };
    match frame(body) {
        Ok(frame) => Next::Frame(frame, COPY_DATA_HEADER + body_length),
        Err(what) => Next::Malformed(what),
    }
}

#[inline]
fn frame(body: &[u8]) -> Result<Frame<'_>, &'static str> {
    match body.first() {
        Some(b'w') => {
            let (header, payload) = body
                .split_first_chunk::<XLOG_DATA_HEADER>()
                .ok_or("XLogData is shorter than its header")?;
            Ok(Frame::XLogData { wal_end: lsn(header, 9), payload })
        }
        Some(b'k') => {
            let header: &[u8; KEEPALIVE] =
                body.try_into().map_err(|_| "keepalive has a wrong length")?;
            Ok(Frame::Keepalive { wal_end: lsn(header, 1), reply_requested: header[17] != 0 })
        }
        _ => Err("CopyData holds neither XLogData nor a keepalive"),
    }
}

/// The position at `at`; callers pass offsets inside their fixed header.
fn lsn(header: &[u8], at: usize) -> Lsn {
    header
        .get(at..)
        .and_then(|rest| rest.first_chunk::<8>())
        .map_or(Lsn::ZERO, |bytes| Lsn(u64::from_be_bytes(*bytes)))
}
