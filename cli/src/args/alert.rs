//! `tidewire alert …`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use tidewire_shared::{ChannelName, TaskName};

use super::Common;

#[derive(Debug, ClapArgs)]
pub(crate) struct AlertArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: AlertCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AlertCommand {
    /// Register a channel that alerts go to, or change the one of that name.
    #[command(after_help = CHANNEL_EXAMPLE)]
    Apply {
        /// The document; `-` reads stdin.
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
    },
    /// List all channels, and the alerts of all tasks with how they stand.
    #[command(after_help = "Examples:
  tidewire alert list
  tidewire alert list -o wide")]
    List,
    /// Show one channel, its secrets hidden.
    #[command(after_help = "Example:
  tidewire alert get ops -o yaml")]
    Get {
        /// Which channel.
        name: ChannelName,
    },
    /// Forget a channel that no alert names.
    #[command(after_help = "Example:
  tidewire alert delete ops")]
    Delete {
        /// Which channel.
        name: ChannelName,
    },
    /// Show what was told, and what came of telling it.
    #[command(after_help = "Examples:
  tidewire alert history
  tidewire alert history --task orders -o json")]
    History {
        /// Of this task alone.
        #[arg(long, value_name = "NAME")]
        task: Option<TaskName>,
        /// The newest so many.
        #[arg(long, value_name = "N", default_value_t = 100)]
        last: usize,
    },
    /// Send a message over a channel now, and show what came of it.
    #[command(after_help = "Examples:
  tidewire alert test ops
  tidewire alert test -f ops.yaml -o json")]
    Test(ChannelTestArgs),
}

const CHANNEL_EXAMPLE: &str = "Example:
  tidewire alert apply -f ops.yaml

A document, which alerts of tasks then name as `to: [ops]`:
  apiVersion: tidewire/v1
  kind: webhook_channel
  name: ops
  url: {env: OPS_HOOK}         # https://…; read by the leading coordinator
  shape: dingtalk              # plain, slack, dingtalk, feishu, wecom
  sign: {env: OPS_SIGN}        # of dingtalk, feishu and plain

One for mail:
  apiVersion: tidewire/v1
  kind: mail_channel
  name: ops-mail
  server: smtp.example.com:587
  security: starttls           # starttls, tls, none
  user: tidewire
  password: {env: SMTP_PASSWORD}
  from: Tidewire <tidewire@example.com>
  to: [ops@example.com]";

#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
pub(crate) struct ChannelTestArgs {
    /// A channel that is registered.
    pub(crate) name: Option<ChannelName>,
    /// A document; `-` reads stdin.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}
