//! Whether the source may be streamed from here: facts in, verdict out.
//!
//! Asked at every connection. PostgreSQL answers START_REPLICATION from a position of another
//! history, or from a slot that ran ahead, without an error and without the rows in between, so
//! whatever is not plainly the history that we followed stops the task and names the gap.

mod fingerprint;
mod lineage;
mod resume;
mod slot;

pub use fingerprint::{DecodingOptions, Fingerprint};
pub(crate) use lineage::reached;
pub use lineage::{Lineage, primary_of};
pub use resume::{Resume, resume_at};
pub use slot::{FirstSlot, SlotOrigin, first_position, is_lost, stands_at};

use std::collections::BTreeMap;

use tidewire_shared::spec::TableName;
use tidewire_shared::{Fault, FaultKind, LogPlace, Lsn, PgPosition};

use crate::facts::{PublicationFacts, PublishedTable, ServerFacts, SlotFacts, TimelineEnd};
use crate::precheck::{identifier, qualified};
use crate::publish::{PublicationPlan, PublishTable};
use crate::rewind::way_on;

/// What a publication must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedPublication<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its object id as this process saw it before; `None` at the first connection.
    pub oid: Option<u32>,
    /// The task manages it: it holds exactly what is planned. Otherwise its rows and columns are the
    /// business of whoever made it.
    pub managed: bool,
    /// What it has to hold.
    pub plan: &'a PublicationPlan,
    /// The publication, if it is there.
    pub seen: Option<&'a PublicationFacts>,
}

/// What the slot must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedSlot<'a> {
    /// Its name.
    pub name: &'a str,
    /// The database of the task.
    pub database: &'a str,
    /// The task makes it where it is gone.
    pub managed: bool,
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
    /// What the publications must be.
    pub publications: &'a [ExpectedPublication<'a>],
    /// What the server would be asked to decode now.
    pub fingerprint: Fingerprint,
}

/// Whether to stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<O> {
    /// Open the source so.
    Stream(O),
    /// Do not.
    Stop(Fault),
}

/// With what a PostgreSQL source is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Opening {
    /// LSN for `START_REPLICATION`.
    pub from: Lsn,
    /// Timeline of the server; from now on positions belong to it.
    pub timeline: u32,
}

impl Reconnect<'_> {
    /// The verdict; the first thing that is wrong decides it.
    #[must_use]
    pub fn judge(&self) -> Verdict<Opening> {
        let checks = self.history().and_then(|()| {
            slot::judge(self.expected_slot, self.slot, self.position)?;
            let judge =
                |expected: &ExpectedPublication<'_>| expected.judge(Some(self.position.lsn));
            self.publications.iter().try_for_each(judge)?;
            self.decoding()
        });
        match checks {
            Ok(()) => {
                Verdict::Stream(Opening { from: self.position.lsn, timeline: self.server.timeline })
            }
            Err(fault) => Verdict::Stop(fault),
        }
    }

    fn history(&self) -> Result<(), Fault> {
        let (position, server) = (self.position, self.server);
        let reached = reached(position);
        let elsewhere = |where_to: &str| {
            format!(
                "{where_to}; or go on with this one, without what it held before: {}",
                way_on(LogPlace::Now)
            )
        };
        match Lineage::of(position, server, self.history) {
            Lineage::Foreign => Err(history(format!(
                "is another one: its system identifier is {}, the task followed {}",
                server.system_id, position.system_id
            ))
            .remedy(elsewhere("point the connection at the old server"))),
            _ if server.in_recovery => primary(server),
            Lineage::Unrelated => Err(history(format!(
                "is on timeline {}, which does not descend from timeline {} that the task followed",
                server.timeline, position.timeline
            ))
            .remedy(elsewhere("name the server that does in source.hosts"))),
            Lineage::Parted(switch) => Err(history(format!(
                "switched from timeline {} at {switch}, but the task had followed it to {reached}: \
                 what was delivered in [{switch}, {reached}), if anything was, does not exist any more",
                position.timeline
            ))
            // A position moves on over log that holds nothing for the task, too: an idle source loses none.
            .remedy(format!(
                "correct the target for records whose commit LSN is {switch} or higher; where it has none, \
                 nothing of the task was lost. Then go on from the switch: {}",
                // Inside a transaction more is missing than what stands behind the switch.
                way_on(LogPlace::Lsn(switch.min(position.lsn)))
            ))),
            Lineage::Cut(end) => Err(history(format!(
                "ends at {end}, before {reached}, to which the task had followed it: it lost part of its \
                 log"
            ))
            .remedy(format!(
                "find out what was restored, and correct the target; to go on where the slot stands, \
                 and deliver again what comes after it: {}",
                way_on(LogPlace::Slot)
            ))),
            Lineage::Holds => Ok(()),
        }
    }

    fn decoding(&self) -> Result<(), Fault> {
        let before = Fingerprint::from(self.position.fingerprint);
        if !before.same_publications(self.fingerprint) {
            let name = self.publications.first().map_or("", |expected| expected.name);
            let object = format!("publication {name}");
            let text = "was dropped and created again since the task last ran: changes in between \
                        are not decoded";
            return Err(Fault::new(FaultKind::SourceState, object, text)
                .remedy(format!("to go on without them: {}", way_on(LogPlace::Now))));
        }
        if self.position.inside.is_some() && !before.same_decoding(self.fingerprint) {
            return Err(history(
                "would decode another way (server version or options changed) than when the task \
                 stopped inside a transaction, so its delivered part cannot be recognised",
            )
            .remedy(format!(
                "run the earlier version until the transaction is through, then change; or deliver \
                 it again from its start: {}",
                way_on(LogPlace::Lsn(self.position.lsn))
            )));
        }
        Ok(())
    }
}

impl ExpectedPublication<'_> {
    /// Whether it is as the task needs it, to go on at `position`; none: the user is about to choose one.
    ///
    /// # Errors
    /// [`FaultKind::SourceState`] where it publishes less than planned, or is another one.
    pub fn judge(&self, position: Option<Lsn>) -> Result<(), Fault> {
        let anew = format!("to go on without them: {}", way_on(LogPlace::Now));
        let Some(seen) = self.seen else {
            let text = "does not exist any more: changes without it are not decoded";
            let make = if self.managed { "" } else { "create it; then, " };
            return self.stop(text, &format!("{make}{anew}"));
        };
        if self.oid.is_some_and(|oid| oid != seen.oid) {
            let text = "was dropped and created again: changes in between are not decoded";
            return self.stop(text, &anew);
        }
        let wanted = self.plan.publish;
        let published = [
            ("insert", wanted.insert, seen.insert),
            ("update", wanted.update, seen.update),
            ("delete", wanted.delete, seen.delete),
            ("truncate", wanted.truncate, seen.truncate),
        ];
        if published.iter().any(|(_, wanted, published)| *wanted && !published) {
            let names: Vec<_> =
                published.iter().filter(|(_, wanted, _)| *wanted).map(|(name, ..)| *name).collect();
            let names = names.join(", ");
            let name = identifier(self.name);
            return self.stop(
                &format!("does not publish all of {names}"),
                &format!("ALTER PUBLICATION {name} SET (publish = '{names}');"),
            );
        }
        let held: BTreeMap<_, _> = seen.tables.iter().map(|table| (&table.name, table)).collect();
        for table in &self.plan.tables {
            match held.get(&table.name) {
                // Such a publication lists every table that there is.
                None if seen.all_tables => {
                    let text = format!(
                        "publishes all tables, but {} is none of them: it was dropped, renamed or \
                         made unlogged",
                        table.name
                    );
                    let remedy = "rename it back, or take it out of the task's objects";
                    return self.stop(&text, remedy);
                }
                None if self.managed => {
                    let name = &table.name;
                    let text = format!("does not publish {name} any more: its changes are lost");
                    return self.stop(&text, &self.put_back(name, position));
                }
                // Someone else's: what became of the table since it was chosen is not noted anywhere.
                None => {
                    let text = format!(
                        "does not hold {}: it was renamed, dropped, or taken out",
                        table.name
                    );
                    let remedy = "rename it back, or change the task's objects to its new name: \
                                  nothing is lost then; if it was taken out, its changes since then \
                                  are lost: put it back, bring the target up to date, then resume \
                                  the task";
                    return self.stop(&text, remedy);
                }
                Some(published) if self.managed && hides(table, published) => {
                    let text = format!("publishes only some rows or columns of {}", table.name);
                    return self.stop(&text, &self.put_back(&table.name, position));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// How to go on where a table is not published as it was: all others lose nothing.
    fn put_back(&self, table: &TableName, position: Option<Lsn>) -> String {
        let place = position.map_or(LogPlace::Now, LogPlace::Lsn);
        let how = way_on(place);
        if self.managed {
            return format!("to have it put back, and go on without what is lost: {how}");
        }
        let (name, table) = (identifier(self.name), qualified(table));
        format!(
            "ALTER PUBLICATION {name} ADD TABLE {table}; then, to go on without what is lost: {how}"
        )
    }

    fn stop(&self, text: &str, remedy: &str) -> Result<(), Fault> {
        let object = format!("publication {}", self.name);
        Err(Fault::new(FaultKind::SourceState, object, text).remedy(remedy))
    }
}

/// Whether less of a table is published than planned. The server writes filters in its own words, so
/// only whether there is one can be compared; what it was when the stream began is watched.
fn hides(planned: &PublishTable, published: &PublishedTable) -> bool {
    let lacks = |columns: &Vec<String>| match &planned.columns {
        None => true,
        Some(wanted) => wanted.iter().any(|column| !columns.contains(column)),
    };
    (published.row_filter.is_some() && planned.row_filter.is_none())
        || published.columns.as_ref().is_some_and(lacks)
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

#[cfg(test)]
mod tests;
