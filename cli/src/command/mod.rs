//! What `tidewire` does: one file for each noun.

mod alert;
mod cluster;
mod completion;
mod confirm;
mod connection;
mod coordinator;
mod dev;
mod life;
mod node;
mod nodes;
mod positions;
mod settings;
mod task;
pub(crate) mod wait;

use std::future::Future;

use crate::args::Command;
use crate::failure::{Exit, Failure};

pub(crate) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Coordinator(args) => coordinator::run(*args),
        Command::Node(args) => node::run(args),
        Command::Dev(args) => wait_for(dev::run(args)),
        Command::Task(args) => wait_for(task::run(args)),
        Command::Connection(args) => wait_for(connection::run(args)),
        Command::Alert(args) => wait_for(alert::run(args)),
        Command::Nodes(args) => wait_for(nodes::run(args)),
        Command::Cluster(args) => wait_for(cluster::run(args)),
        Command::Positions(args) => wait_for(positions::run(args)),
        Command::Completion { shell } => completion::run(shell),
    }
}

/// Runs a call to its end on a runtime of one thread.
fn wait_for(call: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        Failure::new(Exit::Failed, "failed", "runtime", error)
            .remedy("allow more threads and files")
    })?;
    runtime.block_on(call)
}
