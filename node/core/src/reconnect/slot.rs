//! Whether a replication slot still holds everything after our position.

use std::sync::Arc;

use tidewire_shared::spec::StartAt;
use tidewire_shared::{Fault, FaultKind, Lsn, PgPosition, PublicationMark};

use super::{ExpectedSlot, Fingerprint};
use crate::facts::{ServerFacts, SlotFacts};

const AGAIN: &str = "the changes since then cannot be had any more: delete the task and create it \
                     again, and bring the target up to date for the time in between";

/// Judges a slot against a durable position.
pub(super) fn judge(
    expected: ExpectedSlot<'_>,
    slot: Option<&SlotFacts>,
    position: &PgPosition,
) -> Result<(), Fault> {
    let Some(slot) = slot else {
        let text = format!("does not exist any more; the task had come to {}", position.lsn);
        return Err(state(expected.name, &text).remedy(AGAIN));
    };
    let confirmed = usable(expected, slot)?;
    if confirmed > position.lsn {
        let text = format!(
            "was moved ahead of the task: the changes in [{}, {confirmed}) were not delivered",
            position.lsn
        );
        return Err(Fault::new(FaultKind::SourceHistory, object(expected.name), text).remedy(AGAIN));
    }
    Ok(())
}

/// Checks that a slot is one we can stream from; gives its confirmed flush position.
fn usable(expected: ExpectedSlot<'_>, slot: &SlotFacts) -> Result<Lsn, Fault> {
    let name = expected.name;
    if slot.plugin != "pgoutput" {
        let found = if slot.plugin.is_empty() { "a physical slot" } else { slot.plugin.as_str() };
        return Err(foreign(name, &format!("is of another kind: {found} instead of pgoutput")));
    }
    if slot.database != expected.database {
        let text = format!("belongs to database {}, not {}", slot.database, expected.database);
        return Err(foreign(name, &text));
    }
    if slot.temporary {
        let text = "is temporary: it vanishes with its session, or was not synchronised yet when \
                    this server was promoted";
        return Err(state(name, text).remedy(AGAIN));
    }
    if slot.two_phase {
        return Err(foreign(name, "decodes prepared transactions before they are committed"));
    }
    if slot.wal_status == "lost" || slot.invalidation.is_some() {
        let why = slot.invalidation.as_deref().unwrap_or("its log was removed");
        return Err(state(name, &format!("was invalidated by the server: {why}")).remedy(AGAIN));
    }
    slot.confirmed_flush.ok_or_else(|| {
        state(name, "has no confirmed position: it is still being created")
            .remedy(format!("SELECT pg_drop_replication_slot('{name}');"))
    })
}

fn object(name: &str) -> String {
    format!("slot {name}")
}

fn state(name: &str, text: &str) -> Fault {
    Fault::new(FaultKind::SourceState, object(name), text)
}

/// Somebody made a slot of our name for something else.
fn foreign(name: &str, text: &str) -> Fault {
    state(name, text).remedy(format!(
        "if nobody needs it, SELECT pg_drop_replication_slot('{name}'); and delete the task and create it again"
    ))
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
            let confirmed = usable(first.expected, slot)?;
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
