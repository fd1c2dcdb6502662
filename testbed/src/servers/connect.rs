//! Kafka Connect with Debezium's PostgreSQL connector: the reference of `debezium_json`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;

use super::cache::Cache;
use super::postgres::PostgresAddress;
use super::{Kafka, free_port, maven};
use crate::guard::Scratch;
use crate::process::{self, Process};

/// One Debezium connector.
#[derive(Clone, Debug)]
pub struct DebeziumConnector<'a> {
    /// Name of the connector, its slot and its publication; the prefix of its topics.
    pub name: &'a str,
    /// The source.
    pub postgres: &'a PostgresAddress,
    /// Tables as `schema.table`.
    pub tables: &'a [&'a str],
    /// Properties that stand above ours.
    pub properties: &'a [(&'a str, &'a str)],
}

/// How long a worker takes until it can be asked.
const START_LIMIT: Duration = Duration::from_secs(90);

/// A worker with its connectors; it stops with its owner.
#[derive(Debug)]
pub struct Connect {
    // Stands first: the process ends before its folder goes.
    process: Process,
    folder: Scratch,
}

impl Connect {
    /// Starts a standalone worker with `connectors`, which deliver at least once; it returns before
    /// they stream: their slots tell.
    ///
    /// # Errors
    /// When Java or the jars cannot be had.
    pub fn start(kafka: &Kafka, connectors: &[DebeziumConnector<'_>]) -> Result<Self> {
        let folder = Scratch::new("tidewire-connect-")?;
        let mut files = Vec::new();
        for connector in connectors {
            files.push(write(folder.path(), connector.name, &connector.text())?);
        }
        let properties = standalone(kafka, folder.path())?;
        let mut command = worker("ConnectStandalone", &properties, folder.path())?;
        command.args(files);
        let process = Process::spawn("Kafka Connect", &mut command, &log(folder.path()))?;
        Ok(Self { process, folder })
    }

    /// Starts a distributed worker with `connector`, which delivers exactly once: only such a worker
    /// can. It returns before the connector streams.
    ///
    /// # Errors
    /// When Java or the jars cannot be had, or the worker takes no connector.
    pub fn start_exactly_once(kafka: &Kafka, connector: &DebeziumConnector<'_>) -> Result<Self> {
        let folder = Scratch::new("tidewire-connect-")?;
        let port = free_port()?;
        let properties = distributed(kafka, connector.name, port);
        let mut command = worker("ConnectDistributed", &properties, folder.path())?;
        let process = Process::spawn("Kafka Connect", &mut command, &log(folder.path()))?;
        let connect = Self { process, folder };
        let end = Instant::now() + START_LIMIT;
        while let Err(refused) = submit(port, connector) {
            ensure!(Instant::now() < end, "{refused:#}\n{}", connect.log());
            thread::sleep(Duration::from_millis(500));
        }
        Ok(connect)
    }

    /// The worker's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Whether the worker has not ended.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// The end of its log.
    #[must_use]
    pub fn log(&self) -> String {
        process::tail(&log(self.folder.path()), 6_000)
    }
}

impl DebeziumConnector<'_> {
    fn text(&self) -> String {
        let PostgresAddress { host, port, user, password, database, .. } = self.postgres;
        let mut text = format!(
            "name={name}\n\
             connector.class=io.debezium.connector.postgresql.PostgresConnector\n\
             tasks.max=1\n\
             database.hostname={host}\n\
             database.port={port}\n\
             database.user={user}\n\
             database.password={password}\n\
             database.dbname={database}\n\
             topic.prefix={name}\n\
             plugin.name=pgoutput\n\
             slot.name={name}\n\
             publication.name={name}\n\
             publication.autocreate.mode=filtered\n\
             table.include.list={tables}\n\
             snapshot.mode=no_data\n\
             skipped.operations=none\n\
             poll.interval.ms=50\n",
            name = self.name,
            // A list of regular expressions.
            tables = self.tables.join(",").replace('.', "\\\\."),
        );
        for (name, value) in self.properties {
            text.push_str(&format!("{name}={value}\n"));
        }
        text
    }
}

/// A worker with the memory that Kafka's own scripts give it.
fn worker(class: &str, properties: &str, folder: &Path) -> Result<Command> {
    let jars = maven::debezium(&Cache::open()?)?;
    let logging = write(folder, "log4j2", LOGGING)?;
    let mut command = Command::new("java");
    command
        .current_dir(folder)
        .args(["-XX:+UseG1GC", "-Xms256m", "-Xmx2g", "-Duser.timezone=UTC"])
        .arg(format!("-Dlog4j2.configurationFile={}", logging.display()))
        .arg("-cp")
        .arg(format!("{}/*", jars.display()))
        .arg(format!("org.apache.kafka.connect.cli.{class}"))
        .arg(write(folder, "worker", properties)?);
    Ok(command)
}

fn standalone(kafka: &Kafka, folder: &Path) -> Result<String> {
    Ok(format!(
        "{}offset.storage.file.filename={}/offsets\n",
        common(kafka, free_port()?),
        folder.display(),
    ))
}

fn distributed(kafka: &Kafka, group: &str, port: u16) -> String {
    let mut text = common(kafka, port);
    text.push_str(&format!("group.id={group}\nexactly.once.source.support=enabled\n"));
    for storage in ["config", "offset", "status"] {
        text.push_str(&format!(
            "{storage}.storage.topic={group}-{storage}\n{storage}.storage.replication.factor=1\n"
        ));
    }
    text
}

fn common(kafka: &Kafka, port: u16) -> String {
    let converter = "org.apache.kafka.connect.json.JsonConverter";
    format!(
        "bootstrap.servers={bootstrap}\n\
         key.converter={converter}\n\
         value.converter={converter}\n\
         key.converter.schemas.enable=false\n\
         value.converter.schemas.enable=false\n\
         offset.flush.interval.ms=1000\n\
         listeners=http://127.0.0.1:{port}\n\
         plugin.discovery=only_scan\n",
        bootstrap = kafka.inner_bootstrap(),
    )
}

/// Gives a connector to a distributed worker, by its REST interface.
fn submit(port: u16, connector: &DebeziumConnector<'_>) -> Result<()> {
    let text = connector.text();
    let lines = text.lines().filter_map(|line| line.split_once('='));
    // A backslash is doubled in a file of properties only.
    let config: BTreeMap<_, _> =
        lines.map(|(name, value)| (name, value.replace(r"\\", r"\"))).collect();
    let body = json!({ "name": connector.name, "config": config }).to_string();
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--header", "Content-Type: application/json"])
        .args(["--data", &body, &format!("http://127.0.0.1:{port}/connectors")])
        .output()?;
    ensure!(
        output.status.success(),
        "the worker did not take the connector: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = folder.join(format!("{name}.properties"));
    fs::write(&path, text)?;
    Ok(path)
}

fn log(folder: &Path) -> PathBuf {
    folder.join("connect.log")
}

const LOGGING: &str = "\
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %c: %m%n
rootLogger.level = WARN
rootLogger.appenderRef.out.ref = out
";
