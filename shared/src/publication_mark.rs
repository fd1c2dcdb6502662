//! The rows of a source's catalog that decide what a publication publishes of a task.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How a publication was at one look, as far as it concerns the tables of a task.
///
/// Decoding asks the catalog as it was when a change was written. A table that was taken out and put back
/// looks as before, and so does an operation that was switched off and on; only the rows tell. One that
/// was put back has another object id, one that was changed another `xmin` (PostgreSQL documentation,
/// "System Columns"; freezing keeps it). Standbys have the same rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PublicationMark {
    /// Its object id.
    pub oid: u32,
    /// `xmin` of its row in `pg_publication`.
    pub xmin: u32,
    /// Its rows in `pg_publication_rel`, by object id of the table.
    pub tables: BTreeMap<u32, CatalogRow>,
    /// Its rows in `pg_publication_namespace`, by object id of the schema.
    pub schemas: BTreeMap<u32, CatalogRow>,
}

/// A row by which a publication holds a table or a schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CatalogRow {
    /// Hash of the name of what it holds: one that was dropped and made again has another object id.
    pub name: u32,
    /// Its object id.
    pub oid: u32,
    /// Its `xmin`.
    pub xmin: u32,
}
