//! Why a change cannot be written as a record.

use tidewire_shared::spec::TableName;
use tidewire_shared::{Fault, FaultKind, Lsn};

/// A change that cannot become a record. Never holds row values: the key appears as a hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct EncodeError {
    /// The table.
    pub table: TableName,
    /// `final_lsn` of the transaction.
    pub lsn: Lsn,
    /// Place in the transaction.
    pub sequence: u64,
    /// Java's `String.hashCode` of the key values that are known, joined by U+001F.
    pub key_hash: i32,
    /// What is wrong, as a fragment.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl From<EncodeError> for Fault {
    fn from(error: EncodeError) -> Self {
        let object = format!(
            "table {} at {} change {} key hash {:08x}",
            error.table, error.lsn, error.sequence, error.key_hash
        );
        Self::new(FaultKind::Encode, object, error.what).remedy(error.remedy)
    }
}
