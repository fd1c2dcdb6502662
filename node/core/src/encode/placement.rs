//! The partition of a record, and whether an update moves its row to another one (CONTRACT §6).

use tidewire_shared::spec::{PartitionPolicy, RecordKey};

use crate::batch::Image;
use crate::change::{OldRow, Value};
use crate::partition::{self, JavaHash};
use crate::schema::Relation;

/// The index of a column that decides a partition or key and was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotSent(pub(crate) usize);

/// How records of a task are placed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placement {
    pub(crate) policy: PartitionPolicy,
    pub(crate) record_key: RecordKey,
    /// A new record key splits an update, whatever the partition.
    pub(crate) key_splits: bool,
}

impl Placement {
    /// The partition of a record that tells of `image`. `table_hash` is that of
    /// `database.schema.table`; `partitions` is from 1 to `i32::MAX`.
    #[inline]
    pub(crate) fn partition(
        self,
        relation: &Relation,
        table_hash: i32,
        image: Image<'_>,
        record_key: Option<&[u8]>,
        partitions: i32,
    ) -> Result<i32, NotSent> {
        match (self.policy, record_key) {
            (PartitionPolicy::AllToPartition0, _) => Ok(0),
            (PartitionPolicy::ByPrimaryKey, _) if relation.partition_columns.is_empty() => Ok(0),
            (PartitionPolicy::ByPrimaryKey, _) => {
                let hash = values_hash(&relation.partition_columns, image)?;
                Ok(partition::of_java_hash(hash, partitions))
            }
            (PartitionPolicy::ByRecordKey, Some(key)) => {
                Ok(partition::of_record_key(key, partitions))
            }
            (PartitionPolicy::ByTable, _) | (PartitionPolicy::ByRecordKey, None) => {
                Ok(partition::of_java_hash(table_hash, partitions))
            }
        }
    }

    /// Whether the key of a table decides where its records go, or what stands with them.
    #[inline]
    pub(crate) fn needs_key(self) -> bool {
        self.record_key == RecordKey::Json || self.policy == PartitionPolicy::ByPrimaryKey
    }

    /// The columns whose change splits an update.
    fn columns(self, relation: &Relation) -> impl Iterator<Item = &usize> {
        let partition: &[usize] = match (self.policy, self.record_key) {
            (PartitionPolicy::ByPrimaryKey, _) => &relation.partition_columns,
            (PartitionPolicy::ByRecordKey, RecordKey::Json) => &relation.key,
            _ => &[],
        };
        let key: &[usize] = match self.record_key {
            RecordKey::Json if self.key_splits => &relation.key,
            _ => &[],
        };
        partition.iter().chain(key)
    }

    /// Whether an update changed the columns that decide the partition or, where that splits it, the
    /// record key.
    #[inline]
    pub(crate) fn moves(
        self,
        relation: &Relation,
        old_row: OldRow,
        old: Image<'_>,
        new: Image<'_>,
    ) -> Result<bool, NotSent> {
        for index in self.columns(relation) {
            let not_sent = Err(NotSent(*index));
            if old_row == OldRow::Absent {
                // Without an old row the replica identity did not change; of the rest nothing is known.
                match relation.columns.get(*index) {
                    Some(column) if column.in_identity => continue,
                    _ => return not_sent,
                }
            }
            match (old.value(*index), new.value(*index)) {
                (Value::Missing, _) | (_, Value::Missing) => return not_sent,
                (old, new) if old != new => return Ok(true),
                _ => {}
            }
        }
        Ok(false)
    }

    /// Fails when a column of the record key was not sent.
    #[inline]
    pub(crate) fn check_key(self, relation: &Relation, image: Image<'_>) -> Result<(), NotSent> {
        match relation.key.iter().find(|index| image.value(**index) == Value::Missing) {
            Some(index) if self.record_key == RecordKey::Json => Err(NotSent(*index)),
            _ => Ok(()),
        }
    }
}

/// The hash of values joined by U+001F, NULL as the empty text.
fn values_hash(columns: &[usize], image: Image<'_>) -> Result<i32, NotSent> {
    let mut hash = JavaHash::default();
    for (place, index) in columns.iter().enumerate() {
        if place > 0 {
            hash.separator();
        }
        match image.value(*index) {
            Value::Text(text) => hash.text(text),
            Value::Null => {}
            Value::Missing => return Err(NotSent(*index)),
        }
    }
    Ok(hash.value())
}

/// The hash that names a row in errors: of those key values that are known.
pub(crate) fn key_hash(relation: &Relation, image: Image<'_>) -> i32 {
    let mut hash = JavaHash::default();
    for (place, index) in relation.key.iter().enumerate() {
        if place > 0 {
            hash.separator();
        }
        if let Value::Text(text) = image.value(*index) {
            hash.text(text);
        }
    }
    hash.value()
}
