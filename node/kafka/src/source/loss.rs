//! What it means that a partition cannot be read on.

use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode as Code;
use tidewire_shared::{Fault, FaultKind};

use crate::config::Side;
use crate::fault::{KafkaError, is_unknown};
use crate::ffi::{Client, Described};
use crate::topics::patiently;

/// Longest wait for what explains a loss.
const LOOK: Duration = Duration::from_secs(3);

/// The fault of a partition whose stream ended at `offset`.
pub(super) fn judge(
    client: &Client,
    topic: &str,
    partition: i32,
    offset: i64,
    error: &KafkaError,
) -> Fault {
    let object = format!("topic {topic}, partition {partition}");
    match error.code {
        Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation => {
            let ends = client.watermarks(topic, partition, LOOK).ok();
            lost(offset, ends, error).fault_at(Side::Source, object)
        }
        code if is_unknown(code) => absent(client, topic, error),
        _ => {
            let text = format!("{} (at offset {offset})", error.text);
            KafkaError { code: error.code, text }.fault_at(Side::Source, object)
        }
    }
}

/// librdkafka has one code for all positions that are not there; its sentence tells them apart.
fn lost(offset: i64, ends: Option<(i64, i64)>, error: &KafkaError) -> KafkaError {
    let holds = |(low, end): (i64, i64)| format!("the partition holds offsets {low} to {end}");
    if error.code == Code::LogTruncation || error.text.contains("truncation") {
        let text = match ends {
            Some(ends) => format!("took back records that were read; {}", holds(ends)),
            None => "took back records that were read".to_owned(),
        };
        return KafkaError { code: Code::LogTruncation, text };
    }
    let text = match ends {
        Some(ends @ (low, _)) if offset >= 0 && offset < low => {
            format!("offset {offset} is not there any more: {}", holds(ends))
        }
        Some(ends) if offset >= 0 => format!("offset {offset} is not there: {}", holds(ends)),
        _ => error.text.clone(),
    };
    KafkaError { code: Code::OffsetOutOfRange, text }
}

/// A topic that a broker did not know: gone, or there all the same.
pub(super) fn absent(client: &Client, topic: &str, error: &KafkaError) -> Fault {
    let object = format!("topic {topic}");
    let looked = patiently(|| Ok(client.describe_topics(&[topic], LOOK)), is_absent);
    if !looked.is_ok_and(|answers| is_absent(&answers)) {
        let message = format!("a broker did not know it for a moment: {}", error.text);
        return Fault::new(FaultKind::SourceBusy, object, message);
    }
    Fault::new(FaultKind::SourceState, object, "was deleted while the task read it").remedy(
        "what was not copied of it is gone; to go on with the others take the topic out of the task",
    )
}

/// Whether the brokers say that a topic is not there; nobody's answer says nothing.
fn is_absent(answers: &Result<Described, KafkaError>) -> bool {
    let absent = |error: &KafkaError| error.code == Code::UnknownTopicOrPartition;
    let Ok(answers) = answers else { return false };
    answers.iter().any(|(_, answer)| answer.as_ref().is_err_and(absent))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> KafkaError {
        KafkaError { code: Code::AutoOffsetReset, text: text.to_owned() }
    }

    #[test]
    fn a_lost_offset_is_told_with_what_is_left() {
        let out_of_range =
            error("fetch failed due to requested offset not available on the broker");
        let told = lost(42, Some((100, 200)), &out_of_range);
        assert_eq!(told.code, Code::OffsetOutOfRange);
        assert_eq!(
            told.text,
            "offset 42 is not there any more: the partition holds offsets 100 to 200"
        );
        let told = lost(300, Some((100, 200)), &out_of_range);
        assert_eq!(told.text, "offset 300 is not there: the partition holds offsets 100 to 200");
        assert_eq!(lost(42, None, &out_of_range).text, out_of_range.text);
    }

    #[test]
    fn records_that_were_taken_back_are_not_an_offset_out_of_range() {
        let told =
            lost(42, Some((0, 50)), &error("Partition log truncation detected at offset 42"));
        assert_eq!(told.code, Code::LogTruncation);
        assert_eq!(
            told.text,
            "took back records that were read; the partition holds offsets 0 to 50"
        );
    }
}
