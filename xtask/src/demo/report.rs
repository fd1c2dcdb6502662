//! The demo's result, for people and for programs.

use std::time::Duration;

use serde_json::{Value, json};
use tidewire_testbed::cluster::Member;
use tidewire_testbed::oracle::{CopyProof, Proof};

/// What the demo saw.
pub(crate) struct Seen {
    pub(crate) kind: &'static str,
    /// What the load was, as a line of the report.
    pub(crate) load: String,
    pub(crate) killed: Member,
    pub(crate) takeover: Duration,
    /// Median from commit to receipt before the kill.
    pub(crate) delay: Duration,
    pub(crate) proven: Proven,
    pub(crate) seconds: u64,
}

/// A proof, in the words that both kinds share.
pub(crate) struct Proven {
    pub(crate) holds: bool,
    /// What was compared with what.
    compared: &'static str,
    /// Its lines, for people.
    told: String,
    counts: Value,
}

impl From<Proof> for Proven {
    fn from(proof: Proof) -> Self {
        Self {
            holds: proof.holds(),
            compared: "What PostgreSQL committed (a second slot, test_decoding) against what Kafka holds\n  \
                       (Kafka's own Java client, read_committed). A change of a key is two records.",
            told: proof.to_string(),
            counts: json!({
                "rows": proof.rows,
                "records": proof.records,
                "missing": proof.missing,
                "doubled": proof.doubled,
                "outOfOrder": proof.out_of_order,
                "neverCommitted": proof.unexpected,
                "wrongValues": proof.wrong_values,
                "offenders": proof.offenders,
            }),
        }
    }
}

impl From<CopyProof> for Proven {
    fn from(proof: CopyProof) -> Self {
        Self {
            holds: proof.holds(),
            compared: "What the source holds against what the target holds, partition by partition, byte for\n  \
                       byte (Kafka's own Java client, read_committed).",
            told: proof.to_string(),
            counts: json!({
                "rows": proof.originals,
                "records": proof.copies,
                "missing": proof.missing,
                "doubled": proof.doubled,
                "outOfOrder": proof.out_of_order,
                "neverCommitted": proof.unexpected,
                "wrongValues": proof.other_timestamps,
                "offenders": proof.offenders,
            }),
        }
    }
}

/// The result as CONTRACT §1 names its fields, and what else was checked.
pub(crate) fn json(seen: &Seen) -> Value {
    let mut result = seen.proven.counts.clone();
    result["kind"] = json!(seen.kind);
    result["killedNode"] = json!(seen.killed.name);
    result["takeoverMs"] = json!(seen.takeover.as_millis());
    result["delayMs"] = json!(seen.delay.as_millis());
    result["seconds"] = json!(seen.seconds);
    result
}

/// The result as a person reads it.
pub(crate) fn text(seen: &Seen) -> String {
    let proof = seen.proven.told.replace('\n', "\n  ");
    let verdict = if seen.proven.holds {
        "Nothing was lost, doubled or reordered."
    } else {
        "The proof FAILED."
    };
    format!(
        "\n  {}\n\n  {}\n  {proof}\n\n  \
         killed node             {:>10}\n  \
         kill to next record     {:>10} ms\n  \
         commit to receipt, p50  {:>10} ms\n\n  {verdict}",
        seen.proven.compared,
        seen.load,
        seen.killed.name,
        seen.takeover.as_millis(),
        seen.delay.as_millis(),
    )
}
