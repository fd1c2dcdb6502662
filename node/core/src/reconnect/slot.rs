//! Whether a replication slot still holds everything after our position.

use std::sync::Arc;

use tidewire_shared::spec::StartAt;
use tidewire_shared::{Fault, FaultKind, LogPlace, Lsn, PgPosition, PublicationMark};

use super::{ExpectedSlot, Fingerprint};
use crate::facts::{ServerFacts, SlotFacts};
use crate::rewind::way_on;

/// Judges a slot against a durable position.
pub(super) fn judge(
    expected: ExpectedSlot<'_>,
    slot: Option<&SlotFacts>,
    position: &PgPosition,
) -> Result<(), Fault> {
    let confirmed = stands_at(expected, slot, Some(position.lsn))?;
    if confirmed > position.lsn {
        let text = format!(
            "was moved ahead of the task: the changes in [{}, {confirmed}) were not delivered",
            position.lsn
        );
        return Err(Fault::new(FaultKind::SourceHistory, object(expected.name), text)
            .remedy(format!("to go on without them: {}", way_on(LogPlace::Slot))));
    }
    Ok(())
}

/// From where on a slot has the log of a task that had come to `reached`.
///
/// # Errors
/// [`FaultKind::SourceState`] where there is none that can be streamed from.
pub fn stands_at(
    expected: ExpectedSlot<'_>,
    slot: Option<&SlotFacts>,
    reached: Option<Lsn>,
) -> Result<Lsn, Fault> {
    let Some(slot) = slot else {
        let come = reached.map_or_else(String::new, |it| format!("; the task had come to {it}"));
        return Err(state(expected.name, &format!("does not exist any more{come}"))
            .remedy(without_log(expected)));
    };
    usable(expected, slot)
        .map_err(|unusable| unusable.fault(expected.name).remedy(unusable.way_on(expected)))
}

/// Whether nothing can be had from a slot any more, so that a managed one is made again.
#[must_use]
pub fn is_lost(slot: Option<&SlotFacts>) -> bool {
    slot.is_none_or(|slot| {
        slot.temporary
            || slot.wal_status == "lost"
            || slot.invalidation.is_some()
            || slot.confirmed_flush.is_none()
    })
}

/// What is wrong with a slot.
struct Unusable {
    text: String,
    /// Somebody made it for something else.
    foreign: bool,
}

impl Unusable {
    fn foreign(text: impl Into<String>) -> Self {
        Self { text: text.into(), foreign: true }
    }

    fn lost(text: impl Into<String>) -> Self {
        Self { text: text.into(), foreign: false }
    }

    fn fault(&self, name: &str) -> Fault {
        state(name, &self.text)
    }

    /// How a task that had streamed from it goes on.
    fn way_on(&self, expected: ExpectedSlot<'_>) -> String {
        let drop = drop_by_hand(expected.name);
        match (self.foreign, expected.managed) {
            (true, _) => format!("if nobody needs it, {drop} then {}", without_log(expected)),
            (false, true) => without_log(expected),
            (false, false) => format!("{drop} {}", without_log(expected)),
        }
    }
}

/// How to go on without the log that a slot held.
fn without_log(expected: ExpectedSlot<'_>) -> String {
    const LOST: &str = "the changes since then cannot be had any more; to go on without them";
    if expected.managed {
        return format!("{LOST}: {}", way_on(LogPlace::Now));
    }
    format!(
        "{LOST}: SELECT pg_create_logical_replication_slot('{}', 'pgoutput'); then {}",
        expected.name,
        way_on(LogPlace::Slot)
    )
}

fn drop_by_hand(name: &str) -> String {
    format!("SELECT pg_drop_replication_slot('{name}');")
}

/// Checks that a slot is one we can stream from; gives its confirmed flush position.
fn usable(expected: ExpectedSlot<'_>, slot: &SlotFacts) -> Result<Lsn, Unusable> {
    if slot.plugin != "pgoutput" {
        let found = if slot.plugin.is_empty() { "a physical slot" } else { slot.plugin.as_str() };
        let text = format!("is of another kind: {found} instead of pgoutput");
        return Err(Unusable::foreign(text));
    }
    if slot.database != expected.database {
        let text = format!("belongs to database {}, not {}", slot.database, expected.database);
        return Err(Unusable::foreign(text));
    }
    if slot.temporary {
        return Err(Unusable::lost(
            "is temporary: it vanishes with its session, or was not synchronised yet when this \
             server was promoted",
        ));
    }
    if slot.two_phase {
        let text = "decodes prepared transactions before they are committed";
        return Err(Unusable::foreign(text));
    }
    if slot.wal_status == "lost" || slot.invalidation.is_some() {
        let why = slot.invalidation.as_deref().unwrap_or("its log was removed");
        return Err(Unusable::lost(format!("was invalidated by the server: {why}")));
    }
    slot.confirmed_flush
        .ok_or_else(|| Unusable::lost("has no confirmed position: it is still being created"))
}

fn object(name: &str) -> String {
    format!("slot {name}")
}

fn state(name: &str, text: &str) -> Fault {
    Fault::new(FaultKind::SourceState, object(name), text)
}

/// How the slot of a first start came about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotOrigin {
    /// Just created, with this consistent point.
    Created {
        /// `consistent_point` of CREATE_REPLICATION_SLOT.
        consistent_point: Lsn,
    },
    /// Found under our name: an earlier first start died before its claim.
    Found(SlotFacts),
}

/// What a first start has seen.
#[derive(Clone, Debug)]
pub struct FirstSlot<'a> {
    /// The server.
    pub server: &'a ServerFacts,
    /// What the slot must be.
    pub expected: ExpectedSlot<'a>,
    /// How it came about.
    pub origin: SlotOrigin,
    /// Where the document has the task begin.
    pub start: StartAt,
    /// What the server is asked to decode.
    pub fingerprint: Fingerprint,
    /// How the publications are.
    pub publications: Arc<Vec<PublicationMark>>,
}

/// The position of a shard that never claimed: the consistent point of its new slot, or the
/// confirmed_flush of a slot of its name that no claim mentions (nobody streamed from it, so nothing
/// was confirmed that is not before its own start), or the place in such a slot that the document names.
///
/// # Errors
/// [`FaultKind::SourceState`] where the slot that was found cannot be used or lacks that place, and
/// [`FaultKind::SourceBusy`] on a standby.
pub fn first_position(first: &FirstSlot<'_>) -> Result<PgPosition, Fault> {
    super::primary(first.server)?;
    let lsn = match &first.origin {
        SlotOrigin::Created { consistent_point } => *consistent_point,
        SlotOrigin::Found(slot) => {
            // Nobody has streamed from it yet, so that another one does as well.
            let confirmed = usable(first.expected, slot).map_err(|unusable| {
                let drop = drop_by_hand(&slot.name);
                let remedy = format!("if nobody needs it, {drop} then start the task again");
                unusable.fault(&slot.name).remedy(remedy)
            })?;
            match first.start {
                StartAt::Now => confirmed,
                StartAt::Lsn(start) => within(&slot.name, start, confirmed, first.server)?,
            }
        }
    };
    Ok(PgPosition {
        system_id: first.server.system_id,
        timeline: first.server.timeline,
        lsn,
        inside: None,
        incarnation: 0,
        fingerprint: first.fingerprint.into(),
        next_ordinal: 1,
        publications: Arc::clone(&first.publications),
    })
}

/// A place to begin at that the slot still has and the server has reached.
fn within(name: &str, start: Lsn, confirmed: Lsn, server: &ServerFacts) -> Result<Lsn, Fault> {
    let end = server.flush_lsn;
    if (confirmed..=end).contains(&start) {
        return Ok(start);
    }
    let text = format!("cannot be read from {start}: it has the log from {confirmed} to {end}");
    Err(state(name, &text)
        .remedy(format!("write start: now, or start: {{lsn: …}} from {confirmed} to {end}")))
}
