//! The demo's result, for people and for programs.

use serde_json::{Value, json};

use super::Seen;

/// The result as CONTRACT §1 names its fields, and what else was checked.
pub(crate) fn json(seen: &Seen) -> Value {
    json!({
        "rows": seen.proof.rows,
        "records": seen.proof.records,
        "missing": seen.proof.missing,
        "doubled": seen.proof.doubled,
        "outOfOrder": seen.proof.out_of_order,
        "neverCommitted": seen.proof.unexpected,
        "wrongValues": seen.proof.wrong_values,
        "killedNode": seen.killed.name,
        "takeoverMs": seen.takeover.as_millis(),
        "delayMs": seen.delay.as_millis(),
        "seconds": seen.seconds,
        "offenders": seen.proof.offenders,
    })
}

/// The result as a person reads it.
pub(crate) fn text(seen: &Seen) -> String {
    let proof = seen.proof.to_string().replace('\n', "\n  ");
    let verdict = if seen.proof.holds() {
        "Nothing was lost, doubled or reordered."
    } else {
        "The proof FAILED."
    };
    format!(
        "\n  What PostgreSQL committed (a second slot, test_decoding) against what Kafka holds\n  \
         (Kafka's own Java client, read_committed). A change of a key is two records.\n\n  \
         transactions            {:>10}\n  {proof}\n\n  \
         killed node             {:>10}\n  \
         kill to next record     {:>10} ms\n  \
         commit to receipt, p50  {:>10} ms\n\n  {verdict}",
        seen.written.transactions,
        seen.killed.name,
        seen.takeover.as_millis(),
        seen.delay.as_millis(),
    )
}
