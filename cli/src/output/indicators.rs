//! The last hour of a task, minute by minute, as JSON and as a table.

use serde::Serialize;
use tidewire_proto::admin::v1 as pb;

use super::{drawn, rounded, table, time};

/// The minutes of a task, oldest first.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct IndicatorsView {
    name: String,
    minutes: Vec<MinuteView>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MinuteView {
    at: Option<String>,
    phase: String,
    delay_ms: u64,
    records_per_second: u64,
    bytes_per_second: u64,
    lag: u64,
    wal_retained_bytes: u64,
}

impl IndicatorsView {
    pub(crate) fn new(name: &str, answer: pb::TaskIndicatorsResponse) -> Self {
        let minutes = answer.minutes.into_iter().map(|minute| MinuteView {
            at: time(minute.at_ms),
            phase: minute.phase,
            delay_ms: minute.delay_ms,
            records_per_second: minute.records_per_second,
            bytes_per_second: minute.bytes_per_second,
            lag: minute.lag,
            wal_retained_bytes: minute.wal_retained_bytes,
        });
        Self { name: name.to_owned(), minutes: minutes.collect() }
    }
}

/// One line per minute.
pub(crate) fn indicators_table(view: &IndicatorsView) -> String {
    if view.minutes.is_empty() {
        return "no minute is over yet".to_owned();
    }
    let mut table =
        table(&["MINUTE", "PHASE", "LONGEST DELAY", "RECORDS/S", "BYTES/S", "LAG", "WAL HELD"]);
    for minute in &view.minutes {
        table.add_row([
            minute.at.clone().unwrap_or_default(),
            minute.phase.clone(),
            format!("{}ms", minute.delay_ms),
            minute.records_per_second.to_string(),
            rounded(minute.bytes_per_second),
            minute.lag.to_string(),
            rounded(minute.wal_retained_bytes),
        ]);
    }
    drawn(&table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_a_line() {
        let minute = pb::Indicators {
            at_ms: 1_767_225_600_000,
            phase: "Synchronizing".to_owned(),
            delay_ms: 1_500,
            records_per_second: 2_000,
            bytes_per_second: 3_145_728,
            lag: 7,
            wal_retained_bytes: 0,
        };
        let answer = pb::TaskIndicatorsResponse { minutes: vec![minute] };
        let shown = indicators_table(&IndicatorsView::new("orders", answer));
        let line = shown.lines().last().unwrap_or_default();
        let cells: Vec<_> = line.split_whitespace().collect();
        assert_eq!(
            cells,
            ["2026-01-01T00:00:00.000Z", "Synchronizing", "1500ms", "2000", "3MiB", "7", "0"]
        );
        let none = IndicatorsView::new("orders", pb::TaskIndicatorsResponse::default());
        assert_eq!(indicators_table(&none), "no minute is over yet");
    }
}
