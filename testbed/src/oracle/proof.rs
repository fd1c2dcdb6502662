//! Compares what PostgreSQL committed with what Kafka holds, record by record.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use anyhow::{Context, Result};
use serde::Serialize;
use tidewire_shared::Lsn;

use super::dts_avro::{Decoder, Delivered, DtsAvro};
use super::format::{Format, Reading};
use super::truth::{Change, Keys};
use super::{Datum, Operation, Row, column};
use crate::reader::Record;

/// How many offenders a proof names.
const NAMED: usize = 10;

/// The outcome: how many records, and what is wrong with them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// Changes of rows that PostgreSQL committed.
    pub rows: u64,
    /// Records in Kafka.
    pub records: u64,
    /// Expected records that are not there.
    pub missing: u64,
    /// Records of a change beyond its first.
    pub doubled: u64,
    /// Records of changes that were never committed.
    pub unexpected: u64,
    /// Records behind a later one of their key or of their partition, or in another partition
    /// than their key's.
    pub out_of_order: u64,
    /// Records whose values differ from the row's.
    pub wrong_values: u64,
    /// The first offenders, one line each.
    pub offenders: Vec<String>,
}

impl Proof {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.faults() == 0
    }

    fn faults(&self) -> u64 {
        self.missing + self.doubled + self.unexpected + self.out_of_order + self.wrong_values
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "row changes committed   {:>10}", self.rows)?;
        writeln!(out, "records read back       {:>10}", self.records)?;
        writeln!(out, "missing                 {:>10}", self.missing)?;
        writeln!(out, "doubled                 {:>10}", self.doubled)?;
        writeln!(out, "never committed         {:>10}", self.unexpected)?;
        writeln!(out, "out of order per key    {:>10}", self.out_of_order)?;
        write!(out, "with other values       {:>10}", self.wrong_values)?;
        for offender in &self.offenders {
            write!(out, "\n  {offender}")?;
        }
        Ok(())
    }
}

/// Compares committed changes with all records of a task that partitions by primary key, over so many
/// partitions of a topic.
///
/// # Errors
/// When a record cannot be read.
pub fn prove(
    changes: &[Change],
    keys: &Keys,
    format: Format,
    partitions: u32,
    records: impl IntoIterator<Item = Result<Record>>,
) -> Result<Proof> {
    let avro = DtsAvro::new()?;
    let reading = Reading::new(format, &avro)?;
    let mut prover = Prover::new(changes, keys, partitions);
    for record in records {
        let record = record?;
        let Record { topic, partition, offset, .. } = &record;
        let told = reading.change(&record);
        let told = told.with_context(|| format!("{topic}/{partition}@{offset}"))?;
        if let Some(delivered) = told {
            prover.delivered(&record, &delivered);
        }
    }
    Ok(prover.finish())
}

/// A table and the text of a key's values.
type Key = (Arc<str>, String);
/// Commit LSN and number: where a change stands in the source.
type Place = (Lsn, u64);

/// A record that must be there: the change, and which half of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Identity {
    xid: u32,
    number: u64,
    operation: Operation,
    /// Of a truncate, which one statement does to several tables and which goes to every partition.
    truncated: Option<(Arc<str>, u32)>,
}

impl Identity {
    fn of_row(xid: u32, number: u64, operation: Operation) -> Self {
        Self { xid, number, operation, truncated: None }
    }

    fn of_record(record: &Record, delivered: &Delivered) -> Self {
        let Delivered { xid, number, operation, .. } = *delivered;
        let truncated = (operation == Operation::Truncate)
            .then(|| (Arc::from(table_of(delivered)), record.partition));
        Self { truncated, ..Self::of_row(xid, number, operation) }
    }
}

/// `schema.table`.
fn table_of(delivered: &Delivered) -> String {
    delivered.object.get(1..).unwrap_or_default().join(".")
}

#[derive(Clone, Debug)]
struct Expected {
    change: usize,
    seen: bool,
}

/// Takes records one by one and compares each with the truth.
#[derive(Clone, Debug)]
pub struct Prover<'t> {
    changes: &'t [Change],
    keys: &'t Keys,
    expected: HashMap<Identity, Expected>,
    /// Partition and last place of each key.
    last_of_key: HashMap<Key, (u32, Place)>,
    last_of_partition: HashMap<(String, u32), Place>,
    proof: Proof,
}

impl<'t> Prover<'t> {
    /// Expects the records of `changes` in a topic of so many partitions, by primary key; `keys` are
    /// the key columns of each table. An update that changes them is expected as DELETE and INSERT, a
    /// truncate in every partition.
    #[must_use]
    pub fn new(changes: &'t [Change], keys: &'t Keys, partitions: u32) -> Self {
        let mut expected = HashMap::with_capacity(changes.len());
        for (index, change) in changes.iter().enumerate() {
            let mut expect = |identity| {
                expected.insert(identity, Expected { change: index, seen: false });
            };
            let half = |operation| Identity::of_row(change.xid, change.number, operation);
            if changes_key(change, keys) {
                expect(half(Operation::Delete));
                expect(half(Operation::Insert));
            } else if change.operation == Operation::Truncate {
                for partition in 0..partitions {
                    let truncated = Some((Arc::clone(&change.table), partition));
                    expect(Identity { truncated, ..half(Operation::Truncate) });
                }
            } else {
                expect(half(change.operation));
            }
        }
        let rows = u64::try_from(changes.len()).unwrap_or(u64::MAX);
        Self {
            changes,
            keys,
            expected,
            last_of_key: HashMap::new(),
            last_of_partition: HashMap::new(),
            proof: Proof { rows, ..Proof::default() },
        }
    }

    /// Takes a record in the order of its partition.
    ///
    /// # Errors
    /// When it is no record of the format.
    pub fn record(&mut self, record: &Record, decoder: &Decoder<'_>) -> Result<Delivered> {
        let Record { topic, partition, offset, .. } = record;
        let place = format!("{topic}/{partition}@{offset}");
        let value = record.value.as_deref().with_context(|| format!("{place} has no value"))?;
        let delivered = decoder.decode(value).with_context(|| place.clone())?;
        self.compare(&place, record, &delivered);
        Ok(delivered)
    }

    /// Takes a record of another format, in the order of its partition.
    pub fn delivered(&mut self, record: &Record, delivered: &Delivered) {
        let Record { topic, partition, offset, .. } = record;
        self.compare(&format!("{topic}/{partition}@{offset}"), record, delivered);
    }

    fn compare(&mut self, place: &str, record: &Record, delivered: &Delivered) {
        self.proof.records += 1;
        let Delivered { xid, number, operation, commit, .. } = *delivered;
        let told = format!("{place}: {operation:?} xid {xid} {commit}@{number}");
        self.order(record, delivered, &told);
        let Some(expected) = self.expected.get_mut(&Identity::of_record(record, delivered)) else {
            self.proof.unexpected += 1;
            return self.name(|| format!("{told} was never committed"));
        };
        if expected.seen {
            self.proof.doubled += 1;
            return self.name(|| format!("{told} is there twice"));
        }
        expected.seen = true;
        let changes = self.changes;
        let change = changes.get(expected.change);
        if let Some(difference) = change.and_then(|change| difference(change, delivered)) {
            self.proof.wrong_values += 1;
            self.name(|| format!("{told}: {difference}"));
        }
    }

    /// The outcome, once all records were taken.
    #[must_use]
    pub fn finish(mut self) -> Proof {
        let mut missing: Vec<_> = self
            .expected
            .iter()
            .filter(|(_, expected)| !expected.seen)
            .map(|(identity, expected)| (expected.change, identity.clone()))
            .collect();
        missing.sort_unstable();
        self.proof.missing = u64::try_from(missing.len()).unwrap_or(u64::MAX);
        for (change, identity) in missing.into_iter().take(NAMED) {
            let Some(change) = self.changes.get(change) else { continue };
            self.name(|| {
                format!(
                    "missing: {:?} in {} xid {} number {}, commit ends at {}",
                    identity.operation,
                    change.table,
                    identity.xid,
                    identity.number,
                    change.commit_end
                )
            });
        }
        self.proof
    }

    fn order(&mut self, record: &Record, delivered: &Delivered, told: &str) {
        let at = (delivered.commit, delivered.number);
        let partition = (record.topic.clone(), record.partition);
        let before = self.last_of_partition.insert(partition, at);
        let mut disorder = before.is_some_and(|before| before > at);
        if let Some(key) = self.key(delivered) {
            // The two halves of a key change have different keys: equal identities never meet here.
            let before = self.last_of_key.insert(key, (record.partition, at));
            disorder |= before
                .is_some_and(|(partition, before)| before > at || partition != record.partition);
        }
        if disorder {
            self.proof.out_of_order += 1;
            self.name(|| format!("{told} stands behind a later change"));
        }
    }

    /// The table and the key's values.
    fn key(&self, delivered: &Delivered) -> Option<Key> {
        let table = table_of(delivered);
        let columns = self.keys.get(&table)?;
        let row = match delivered.operation {
            Operation::Delete => delivered.before.as_ref()?,
            _ => delivered.after.as_ref()?,
        };
        let values: Vec<_> =
            columns.iter().map(|name| format!("{:?}", column(row, name))).collect();
        Some((Arc::from(table), values.join("\u{1f}")))
    }

    fn name(&mut self, offender: impl FnOnce() -> String) {
        if self.proof.offenders.len() < NAMED {
            self.proof.offenders.push(offender());
        }
    }
}

/// Whether an update gives the row another key.
fn changes_key(change: &Change, keys: &Keys) -> bool {
    let (Operation::Update, Some(before), Some(after), Some(columns)) =
        (change.operation, &change.before, &change.after, keys.get(&*change.table))
    else {
        return false;
    };
    columns.iter().any(|name| column(before, name) != column(after, name))
}

/// The first difference between a committed row and a record of it.
fn difference(change: &Change, delivered: &Delivered) -> Option<String> {
    let object = table_of(delivered);
    if object != *change.table {
        return Some(format!("table {object} instead of {}", change.table));
    }
    if delivered.commit >= change.commit_end {
        return Some(format!("commit LSN not below the commit's end {}", change.commit_end));
    }
    let after = match delivered.operation {
        Operation::Delete => None,
        _ => change.after.as_ref(),
    };
    let before = match delivered.operation {
        Operation::Insert => None,
        _ => change.before.as_ref(),
    };
    // Without an old tuple the old key of an update is the new one: the record may fill it in.
    let filled = before.is_none() && delivered.operation == Operation::Update;
    (if filled { None } else { row_difference("before", before, delivered.before.as_ref()) })
        .or_else(|| row_difference("after", after, delivered.after.as_ref()))
}

fn row_difference(image: &str, truth: Option<&Row>, record: Option<&Row>) -> Option<String> {
    match (truth, record) {
        (None, None) => None,
        (None, Some(_)) => Some(format!("an image {image} that the change does not have")),
        (Some(_), None) => Some(format!("no image {image}")),
        (Some(truth), Some(record)) => truth.iter().find_map(|(name, expected)| {
            let found = column(record, name).unwrap_or(&Datum::Missing);
            // What the slot did not send, another image may have filled.
            let equal = *expected == Datum::Missing || equal(expected, found);
            (!equal).then(|| format!("{image} {name}: {found:?} instead of {expected:?}"))
        }),
    }
}

fn equal(expected: &Datum, found: &Datum) -> bool {
    match (expected, found) {
        (Datum::Text(text), Datum::Float(number)) => match text.parse::<f64>() {
            Ok(expected) => expected == *number || (expected.is_nan() && number.is_nan()),
            Err(_) => false,
        },
        (Datum::Text(text), Datum::OneOf(texts)) => texts.contains(text),
        (Datum::Text(_), Datum::Unread) => true,
        (expected, found) => expected == found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: u32, note: &str) -> Row {
        let text = |text: &str| Datum::Text(text.into());
        vec![("id".into(), text(&id.to_string())), ("note".into(), text(note))]
    }

    fn key(id: u32) -> Row {
        vec![("id".into(), Datum::Text(id.to_string().into()))]
    }

    fn change(xid: u32, operation: Operation, before: Option<Row>, after: Option<Row>) -> Change {
        let commit_end = Lsn(u64::from(xid) * 100 + 50);
        Change { xid, commit_end, number: 1, table: "public.t".into(), operation, before, after }
    }

    /// Insert 1, update 1, change the key 1 to 2, delete 2.
    fn history() -> Vec<Change> {
        vec![
            change(1, Operation::Insert, None, Some(row(1, "a"))),
            change(2, Operation::Update, None, Some(row(1, "b"))),
            change(3, Operation::Update, Some(key(1)), Some(row(2, "b"))),
            change(4, Operation::Delete, Some(key(2)), None),
        ]
    }

    fn delivered(
        xid: u32,
        operation: Operation,
        before: Option<Row>,
        after: Option<Row>,
    ) -> Delivered {
        Delivered {
            id: 0,
            commit: Lsn(u64::from(xid) * 100),
            number: 1,
            xid,
            safe_position: Lsn(0),
            source_timestamp: 0,
            object: ["shop", "public", "t"].map(str::to_owned).to_vec(),
            operation,
            fields: Vec::new(),
            tags: std::collections::BTreeMap::new(),
            before,
            after,
            statement: None,
        }
    }

    /// The records that the history must give.
    fn whole() -> Vec<Delivered> {
        vec![
            delivered(1, Operation::Insert, None, Some(row(1, "a"))),
            delivered(2, Operation::Update, Some(key(1)), Some(row(1, "b"))),
            delivered(3, Operation::Delete, Some(key(1)), None),
            delivered(3, Operation::Insert, None, Some(row(2, "b"))),
            delivered(4, Operation::Delete, Some(key(2)), None),
        ]
    }

    fn verdict(records: &[Delivered]) -> Proof {
        let changes = history();
        let keys = Keys::from([("public.t".to_owned(), vec!["id".to_owned()])]);
        let mut prover = Prover::new(&changes, &keys, 1);
        for delivered in records {
            prover.compare("t/0", &record(0), delivered);
        }
        prover.finish()
    }

    fn record(partition: u32) -> Record {
        Record {
            topic: "t".to_owned(),
            partition,
            offset: 0,
            timestamp: 0,
            received_at_micros: 0,
            key: None,
            value: None,
            headers: Vec::new(),
        }
    }

    #[test]
    fn a_whole_stream_is_proven() {
        let proof = verdict(&whole());
        assert!(proof.holds(), "{proof}");
        assert_eq!((proof.rows, proof.records), (4, 5));
    }

    #[test]
    fn each_record_that_is_missing_is_missed() {
        for index in 0..whole().len() {
            let mut records = whole();
            records.remove(index);
            assert_eq!(verdict(&records).missing, 1);
        }
    }

    #[test]
    fn each_record_that_comes_twice_is_found_also_right_behind_itself() {
        for index in 0..whole().len() {
            let mut records = whole();
            records.insert(index, records[index].clone());
            let proof = verdict(&records);
            assert_eq!((proof.doubled, proof.missing), (1, 0));
        }
    }

    #[test]
    fn two_records_in_the_wrong_order_are_found() {
        let mut records = whole();
        records.swap(0, 1);
        assert_eq!(verdict(&records).out_of_order, 1);
    }

    #[test]
    fn a_record_of_a_transaction_that_rolled_back_is_found() {
        let mut records = whole();
        records.push(delivered(9, Operation::Insert, None, Some(row(9, "z"))));
        assert_eq!(verdict(&records).unexpected, 1);
    }

    #[test]
    fn a_truncate_is_missed_in_each_partition_and_of_each_table() {
        let truncated = |table: &str| Change {
            table: table.into(),
            ..change(1, Operation::Truncate, None, None)
        };
        let changes = [truncated("public.t"), truncated("public.u")];
        let keys = Keys::new();
        let of = |table: &str| {
            let mut delivered = delivered(1, Operation::Truncate, None, None);
            delivered.object[2] = table.to_owned();
            delivered
        };
        let mut prover = Prover::new(&changes, &keys, 2);
        for (partition, table) in [(0, "t"), (0, "u"), (1, "t")] {
            prover.compare("t", &record(partition), &of(table));
        }
        let mut whole = prover.clone();
        whole.compare("t/1", &record(1), &of("u"));
        let proof = whole.clone().finish();
        assert!(proof.holds(), "{proof}");
        assert_eq!((proof.rows, proof.records), (2, 4));
        whole.compare("t/1", &record(1), &of("u"));
        assert_eq!(whole.finish().doubled, 1);
        let proof = prover.finish();
        assert_eq!(proof.missing, 1);
        assert!(proof.offenders[0].contains("public.u"), "{proof}");
    }

    #[test]
    fn another_value_an_invented_image_and_a_lost_column_are_found() {
        let mut records = whole();
        records[0].after = Some(row(1, "other"));
        records[1].after = Some(key(1));
        records[3].before = Some(key(1));
        records[4].object[2] = "u".to_owned();
        let proof = verdict(&records);
        assert_eq!(proof.wrong_values, 4, "{proof}");
    }
}
