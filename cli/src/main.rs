//! The `tidewire` command: reads its arguments, runs one command, ends with the contract's exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidewire_cli::main()
}
