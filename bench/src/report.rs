//! Figures on their way to a person: progress on stderr, one table per measurement on stdout.

use std::io::Write as _;

use comfy_table::{Table, presets};

/// One measurement: a title, column heads and rows.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) title: String,
    pub(crate) heads: Vec<&'static str>,
    pub(crate) rows: Vec<Vec<String>>,
}

/// Says what is being done.
pub(crate) fn step(text: &str) {
    drop(writeln!(std::io::stderr(), "bench: {text}"));
}

/// Prints a measurement.
pub(crate) fn print(figures: &Figures) {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN).set_header(&figures.heads);
    for row in &figures.rows {
        table.add_row(row);
    }
    drop(writeln!(std::io::stdout(), "\n{}\n\n{table}\n", figures.title));
}

/// The middle value; the values may come in any order.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which this share of the values lies.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let index = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}
