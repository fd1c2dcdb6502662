//! A Kafka broker from before transactions, with its ZooKeeper.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::cache::Cache;
use super::java::ClassPath;
use super::{free_port, maven};
use crate::guard::Scratch;
use crate::process::Process;
use crate::reader::{Reader, Record};
use crate::writer::{Writer, WriterPlan};

const START_LIMIT: Duration = Duration::from_secs(90);
/// After it ZooKeeper has forgotten a broker that was killed.
const SESSION_MS: u64 = 2_000;

/// The newest release before idempotent producers, headers and `DescribeConfigs`.
pub const V0_10: &str = "0.10.2.2";
/// A release with idempotent producers, long before topic ids.
pub const V1_0: &str = "1.0.2";
/// The last release before positions can be checked against leader epochs.
pub const V2_0: &str = "2.0.1";

/// A running broker; it stops, and its data goes, with its owner.
#[derive(Debug)]
pub struct OldKafka {
    // These stand first: the broker ends before its ZooKeeper, both before their folder.
    broker: Option<Process>,
    _keeper: Process,
    folder: Scratch,
    libraries: PathBuf,
    classes: ClassPath,
    port: u16,
    keeper_port: u16,
}

impl OldKafka {
    /// Starts ZooKeeper and the broker; returns when it answers.
    ///
    /// # Errors
    /// When the jars cannot be had or one of the two does not start.
    pub fn start(version: &str) -> Result<Self> {
        let cache = Cache::open()?;
        let libraries = maven::old_kafka(&cache, version)?;
        let classes = ClassPath::old_kafka(&cache, version)?;
        let folder = Scratch::new("tidewire-old-kafka-")?;
        let (port, keeper_port) = (free_port()?, free_port()?);
        let settings = folder.path().join("zookeeper.properties");
        let data = folder.path().join("zookeeper");
        fs::write(
            &settings,
            format!(
                "clientPort={keeper_port}\nclientPortAddress=127.0.0.1\ndataDir={}\ntickTime=500\n",
                data.display()
            ),
        )?;
        let mut command = java(&libraries);
        command
            .args(["-Xmx128m", "-Dzookeeper.jmx.log4j.disable=true"])
            .arg("-Dzookeeper.admin.enableServer=false")
            .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
            .arg(&settings);
        let log = folder.path().join("zookeeper.log");
        let mut keeper = Process::spawn("ZooKeeper", &mut command, &log)?;
        keeper
            .wait_ready(START_LIMIT, || TcpStream::connect(("127.0.0.1", keeper_port)).is_ok())?;
        let mut kafka =
            Self { broker: None, _keeper: keeper, folder, libraries, classes, port, keeper_port };
        kafka.launch()?;
        Ok(kafka)
    }

    /// Where it answers.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// When Kafka refuses.
    pub fn create_topic(&self, topic: &str, partitions: u32) -> Result<()> {
        let mut command = java(&self.libraries);
        command
            .args(["kafka.admin.TopicCommand", "--create", "--topic", topic])
            .args(["--replication-factor", "1", "--partitions", &partitions.to_string()])
            .args(["--zookeeper", &format!("127.0.0.1:{}", self.keeper_port)]);
        crate::process::run(&mut command).map(drop)
    }

    /// A producer that compresses so (`none`, `gzip`, `snappy`, `lz4`).
    ///
    /// # Errors
    /// When Java does not start.
    pub fn writer(&self, compression: &str) -> Result<Writer> {
        WriterPlan::at(self.classes.clone(), self.bootstrap(), compression, None).start()
    }

    /// All records of topics, as a client of their time reads them.
    ///
    /// # Errors
    /// When the reader fails before the end.
    pub fn records(&self, topics: &[&str]) -> Result<Vec<Record>> {
        Reader::start(&self.classes, &self.bootstrap(), topics, "until-end")?.collect()
    }

    /// The values of a topic as lines, each partition in its order.
    ///
    /// # Errors
    /// When the reader cannot be started.
    pub fn values(&self, topic: &str, partition: u32) -> Result<Vec<String>> {
        let output = java(&self.libraries)
            .args(["kafka.tools.ConsoleConsumer", "--topic", topic, "--timeout-ms", "4000"])
            .args(["--bootstrap-server", &self.bootstrap()])
            .args(["--partition", &partition.to_string(), "--offset", "earliest"])
            .output()?;
        // It ends by its timeout, which it takes for a failure.
        Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
    }

    /// Kills the broker.
    pub fn kill(&mut self) {
        self.broker = None;
    }

    /// Starts a broker again that was killed, when ZooKeeper has forgotten it.
    ///
    /// # Errors
    /// When it does not come back.
    pub fn restart(&mut self) -> Result<()> {
        self.broker = None;
        thread::sleep(Duration::from_millis(SESSION_MS + 1_500));
        self.launch()
    }

    fn launch(&mut self) -> Result<()> {
        let settings = self.folder.path().join("server.properties");
        fs::write(
            &settings,
            format!(
                "broker.id=0\nlisteners=PLAINTEXT://127.0.0.1:{port}\nlog.dirs={data}\n\
                 zookeeper.connect=127.0.0.1:{keeper}\nzookeeper.session.timeout.ms={SESSION_MS}\n\
                 auto.create.topics.enable=false\noffsets.topic.replication.factor=1\n\
                 offsets.topic.num.partitions=1\ntransaction.state.log.replication.factor=1\n\
                 transaction.state.log.min.isr=1\ntransaction.state.log.num.partitions=1\n\
                 log.cleaner.dedupe.buffer.size=16777216\n",
                port = self.port,
                keeper = self.keeper_port,
                data = self.folder.path().join("data").display(),
            ),
        )?;
        let mut command = java(&self.libraries);
        command.args(["-Xmx256m", "kafka.Kafka"]).arg(&settings);
        let log = self.folder.path().join("broker.log");
        let mut broker = Process::spawn("old Kafka broker", &mut command, &log)?;
        let port = self.port;
        broker.wait_ready(START_LIMIT, || TcpStream::connect(("127.0.0.1", port)).is_ok())?;
        ensure!(broker.is_running(), "the broker ended");
        self.broker = Some(broker);
        Ok(())
    }
}

fn java(libraries: &Path) -> Command {
    let mut command = Command::new("java");
    command.current_dir(std::env::temp_dir());
    command.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
    command.arg(format!("{}/*", libraries.display()));
    command
}
