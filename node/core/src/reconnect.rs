//! Whether the source may be streamed from here: facts in, verdict out.
//!
//! Asked at every connection. PostgreSQL answers START_REPLICATION from a position of another
//! history, or from a slot that ran ahead, without an error and without the rows in between, so
//! whatever is not plainly the history that we followed stops the task and names the gap.

mod fingerprint;
mod resume;
mod slot;

pub use fingerprint::{DecodingOptions, Fingerprint};
pub use resume::{Resume, resume_at};
pub use slot::{FirstSlot, SlotOrigin, first_position};

use tidewire_shared::spec::TableName;
use tidewire_shared::{Fault, FaultKind, Lsn, PgPosition};

use crate::facts::{PublicationFacts, ServerFacts, SlotFacts, TimelineEnd};
use crate::precheck::identifier;

/// What the publication must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedPublication<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its object id as this process saw it before; `None` at the first connection.
    pub oid: Option<u32>,
    /// The tables of the task: all must be published, whole.
    pub tables: &'a [TableName],
}

/// What the slot must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedSlot<'a> {
    /// Its name.
    pub name: &'a str,
    /// The database of the task.
    pub database: &'a str,
}

/// Everything that decides whether streaming may go on.
#[derive(Clone, Debug)]
pub struct Reconnect<'a> {
    /// The durable position.
    pub position: &'a PgPosition,
    /// The server that answered.
    pub server: &'a ServerFacts,
    /// Its timeline history; may be empty while the timeline is that of the position.
    pub history: &'a [TimelineEnd],
    /// What the slot must be.
    pub expected_slot: ExpectedSlot<'a>,
    /// The slot, if it is there.
    pub slot: Option<&'a SlotFacts>,
    /// What the publication must be.
    pub expected_publication: ExpectedPublication<'a>,
    /// The publication, if it is there.
    pub publication: Option<&'a PublicationFacts>,
    /// What the server would be asked to decode now.
    pub fingerprint: Fingerprint,
}

/// Whether to stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Start replication there; from now on positions belong to `timeline`.
    Stream {
        /// LSN for `START_REPLICATION`.
        from: Lsn,
        /// Timeline of the server.
        timeline: u32,
    },
    /// Do not.
    Stop(Fault),
}

impl Reconnect<'_> {
    /// The verdict; the first thing that is wrong decides it.
    #[must_use]
    pub fn judge(&self) -> Verdict {
        let checks = self.server().and_then(|()| self.history()).and_then(|()| {
            slot::judge(self.expected_slot, self.slot, self.position)?;
            self.publication()?;
            self.decoding()
        });
        match checks {
            Ok(()) => Verdict::Stream { from: self.position.lsn, timeline: self.server.timeline },
            Err(fault) => Verdict::Stop(fault),
        }
    }

    fn server(&self) -> Result<(), Fault> {
        let (position, server) = (self.position, self.server);
        if server.system_id != position.system_id {
            return Err(history(format!(
                "is another one: its system identifier is {}, the task followed {}",
                server.system_id, position.system_id
            ))
            .remedy(
                "point the connection at the old server, or delete the task and create it again",
            ));
        }
        primary(server)
    }

    fn history(&self) -> Result<(), Fault> {
        let (position, server) = (self.position, self.server);
        let reached = position.inside.map_or(position.lsn, |inside| inside.final_lsn);
        if server.timeline == position.timeline {
            return behind(reached, server.flush_lsn);
        }
        let switch = self
            .history
            .iter()
            .filter(|end| end.timeline >= position.timeline && end.timeline < server.timeline)
            .map(|end| end.switch_lsn)
            .min();
        let known = self.history.iter().any(|end| end.timeline == position.timeline);
        let Some(switch) = switch.filter(|_| known) else {
            return Err(history(format!(
                "is on timeline {}, which does not descend from timeline {} that the task followed",
                server.timeline, position.timeline
            ))
            .remedy("connect to the server that does, or delete the task and create it again"));
        };
        if diverged(position, switch) {
            return Err(history(format!(
                "switched from timeline {} at {switch}, but the task had followed it to {reached}: \
                 what was delivered in [{switch}, {reached}) does not exist any more",
                position.timeline
            ))
            .remedy(
                "correct the target for the transactions after the switch, then delete the task \
                 and create it again",
            ));
        }
        behind(reached, server.flush_lsn)
    }

    fn publication(&self) -> Result<(), Fault> {
        let expected = &self.expected_publication;
        let object = format!("publication {}", expected.name);
        let stop = |text: String, remedy: String| {
            Err(Fault::new(FaultKind::SourceState, object.clone(), text).remedy(remedy))
        };
        let again = "delete the task and create it again".to_owned();
        let Some(seen) = self.publication else {
            return stop(
                "does not exist any more: changes without it are not decoded".into(),
                again,
            );
        };
        if expected.oid.is_some_and(|oid| oid != seen.oid) {
            return stop(
                "was dropped and created again: changes in between are not decoded".into(),
                again,
            );
        }
        if !(seen.insert && seen.update && seen.delete) {
            return stop(
                "does not publish all of insert, update and delete".into(),
                format!(
                    "ALTER PUBLICATION {} SET (publish = 'insert, update, delete, truncate');",
                    identifier(expected.name)
                ),
            );
        }
        for table in expected.tables {
            let published = seen.tables.iter().find(|published| published.name == *table);
            if published.is_none() && !seen.all_tables {
                let text = format!("does not publish {table} any more: its changes are lost");
                return stop(text, again);
            }
            if published.is_some_and(|table| table.row_filter.is_some() || table.columns.is_some())
            {
                let text = format!("publishes only some rows or columns of {table}");
                return stop(text, again);
            }
        }
        Ok(())
    }

    fn decoding(&self) -> Result<(), Fault> {
        let before = Fingerprint::from(self.position.fingerprint);
        if !before.same_publications(self.fingerprint) {
            let object = format!("publication {}", self.expected_publication.name);
            let text = "was dropped and created again since the task last ran: changes in between \
                        are not decoded";
            return Err(Fault::new(FaultKind::SourceState, object, text)
                .remedy("delete the task and create it again"));
        }
        if self.position.inside.is_some() && before != self.fingerprint {
            return Err(history(
                "would decode another way (server version or options changed) than when the task \
                 stopped inside a transaction, so its delivered part cannot be recognised",
            )
            .remedy("run the earlier version until the transaction is through, then change"));
        }
        Ok(())
    }
}

const SERVER: &str = "source server";

fn primary(server: &ServerFacts) -> Result<(), Fault> {
    if server.in_recovery {
        return Err(Fault::new(FaultKind::SourceBusy, SERVER, "is a standby in recovery")
            .remedy("list the primary in source.hosts, or promote this server"));
    }
    Ok(())
}

fn history(message: impl std::fmt::Display) -> Fault {
    Fault::new(FaultKind::SourceHistory, SERVER, message)
}

/// Whether something was delivered that the switch at `switch` left behind.
fn diverged(position: &PgPosition, switch: Lsn) -> bool {
    // A commit record that starts before the switch ends at or before it.
    position.lsn > switch || position.inside.is_some_and(|inside| inside.final_lsn >= switch)
}

fn behind(reached: Lsn, flushed: Lsn) -> Result<(), Fault> {
    if reached <= flushed {
        return Ok(());
    }
    Err(history(format!(
        "ends at {flushed}, before {reached} which the task has delivered: it lost part of its log"
    ))
    .remedy("find out what was restored; then delete the task and create it again"))
}

#[cfg(test)]
mod tests;
