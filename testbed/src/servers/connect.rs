//! Kafka Connect with Debezium's PostgreSQL connector: the reference of `debezium_json`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

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

/// A standalone worker with its connectors; it stops with its owner.
#[derive(Debug)]
pub struct Connect {
    // Stands first: the process ends before its folder goes.
    process: Process,
    folder: Scratch,
}

impl Connect {
    /// Starts a worker with `connectors`; it returns before they stream: their slots tell.
    ///
    /// # Errors
    /// When Java or the jars cannot be had.
    pub fn start(kafka: &Kafka, connectors: &[DebeziumConnector<'_>]) -> Result<Self> {
        let jars = maven::debezium(&Cache::open()?)?;
        let folder = Scratch::new("tidewire-connect-")?;
        let worker = write(folder.path(), "worker", &worker(kafka, folder.path())?)?;
        let logging = write(folder.path(), "log4j2", LOGGING)?;
        let mut command = Command::new("java");
        command
            .current_dir(folder.path())
            .args(["-XX:+UseSerialGC", "-Xmx1g", "-Duser.timezone=UTC"])
            .arg(format!("-Dlog4j2.configurationFile={}", logging.display()))
            .arg("-cp")
            .arg(format!("{}/*", jars.display()))
            .arg("org.apache.kafka.connect.cli.ConnectStandalone")
            .arg(worker);
        for connector in connectors {
            command.arg(write(folder.path(), connector.name, &connector.text())?);
        }
        let process = Process::spawn("Kafka Connect", &mut command, &log(folder.path()))?;
        Ok(Self { process, folder })
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
        let PostgresAddress { host, port, user, password, database } = self.postgres;
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

fn worker(kafka: &Kafka, folder: &Path) -> Result<String> {
    let converter = "org.apache.kafka.connect.json.JsonConverter";
    Ok(format!(
        "bootstrap.servers={bootstrap}\n\
         key.converter={converter}\n\
         value.converter={converter}\n\
         key.converter.schemas.enable=false\n\
         value.converter.schemas.enable=false\n\
         offset.storage.file.filename={folder}/offsets\n\
         offset.flush.interval.ms=1000\n\
         listeners=http://127.0.0.1:{port}\n\
         plugin.discovery=only_scan\n",
        bootstrap = kafka.inner_bootstrap(),
        folder = folder.display(),
        port = free_port()?,
    ))
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
