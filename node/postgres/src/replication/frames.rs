//! Where frames end, and the little that must be known of them at once.
//!
//! A frame is a protocol message: tag, length (itself included), content. While streaming nearly all
//! are CopyData: `w` (WAL data: start, end, clock) or `k` (keepalive: end, clock, reply requested).

use tidewire_shared::Lsn;

/// The longest frame that is accepted: PostgreSQL builds messages below 1 GiB.
const LONGEST: usize = 1 << 30;

/// What stands at the front of received bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Front {
    /// Bytes of whole CopyData frames.
    pub(super) whole: usize,
    /// The highest LSN in them.
    pub(super) seen: Lsn,
    /// A keepalive in them wants an answer.
    pub(super) reply_requested: bool,
    /// The tag and full length of the frame behind them, when its header is there.
    pub(super) behind: Option<(u8, usize)>,
}

/// A frame that PostgreSQL does not send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Garbled(pub(super) &'static str);

/// Looks at whole frames until another kind of message or the end of `bytes`.
pub(super) fn front(bytes: &[u8]) -> Result<Front, Garbled> {
    let mut front = Front::default();
    loop {
        let rest = bytes.get(front.whole..).unwrap_or_default();
        let Some((tag, length)) = header(rest)? else { return Ok(front) };
        let content = match rest.get(5..length) {
            Some(content) if tag == b'd' => content,
            _ => {
                front.behind = Some((tag, length));
                return Ok(front);
            }
        };
        peek(content, &mut front)?;
        front.whole += length;
    }
}

fn header(bytes: &[u8]) -> Result<Option<(u8, usize)>, Garbled> {
    let Some((tag, rest)) = bytes.split_first() else { return Ok(None) };
    let Some(length) = rest.first_chunk() else { return Ok(None) };
    match usize::try_from(u32::from_be_bytes(*length)) {
        Ok(length @ 4..=LONGEST) => Ok(Some((*tag, length + 1))),
        _ => Err(Garbled("a frame length is impossible")),
    }
}

fn peek(content: &[u8], front: &mut Front) -> Result<(), Garbled> {
    match content.split_first() {
        Some((b'w', wal)) if wal.len() >= 24 => {
            let highest = lsn(wal, 0).max(lsn(wal, 8));
            front.seen = front.seen.max(highest);
            Ok(())
        }
        Some((b'k', keepalive)) if keepalive.len() == 17 => {
            front.seen = front.seen.max(lsn(keepalive, 0));
            front.reply_requested |= keepalive.last() == Some(&1);
            Ok(())
        }
        _ => Err(Garbled("a frame is neither WAL data nor a keepalive")),
    }
}

fn lsn(bytes: &[u8], at: usize) -> Lsn {
    let chunk = bytes.get(at..).and_then(|rest| rest.first_chunk());
    Lsn(chunk.map_or(0, |chunk| u64::from_be_bytes(*chunk)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len() + 4).expect("length");
        [&[tag], &length.to_be_bytes()[..], content].concat()
    }

    fn wal(start: u64, payload: &[u8]) -> Vec<u8> {
        let clock = [0; 8];
        let parts = [b"w", &start.to_be_bytes()[..], &start.to_be_bytes(), &clock, payload];
        frame(b'd', &parts.concat())
    }

    fn keepalive(end: u64, reply: u8) -> Vec<u8> {
        frame(b'd', &[b"k", &end.to_be_bytes()[..], &[0; 8], &[reply]].concat())
    }

    #[test]
    fn whole_frames_are_counted_and_peeked_into() {
        let mut bytes = [wal(7, b"row"), keepalive(9, 0), keepalive(8, 1)].concat();
        let whole = bytes.len();
        let next = wal(100, &[1; 50]);
        bytes.extend_from_slice(&next[..40]);
        let front = front(&bytes).expect("front");
        assert_eq!((front.whole, front.seen, front.reply_requested), (whole, Lsn(9), true));
        assert_eq!(front.behind, Some((b'd', next.len())));
    }

    #[test]
    fn other_messages_end_the_run() {
        let notice = frame(b'N', b"x\0");
        let bytes = [wal(7, b""), notice.clone(), wal(8, b"")].concat();
        let front = front(&bytes).expect("front");
        assert_eq!((front.whole, front.seen), (wal(7, b"").len(), Lsn(7)));
        assert_eq!(front.behind, Some((b'N', notice.len())));
    }

    #[test]
    fn impossible_frames_are_refused() {
        assert!(front(&[b'd', 0, 0, 0, 3]).is_err());
        assert!(front(&[b'd', 0xFF, 0xFF, 0xFF, 0xFF]).is_err());
        assert!(front(&frame(b'd', b"w too short")).is_err());
        assert!(front(&frame(b'd', b"z")).is_err());
        assert!(front(&frame(b'd', b"")).is_err());
    }

    proptest! {
        #[test]
        fn any_cut_of_a_stream_gives_the_same_frames(
            rows in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..20),
            cut in any::<prop::sample::Index>(),
        ) {
            let frames: Vec<_> = (1u64..).zip(&rows).map(|(i, row)| wal(i, row)).collect();
            let bytes = frames.concat();
            let cut = cut.index(bytes.len() + 1);
            let first = front(&bytes[..cut]).expect("front").whole;
            let second = front(&bytes[first..]).expect("front").whole;
            prop_assert!(first <= cut);
            prop_assert_eq!(first + second, bytes.len());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(front) = front(&bytes) {
                prop_assert!(front.whole <= bytes.len());
            }
        }
    }
}
