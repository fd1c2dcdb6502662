//! Everything that can be asked of `tidewire` on its command line.

pub(crate) mod alert;
pub(crate) mod place;

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use tidewire_shared::{ConnectionName, NodeName, Period, TaskName};

use crate::command::wait::Goal;

/// Carries changes of PostgreSQL and topics of Kafka into Kafka, exactly once, on a cluster.
#[derive(Debug, Parser)]
#[command(name = "tidewire", version, after_help = EXAMPLE)]
pub(crate) struct Args {
    /// How log lines on stderr are written; TIDEWIRE_LOG sets their level, like `info` or `debug`.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "text",
        env = "TIDEWIRE_LOG_FORMAT",
        hide_env = true
    )]
    pub(crate) log_format: LogFormat,
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Args {
    /// How this command prints.
    pub(crate) fn format(&self) -> Format {
        match &self.command {
            Command::Dev(DevArgs { json: true, .. }) => Format::Json,
            _ => self.common.output,
        }
    }
}

const EXAMPLE: &str = "Example: a cluster on this machine, and a task on it
  tidewire dev &
  tidewire task apply -f orders.yaml --start --wait
  tidewire task get orders

Exit codes: 0 done, 1 failed, 2 usage or a document that does not parse, 3 not found,
4 refused in this state, 5 precheck failed, 6 unreachable or the outcome is unknown, 7 not allowed";

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run one coordinator.
    #[command(after_help = "Examples:
  tidewire coordinator --name c1 --listen 0.0.0.0:7400 --advertise c1.example:7400 --data-dir /var/lib/tidewire \\
      --peers c1=c1.example:7400,c2=c2.example:7400,c3=c3.example:7400
  tidewire coordinator --config /etc/tidewire/coordinator.yaml")]
    Coordinator(Box<CoordinatorArgs>),
    /// Run one node.
    #[command(after_help = "Examples:
  tidewire node --name node-1 --coordinators http://c1.example:7400,http://c2.example:7400
  tidewire node --config /etc/tidewire/node.yaml")]
    Node(NodeArgs),
    /// Run a whole cluster on this machine; stops on SIGINT.
    #[command(after_help = "Example:
  tidewire dev --coordinators 3 --nodes 2 --port 7400")]
    Dev(DevArgs),
    /// Create, run and watch tasks.
    Task(TaskArgs),
    /// Register, try and explore data sources and targets that tasks use by name.
    Connection(ConnectionArgs),
    /// Register channels that alerts go to, try them, and see what was told.
    Alert(alert::AlertArgs),
    /// See and drain nodes.
    Nodes(NodesArgs),
    /// See the cluster.
    Cluster(ClusterArgs),
    /// See what the target itself says about a task, without coordinators.
    Positions(PositionsArgs),
    /// Print the completion script of a shell.
    #[command(after_help = "Example:
  tidewire completion bash > /etc/bash_completion.d/tidewire")]
    Completion {
        /// For which shell.
        shell: clap_complete::Shell,
    },
}

impl Command {
    /// Whether it runs until it is stopped, so that its log is worth reading.
    pub(crate) fn runs_long(&self) -> bool {
        matches!(self, Self::Coordinator(_) | Self::Node(_) | Self::Dev(_))
    }
}

/// How data is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
    Yaml,
    Wide,
}

/// What every command takes that asks coordinators.
#[derive(Debug, ClapArgs)]
pub(crate) struct Common {
    /// Coordinators to ask; the next is tried when one does not answer.
    #[arg(
        long,
        global = true,
        value_delimiter = ',',
        value_name = "URL[,URL]",
        env = "TIDEWIRE_ENDPOINT",
        default_value = "http://127.0.0.1:7400"
    )]
    pub(crate) endpoint: Vec<String>,
    /// How data is printed.
    #[arg(short, long, global = true, value_enum, default_value = "table")]
    pub(crate) output: Format,
    /// How long to try in all, like `30s`; the default depends on the command.
    #[arg(long, global = true, value_name = "DURATION")]
    pub(crate) timeout: Option<Period>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct CoordinatorArgs {
    /// YAML file; its keys are the flags in camelCase, and flags win over it.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Name, unique in the group.
    #[arg(long, env = "TIDEWIRE_COORDINATOR_NAME")]
    pub(crate) name: Option<String>,
    /// Where to listen, for everybody.
    #[arg(long, value_name = "HOST:PORT", env = "TIDEWIRE_COORDINATOR_LISTEN")]
    pub(crate) listen: Option<String>,
    /// Where the others reach it; what it listens on unless given.
    #[arg(long, value_name = "HOST:PORT", env = "TIDEWIRE_COORDINATOR_ADVERTISE")]
    pub(crate) advertise: Option<String>,
    /// Directory of its own for log and state.
    #[arg(long, value_name = "DIR", env = "TIDEWIRE_COORDINATOR_DATA_DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Start a new cluster, alone.
    #[arg(long)]
    pub(crate) bootstrap: bool,
    /// Coordinators to ask for admission.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "HOST:PORT,…",
        env = "TIDEWIRE_COORDINATOR_JOIN"
    )]
    pub(crate) join: Vec<String>,
    /// All first coordinators, this one included; they form the cluster together.
    #[arg(long, value_delimiter = ',', value_name = "NAME=HOST:PORT,…", env = "TIDEWIRE_COORDINATOR_PEERS", value_parser = peer)]
    pub(crate) peers: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) leash: Leash,
}

fn peer(text: &str) -> Result<(String, String), String> {
    let (name, address) = text.split_once('=').ok_or("write NAME=HOST:PORT")?;
    Ok((name.to_owned(), address.to_owned()))
}

#[derive(Debug, ClapArgs)]
pub(crate) struct NodeArgs {
    /// YAML file; its keys are the flags in camelCase, and flags win over it.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Name of the node; one process at a time may use it.
    #[arg(long, env = "TIDEWIRE_NODE_NAME")]
    pub(crate) name: Option<NodeName>,
    /// Where coordinators are; any of them will do.
    #[arg(
        long,
        value_delimiter = ',',
        value_name = "URL[,URL]",
        env = "TIDEWIRE_NODE_COORDINATORS"
    )]
    pub(crate) coordinators: Vec<String>,
    /// Shards it carries at most.
    #[arg(long, env = "TIDEWIRE_NODE_CAPACITY")]
    pub(crate) capacity: Option<u32>,
    /// Longest wait for the hand-over of its shards when it is asked to stop.
    #[arg(long, value_name = "DURATION", env = "TIDEWIRE_NODE_DRAIN")]
    pub(crate) drain: Option<Period>,
    #[command(flatten)]
    pub(crate) leash: Leash,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Leash {
    /// Exit when stdin ends, which it does when the parent dies.
    #[arg(long, hide = true)]
    pub(crate) exit_with_parent: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DevArgs {
    /// Data and logs; a new temporary directory unless given.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
    /// How many coordinators.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=5))]
    pub(crate) coordinators: u16,
    /// How many nodes.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=20))]
    pub(crate) nodes: u16,
    /// Port of the first coordinator, the others follow; 0 takes free ones.
    #[arg(long, default_value_t = 7400)]
    pub(crate) port: u16,
    /// Print one line of JSON once all are up.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct TaskArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: TaskCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Create a task from a document, or give one that exists another document.
    #[command(after_help = "Example:
  tidewire task apply -f orders.yaml --start --wait --timeout 2m")]
    Apply(ApplyArgs),
    /// Look whether a task could run.
    #[command(after_help = "Examples:
  tidewire task precheck orders
  tidewire task precheck -f orders.yaml
  tidewire task precheck orders --ignore wal_retention --override topic_policy")]
    Precheck(PrecheckArgs),
    /// Precheck a task, then run it.
    #[command(after_help = "Examples:
  tidewire task start orders --wait
  tidewire task start orders --override topic_collision")]
    Start(StartArgs),
    /// Stop a task; it resumes where it was.
    #[command(after_help = "Example:
  tidewire task pause orders --wait")]
    Pause(MoveArgs),
    /// Let a paused or failed task go on.
    #[command(after_help = "Example:
  tidewire task resume orders --wait=Synchronizing")]
    Resume(MoveArgs),
    /// End a task for good; its slot stays.
    #[command(after_help = "Example:
  tidewire task terminate orders")]
    Terminate(MoveArgs),
    /// Delete a task with its slot, publication and positions; asks first at a terminal when it runs.
    #[command(after_help = "Examples:
  tidewire task delete orders
  tidewire task delete orders --yes
  tidewire task delete --forget orders")]
    Delete {
        /// Which task.
        name: TaskName,
        /// The task is deleted already: stop trying to drop what it left.
        #[arg(long)]
        forget: bool,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Have a paused or failed task go on from elsewhere, within what its source still has.
    #[command(
        after_help = "Examples: a task from PostgreSQL goes back, or on where its slot stands; a copy passes over a gap
  tidewire task pause orders --wait
  tidewire task rewind orders --to 0/16B3748 --yes
  tidewire task resume orders

  tidewire task rewind orders --to slot --yes
  tidewire task resume orders

  tidewire task rewind mirror --to orders/0=120,orders/1=earliest --yes
  tidewire task resume mirror"
    )]
    Rewind(RewindArgs),
    /// Have another node run a task, or one shard of it.
    #[command(after_help = "Examples: a task with one shard; a shard of another
  tidewire task move orders --to node-2
  tidewire task move mirror/3 --to node-2")]
    Move(RelocateArgs),
    /// Show how a task did in each of the last sixty minutes: delay, rates, lag.
    #[command(after_help = "Example:
  tidewire task indicators orders -o json")]
    Indicators {
        /// Which task.
        name: TaskName,
    },
    /// Show the documents of a task with what changed, and what was asked of it.
    #[command(after_help = "Example:
  tidewire task history orders")]
    History {
        /// Which task.
        name: TaskName,
    },
    /// Show what the shards of a task told lately, wherever they ran.
    #[command(after_help = "Example:
  tidewire task logs orders -f")]
    Logs(LogArgs),
    /// Show one task.
    #[command(after_help = "Example:
  tidewire task get orders -o json")]
    Get {
        /// Which task.
        name: TaskName,
    },
    /// List all tasks.
    #[command(after_help = "Example:
  tidewire task list -o wide
  tidewire task list --leftovers")]
    List {
        /// What deleted tasks left at source or target, instead of the tasks.
        #[arg(long)]
        leftovers: bool,
    },
    /// Wait until a task is in a phase, or has caught up with its source.
    #[command(after_help = "Example:
  tidewire task wait orders --for caught-up --timeout 5m")]
    Wait {
        /// Which task.
        name: TaskName,
        /// A phase, like Synchronizing, or caught-up.
        #[arg(long = "for", value_name = "PHASE|caught-up")]
        goal: Goal,
    },
    /// Print a document with every default filled in.
    #[command(after_help = EXPLAIN_EXAMPLE)]
    Explain {
        /// The document; `-` reads stdin.
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
    },
}

const EXPLAIN_EXAMPLE: &str = "Example:
  tidewire task explain -f orders.yaml

A document:
  apiVersion: tidewire/v1
  kind: postgres_to_kafka
  name: orders
  source:
    hosts: [db1:5432]
    database: shop
    user: tidewire
    password: {env: PGPASSWORD}
  target:
    brokers: [k1:9092]
  objects:
    - tables: [public.orders]
      topic: orders
  format: {type: dts_avro}
  partition: by_primary_key";

#[derive(Debug, ClapArgs)]
pub(crate) struct ApplyArgs {
    /// The document; `-` reads stdin.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Start the task as well.
    #[arg(long)]
    pub(crate) start: bool,
    /// Wait until it is in a phase.
    #[arg(long, value_name = "PHASE", num_args = 0..=1, require_equals = true, default_missing_value = "Synchronizing")]
    pub(crate) wait: Option<Goal>,
    #[command(flatten)]
    pub(crate) waive: WaiveArgs,
}

/// Decisions about items of a precheck; kept with the task.
#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct WaiveArgs {
    /// An item whose warning is known.
    #[arg(long, value_name = "ITEM")]
    pub(crate) ignore: Vec<String>,
    /// An item whose failure shall not keep the task from starting, where it says that it may be
    /// overridden.
    #[arg(long = "override", value_name = "ITEM")]
    pub(crate) overrides: Vec<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct StartArgs {
    #[command(flatten)]
    pub(crate) change: MoveArgs,
    #[command(flatten)]
    pub(crate) waive: WaiveArgs,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct PrecheckArgs {
    #[command(flatten)]
    pub(crate) subject: PrecheckSubject,
    #[command(flatten)]
    pub(crate) waive: WaiveArgs,
}

#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
pub(crate) struct PrecheckSubject {
    /// A task that exists.
    pub(crate) name: Option<TaskName>,
    /// A document; `-` reads stdin.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct MoveArgs {
    /// Which task.
    pub(crate) name: TaskName,
    /// Wait until it is in a phase: the one that this command leads to, unless named.
    #[arg(long, value_name = "PHASE", num_args = 0..=1, require_equals = true, default_missing_value = "auto")]
    pub(crate) wait: Option<Goal>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RewindArgs {
    /// Which task.
    pub(crate) name: TaskName,
    /// Position in PostgreSQL's log, like 0/16B3748, `slot` for where the task's slot stands, or `now`, which
    /// makes a slot anew that is lost; of a copy one or more places, like orders/0=120, orders=earliest,
    /// orders=latest, orders=2026-01-01T00:00:00Z, or earliest for all topics.
    #[arg(long, value_name = "POSITION")]
    pub(crate) to: place::Goal,
    /// Do not ask: what was delivered behind the position goes out twice, what it jumps over never.
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RelocateArgs {
    /// Which task, or which shard of it.
    #[arg(value_name = "NAME[/SHARD]")]
    pub(crate) shard: NamedShard,
    /// The node.
    #[arg(long, value_name = "NODE")]
    pub(crate) to: NodeName,
}

/// A shard by the name of its task, and its number where the task has several.
#[derive(Clone, Debug)]
pub(crate) struct NamedShard {
    pub(crate) task: TaskName,
    pub(crate) index: Option<u32>,
}

impl FromStr for NamedShard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (task, index) = match text.split_once('/') {
            Some((task, index)) => (task, Some(index.parse())),
            None => (text, None),
        };
        let index = index.transpose().map_err(|_| "write NAME or NAME/SHARD".to_owned())?;
        Ok(Self { task: task.parse().map_err(|error| format!("{error}"))?, index })
    }
}

#[derive(Debug, ClapArgs)]
pub(crate) struct LogArgs {
    /// Which task.
    pub(crate) name: TaskName,
    /// Go on with the lines that come.
    #[arg(short, long)]
    pub(crate) follow: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ConnectionArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: ConnectionCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConnectionCommand {
    /// Register a connection, or change the one of that name; running tasks that use it go on with it.
    #[command(after_help = CONNECTION_EXAMPLE)]
    Apply {
        /// The document; `-` reads stdin.
        #[arg(short, long, value_name = "FILE")]
        file: PathBuf,
    },
    /// Try a connection from a node: every host, login, encryption, what the account may do.
    #[command(after_help = "Examples:
  tidewire connection test shop-db
  tidewire connection test -f shop-db.yaml -o json")]
    Test(TestArgs),
    /// List what is behind a connection: databases and tables, or topics.
    #[command(after_help = "Examples:
  tidewire connection discover shop-db --database billing
  tidewire connection discover bus -o json")]
    Discover {
        /// Which connection.
        name: ConnectionName,
        /// Whose tables to list, where it is not the database that the connection names.
        #[arg(long)]
        database: Option<String>,
    },
    /// List all connections.
    #[command(after_help = "Example:
  tidewire connection list -o wide")]
    List,
    /// Show one connection, its secrets hidden.
    #[command(after_help = "Example:
  tidewire connection get shop-db -o yaml")]
    Get {
        /// Which connection.
        name: ConnectionName,
    },
    /// Forget a connection that no task uses.
    #[command(after_help = "Example:
  tidewire connection delete shop-db")]
    Delete {
        /// Which connection.
        name: ConnectionName,
    },
}

const CONNECTION_EXAMPLE: &str = "Example:
  tidewire connection apply -f shop-db.yaml

A document, which tasks then use as `source: {connection: shop-db}`:
  apiVersion: tidewire/v1
  kind: postgres_connection
  name: shop-db
  hosts: [db1:5432, db2:5432]
  database: shop
  user: tidewire
  password: {env: PGPASSWORD}
  tls: {mode: verify-full, ca: {file: /etc/ssl/shop.pem}}

One for `target: {connection: bus}`:
  apiVersion: tidewire/v1
  kind: kafka_connection
  name: bus
  brokers: [k1:9092, k2:9092]";

#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
pub(crate) struct TestArgs {
    /// A connection that is registered.
    pub(crate) name: Option<ConnectionName>,
    /// A document; `-` reads stdin.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct NodesArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: NodesCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodesCommand {
    /// List all nodes.
    #[command(after_help = "Example:
  tidewire nodes list")]
    List,
    /// Move all shards away from a node and give it none.
    #[command(after_help = "Example:
  tidewire nodes drain node-1")]
    Drain {
        /// Which node.
        name: NodeName,
    },
    /// Drop a node that is gone and carries nothing.
    #[command(after_help = "Example:
  tidewire nodes remove node-1")]
    Remove {
        /// Which node.
        name: NodeName,
    },
    /// Let a drained node carry shards again.
    #[command(after_help = "Example:
  tidewire nodes resume node-1")]
    Resume {
        /// Which node.
        name: NodeName,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ClusterArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: ClusterCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show coordinators, nodes and tasks.
    #[command(after_help = "Example:
  tidewire cluster status -o json")]
    Status,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct PositionsArgs {
    #[command(subcommand)]
    pub(crate) command: PositionsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PositionsCommand {
    /// Show the newest position record of each shard of a task.
    #[command(after_help = "Examples:
  tidewire positions show orders
  tidewire positions show orders --brokers k1:9092
  tidewire positions show -f orders.yaml -o json")]
    Show(ShowArgs),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ShowArgs {
    /// Which task; all of the target when only brokers are given.
    #[arg(required_unless_present_any = ["brokers", "file"])]
    pub(crate) name: Option<TaskName>,
    /// Brokers of the target; without them and without a document the coordinators are asked where
    /// the task writes to.
    #[arg(long, value_delimiter = ',', value_name = "HOST:PORT,…", conflicts_with = "file")]
    pub(crate) brokers: Vec<String>,
    /// The task's document, which names target and task.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Args, Command, Format};

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn where_coordinators_are_can_stand_before_and_after_the_command() {
        let orders = [
            ["tidewire", "--endpoint", "http://a:1", "-o", "json", "task", "list"],
            ["tidewire", "task", "--endpoint", "http://a:1", "list", "-o", "json"],
            ["tidewire", "task", "list", "-o", "json", "--endpoint", "http://a:1"],
        ];
        for words in orders {
            let args = Args::parse_from(words);
            assert_eq!(args.format(), Format::Json);
            let Command::Task(task) = args.command else { panic!("a task command") };
            assert_eq!(
                (task.common.endpoint, task.common.output),
                (vec!["http://a:1".to_owned()], Format::Json)
            );
        }
    }

    #[test]
    fn every_command_has_an_example() {
        fn look(command: &clap::Command) {
            let name = command.get_name();
            if command.has_subcommands() {
                command.get_subcommands().for_each(look);
                return;
            }
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example") && help.contains("tidewire "), "{name}");
        }
        look(&Args::command());
    }
}
