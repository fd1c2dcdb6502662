//! Whether copies of topics hold what their originals hold: partition by partition, in order, byte for
//! byte.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use serde::Serialize;

use crate::reader::Record;

/// How many offenders a proof names.
const NAMED: usize = 10;

/// The outcome: how many records, and what is wrong with their copies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyProof {
    /// Topics that were compared.
    pub topics: u64,
    /// Partitions of them that hold records.
    pub partitions: u64,
    /// Records at the source, as read_committed readers see them.
    pub originals: u64,
    /// Records at the target.
    pub copies: u64,
    /// Records without a copy.
    pub missing: u64,
    /// Copies of a record beyond those that it should have.
    pub doubled: u64,
    /// Copies of what the source does not hold.
    pub unexpected: u64,
    /// Places of a partition where a copy of another of its records stands.
    pub out_of_order: u64,
    /// Copies with another timestamp.
    pub other_timestamps: u64,
    /// The first offenders, one line each.
    pub offenders: Vec<String>,
}

impl CopyProof {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.missing + self.doubled + self.unexpected + self.out_of_order + self.other_timestamps
            == 0
    }

    /// Compares all records of a topic with all of its copy.
    pub fn compare(&mut self, topic: &str, originals: &[Record], copies: &[Record]) {
        self.topics += 1;
        let (originals, copies) = (by_partition(originals), by_partition(copies));
        let partitions: BTreeSet<_> = originals.keys().chain(copies.keys()).copied().collect();
        for partition in partitions {
            let of = |side: &BTreeMap<u32, Vec<_>>| side.get(&partition).cloned();
            let (originals, copies) = (of(&originals), of(&copies));
            self.partition(
                (topic, partition),
                &originals.unwrap_or_default(),
                &copies.unwrap_or_default(),
            );
        }
    }

    fn partition(&mut self, at: (&str, u32), originals: &[&Record], copies: &[&Record]) {
        self.partitions += 1;
        self.originals += count(originals.len());
        self.copies += count(copies.len());
        let pairs = || originals.iter().zip(copies);
        let others = pairs().filter(|(one, other)| content(one) != content(other)).count();
        let stamps = pairs()
            .filter(|(one, other)| content(one) == content(other) && !same_timestamp(one, other));
        self.other_timestamps += count(stamps.count());
        if others > 0 || originals.len() != copies.len() {
            self.contents(others, originals, copies);
        }
        let first = pairs()
            .position(|(one, other)| content(one) != content(other) || !same_timestamp(one, other));
        let shorter = originals.len().min(copies.len());
        let first = first.or_else(|| (originals.len() != copies.len()).then_some(shorter));
        if let Some(first) = first
            && self.offenders.len() < NAMED
        {
            let told = |records: &[&Record]| {
                records.get(first).map_or_else(|| "none".to_owned(), |it| brief(it))
            };
            self.offenders.push(format!(
                "{}-{}: {} records, {} copies; the first that differs is number {first}: {} became {}",
                at.0,
                at.1,
                originals.len(),
                copies.len(),
                told(originals),
                told(copies)
            ));
        }
    }

    /// What is missing or too much, and only if neither is, what stands elsewhere.
    fn contents(&mut self, others: usize, originals: &[&Record], copies: &[&Record]) {
        let mut numbers = HashMap::<_, (u64, u64)>::new();
        originals.iter().for_each(|record| numbers.entry(content(record)).or_default().0 += 1);
        copies.iter().for_each(|record| numbers.entry(content(record)).or_default().1 += 1);
        let (mut missing, mut extra) = (0, 0);
        for (wanted, found) in numbers.into_values() {
            missing += wanted.saturating_sub(found);
            match wanted {
                0 => self.unexpected += found,
                wanted => self.doubled += found.saturating_sub(wanted),
            }
            extra += found.saturating_sub(wanted);
        }
        self.missing += missing;
        if missing == 0 && extra == 0 {
            self.out_of_order += count(others);
        }
    }
}

impl fmt::Display for CopyProof {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "topics, partitions      {:>6} {:>3}", self.topics, self.partitions)?;
        writeln!(out, "records at the source   {:>10}", self.originals)?;
        writeln!(out, "copies read back        {:>10}", self.copies)?;
        writeln!(out, "missing                 {:>10}", self.missing)?;
        writeln!(out, "doubled                 {:>10}", self.doubled)?;
        writeln!(out, "never at the source     {:>10}", self.unexpected)?;
        writeln!(out, "out of order            {:>10}", self.out_of_order)?;
        write!(out, "with another timestamp  {:>10}", self.other_timestamps)?;
        for offender in &self.offenders {
            write!(out, "\n  {offender}")?;
        }
        Ok(())
    }
}

fn by_partition(records: &[Record]) -> BTreeMap<u32, Vec<&Record>> {
    let mut partitions = BTreeMap::<_, Vec<_>>::new();
    for record in records {
        partitions.entry(record.partition).or_default().push(record);
    }
    partitions
}

type Content<'r> = (Option<&'r [u8]>, Option<&'r [u8]>, &'r [(String, Option<Vec<u8>>)]);

fn content(record: &Record) -> Content<'_> {
    (record.key.as_deref(), record.value.as_deref(), &record.headers)
}

/// librdkafka writes 0 as the present time.
fn same_timestamp(original: &Record, copy: &Record) -> bool {
    original.timestamp == copy.timestamp || original.timestamp == 0
}

/// A record in a line: values can be large.
fn brief(record: &Record) -> String {
    let bytes = |bytes: &Option<Vec<u8>>| match bytes {
        None => "null".to_owned(),
        Some(bytes) => {
            let head = bytes.get(..bytes.len().min(16)).unwrap_or_default();
            format!("{} B {}", bytes.len(), head.escape_ascii())
        }
    };
    let Record { offset, timestamp, headers, .. } = record;
    let (key, value) = (bytes(&record.key), bytes(&record.value));
    format!(
        "[offset {offset}, time {timestamp}, key {key}, value {value}, {} headers]",
        headers.len()
    )
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    fn record(partition: u32, offset: u64, value: &str) -> Record {
        Record {
            topic: "t".to_owned(),
            partition,
            offset,
            timestamp: 7,
            received_at_micros: 0,
            key: None,
            value: Some(value.as_bytes().to_vec()),
            headers: Vec::new(),
        }
    }

    fn partition(values: &[&str]) -> Vec<Record> {
        (0..).zip(values).map(|(offset, value)| record(1, offset, value)).collect()
    }

    /// Missing, doubled, unexpected, out of order, with another timestamp.
    fn wrong(originals: &[Record], copies: &[Record]) -> [u64; 5] {
        let mut proof = CopyProof::default();
        proof.compare("t", originals, copies);
        let counts = [
            proof.missing,
            proof.doubled,
            proof.unexpected,
            proof.out_of_order,
            proof.other_timestamps,
        ];
        assert_eq!(proof.holds(), counts == [0; 5]);
        assert_eq!(proof.holds(), proof.offenders.is_empty(), "{proof}");
        counts
    }

    #[test]
    fn each_kind_of_harm_is_counted_as_what_it_is() {
        let original = partition(&["a", "b", "b", "c"]);
        for (copies, expected) in [
            (&["a", "b", "b", "c"][..], [0; 5]),
            (&["a", "b", "c"], [1, 0, 0, 0, 0]),
            (&["a", "b", "b", "b", "c"], [0, 1, 0, 0, 0]),
            (&["a", "b", "b", "c", "x"], [0, 0, 1, 0, 0]),
            (&["a", "b", "c", "b"], [0, 0, 0, 2, 0]),
            (&["a", "b", "b", "C"], [1, 0, 1, 0, 0]),
            (&[], [4, 0, 0, 0, 0]),
        ] {
            assert_eq!(wrong(&original, &partition(copies)), expected, "{copies:?}");
        }
    }

    #[test]
    fn partitions_are_kept_apart_and_offsets_are_not_compared() {
        let originals = [record(0, 5, "a"), record(1, 9, "b")];
        assert_eq!(wrong(&originals, &[record(1, 0, "b"), record(0, 0, "a")]), [0; 5]);
        assert_eq!(wrong(&originals, &[record(1, 0, "a"), record(0, 0, "b")]), [2, 0, 2, 0, 0]);
    }

    #[test]
    fn null_is_not_empty_headers_count_and_only_the_timestamp_0_may_change() {
        let original = Record { headers: vec![("h".to_owned(), None)], ..record(0, 0, "") };
        let changed = [
            Record { value: None, ..original.clone() },
            Record { key: Some(Vec::new()), ..original.clone() },
            Record { headers: vec![("h".to_owned(), Some(Vec::new()))], ..original.clone() },
            Record { headers: Vec::new(), ..original.clone() },
        ];
        for copy in changed {
            assert_eq!(wrong(from_ref(&original), &[copy]), [1, 0, 1, 0, 0]);
        }
        let later = Record { timestamp: 8, ..original.clone() };
        assert_eq!(wrong(from_ref(&original), from_ref(&later)), [0, 0, 0, 0, 1]);
        let at_zero = Record { timestamp: 0, ..original };
        assert_eq!(wrong(&[at_zero], &[later]), [0; 5]);
    }
}
