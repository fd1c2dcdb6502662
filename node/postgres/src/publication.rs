//! Publications: look, create, watch, drop.

use tidewire_node_core::facts::PublicationFacts;
use tidewire_shared::Fault;
use tidewire_shared::spec::TableName;

use crate::Sql;
use crate::fault::unbuilt;

/// The publication, or `None` when there is none of that name.
///
/// # Errors
/// When the connection breaks.
pub async fn look(_sql: &Sql, _name: &str) -> Result<Option<PublicationFacts>, Fault> {
    unbuilt()
}

/// Creates a publication of exactly these tables.
///
/// # Errors
/// `SourceDenied` without the rights, `SourceState` when it exists or a table does not.
pub async fn create(
    _sql: &Sql,
    _name: &str,
    _tables: &[TableName],
    _truncate: bool,
) -> Result<PublicationFacts, Fault> {
    unbuilt()
}

/// Drops the publication; one that is not there is fine.
///
/// # Errors
/// `SourceDenied` without the rights.
pub async fn drop(_sql: &Sql, _name: &str) -> Result<(), Fault> {
    unbuilt()
}

/// Compares what a task was started with and what there is now.
///
/// # Errors
/// `SourceState` when the publication is gone, another one (by oid), lacks an expected table or operation, or shows
/// fewer rows or columns of it. Additions are fine.
pub fn compare(
    _expected: &PublicationFacts,
    _seen: Option<&PublicationFacts>,
) -> Result<(), Fault> {
    unbuilt()
}
