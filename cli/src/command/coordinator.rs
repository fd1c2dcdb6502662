//! `tidewire coordinator`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use tidewire_coordinator::Config;
use tokio::signal::unix::{SignalKind, signal};

use super::settings;
use crate::args::CoordinatorArgs;
use crate::failure::{Exit, Failure};
use crate::leash;

/// The flags that were given, under the names of the file.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Given {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    advertise: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    bootstrap: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    join: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    peers: BTreeMap<String, String>,
}

pub(super) fn run(args: CoordinatorArgs) -> Result<(), Failure> {
    if args.leash.exit_with_parent {
        leash::follow_parent()?;
    }
    let given = Given {
        name: args.name,
        listen: args.listen,
        advertise: args.advertise,
        data_dir: args.data_dir,
        bootstrap: args.bootstrap,
        join: args.join,
        peers: args.peers.into_iter().collect(),
    };
    let config: Config = settings::layered("coordinator", args.config.as_deref(), given)?;
    config.validate()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| broken("runtime", &error))?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> Result<(), Failure> {
    let listen = |kind| signal(kind).map_err(|error| broken("signal handler", &error));
    let (mut interrupt, mut terminate) =
        (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let asked_to_stop = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("asked to stop");
    };
    Box::pin(tidewire_coordinator::run(config, asked_to_stop)).await?;
    Ok(())
}

fn broken(object: &str, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Failed, "failed", object, error).remedy("allow more threads and files")
}
