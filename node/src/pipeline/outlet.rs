//! Where records leave: what the two deliveries do differently behind one door.
//!
//! [`Fenced`] is exactly_once: Kafka transactions that hold the position too. [`Leased`] is
//! at_least_once: acknowledgements, the position in the coordinators' log, and a lease in place of a fence.

mod fenced;
mod leased;

use std::time::Duration;

use tidewire_kafka::{Record, Sent};
use tidewire_node_core::takeover::PositionEntry;
use tidewire_shared::Fault;
use tidewire_shared::report::PositionHint;

use super::positions::Recorded;

pub(crate) use fenced::Fenced;
pub(crate) use leased::Leased;

/// One record on its way out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    /// Number of the topic, in the order in which the outlet was given them.
    pub(crate) topic: usize,
    pub(crate) record: Record<'a>,
}

/// The producer of a shard, and how its records become durable.
pub(crate) enum Outlet {
    Fenced(Fenced),
    Leased(Leased),
}

impl Outlet {
    /// Begins what the next [`Outlet::commit`] makes durable.
    pub(crate) fn begin(&mut self) -> Result<(), Fault> {
        match self {
            Self::Fenced(outlet) => outlet.begin(),
            Self::Leased(outlet) => outlet.may_write(),
        }
    }

    pub(crate) fn send(&mut self, record: &Outgoing<'_>) -> Result<Sent, Fault> {
        match self {
            Self::Fenced(outlet) => outlet.send(record),
            Self::Leased(outlet) => outlet.send(record),
        }
    }

    /// Whether something left the queue within `timeout`.
    pub(crate) fn wait_for_room(&mut self, timeout: Duration) -> Result<bool, Fault> {
        match self {
            Self::Fenced(outlet) => outlet.wait_for_room(timeout),
            Self::Leased(outlet) => outlet.wait_for_room(timeout),
        }
    }

    /// Makes durable what was sent since [`Outlet::begin`], and the position that covers it. Gives
    /// where the coordinators find that.
    pub(crate) fn commit<P: Recorded>(
        &mut self,
        entry: &PositionEntry<P>,
    ) -> Result<Option<PositionHint>, Fault> {
        match self {
            Self::Fenced(outlet) => outlet.commit(entry),
            Self::Leased(outlet) => outlet.commit(entry).map(Some),
        }
    }

    /// Serial of the newest position that is kept for good: of those that are durable all are, unless
    /// the coordinators alone keep them.
    pub(crate) fn kept(&self, durable: u64) -> u64 {
        match self {
            Self::Fenced(_) => durable,
            Self::Leased(outlet) => outlet.kept().min(durable),
        }
    }

    /// An error when the shard may not be written any more.
    pub(crate) fn look(&self) -> Result<(), Fault> {
        match self {
            Self::Fenced(_) => Ok(()),
            Self::Leased(outlet) => outlet.may_write(),
        }
    }

    /// Ends what may be open, so that readers are not held; the outlet is dropped after it.
    pub(crate) fn abandon(&mut self) {
        match self {
            Self::Fenced(outlet) => outlet.abandon(),
            Self::Leased(outlet) => outlet.abandon(),
        }
    }
}
