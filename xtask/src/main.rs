//! `cargo x`: the commands of this repository. `cargo x --help` lists them.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod cargo;
mod chaos;
mod checks;
mod demo;
mod parity;
mod screen;
mod servers;
mod tidy;

#[derive(Parser)]
#[command(name = "cargo x", bin_name = "cargo x", about = "The commands of this repository")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The main job, from nothing: servers, cluster, task, changes, a killed node, and the proof
    Demo(demo::DemoArguments),
    /// Everything that must hold before a change is trusted
    Test {
        /// Leave out the cluster tests
        #[arg(long)]
        quick: bool,
    },
    /// The comparisons of bench/, printed as a table; its options, `--help` too, are the bench's own
    #[command(disable_help_flag = true)]
    Bench {
        /// Options of the bench: `--peers`, `--only catch-up`, …
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        options: Vec<String>,
    },
    /// Debezium and `debezium_json` on the same database, record by record
    Parity(parity::ParityArguments),
    /// The fault tests, round after round
    Chaos(chaos::ChaosArguments),
    /// All static checks, without writing
    Verify,
    /// The rules of the house alone, a part of verify
    Tidy,
    /// Repair what the static checks can repair
    Fix,
    /// PostgreSQL and Kafka alone, for work by hand
    #[command(subcommand)]
    Servers(servers::ServersCommand),
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(failed) => {
            screen::note(&format!("error: {failed:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Measures the release build.
fn bench(options: &[String]) -> Result<()> {
    screen::step("servers for the bench", checks::fetch_servers)?;
    let binary = cargo::build_binary(cargo::Profile::Release)?;
    let binary = binary.to_string_lossy();
    let mut arguments = vec!["run", "--quiet", "--release", "--package", "tidewire-bench", "--"];
    arguments.extend(options.iter().map(String::as_str));
    cargo::run("bench", &arguments, &[("TIDEWIRE_BIN", &binary)])
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Demo(arguments) => return demo::run(&arguments),
        Command::Test { quick } => checks::test(quick)?,
        Command::Bench { options } => bench(&options)?,
        Command::Parity(arguments) => parity::run(&arguments)?,
        Command::Chaos(arguments) => return chaos::run(&arguments),
        Command::Verify => checks::verify()?,
        Command::Tidy => checks::tidied()?,
        Command::Fix => checks::fix()?,
        Command::Servers(command) => servers::run(command)?,
    }
    Ok(ExitCode::SUCCESS)
}
