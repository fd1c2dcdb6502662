//! May a shard go back to an earlier position? The newest record and the slot in, the record that takes
//! it back out.
//!
//! A slot sends nothing before its confirmed position, whatever it is asked for, so that is the bound.
//! Beyond the durable position there is nothing to go back from: changes in between would be lost.

use tidewire_shared::{Epoch, Fault, FaultKind, Lsn, PgPosition};

use crate::facts::SlotFacts;
use crate::takeover::PositionEntry;

/// What a rewind has seen.
#[derive(Clone, Copy, Debug)]
pub struct Rewind<'a> {
    /// The newest record of the shard.
    pub newest: Option<&'a PositionEntry<PgPosition>>,
    /// Name of its slot.
    pub slot_name: &'a str,
    /// Its slot.
    pub slot: Option<&'a SlotFacts>,
    /// The newest epoch that the coordinators gave out.
    pub epoch: Epoch,
    /// Where to go back to.
    pub to: Lsn,
}

impl Rewind<'_> {
    /// The record that takes the shard back: of another incarnation, so that the identities of what goes
    /// out again can be told from the first time, with the next serial and nothing half delivered.
    ///
    /// # Errors
    /// [`FaultKind::SourceHistory`] for a position that the slot does not have any more, or that was not
    /// delivered yet; [`FaultKind::Fenced`] when somebody runs the shard.
    pub fn judge(&self) -> Result<PositionEntry<PgPosition>, Fault> {
        let newest = self.newest.ok_or_else(|| {
            Fault::new(FaultKind::TargetHistory, "positions", "hold no record of the task")
                .remedy("start the task: it has not streamed yet")
        })?;
        if newest.epoch > self.epoch {
            let text = format!("a later owner, {}, has claimed it", newest.epoch);
            return Err(Fault::new(FaultKind::Fenced, "shard", text)
                .remedy("pause the task and wait until it is Paused"));
        }
        let confirmed = self.slot.and_then(|slot| slot.confirmed_flush).ok_or_else(|| {
            let object = format!("slot {}", self.slot_name);
            Fault::new(FaultKind::SourceState, object, "does not exist any more")
                .remedy("delete the task and create it again")
        })?;
        let position = &newest.position;
        if self.to < confirmed || self.to > position.lsn {
            return Err(self.out_of_reach(confirmed, position.lsn));
        }
        let next = newest.serial.checked_add(1).zip(position.incarnation.checked_add(1));
        let (serial, incarnation) = next.ok_or_else(|| {
            Fault::new(FaultKind::TargetHistory, "positions", "the newest record is not ours")
                .remedy("restore the positions topic")
        })?;
        let position = PgPosition { lsn: self.to, inside: None, incarnation, ..position.clone() };
        Ok(PositionEntry { serial, epoch: self.epoch, claim: true, position, ..newest.clone() })
    }

    fn out_of_reach(&self, confirmed: Lsn, durable: Lsn) -> Fault {
        let why = if self.to < confirmed {
            format!("the server sends nothing before {confirmed}, which the slot has confirmed")
        } else {
            format!("the task has come to {durable}: changes in between would be lost")
        };
        let text = format!("cannot be rewound to {}: {why}", self.to);
        Fault::new(FaultKind::SourceHistory, format!("slot {}", self.slot_name), text).remedy(
            format!(
                "name a position from {confirmed} to {durable}; for earlier changes copy the tables anew"
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tidewire_shared::InTransaction;

    use super::*;

    fn newest() -> PositionEntry<PgPosition> {
        PositionEntry {
            serial: 7,
            epoch: Epoch(3),
            claim: false,
            position: PgPosition {
                system_id: 1,
                timeline: 1,
                lsn: Lsn(200),
                inside: Some(InTransaction { final_lsn: Lsn(250), xid: 5, sequence: 9 }),
                incarnation: 0,
                fingerprint: 4,
                next_ordinal: 11,
                publications: Arc::default(),
            },
            topics: Vec::new(),
        }
    }

    fn slot() -> SlotFacts {
        SlotFacts {
            name: "s".into(),
            plugin: "pgoutput".into(),
            database: "shop".into(),
            temporary: false,
            two_phase: false,
            restart_lsn: Some(Lsn(50)),
            confirmed_flush: Some(Lsn(100)),
            wal_status: "reserved".into(),
            invalidation: None,
            active_pid: None,
            active_application: None,
            failover: false,
            synced: false,
        }
    }

    fn rewound(to: u64, epoch: u64) -> Result<PositionEntry<PgPosition>, Fault> {
        let (newest, slot) = (newest(), slot());
        let (epoch, to) = (Epoch(epoch), Lsn(to));
        Rewind { newest: Some(&newest), slot_name: "s", slot: Some(&slot), epoch, to }.judge()
    }

    #[test]
    fn within_the_slot_it_goes_back_under_another_incarnation() {
        for to in [100, 150, 200] {
            let entry = rewound(to, 3).expect("within");
            assert_eq!((entry.serial, entry.position.incarnation), (8, 1));
            assert_eq!((entry.position.lsn, entry.position.inside), (Lsn(to), None));
            assert_eq!(entry.position.next_ordinal, 11);
            assert!(entry.claim);
        }
    }

    #[test]
    fn beyond_the_slot_the_bound_is_named() {
        let fault = rewound(99, 3).expect_err("before what was confirmed");
        assert_eq!(fault.kind, FaultKind::SourceHistory);
        assert!(fault.message.contains("nothing before 0/64"), "{fault}");
        assert!(fault.remedy.contains("from 0/64 to 0/C8"), "{}", fault.remedy);
        let fault = rewound(201, 3).expect_err("not delivered yet");
        assert!(fault.message.contains("would be lost"), "{fault}");
    }

    #[test]
    fn a_later_owner_keeps_its_position() {
        assert_eq!(rewound(150, 2).expect_err("fenced").kind, FaultKind::Fenced);
    }
}
