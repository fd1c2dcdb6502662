//! The `tidewire` command.
//!
//! * [`args`]: what can be asked. [`command`]: one file for each noun, which does it.
//! * [`client`]: the way to the coordinators. [`document`]: task documents.
//! * [`output`]: tables for people, JSON for scripts. [`failure`]: errors and exit codes.

mod args;
mod client;
mod command;
pub mod document;
mod failure;
mod leash;
mod logs;
mod output;

use std::process::ExitCode;

use clap::Parser;

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let args = args::Args::parse();
    let format = args.format();
    logs::start(args.log_format, args.command.runs_long());
    match command::run(args.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report(format);
            ExitCode::from(failure.exit.code())
        }
    }
}
