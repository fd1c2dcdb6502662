//! What the commands print: results to standard output, all else to standard error.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

/// Prints a line of a result.
pub(crate) fn result(line: impl Display) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}

/// Prints a line that is not a result. Without a reader it is lost, and the command goes on.
pub(crate) fn note(line: &str) {
    drop(writeln!(io::stderr().lock(), "{line}"));
}

/// Does one step, named while it runs and with its time when it is done.
pub(crate) fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let bar = ProgressBar::new_spinner();
    bar.set_style(ProgressStyle::with_template("{spinner} {msg} {elapsed:.dim}")?);
    bar.set_message(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    if bar.is_hidden() {
        note(&format!("… {name}"));
    }
    let start = Instant::now();
    let done = work();
    bar.finish_and_clear();
    let sign = if done.is_ok() { "✓" } else { "✗" };
    note(&format!("{sign} {name} ({})", HumanDuration(start.elapsed())));
    done
}
