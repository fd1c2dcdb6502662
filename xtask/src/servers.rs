//! `cargo x servers`: PostgreSQL and Kafka that outlive the command, remembered in the cache.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Subcommand, builder::PossibleValuesParser};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tidewire_testbed::process;
use tidewire_testbed::servers::cache::Cache;
use tidewire_testbed::servers::java::ClassPath;
use tidewire_testbed::servers::kafka_admin::KafkaAdmin;
use tidewire_testbed::servers::postgres::PostgresAddress;
use tidewire_testbed::servers::{Kafka, KafkaOptions, Postgres, PostgresOptions};

use crate::{checks, screen};

#[derive(Subcommand)]
pub(crate) enum ServersCommand {
    /// Start both and leave them running
    Up {
        /// Number of Kafka brokers
        #[arg(long, default_value = "1", value_parser = PossibleValuesParser::new(["1", "3"]))]
        brokers: String,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Stop what `up` or `demo --keep` left running
    Down,
    /// Create a topic in the Kafka that runs
    Topic {
        /// Its name
        name: String,
        /// Number of partitions
        #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        partitions: u32,
    },
    /// Say what runs and where
    Status {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

/// Processes and folders that a command left behind.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Left {
    /// None beside the demo of copies.
    postgres: Option<PostgresAddress>,
    /// The Kafka that the demo of copies reads.
    #[serde(default)]
    source: Option<String>,
    bootstrap: String,
    /// In the order in which they are stopped.
    pids: Vec<u32>,
    folders: Vec<PathBuf>,
}

pub(crate) fn run(command: ServersCommand) -> Result<()> {
    match command {
        ServersCommand::Up { brokers, json } => up(brokers.parse()?, json),
        ServersCommand::Down => down(),
        ServersCommand::Topic { name, partitions } => topic(&name, partitions),
        ServersCommand::Status { json } => running()?.print(json),
    }
}

fn running() -> Result<Left> {
    Left::load()?.context("no servers run; `cargo x servers up` starts them")
}

fn topic(name: &str, partitions: u32) -> Result<()> {
    let left = running()?;
    let cache = Cache::open()?;
    let log = cache.root().join("admin.log");
    let mut admin = KafkaAdmin::start(&ClassPath::kafka(&cache)?, &left.bootstrap, &log)?;
    admin.create(name, partitions, &[])?;
    screen::note(&format!("topic {name} created, {partitions} partitions"));
    Ok(())
}

fn up(brokers: usize, json: bool) -> Result<()> {
    if let Some(left) = Left::load()? {
        screen::note("they run already");
        return left.print(json);
    }
    screen::step("fetch PostgreSQL and Kafka", checks::fetch_servers)?;
    let postgres =
        screen::step("start PostgreSQL", || Postgres::start(PostgresOptions::default()))?;
    let kafka = screen::step("start Kafka", || {
        Kafka::start(KafkaOptions { brokers, ..KafkaOptions::default() })
    })?;
    let left = Left::behind(postgres, kafka);
    left.save()?;
    left.print(json)
}

fn down() -> Result<()> {
    let Some(left) = Left::load()? else {
        screen::note("nothing runs");
        return Ok(());
    };
    for pid in left.pids.iter().filter(|pid| left.owns(**pid)) {
        process::stop_pid(*pid, Duration::from_secs(15));
    }
    for folder in &left.folders {
        // What is gone already needs no removal.
        drop(fs::remove_dir_all(folder));
    }
    fs::remove_file(Left::file()?).context("forget the servers")
}

impl Left {
    /// Leaves both servers running.
    pub(crate) fn behind(postgres: Postgres, kafka: Kafka) -> Self {
        let address = postgres.address().clone();
        let bootstrap = kafka.bootstrap();
        let (mut pids, kafka_folder) = kafka.detach();
        let (postgres_pid, postgres_folder) = postgres.detach();
        pids.push(postgres_pid);
        let folders = vec![kafka_folder, postgres_folder];
        Self { postgres: Some(address), source: None, bootstrap, pids, folders }
    }

    /// Leaves both ends of a copy running.
    pub(crate) fn copies(source: Kafka, target: Kafka) -> Self {
        let (from, bootstrap) = (Some(source.bootstrap()), target.bootstrap());
        let (mut pids, source_folder) = source.detach();
        let (target_pids, target_folder) = target.detach();
        pids.extend(target_pids);
        let folders = vec![source_folder, target_folder];
        Self { postgres: None, source: from, bootstrap, pids, folders }
    }

    /// Stops this process before the servers.
    pub(crate) fn precede(&mut self, pid: u32, folder: PathBuf) {
        self.pids.insert(0, pid);
        self.folders.push(folder);
    }

    /// Remembers what runs, and says where.
    pub(crate) fn announce(&self, endpoints: &str) -> Result<()> {
        self.save()?;
        screen::note(&format!("endpoints   export TIDEWIRE_ENDPOINT={endpoints}"));
        self.lines().iter().for_each(|line| screen::note(line));
        Ok(())
    }

    fn lines(&self) -> Vec<String> {
        let postgres = self.postgres.iter().map(|it| format!("PostgreSQL  {}", it.dsn()));
        let source = self.source.iter().map(|it| format!("source      {it}"));
        let kafka = [
            format!("Kafka       {}", self.bootstrap),
            "stop with   cargo x servers down".to_owned(),
        ];
        postgres.chain(source).chain(kafka).collect()
    }

    fn file() -> Result<PathBuf> {
        Ok(Cache::open()?.root().join("servers.json"))
    }

    fn save(&self) -> Result<()> {
        fs::write(Self::file()?, serde_json::to_string_pretty(self)?)?;
        Ok(())
    }

    /// What still runs; none when all of it has ended.
    fn load() -> Result<Option<Self>> {
        let Ok(text) = fs::read_to_string(Self::file()?) else { return Ok(None) };
        let left: Self = serde_json::from_str(&text).context("servers.json in the cache")?;
        let runs = left.pids.iter().any(|pid| left.owns(*pid));
        Ok(runs.then_some(left))
    }

    /// Whether a pid is still ours: pids are used again, command lines name our folders.
    fn owns(&self, pid: u32) -> bool {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        self.folders.iter().any(|folder| line.contains(&*folder.to_string_lossy()))
    }

    fn print(&self, json: bool) -> Result<()> {
        if json {
            let mut shown = json!({"kafka": {"bootstrap": self.bootstrap}});
            if let Some(postgres) = &self.postgres {
                shown["postgres"] = json!(postgres);
            }
            if let Some(source) = &self.source {
                shown["source"] = json!({"bootstrap": source});
            }
            return screen::result(shown);
        }
        self.lines().iter().try_for_each(screen::result)
    }
}
