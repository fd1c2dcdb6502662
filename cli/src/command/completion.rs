//! `tidewire completion SHELL`.

use clap::CommandFactory;

use crate::args::Args;
use crate::failure::Failure;
use crate::output;

pub(super) fn run(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "tidewire", &mut script);
    output::write(&String::from_utf8_lossy(&script))
}
