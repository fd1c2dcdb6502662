//! A PostgreSQL cluster that fails over once: transactions, a slot, and what its log still holds.

use tidewire_node_core::facts::{ServerFacts, SlotFacts, TimelineEnd};
use tidewire_shared::Lsn;

/// A committed transaction.
#[derive(Debug)]
pub(crate) struct Txn {
    pub(crate) xid: u32,
    pub(crate) final_lsn: Lsn,
    pub(crate) end_lsn: Lsn,
    pub(crate) rows: u64,
}

const fn txn(xid: u32, at: u64, rows: u64) -> Txn {
    Txn { xid, final_lsn: Lsn(at), end_lsn: Lsn(at + 5), rows }
}

const BEFORE: [Txn; 2] = [txn(1, 10, 1), txn(2, 20, 2)];
/// Transaction 2 never reached the standby; another one took its place in the log.
const AFTER_LOSS: [Txn; 2] = [txn(1, 10, 1), txn(12, 20, 2)];
const AFTER_CLEAN: [Txn; 3] = [txn(1, 10, 1), txn(2, 20, 2), txn(13, 30, 1)];

/// What became of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum History {
    /// The first primary.
    Before,
    /// A standby was promoted that lacked transaction 2.
    AfterLoss,
    /// A standby was promoted that had everything.
    AfterClean,
}

impl History {
    pub(crate) fn txns(self) -> &'static [Txn] {
        match self {
            Self::Before => &BEFORE,
            Self::AfterLoss => &AFTER_LOSS,
            Self::AfterClean => &AFTER_CLEAN,
        }
    }

    pub(crate) fn timeline(self) -> u32 {
        if self == Self::Before { 1 } else { 2 }
    }

    pub(crate) fn switch(self) -> Option<Lsn> {
        match self {
            Self::Before => None,
            Self::AfterLoss => Some(Lsn(16)),
            Self::AfterClean => Some(Lsn(28)),
        }
    }

    /// A keepalive position after the last transaction.
    pub(crate) fn end(self) -> Lsn {
        Lsn(self.txns().last().map_or(0, |txn| txn.end_lsn.0 + 2))
    }

    pub(crate) fn server(self) -> ServerFacts {
        ServerFacts {
            system_id: 7,
            timeline: self.timeline(),
            flush_lsn: self.end(),
            version_num: 180_000,
            in_recovery: false,
            wal_level: String::new(),
        }
    }

    pub(crate) fn timeline_history(self) -> Vec<TimelineEnd> {
        self.switch()
            .map(|switch_lsn| TimelineEnd { timeline: 1, switch_lsn })
            .into_iter()
            .collect()
    }

    /// Rows of the log after `from`, in the order in which they are sent.
    pub(crate) fn rows_after(self, from: Lsn) -> impl Iterator<Item = (u32, u64)> {
        let after = self.txns().iter().filter(move |txn| txn.end_lsn > from);
        after.flat_map(|txn| (1..=txn.rows).map(|row| (txn.xid, row)))
    }
}

/// The slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Slot {
    pub(crate) confirmed: Lsn,
    /// One of us confirmed that, on this server.
    pub(crate) by_us: bool,
    /// Node that streams from it, and its epoch.
    pub(crate) session: Option<(usize, u64)>,
}

/// The source.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Source {
    pub(crate) history: History,
    pub(crate) slot: Option<Slot>,
}

impl Source {
    pub(crate) fn new() -> Self {
        Self { history: History::Before, slot: None }
    }

    /// A standby is promoted; `keeps_slot` says whether the slot had been copied to it.
    pub(crate) fn fail_over(&mut self, to: History, keeps_slot: bool) {
        self.history = to;
        let reached = to.switch().unwrap_or(Lsn::ZERO);
        self.slot = self.slot.filter(|_| keeps_slot).map(|slot| Slot {
            confirmed: slot.confirmed.min(reached),
            by_us: false,
            session: None,
        });
    }

    /// The slot's consistent point where it is created now: the present end of the log.
    pub(crate) fn consistent_point(&self) -> Lsn {
        self.history.switch().unwrap_or(Lsn(5))
    }

    pub(crate) fn slot_facts(&self, application: impl Fn(u64) -> String) -> Option<SlotFacts> {
        self.slot.map(|slot| SlotFacts {
            name: "tidewire_t".into(),
            plugin: "pgoutput".into(),
            database: "shop".into(),
            temporary: false,
            two_phase: false,
            restart_lsn: None,
            confirmed_flush: Some(slot.confirmed),
            wal_status: String::new(),
            invalidation: None,
            active_pid: slot.session.map(|_| 1),
            active_application: slot.session.map(|(_, epoch)| application(epoch)),
            failover: false,
            synced: false,
        })
    }
}
