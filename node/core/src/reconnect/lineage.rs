//! How the history of a server stands to what a shard has followed, and which of several servers that
//! accept writes is the primary.

use std::cmp::Reverse;

use tidewire_shared::{Lsn, PgPosition};

use crate::facts::{ServerFacts, TimelineEnd};

/// How the history of a server stands to a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lineage {
    /// It holds everything that was delivered.
    Holds,
    /// It left the timeline that was followed at this place: what was delivered behind it is not in it.
    Parted(Lsn),
    /// Its log ends here, in front of what was delivered: it lost part of it.
    Cut(Lsn),
    /// Its timeline does not descend from the one that was followed.
    Unrelated,
    /// It is another database cluster.
    Foreign,
}

impl Lineage {
    /// How `server` with this timeline history stands to `position`. The history may be empty while the
    /// timeline is that of the position.
    #[must_use]
    pub fn of(position: &PgPosition, server: &ServerFacts, history: &[TimelineEnd]) -> Self {
        if server.system_id != position.system_id {
            return Self::Foreign;
        }
        if server.timeline != position.timeline {
            let between = position.timeline..server.timeline;
            let ends = history.iter().filter(|end| between.contains(&end.timeline));
            let known = history.iter().any(|end| end.timeline == position.timeline);
            let Some(switch) = ends.map(|end| end.switch_lsn).min().filter(|_| known) else {
                return Self::Unrelated;
            };
            if left_behind(position, switch) {
                return Self::Parted(switch);
            }
        }
        if reached(position) > server.flush_lsn {
            return Self::Cut(server.flush_lsn);
        }
        Self::Holds
    }
}

/// Up to where something was delivered.
pub(crate) fn reached(position: &PgPosition) -> Lsn {
    position.inside.map_or(position.lsn, |inside| inside.final_lsn)
}

/// Whether something was delivered that a switch at this place left behind.
fn left_behind(position: &PgPosition, switch: Lsn) -> bool {
    // A commit record that starts before the switch ends at or before it.
    position.lsn > switch || position.inside.is_some_and(|inside| inside.final_lsn >= switch)
}

/// Which of several servers that accept writes is the primary: of those that descend from what was
/// followed the one on the highest timeline, because each promotion begins another. An old primary that
/// was started again is lower. Of servers alike the first one is taken.
#[must_use]
pub fn primary_of(
    position: Option<&PgPosition>,
    servers: &[(ServerFacts, Vec<TimelineEnd>)],
) -> Option<usize> {
    let rank = |(at, (server, history)): &(usize, &(ServerFacts, Vec<TimelineEnd>))| {
        let lineage = position.map(|position| Lineage::of(position, server, history));
        let related = !matches!(lineage, Some(Lineage::Unrelated | Lineage::Foreign));
        (related, server.timeline, Reverse(*at))
    };
    servers.iter().enumerate().max_by_key(rank).map(|(at, _)| at)
}
