//! `tidewire node`.

use serde::{Deserialize, Serialize};
use tidewire_node::NodeConfig;
use tidewire_shared::{NodeName, Period};

use super::settings;
use crate::args::NodeArgs;
use crate::failure::Failure;
use crate::leash;

/// Settings of a node as a file writes them; flags that were not given are left out.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settings {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<NodeName>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    coordinators: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capacity: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drain: Option<Period>,
}

pub(super) fn run(args: NodeArgs) -> Result<(), Failure> {
    if args.leash.exit_with_parent {
        leash::follow_parent()?;
    }
    let given = Settings {
        name: args.name,
        coordinators: args.coordinators,
        capacity: args.capacity,
        drain: args.drain,
    };
    let settings: Settings = settings::layered("node", args.config.as_deref(), given)?;
    tidewire_node::run_blocking(config(settings)?)?;
    Ok(())
}

fn config(settings: Settings) -> Result<NodeConfig, Failure> {
    let missing = |setting: &str, example: &str| {
        settings::missing(
            &format!("node setting {setting}"),
            format!("give it as --{setting} {example}"),
        )
    };
    let name = settings.name.ok_or_else(|| missing("name", "node-1"))?;
    if settings.coordinators.is_empty() {
        return Err(missing("coordinators", "http://HOST:7400"));
    }
    let with_scheme = |url: String| if url.contains("://") { url } else { format!("http://{url}") };
    Ok(NodeConfig {
        name,
        coordinators: settings.coordinators.into_iter().map(with_scheme).collect(),
        capacity: settings.capacity.unwrap_or_else(NodeConfig::default_capacity),
        drain: settings.drain.unwrap_or_else(NodeConfig::default_drain),
    })
}
