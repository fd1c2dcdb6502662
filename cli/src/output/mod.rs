//! What is printed: data to stdout, everything else to stderr.

pub(crate) mod alert;
pub(crate) mod cluster;
pub(crate) mod connection;
pub(crate) mod history;
pub(crate) mod indicators;
pub(crate) mod leftovers;
pub(crate) mod positions;
pub(crate) mod precheck;
mod retry;
pub(crate) mod task;

use std::io::{ErrorKind, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::args::Format;
use crate::failure::{Exit, Failure};

/// Prints `value` as asked; `table` makes the text for people, wide or not.
pub(crate) fn print<T: Serialize>(
    format: Format,
    value: &T,
    table: impl FnOnce(bool) -> String,
) -> Result<(), Failure> {
    let unprintable = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Failed, "failed", "output", error).remedy("try another -o")
    };
    match format {
        Format::Table => write(&table(false)),
        Format::Wide => write(&table(true)),
        Format::Json => write(&serde_json::to_string(value).map_err(|error| unprintable(&error))?),
        Format::Yaml => {
            write(&serde_saphyr::to_string(value).map_err(|error| unprintable(&error))?)
        }
    }
}

/// Writes `text` to stdout, as whole lines. A reader that went away is no failure.
pub(crate) fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let written = write!(stdout, "{text}{end}").and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Failed, "failed", "stdout", error).remedy("make room for it"))
        }
        _ => Ok(()),
    }
}

/// Says something to people, on stderr.
pub(crate) fn note(text: &str) {
    // Nobody is left to tell when stderr is gone.
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

/// Says a warning on stderr: for scripts an object on a line of its own, as errors are.
pub(crate) fn warn(format: Format, text: &str) {
    match format {
        Format::Json => note(&serde_json::json!({"warning": text}).to_string()),
        _ => note(&format!("warning: {text}")),
    }
}

/// A size in the largest unit of which there are at least ten, so that people read three digits.
fn rounded(bytes: u64) -> String {
    let shift = [30_u32, 20, 10].into_iter().find(|shift| bytes >> shift >= 10).unwrap_or(0);
    tidewire_shared::ByteSize((bytes >> shift) << shift).to_string()
}

/// A table as all commands draw it: no lines, columns apart.
fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    table
}

/// The drawn table without the spaces at the ends of its lines.
fn drawn(table: &Table) -> String {
    table.trim_fmt()
}

/// A time as RFC 3339 in UTC, with milliseconds.
fn time(ms: i64) -> Option<String> {
    let time = jiff::Timestamp::from_millisecond(ms).ok()?;
    (ms != 0).then(|| format!("{time:.3}"))
}
