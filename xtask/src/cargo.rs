//! Runs cargo, as the one that runs us.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use indicatif::HumanDuration;
use tidewire_testbed::cluster;

use crate::screen;

/// The repository's top folder.
pub(crate) fn top() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(top()).args(arguments);
    command
}

/// Runs cargo with its output shown, and tells the time that it took.
pub(crate) fn run(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    screen::note(&format!("── {name}: cargo {}", arguments.join(" ")));
    let began = Instant::now();
    let status = cargo(arguments)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .status()
        .context("start cargo")?;
    ensure!(status.success(), "{name} failed");
    screen::note(&format!("✓ {name} ({})", HumanDuration(began.elapsed())));
    Ok(())
}

/// How the binary is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quickly.
    Debug,
    /// Quickly, with the feature `fault-points`, and kept apart from the binary without it.
    FaultPoints,
    /// As it is released.
    Release,
}

/// Builds the binary quietly, unless `TIDEWIRE_BIN` names one, and returns its path.
pub(crate) fn build_binary(profile: Profile) -> Result<PathBuf> {
    if env::var_os("TIDEWIRE_BIN").is_some() {
        return cluster::binary();
    }
    let (options, folder): (&[&str], _) = match profile {
        Profile::Debug => (&[], "debug"),
        Profile::FaultPoints => (&["--features", "fault-points"], "debug"),
        Profile::Release => (&["--release"], "release"),
    };
    let build = ["build", "--quiet", "--package", "tidewire", "--bin", "tidewire"];
    let output =
        cargo(&build).args(options).stdin(Stdio::null()).output().context("start cargo")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the binary does not build\n{said}");
    match profile {
        Profile::FaultPoints => keep_apart(),
        Profile::Debug | Profile::Release => Ok(target().join(folder).join("tidewire")),
    }
}

/// Moves the binary that was just built with fault points away, and returns its path: whoever looks in
/// the usual place must not find it.
pub(crate) fn keep_apart() -> Result<PathBuf> {
    let apart = target().join("fault-points");
    fs::create_dir_all(&apart)?;
    let kept = apart.join("tidewire");
    fs::rename(target().join("debug/tidewire"), &kept)
        .context("keep the binary with fault points apart")?;
    Ok(kept)
}

fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| top().join("target"), PathBuf::from)
}
