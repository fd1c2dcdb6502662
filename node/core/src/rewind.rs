//! Where a shard goes on when its user wants another place than where it is: its newest record and the
//! source in, the record that moves it out.
//!
//! Back means that changes are delivered again, forward that some never are. Either is the user's choice,
//! so both places are told. A slot sends nothing before its confirmed position, whatever it is asked for:
//! that is the one bound, the end of the log the other.

use std::cmp::Ordering;
use std::sync::Arc;

use tidewire_shared::{Epoch, Fault, FaultKind, LogPlace, Lsn, PgPosition, PublicationMark};

use crate::facts::{ServerFacts, TimelineEnd};
use crate::reconnect::{Fingerprint, Lineage, reached};
use crate::takeover::PositionEntry;

/// How the user has a task go on at `place`, for the remedies of faults and of precheck items: a task that
/// failed or is paused is resumed, one whose precheck refuses it has to be started.
#[must_use]
pub fn way_on(place: LogPlace) -> String {
    format!(
        "`tidewire task rewind NAME --to {place} --yes`, then `tidewire task resume NAME`, or \
         `tidewire task start NAME` where its precheck failed"
    )
}

/// The newest record of a shard, where it may be moved.
///
/// # Errors
/// [`FaultKind::TargetHistory`] where there is none; [`FaultKind::Fenced`] when somebody runs the shard.
pub fn may_move(
    newest: Option<PositionEntry<PgPosition>>,
    epoch: Epoch,
) -> Result<PositionEntry<PgPosition>, Fault> {
    let newest = newest.ok_or_else(|| {
        Fault::new(FaultKind::TargetHistory, "positions", "hold no record of the task")
            .remedy("start the task: it has not streamed yet")
    })?;
    if newest.epoch > epoch {
        let text = format!("a later owner, {}, has claimed it", newest.epoch);
        return Err(Fault::new(FaultKind::Fenced, "shard", text)
            .remedy("pause the task and wait until it is Paused"));
    }
    Ok(newest)
}

/// What a rewind has seen.
#[derive(Clone, Debug)]
pub struct Rewind<'a> {
    /// The newest record of the shard, which [`may_move`].
    pub newest: &'a PositionEntry<PgPosition>,
    /// The newest epoch that the coordinators gave out.
    pub epoch: Epoch,
    /// The server that it goes on with.
    pub server: &'a ServerFacts,
    /// Its timeline history.
    pub history: &'a [TimelineEnd],
    /// Name of the slot.
    pub slot_name: &'a str,
    /// From where on the slot has the log.
    pub confirmed: Lsn,
    /// What the server will be asked to decode.
    pub fingerprint: Fingerprint,
    /// How the publications are by now: what they lost before is behind the user's choice.
    pub publications: Arc<Vec<PublicationMark>>,
    /// Where to go on.
    pub to: Lsn,
}

/// A shard that goes on from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewound {
    /// The record that moves it.
    pub entry: PositionEntry<PgPosition>,
    /// What that means, a line each.
    pub told: Vec<String>,
}

impl Rewind<'_> {
    /// The record that moves the shard, with the next serial and nothing half delivered: of another
    /// incarnation of the source, because what goes out from then on may stand at places of the log that
    /// went out before, with other changes where history parted. Ordinals of records go on.
    ///
    /// # Errors
    /// [`FaultKind::SourceHistory`] for a place that the slot does not have any more, or that the server
    /// has not reached.
    pub fn judge(&self) -> Result<Rewound, Fault> {
        let newest = self.newest;
        if !(self.confirmed..=self.server.flush_lsn).contains(&self.to) {
            return Err(self.out_of_reach());
        }
        let before = &newest.position;
        let next = newest.serial.checked_add(1).zip(before.incarnation.checked_add(1));
        let (serial, incarnation) = next.ok_or_else(|| {
            Fault::new(FaultKind::TargetHistory, "positions", "the newest record is not ours")
                .remedy("restore the positions topic")
        })?;
        let position = PgPosition {
            system_id: self.server.system_id,
            timeline: self.server.timeline,
            lsn: self.to,
            inside: None,
            incarnation,
            fingerprint: self.fingerprint.into(),
            publications: Arc::clone(&self.publications),
            next_ordinal: before.next_ordinal,
        };
        let topics = newest.topics.clone();
        let entry = PositionEntry { serial, epoch: self.epoch, claim: true, position, topics };
        Ok(Rewound { entry, told: self.told(before) })
    }

    fn out_of_reach(&self) -> Fault {
        let (confirmed, end) = (self.confirmed, self.server.flush_lsn);
        let why = if self.to < confirmed {
            format!("the server sends nothing before {confirmed}, which the slot has confirmed")
        } else {
            format!("the log of the server ends at {end}")
        };
        let text = format!("cannot be read from {}: {why}", self.to);
        Fault::new(FaultKind::SourceHistory, format!("slot {}", self.slot_name), text).remedy(
            format!(
                "name slot, now or a position from {confirmed} to {end}; for earlier changes copy the \
                 tables anew"
            ),
        )
    }

    fn told(&self, before: &PgPosition) -> Vec<String> {
        let (from, to, server) = (before.lsn, self.to, self.server);
        let reached = reached(before);
        let mut told = Vec::new();
        match Lineage::of(before, server, self.history) {
            Lineage::Holds => {
                told.push(distance(from, to));
                told.extend(rest_of_a_transaction(before, to));
            }
            Lineage::Parted(at) | Lineage::Cut(at) => {
                told.push(format!(
                    "what was delivered in [{at}, {reached}), if anything was, on timeline {} does not exist \
                     any more",
                    before.timeline
                ));
                told.push(distance(from.min(at), to));
            }
            Lineage::Unrelated => told.push(format!(
                "{from} → {to} on timeline {}, which does not descend from timeline {}: nothing \
                 that was committed there before is delivered",
                server.timeline, before.timeline
            )),
            Lineage::Foreign => told.push(format!(
                "{from} → {to} of another server, whose system identifier is {} instead of {}: \
                 nothing that was committed there before is delivered",
                server.system_id, before.system_id
            )),
        }
        if !Fingerprint::from(before.fingerprint).same_publications(self.fingerprint) {
            let text = "the publication is another one: changes that were made without it are not \
                        delivered";
            told.push(text.to_owned());
        }
        told
    }
}

fn distance(from: Lsn, to: Lsn) -> String {
    match to.cmp(&from) {
        Ordering::Less => {
            format!("{from} → {to}: the changes in [{to}, {from}) are delivered again")
        }
        Ordering::Equal => format!("{from} → {to}, as before"),
        Ordering::Greater => {
            format!("{from} → {to}: the changes in [{from}, {to}) are never delivered")
        }
    }
}

/// What becomes of a transaction of which a part was delivered.
fn rest_of_a_transaction(before: &PgPosition, to: Lsn) -> Option<String> {
    let inside = before.inside?;
    let what = if to <= inside.final_lsn { "are delivered again" } else { "stay alone" };
    Some(format!(
        "transaction {} (commit at {}): its first {} changes were delivered, and {what}",
        inside.xid, inside.final_lsn, inside.sequence
    ))
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
                inside: None,
                incarnation: 0,
                fingerprint: 4,
                next_ordinal: 11,
                publications: Arc::default(),
            },
            topics: Vec::new(),
        }
    }

    fn server(timeline: u32) -> ServerFacts {
        ServerFacts {
            system_id: 1,
            timeline,
            flush_lsn: Lsn(500),
            version_num: 170_000,
            in_recovery: false,
            wal_level: "logical".into(),
        }
    }

    /// The slot has the log from 100 on.
    fn moved(
        newest: &PositionEntry<PgPosition>,
        server: &ServerFacts,
        switch: Option<u64>,
        to: u64,
    ) -> Result<Rewound, Fault> {
        let history: Vec<_> = switch
            .map(|switch| TimelineEnd { timeline: 1, switch_lsn: Lsn(switch) })
            .into_iter()
            .collect();
        Rewind {
            newest,
            epoch: Epoch(3),
            server,
            history: &history,
            slot_name: "s",
            confirmed: Lsn(100),
            fingerprint: Fingerprint::from(4),
            publications: Arc::default(),
            to: Lsn(to),
        }
        .judge()
    }

    fn told(switch: Option<u64>, to: u64) -> Vec<String> {
        let timeline = if switch.is_some() { 2 } else { 1 };
        moved(&newest(), &server(timeline), switch, to).expect("within").told
    }

    #[test]
    fn it_goes_back_and_over_a_gap_under_another_incarnation() {
        for (to, meaning) in [
            (100, "0/C8 → 0/64: the changes in [0/64, 0/C8) are delivered again"),
            (200, "0/C8 → 0/C8, as before"),
            (500, "0/C8 → 0/1F4: the changes in [0/C8, 0/1F4) are never delivered"),
        ] {
            let Rewound { entry, told } = moved(&newest(), &server(1), None, to).expect("within");
            assert_eq!((entry.serial, entry.position.incarnation, entry.claim), (8, 1, true));
            assert_eq!((entry.position.lsn, entry.position.inside), (Lsn(to), None));
            assert_eq!(entry.position.next_ordinal, 11, "ids are not given out again");
            assert_eq!(told, [meaning]);
        }
    }

    #[test]
    fn outside_of_the_log_the_bounds_are_named() {
        for (to, why) in [(99, "nothing before 0/64"), (501, "ends at 0/1F4")] {
            let fault = moved(&newest(), &server(1), None, to).expect_err("is not there");
            assert_eq!(fault.kind, FaultKind::SourceHistory);
            assert!(fault.message.contains(why), "{fault}");
            assert!(fault.remedy.contains("from 0/64 to 0/1F4"), "{}", fault.remedy);
        }
    }

    #[test]
    fn behind_a_switch_what_is_gone_is_told_and_what_is_passed_over() {
        let gone = "what was delivered in [0/96, 0/C8), if anything was, on timeline 1 does not exist any \
                    more";
        assert_eq!(told(Some(150), 150), [gone, "0/96 → 0/96, as before"]);
        assert_eq!(
            told(Some(150), 160),
            [gone, "0/96 → 0/A0: the changes in [0/96, 0/A0) are never delivered"]
        );
        assert_eq!(told(Some(200), 200), ["0/C8 → 0/C8, as before"], "it had all of it");
        let entry = moved(&newest(), &server(2), Some(150), 150).expect("within").entry;
        assert_eq!((entry.position.timeline, entry.position.incarnation), (2, 1));
    }

    #[test]
    fn another_server_is_taken_by_its_word() {
        let stranger = ServerFacts { system_id: 9, ..server(1) };
        let Rewound { entry, told } = moved(&newest(), &stranger, None, 300).expect("chosen");
        assert_eq!(entry.position.system_id, 9);
        assert!(told[0].contains("system identifier is 9 instead of 1"), "{told:?}");
        assert!(self::told(None, 300).iter().all(|line| !line.contains("identifier")));
        let unrelated = moved(&newest(), &server(3), None, 300).expect("chosen").told;
        assert!(unrelated[0].contains("does not descend from timeline 1"), "{unrelated:?}");
    }

    #[test]
    fn a_transaction_that_was_delivered_in_part_is_told() {
        let mut newest = newest();
        newest.position.inside = Some(InTransaction { final_lsn: Lsn(250), xid: 5, sequence: 9 });
        for (to, word) in [(200, "delivered again"), (251, "stay alone")] {
            let Rewound { entry, told } = moved(&newest, &server(1), None, to).expect("within");
            assert_eq!(entry.position.inside, None);
            assert!(told[1].contains("first 9 changes") && told[1].contains(word), "{told:?}");
        }
    }

    #[test]
    fn another_publication_is_told_and_taken() {
        let mut newest = newest();
        newest.position.fingerprint = 9 << 40;
        let Rewound { entry, told } = moved(&newest, &server(1), None, 200).expect("within");
        assert_eq!(entry.position.fingerprint, 4);
        assert!(told[1].contains("publication is another one"), "{told:?}");
    }

    #[test]
    fn a_later_owner_keeps_its_position() {
        let later = PositionEntry { epoch: Epoch(4), ..newest() };
        assert_eq!(may_move(Some(later), Epoch(3)).expect_err("fenced").kind, FaultKind::Fenced);
        assert_eq!(may_move(Some(newest()), Epoch(3)), Ok(newest()));
        let none = may_move(None, Epoch(3)).expect_err("has not begun");
        assert_eq!(none.kind, FaultKind::TargetHistory);
    }
}
