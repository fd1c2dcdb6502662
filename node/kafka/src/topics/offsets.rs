//! Where partitions begin and end, and where a moment lies in them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tidewire_shared::{Fault, FaultKind, Persistence};

use super::Topics;
use crate::config::Isolation;
use crate::fault::{is_unknown, not_known_yet};
use crate::ffi::Partitions;

/// A place in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The first offset that is left.
    Earliest,
    /// The end: behind the last record, or behind the last that no open transaction holds back (brokers
    /// before 0.11 have no transactions; both are the same there).
    Latest(Isolation),
    /// The first record with this timestamp, in milliseconds since 1970, or a later one.
    Timestamp(i64),
}

/// Partitions that were just made, or whose leader moved, have one again by then, and it knows them.
const SETTLING: Duration = Duration::from_secs(3);
/// Between two looks for leaders.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// ListOffsets' words for places that are no time.
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

impl Topics {
    /// Offsets of many partitions, one request per broker that leads some; in the order of the question.
    /// `None` where no record is as young as the timestamp. Brokers from 0.10.1.
    ///
    /// Who asks has seen the partitions in the cluster's metadata: brokers that know nothing of one have
    /// not heard of it yet, which takes them seconds when they are busy.
    ///
    /// # Errors
    ///
    /// The cluster cannot be reached; that of a partition says why it has none.
    pub fn offsets(
        &self,
        partitions: &[(&str, u32)],
        at: At,
        timeout: Duration,
    ) -> Result<Vec<Result<Option<i64>, Fault>>, Fault> {
        let settled = Instant::now() + timeout.min(SETTLING);
        loop {
            let offsets = self.offsets_now(partitions, at, timeout);
            let passes = |fault: &Fault| fault.persistence() != Persistence::Definite;
            let waits = match &offsets {
                Ok(offsets) => offsets.iter().any(|it| it.as_ref().err().is_some_and(passes)),
                // That none of them has a leader passes as soon; that nobody answers may not.
                Err(fault) => fault.persistence() == Persistence::Other,
            };
            if !waits || Instant::now() >= settled {
                return offsets;
            }
            std::thread::sleep(LOOK_AGAIN);
            // librdkafka 2.12 goes on to believe that a topic is not there which was not when it asked for
            // the leaders first, until it hears of the topic in another way (seen for minutes).
            let topics: BTreeSet<&str> = partitions.iter().map(|(topic, _)| *topic).collect();
            drop(self.client.describe_topics(&Vec::from_iter(topics), timeout));
        }
    }

    fn offsets_now(
        &self,
        partitions: &[(&str, u32)],
        at: At,
        timeout: Duration,
    ) -> Result<Vec<Result<Option<i64>, Fault>>, Fault> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let (place, isolation) = match at {
            At::Earliest => (EARLIEST, Isolation::Uncommitted),
            At::Latest(isolation) => (LATEST, isolation),
            At::Timestamp(millis) => (millis.max(0), Isolation::Uncommitted),
        };
        let asked = asked(partitions.iter().map(|(topic, partition)| (*topic, *partition, place)))?;
        let answers = self
            .client
            .list_offsets(&asked, isolation, timeout)
            .map_err(|error| self.fault(&error))?;
        let mut answers: BTreeMap<(String, i32), _> = answers
            .into_iter()
            .map(|(topic, partition, answer)| ((topic, partition), answer))
            .collect();
        let answer_of = |(topic, partition): &(&str, u32)| {
            let object = object(topic, *partition);
            let key = ((*topic).to_owned(), i32::try_from(*partition).unwrap_or(-1));
            match answers.remove(&key) {
                Some(Ok(offset)) => Ok((offset >= 0).then_some(offset)),
                Some(Err(error)) if is_unknown(error.code) => {
                    Err(not_known_yet(self.settings.side(), object))
                }
                Some(Err(error)) => Err(error.fault_at(self.settings.side(), object)),
                None => Err(self.silent(object)),
            }
        };
        Ok(partitions.iter().map(answer_of).collect())
    }

    /// Deletes the records below an offset each; −1 stands for all that are committed. Gives where the
    /// partitions begin then, in the order of the question. Needs Delete on the topics, brokers from
    /// 0.11, and topics that are not only compacted.
    ///
    /// # Errors
    ///
    /// The cluster cannot be reached; that of a partition says why its records stay.
    pub fn delete_records(
        &self,
        below: &[(&str, u32, i64)],
        timeout: Duration,
    ) -> Result<Vec<Result<i64, Fault>>, Fault> {
        if below.is_empty() {
            return Ok(Vec::new());
        }
        let asked = asked(below.iter().copied())?;
        let answers = self
            .client
            .delete_records(&asked, timeout)
            .map_err(|error| self.refused(super::manage::DELETE, &error, "records"))?;
        let mut answers: BTreeMap<(String, i32), _> = answers
            .into_iter()
            .map(|(topic, partition, answer)| ((topic, partition), answer))
            .collect();
        let answer_of = |(topic, partition, _): &(&str, u32, i64)| {
            let object = object(topic, *partition);
            let key = ((*topic).to_owned(), i32::try_from(*partition).unwrap_or(-1));
            match answers.remove(&key) {
                Some(Ok(low)) => Ok(low),
                Some(Err(error)) => Err(self.refused(super::manage::DELETE, &error, &object)),
                None => Err(self.silent(object)),
            }
        };
        Ok(below.iter().map(answer_of).collect())
    }
}

fn asked<'a>(
    partitions: impl ExactSizeIterator<Item = (&'a str, u32, i64)>,
) -> Result<Partitions, Fault> {
    let mut list = Partitions::with_capacity(partitions.len());
    for (topic, partition, offset) in partitions {
        let object = || object(topic, partition);
        let number = i32::try_from(partition)
            .map_err(|_| Fault::new(FaultKind::Internal, object(), "Kafka numbers none as high"))?;
        list.push(topic, number, offset, None).map_err(|error| error.fault(object()))?;
    }
    Ok(list)
}

fn object(topic: &str, partition: u32) -> String {
    format!("topic {topic}, partition {partition}")
}
