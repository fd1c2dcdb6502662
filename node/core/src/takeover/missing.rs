//! Is the newest record there that the coordinators remember?

use tidewire_shared::{Fault, FaultKind, ShardId};

use super::Remembered;
use super::entry::PositionEntry;

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
        .remedy(
            "restore the topic; or delete the task and create it again: changes of a database then begin \
             at its present end, a copy where its start says (existingData says what becomes of what is there)",
        ),
    )
}
