//! Everything a precheck wants to know about a source.

use tidewire_node_core::facts::SourcePrecheck;
use tidewire_shared::Fault;
use tidewire_shared::spec::TableName;

use crate::Source;
use crate::fault::unbuilt;

/// Looks at the source, within 10 s.
///
/// # Errors
/// When there is no connection to be had, or not in time.
pub async fn precheck(
    _source: &Source,
    _slot: &str,
    _publication: &str,
    _tables: &[TableName],
) -> Result<SourcePrecheck, Fault> {
    unbuilt()
}
