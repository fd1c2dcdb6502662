//! Is the newest record there that the coordinators remember?

use tidewire_shared::{Fault, FaultKind, ShardId};

use super::Remembered;
use super::entry::PositionEntry;

/// How to go on where the positions of a task are gone: the slot of a database still stands where they
/// were at last confirmed, and is lost with the task that is deleted.
pub const WITHOUT_POSITIONS: &str = "unless the topic can be restored as it was, with its id: for a database `tidewire task terminate \
     NAME`, which keeps the slot and names it, and another task with slot and publication {mode: existing, \
     name: …}, which loses nothing and may repeat the last changes; for a copy: delete the task and create \
     it again, which begins where its start says (existingData says what becomes of what is there)";

/// The fault of a positions topic that lacks what the coordinators remember of a shard.
#[must_use]
pub fn missing_record<P>(
    shard: &ShardId,
    remembered: Remembered,
    newest: Option<&PositionEntry<P>>,
) -> Option<Fault> {
    let found = newest.map_or_else(
        || "no record of it".to_owned(),
        |entry| format!("no record after serial {}", entry.serial),
    );
    let lost = match (remembered, newest) {
        (Remembered::Started, None) => format!("holds {found}, though it has streamed before"),
        (Remembered::Position(hint), newest)
            if newest.is_none_or(|entry| entry.serial < hint.serial) =>
        {
            format!("holds {found}, though serial {} was written there", hint.serial)
        }
        _ => return None,
    };
    Some(
        Fault::new(
            FaultKind::TargetHistory,
            format!("positions of shard {shard}"),
            format!("the positions topic {lost}: it was cut, or deleted and created again"),
        )
        .remedy(WITHOUT_POSITIONS),
    )
}
