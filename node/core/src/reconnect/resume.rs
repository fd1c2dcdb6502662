//! Going on inside a transaction whose first rows are durable already.
//!
//! The server sends a transaction only whole, so it is decoded again from its start and the durable
//! rows are skipped by count. That is right only if it is the same transaction, decoded the same way.

use tidewire_shared::{Fault, FaultKind, InTransaction, LogPlace, Lsn};

use crate::rewind::way_on;

/// What to do with a transaction that begins after a resume inside another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// It comes before the unfinished one and was seen without rows then: a row in it is a fault.
    MustBeEmpty,
    /// It is the unfinished one: skip this many row messages, then deliver. The resume is over.
    Skip(u64),
}

/// Judges the Begin of a transaction while `inside` is still to be resumed.
///
/// # Errors
/// [`FaultKind::SourceHistory`] if the unfinished transaction is not there as it was.
pub fn resume_at(inside: InTransaction, final_lsn: Lsn, xid: u32) -> Result<Resume, Fault> {
    if final_lsn < inside.final_lsn {
        return Ok(Resume::MustBeEmpty);
    }
    if final_lsn == inside.final_lsn && xid == inside.xid {
        return Ok(Resume::Skip(inside.sequence));
    }
    Err(Fault::new(
        FaultKind::SourceHistory,
        "source server",
        format!(
            "did not send transaction {} (commit at {}) again, of which {} changes are delivered; \
             it sent transaction {xid} (commit at {final_lsn})",
            inside.xid, inside.final_lsn, inside.sequence
        ),
    )
    .remedy(format!(
        "the delivered part stays in the target; to go on where the slot stands, and deliver again what \
         comes after it: {}",
        way_on(LogPlace::Slot)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_transaction_is_resumed() {
        let inside = InTransaction { final_lsn: Lsn(100), xid: 7, sequence: 5 };
        assert_eq!(resume_at(inside, Lsn(100), 7), Ok(Resume::Skip(5)));
        assert_eq!(resume_at(inside, Lsn(90), 6), Ok(Resume::MustBeEmpty));
        for (lsn, xid) in [(100, 8), (110, 7), (110, 8)] {
            let fault = resume_at(inside, Lsn(lsn), xid).expect_err("stops");
            assert_eq!(fault.kind, FaultKind::SourceHistory);
        }
    }
}
