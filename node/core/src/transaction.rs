//! When the end of a Kafka transaction may be believed.
//!
//! librdkafka repeats an EndTxn by itself after a transport error or a timeout and reports plain
//! success. The copy that was late ends the *next* transaction of the same producer: a late commit
//! shows records that were never committed, a late abort drops data whose position is then committed.
//! Only a new producer epoch (InitProducerId) makes late copies harmless, so every end that may have
//! left one behind costs the producer (docs/delivery.md).

/// How a transaction was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndKind {
    /// `commit_transaction`.
    Commit,
    /// `abort_transaction`.
    Abort,
}

/// What the call that ended it returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallOutcome {
    /// Success.
    Success,
    /// Retriable `_TIMED_OUT`: undecided. The same call may be made again before the end is judged;
    /// librdkafka refuses everything else.
    TimedOut,
    /// Any other error.
    Failed,
}

/// The end of one transaction, as the producer saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransactionEnd {
    /// Commit or abort.
    pub kind: EndKind,
    /// What the call returned.
    pub outcome: CallOutcome,
    /// EndTxn requests that left on any connection since the transaction began
    /// (`on_request_sent` interceptor).
    pub end_requests: u32,
    /// Whether a record was handed to the producer in this transaction.
    pub produced: bool,
}

/// What must be done with the producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndVerdict {
    /// Nothing of this transaction can still arrive: begin the next one.
    Clean,
    /// Drop it, initialise a new one and read the position again ([`crate::takeover`]).
    DropProducer,
}

impl TransactionEnd {
    /// The verdict on this end.
    ///
    /// Clean is a commit that returned success with exactly one EndTxn request sent, or none where
    /// nothing was produced. An abort always costs the producer: what made it necessary is seldom
    /// harmless, and aborts are rare.
    #[must_use]
    pub fn judge(self) -> EndVerdict {
        let expected = u32::from(self.produced);
        let clean = self.kind == EndKind::Commit
            && self.outcome == CallOutcome::Success
            && self.end_requests == expected;
        if clean { EndVerdict::Clean } else { EndVerdict::DropProducer }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_commit_with_its_one_request_is_clean() {
        for kind in [EndKind::Commit, EndKind::Abort] {
            for outcome in [CallOutcome::Success, CallOutcome::TimedOut, CallOutcome::Failed] {
                for end_requests in 0..4 {
                    for produced in [false, true] {
                        let end = TransactionEnd { kind, outcome, end_requests, produced };
                        let clean = matches!(
                            (kind, outcome, end_requests, produced),
                            (EndKind::Commit, CallOutcome::Success, 1, true)
                                | (EndKind::Commit, CallOutcome::Success, 0, false)
                        );
                        assert_eq!(end.judge() == EndVerdict::Clean, clean, "{end:?}");
                    }
                }
            }
        }
    }
}
