//! How long this node may believe in its assignments: counted from when a heartbeat was sent, by a
//! clock that goes on while the machine sleeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::mono_ms;

/// The lease of this node; clones are the same one. It has ended until the leader first answers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lease(Arc<AtomicU64>);

impl Lease {
    /// The leader has answered what was sent at `sent_ms`: the lease holds for `span_ms` from there.
    pub(crate) fn renew(&self, sent_ms: u64, span_ms: u64) {
        self.0.fetch_max(sent_ms.saturating_add(span_ms), Ordering::AcqRel);
    }

    /// Whether nobody else may have been given what is assigned here.
    pub(crate) fn holds(&self) -> bool {
        mono_ms() < self.0.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_counts_from_the_sending_and_never_goes_back() {
        let lease = Lease::default();
        assert!(!lease.holds());
        let now = mono_ms();
        lease.renew(now, 60_000);
        lease.renew(now - 1_000, 500);
        assert!(lease.holds());
        let ended = Lease::default();
        ended.renew(now.saturating_sub(5_000), 4_500);
        assert!(!ended.holds());
    }
}
