//! CPU time and memory of processes, from /proc.

use std::fs;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::json;

/// Clock ticks per second of /proc/PID/stat; fixed at 100 on Linux.
const TICKS: f64 = 100.0;

/// CPU seconds (user and system) that a process has used so far.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold blanks; what follows it does not.
    let (_, rest) = stat.rsplit_once(')').context("stat has no name")?;
    let ticks = |field: usize| -> Result<f64> {
        let text = rest.split_whitespace().nth(field).context("stat is too short")?;
        Ok(text.parse()?)
    };
    // utime and stime are fields 14 and 15, counted from 1; the rest begins at field 3.
    Ok((ticks(11)? + ticks(12)?) / TICKS)
}

/// Largest resident size so far, MiB.
pub(crate) fn peak_mib(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib / 1024.0)
}

/// Prints, as one JSON object, what this process took to copy so many bytes.
pub(crate) fn tell(time: Duration, bytes: u64) -> Result<()> {
    let pid = std::process::id();
    #[allow(clippy::cast_precision_loss)]
    let megabytes = bytes as f64 / 1e6;
    let told = json!({
        "mbPerSecond": megabytes / time.as_secs_f64(),
        "cpuSecondsPerGb": cpu_seconds(pid)? / (megabytes / 1e3),
        "peakRssMib": peak_mib(pid)?,
    });
    writeln!(std::io::stdout(), "{told}").map_err(Into::into)
}
