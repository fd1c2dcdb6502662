//! Why decoding stopped.

use tidewire_shared::spec::TableName;
use tidewire_shared::{Fault, FaultKind, Lsn};

/// Decoding stopped: where, at which table, and why. Never holds row values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct DecodeError {
    /// `Decode`, `SourceHistory`, `Configuration`, or `SourceBusy` for a table that appeared.
    pub kind: FaultKind,
    /// `final_lsn` of the open transaction, else the end of the last one.
    pub lsn: Lsn,
    /// The table, where one is concerned.
    pub relation: Option<TableName>,
    /// What is wrong, as a fragment.
    pub what: String,
    /// What to do about it; empty when there is nothing.
    pub remedy: String,
}

impl DecodeError {
    pub(super) fn malformed(lsn: Lsn, what: impl Into<String>) -> Self {
        Self {
            kind: FaultKind::Decode,
            lsn,
            relation: None,
            what: what.into(),
            remedy: "check that nothing between us and the server changes the stream".to_owned(),
        }
    }

    pub(super) fn history(lsn: Lsn, what: impl Into<String>) -> Self {
        Self {
            kind: FaultKind::SourceHistory,
            lsn,
            relation: None,
            what: what.into(),
            remedy:
                "find out who moved the slot or changed the publication; going on would lose or \
                     double changes"
                    .to_owned(),
        }
    }

    /// A table that appeared, or got its name, after the task looked at its topics: it starts over,
    /// looks again, and loses nothing.
    pub(super) fn new_topic(lsn: Lsn, table: &TableName, topic: &str) -> Self {
        Self {
            kind: FaultKind::SourceBusy,
            remedy: format!(
                "make sure that topic {topic} exists, or let createTopics make it; if the table was \
                 dropped, `exclude` it, by which its last changes do not go out: a topic made now is \
                 not the one that it went to"
            ),
            ..Self::malformed(lsn, format!("goes to topic {topic}, which is new to the task"))
        }
        .of_table(table)
    }

    pub(super) fn of_table(mut self, table: &TableName) -> Self {
        self.relation = Some(table.clone());
        self
    }

    pub(super) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        let object = match &error.relation {
            Some(table) => format!("table {table} at {}", error.lsn),
            None => format!("replication stream at {}", error.lsn),
        };
        Self::new(error.kind, object, error.what).remedy(error.remedy)
    }
}
