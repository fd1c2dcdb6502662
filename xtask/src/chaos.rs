//! `cargo x chaos`: the fault tests, round after round, with a report at the end.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Args;

use crate::{cargo, checks, screen};

#[derive(Args)]
pub(crate) struct ChaosArguments {
    /// How many rounds of all faults
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// Decides the load; each round adds one
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One kind of fault alone
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(FAULTS))]
    only: Option<String>,
}

/// Modules of the cluster tests that make faults.
const FAULTS: [&str; 4] = ["failover", "zombie", "leader", "end_txn"];

pub(crate) fn run(arguments: &ChaosArguments) -> Result<ExitCode> {
    screen::step("servers for the rounds", checks::fetch_servers)?;
    let binary = screen::step("build tidewire", || cargo::build_binary(cargo::Profile::Debug))?;
    let binary = binary.to_string_lossy();
    let mut passed = BTreeMap::<&str, Vec<u64>>::new();
    let mut failed = BTreeMap::<&str, Vec<u64>>::new();
    let start = Instant::now();
    for seed in (0..arguments.rounds).map(|round| arguments.seed.wrapping_add(round)) {
        let chosen = |fault: &&&str| arguments.only.as_ref().is_none_or(|only| only == **fault);
        for fault in FAULTS.iter().filter(chosen) {
            let module = format!("{fault}::");
            let test =
                ["test", "--package", checks::CLUSTER_TESTS, &module, "--", "--test-threads=1"];
            let name = format!("{fault}, seed {seed}");
            let variables = [("TIDEWIRE_SEED", &*seed.to_string()), ("TIDEWIRE_BIN", &binary)];
            let done = cargo::run(&name, &test, &variables);
            let outcome = if done.is_ok() { &mut passed } else { &mut failed };
            outcome.entry(fault).or_default().push(seed);
        }
    }
    screen::result(format!("{} rounds in {:.0?}", arguments.rounds, start.elapsed()))?;
    for fault in FAULTS {
        let good = passed.get(fault).map_or(0, Vec::len);
        let bad = failed.get(fault).cloned().unwrap_or_default();
        screen::result(format!(
            "{fault:<10} passed {good:>4}  failed {:>4}  seeds {bad:?}",
            bad.len()
        ))?;
    }
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
