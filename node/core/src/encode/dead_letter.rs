//! Records of the dead-letter topic: they stand in for a change that cannot become a record of the
//! format, and hold its row, in as many parts as it needs (docs/formats.md).

use super::placement::{Placement, key_hash};
use super::{EncodedBatch, Record, columns, json, text};
use crate::batch::Image;
use crate::change::{Change, Identity, Operation, Transaction, Value};
use crate::key::KeyPlan;
use crate::partition;
use crate::schema::Relation;
use tidewire_shared::spec::RecordKey;

/// Room for the braces, names and numbers around the texts of a record.
const AROUND: usize = 512;

/// Where refused changes go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterTopic {
    /// Index of the topic in [`crate::schema::TaskTables::topics`].
    pub topic: u16,
    /// Name of the task, which its records tell.
    pub task: String,
}

impl DeadLetterTopic {
    /// A record may be this large whatever `limits.recordBytes` says: names and reason need room.
    pub const LEAST_BYTES: u64 = 16 << 10;
}

/// Writes the records of refused changes.
#[derive(Debug)]
pub(super) struct DeadLetters {
    pub(super) to: DeadLetterTopic,
    pub(super) partitions: i32,
    pub(super) placement: Placement,
    pub(super) record_bytes: usize,
}

/// A change that was refused.
pub(super) struct Refused<'a> {
    pub(super) change: &'a Change,
    pub(super) transaction: &'a Transaction,
    pub(super) relation: &'a Relation,
    pub(super) key: &'a KeyPlan,
    pub(super) old: Image<'a>,
    pub(super) new: Image<'a>,
    pub(super) reason: &'a str,
}

impl DeadLetters {
    /// Writes the records of one change; gives how many.
    pub(super) fn write(&self, out: &mut EncodedBatch, refused: &Refused<'_>) -> u64 {
        let of_new = matches!(refused.change.operation, Operation::Insert | Operation::Update);
        let image = if of_new { refused.new } else { refused.old };
        let hash = key_hash(refused.relation, image);
        let least = usize::try_from(DeadLetterTopic::LEAST_BYTES).unwrap_or(usize::MAX);
        let largest = self.record_bytes.max(least);
        let key = self.key(refused, image).filter(|key| key.len() < largest / 4);
        let head = self.head(refused, hash);
        let row = row(refused);
        let taken = key.as_ref().map_or(0, Vec::len) + head.len() + AROUND;
        // Of a JSON text at most every byte is escaped, by one more.
        let parts = parts(&row, largest.saturating_sub(taken) / 2);
        let count = parts.len();
        for (part, text) in parts.into_iter().enumerate() {
            let start = out.buf.len();
            out.buf.extend_from_slice(key.as_deref().unwrap_or_default());
            let value = out.buf.len();
            out.buf.extend_from_slice(&head);
            text::number(&mut out.buf, part + 1);
            out.buf.extend_from_slice(b",\"parts\":");
            text::number(&mut out.buf, count);
            out.buf.extend_from_slice(b",\"row\":");
            json::string(&mut out.buf, text);
            out.buf.push(b'}');
            out.largest = out.largest.max(out.buf.len() - start);
            out.records.push(Record {
                topic: self.to.topic,
                partition: partition::of_java_hash(hash, self.partitions),
                key: key.is_some().then_some(start..value),
                value: value..out.buf.len(),
                identity: Identity {
                    commit_lsn: refused.transaction.final_lsn,
                    sequence: refused.change.sequence,
                    xid: refused.transaction.xid,
                },
                dead_letter: true,
                tombstone: false,
                key_header: None,
            });
        }
        count as u64
    }

    /// The key that the record would have had; none where a column of it did not come.
    fn key(&self, refused: &Refused<'_>, image: Image<'_>) -> Option<Vec<u8>> {
        let mut key = Vec::new();
        let wanted = self.placement.record_key == RecordKey::Json
            && self.placement.check_key(refused.relation, image).is_ok();
        (wanted && refused.key.write(&mut key, image)).then_some(key)
    }

    /// Everything before the number of the part.
    fn head(&self, refused: &Refused<'_>, hash: i32) -> Vec<u8> {
        let Refused { change, transaction, relation, reason, .. } = refused;
        let operation = match change.operation {
            Operation::Insert => "INSERT",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Truncate => "TRUNCATE",
        };
        let mut time = Vec::new();
        text::utc_time(&mut time, transaction.commit_time_us);
        let number = |number: u64| number.to_string().into_bytes();
        [
            b"{\"task\":".as_slice(),
            &columns::quoted(&self.to.task),
            b",\"table\":",
            &columns::quoted(&relation.name.to_string()),
            b",\"lsn\":",
            &columns::quoted(&transaction.final_lsn.to_string()),
            b",\"sequence\":",
            &number(change.sequence),
            b",\"xid\":",
            &number(transaction.xid.into()),
            b",\"time\":\"",
            &time,
            b"\",\"operation\":",
            &columns::quoted(operation),
            b",\"keyHash\":",
            &columns::quoted(&format!("{hash:08x}")),
            b",\"reason\":",
            &columns::quoted(reason),
            b",\"part\":",
        ]
        .concat()
    }
}

/// `{"old":{…},"new":{…}}`: the images that the change has, under the source's names of columns.
fn row(refused: &Refused<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, image) in [("old", refused.old), ("new", refused.new)] {
        if image.is_empty() {
            continue;
        }
        out.push(if out.is_empty() { b'{' } else { b',' });
        json::string(&mut out, name.as_bytes());
        out.extend_from_slice(b":{");
        let mut first = true;
        for (column, value) in refused.relation.columns.iter().zip(image.values()) {
            if value == Value::Missing {
                continue;
            }
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            json::string(&mut out, column.name.as_bytes());
            out.push(b':');
            match value {
                Value::Text(text) => json::string(&mut out, text),
                Value::Null | Value::Missing => out.extend_from_slice(b"null"),
            }
        }
        out.push(b'}');
    }
    if out.is_empty() {
        out.push(b'{');
    }
    out.push(b'}');
    out
}

/// Cuts UTF-8 into pieces of at most `size` bytes, between its characters; one piece at least.
fn parts(mut text: &[u8], size: usize) -> Vec<&[u8]> {
    // No character is longer than four bytes.
    let size = size.max(1 << 10);
    let mut parts = Vec::with_capacity(text.len() / size + 1);
    while text.len() > size {
        let inside = |at: &usize| text.get(*at).is_some_and(|byte| byte & 0xC0 == 0x80);
        let cut = (size.saturating_sub(3)..=size).rev().find(|at| !inside(at)).unwrap_or(size);
        let (part, rest) = text.split_at(cut);
        parts.push(part);
        text = rest;
    }
    parts.push(text);
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_hold_the_whole_text_between_characters(
            text in "(?s)[aä\u{20AC}\u{1F30A}]{0,3000}",
            size in 1..4_000_usize,
        ) {
            let parts = parts(text.as_bytes(), size);
            prop_assert!(parts.iter().all(|part| part.len() <= size.max(1 << 10)));
            prop_assert!(parts.iter().all(|part| std::str::from_utf8(part).is_ok()));
            prop_assert_eq!(parts.concat(), text.as_bytes());
        }
    }
}
