//! How far a shard has come: what is accepted, what is durable, what may be confirmed to the source.
//!
//! `confirmed ≤ durable ≤ accepted`, always. A position is durable when the record that holds it was
//! committed in one transaction with the output it speaks of; only then may the source forget what
//! lies before it. Positions without output (keepalives of an idle source) are persisted the same way
//! before they are confirmed, so that a slot that stands ahead of us is always somebody else's doing.

use std::sync::Arc;
use std::time::Duration;

use tidewire_shared::{Epoch, Fault, FaultKind, InTransaction, Lsn, PgPosition, PublicationMark};

use crate::takeover::{PositionEntry, TopicPin};

/// An idle position is persisted when it is this old …
const IDLE_PERIOD: Duration = Duration::from_secs(5);
/// … or this far ahead of the durable one.
const IDLE_BYTES: u64 = 16 << 20;

/// Handed to the producer, with everything before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Accepted(PgPosition);

/// Committed in Kafka, with the output before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Durable(PgPosition);

/// Told to the source as flushed; it may have forgotten everything before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Confirmed(Lsn);

macro_rules! position {
    ($($name:ident),*) => {$(
        impl $name {
            /// The position.
            #[must_use]
            pub fn position(&self) -> &PgPosition {
                &self.0
            }
        }
    )*};
}

position!(Accepted, Durable);

impl Confirmed {
    /// The LSN.
    #[must_use]
    pub fn lsn(self) -> Lsn {
        self.0
    }
}

/// The place in the source's stream that a piece of output reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// The row message `sequence` of a transaction, which goes on.
    Inside(InTransaction),
    /// `Commit.end_lsn`: the transaction is whole (it may have had no output).
    End(Lsn),
}

/// The progress of one shard under one owner.
///
/// Everything reaches it in the order of the source's stream, keepalives included: one that overtook
/// rows would declare them done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Progress {
    epoch: Epoch,
    serial: u64,
    topics: Vec<TopicPin>,
    /// The publications as they were when the source was verified.
    publications: Arc<Vec<PublicationMark>>,
    accepted: Accepted,
    durable: Durable,
    confirmed: Confirmed,
    /// The newest keepalive that came while nothing was open, and may be persisted.
    idle: Lsn,
    /// The position record in the open Kafka transaction.
    sealed: Option<PositionEntry<PgPosition>>,
    /// When a position was last persisted, on the clock of the caller.
    persisted_at: Duration,
}

impl Progress {
    /// Progress after the claim of a start was committed and the source was verified on `timeline`.
    ///
    /// `confirmed` is the slot's confirmed_flush; `now` any monotonic clock, the same in every call.
    ///
    /// # Errors
    /// [`FaultKind::Internal`] if the slot is ahead of the claim, which the verdict on the source forbids.
    pub fn resume(
        claim: &PositionEntry<PgPosition>,
        timeline: u32,
        confirmed: Lsn,
        now: Duration,
    ) -> Result<Self, Fault> {
        let position = PgPosition { timeline, ..claim.position.clone() };
        let mut progress = Self {
            epoch: claim.epoch,
            serial: claim.serial,
            topics: claim.topics.clone(),
            publications: Arc::clone(&position.publications),
            accepted: Accepted(position.clone()),
            durable: Durable(position.clone()),
            confirmed: Confirmed(Lsn::ZERO),
            idle: position.lsn,
            sealed: None,
            persisted_at: now,
        };
        progress.confirm(confirmed)?;
        Ok(progress)
    }

    /// The publications are so by now: the next record says it, and is due at once where it would not be
    /// written anyway.
    #[must_use]
    pub fn publishing(mut self, publications: Arc<Vec<PublicationMark>>) -> Self {
        self.publications = publications;
        self
    }

    /// What the producer has taken.
    #[must_use]
    pub fn accepted(&self) -> &Accepted {
        &self.accepted
    }

    /// What Kafka holds.
    #[must_use]
    pub fn durable(&self) -> &Durable {
        &self.durable
    }

    /// What the source was told last.
    #[must_use]
    pub fn confirmed(&self) -> Confirmed {
        self.confirmed
    }

    /// Serial of the newest durable record.
    #[must_use]
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Whether something was accepted that no sealed or durable position covers.
    #[must_use]
    pub fn has_open(&self) -> bool {
        let covered = self.sealed.as_ref().map_or(&self.durable.0, |entry| &entry.position);
        self.accepted.0 != *covered
    }

    /// The producer has taken `records` records that reach this place, in the order of the stream.
    ///
    /// # Errors
    /// [`FaultKind::Internal`] if the place is not after the one before: something overtook.
    pub fn accept(&mut self, reached: Reached, records: u64) -> Result<(), Fault> {
        let at = &self.accepted.0;
        let forward = match (reached, at.inside) {
            (Reached::End(lsn), None) => lsn > at.lsn,
            (Reached::End(lsn), Some(inside)) => lsn > inside.final_lsn,
            (Reached::Inside(next), None) => next.final_lsn >= at.lsn,
            (Reached::Inside(next), Some(inside)) => {
                next.final_lsn == inside.final_lsn
                    && next.xid == inside.xid
                    && next.sequence > inside.sequence
            }
        };
        if !forward {
            return Err(internal(format!("went from {at:?} back to {reached:?}")));
        }
        let position = &mut self.accepted.0;
        position.publications = Arc::clone(&self.publications);
        position.next_ordinal = position.next_ordinal.saturating_add(records);
        match reached {
            Reached::Inside(inside) => position.inside = Some(inside),
            Reached::End(lsn) => {
                position.inside = None;
                position.lsn = lsn;
                self.idle = self.idle.max(lsn);
            }
        }
        Ok(())
    }

    /// The record to write as the last one of the open Kafka transaction, or `None` if there is
    /// nothing new. What is accepted after it belongs to the next transaction.
    ///
    /// # Errors
    /// [`FaultKind::Internal`] if the record before has not been committed.
    pub fn seal(&mut self) -> Result<Option<PositionEntry<PgPosition>>, Fault> {
        if self.sealed.is_some() {
            return Err(internal("sealed a transaction before the one before it ended"));
        }
        if !self.has_open() {
            return Ok(None);
        }
        let serial = self
            .serial
            .checked_add(1)
            .ok_or_else(|| internal("has used up the serials of its positions"))?;
        self.sealed = Some(PositionEntry {
            serial,
            epoch: self.epoch,
            claim: false,
            position: self.accepted.0.clone(),
            topics: self.topics.clone(),
        });
        Ok(self.sealed.clone())
    }

    /// The transaction with the sealed record was committed, cleanly or with success (then the
    /// producer is dropped, and the position is read again before anything else is written).
    ///
    /// # Errors
    /// [`FaultKind::Internal`] if nothing was sealed.
    pub fn committed(&mut self, now: Duration) -> Result<&Durable, Fault> {
        let entry =
            self.sealed.take().ok_or_else(|| internal("committed without a sealed position"))?;
        self.serial = entry.serial;
        self.durable = Durable(entry.position);
        self.persisted_at = now;
        Ok(&self.durable)
    }

    /// A keepalive said that everything before `lsn` was sent. Gives whether the position should be
    /// persisted without output now: accept nothing else, [`Progress::seal`], commit, confirm.
    ///
    /// Only when nothing is open: inside a transaction, and while rows wait for their commit, the
    /// answer to a keepalive repeats what is confirmed.
    pub fn keepalive(&mut self, lsn: Lsn, reply_requested: bool, now: Duration) -> bool {
        if self.accepted.0.inside.is_some() || self.has_open() || self.sealed.is_some() {
            return false;
        }
        self.idle = self.idle.max(lsn);
        let ahead = self.idle.0.saturating_sub(self.durable.0.lsn.0);
        let old = now.saturating_sub(self.persisted_at) >= IDLE_PERIOD;
        let marked = self.accepted.0.publications == self.publications;
        let due = !marked || (ahead > 0 && (reply_requested || old || ahead >= IDLE_BYTES));
        if due {
            self.accepted.0.publications = Arc::clone(&self.publications);
            self.accepted.0.lsn = self.idle;
        }
        due
    }

    /// What may be told to the source as flushed: never past what is durable, and only ends of whole
    /// transactions.
    #[must_use]
    pub fn confirmable(&self) -> Lsn {
        self.durable.0.lsn
    }

    /// The source was told `lsn`.
    ///
    /// # Errors
    /// [`FaultKind::Internal`] if that is not durable: the source may have forgotten what is not delivered.
    pub fn confirm(&mut self, lsn: Lsn) -> Result<Confirmed, Fault> {
        if lsn > self.durable.0.lsn {
            let durable = self.durable.0.lsn;
            return Err(internal(format!("confirmed {lsn}, but only {durable} is durable")));
        }
        self.confirmed = self.confirmed.max(Confirmed(lsn));
        Ok(self.confirmed)
    }
}

fn internal(message: impl std::fmt::Display) -> Fault {
    Fault::new(FaultKind::Internal, "progress", message)
}

#[cfg(test)]
mod tests;
