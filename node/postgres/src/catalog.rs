//! Tables, columns, types and keys from the catalog.

use tidewire_node_core::facts::TableFacts;
use tidewire_shared::Fault;
use tidewire_shared::spec::TableName;

use crate::Sql;
use crate::fault::unbuilt;

/// The tables of that name that exist, in name order.
///
/// # Errors
/// When the connection breaks.
pub async fn tables(_sql: &mut Sql, _names: &[TableName]) -> Result<Vec<TableFacts>, Fault> {
    unbuilt()
}

/// The tables of that oid that exist, in name order.
///
/// # Errors
/// When the connection breaks.
pub async fn tables_by_oid(_sql: &mut Sql, _oids: &[u32]) -> Result<Vec<TableFacts>, Fault> {
    unbuilt()
}
