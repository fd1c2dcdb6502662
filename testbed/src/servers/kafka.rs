//! A Kafka cluster of its own: KRaft, each process broker and controller in one.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};

use super::cache::Cache;
use super::free_port;
use super::java::ClassPath;
use super::kafka_admin::{EndOffsets, KafkaAdmin};
use crate::guard::Scratch;
use crate::process::{Process, Signal};

/// What to start.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// One broker, or three with a replication factor of 3.
    pub brokers: usize,
    /// Broker settings that stand above ours.
    pub settings: Vec<(String, String)>,
    /// The ports that clients are told, one per broker, where a proxy listens in front of each.
    pub advertised: Option<Vec<u16>>,
    /// Further listeners of a single broker, which demand who comes; see [`super::kafka_security`].
    pub listeners: Vec<Listener>,
    /// What is said to the formatter of its storage beside the usual.
    pub format: Vec<String>,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            brokers: 1,
            settings: Vec::new(),
            advertised: None,
            listeners: Vec::new(),
            format: Vec::new(),
        }
    }
}

impl KafkaOptions {
    /// A broker that keeps everybody to the rights that a resource lists, where it lists some.
    #[must_use]
    pub fn authorizing() -> Self {
        let setting = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
        let settings = vec![
            setting("authorizer.class.name", authorizer),
            setting("allow.everyone.if.no.acl.found", "true"),
        ];
        Self { settings, ..Self::default() }
    }
}

/// One listener of a broker.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Its name, capital letters.
    pub name: &'static str,
    /// `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`.
    pub protocol: &'static str,
    /// Where it listens on the loopback interface.
    pub port: u16,
}

/// The ports of one broker.
#[derive(Clone, Copy, Debug)]
struct Ports {
    /// Clients under test; advertised through the proxy where there is one.
    client: u16,
    /// Brokers among themselves and the testbed's own clients: never through a proxy.
    inner: u16,
    controller: u16,
}

/// A running cluster; it stops, and its data goes, with its owner.
#[derive(Debug)]
pub struct Kafka {
    // These stand first: the processes end before their folder goes.
    admin: Mutex<KafkaAdmin>,
    brokers: Mutex<Vec<Option<Process>>>,
    folder: Scratch,
    classes: ClassPath,
    options: KafkaOptions,
    ports: Vec<Ports>,
}

impl Kafka {
    /// Formats and starts the brokers; returns once all of them answer.
    ///
    /// # Errors
    /// When Java or the jars cannot be had or a broker does not start.
    pub fn start(options: KafkaOptions) -> Result<Self> {
        ensure!(matches!(options.brokers, 1 | 3), "{} brokers: only 1 or 3", options.brokers);
        // Somebody else may take a port before the broker has it: then others are chosen, once.
        Self::attempt(options.clone())
            .or_else(|first| Self::attempt(options).with_context(|| format!("again; {first:#}")))
    }

    fn attempt(options: KafkaOptions) -> Result<Self> {
        let classes = ClassPath::kafka(&Cache::open()?)?;
        let folder = Scratch::new("tidewire-kafka-")?;
        let ports = (0..options.brokers)
            .map(|_| {
                Ok(Ports { client: free_port()?, inner: free_port()?, controller: free_port()? })
            })
            .collect::<Result<Vec<_>>>()?;
        let brokers = (0..options.brokers)
            .map(|broker| launch(&classes, folder.path(), &options, &ports, broker).map(Some))
            .collect::<Result<Vec<_>>>()?;
        let log = folder.path().join("admin.log");
        let admin = KafkaAdmin::start(&classes, &addresses(&ports, |ports| ports.inner), &log)?;
        let (brokers, admin) = (Mutex::new(brokers), Mutex::new(admin));
        let kafka = Self { folder, classes, options, ports, brokers, admin };
        kafka.wait_ready()?;
        Ok(kafka)
    }

    /// The addresses for clients under test; behind the proxies where there are some.
    #[must_use]
    pub fn bootstrap(&self) -> String {
        match &self.options.advertised {
            Some(advertised) => {
                let list: Vec<_> =
                    advertised.iter().map(|port| format!("127.0.0.1:{port}")).collect();
                list.join(",")
            }
            None => addresses(&self.ports, |ports| ports.client),
        }
    }

    /// The addresses for readers of the testbed: never behind a proxy.
    #[must_use]
    pub fn inner_bootstrap(&self) -> String {
        addresses(&self.ports, |ports| ports.inner)
    }

    /// The port on which each broker itself listens for clients, to put a proxy in front.
    #[must_use]
    pub fn broker_ports(&self) -> Vec<u16> {
        self.ports.iter().map(|ports| ports.client).collect()
    }

    /// The process id of a broker that runs.
    #[must_use]
    pub fn broker_pid(&self, broker: usize) -> Option<u32> {
        Some(self.brokers().get(broker)?.as_ref()?.pid())
    }

    /// Creates a topic with the cluster's replication factor; returns when it can be written.
    ///
    /// # Errors
    /// When Kafka refuses; the error holds its answer.
    pub fn create_topic(
        &self,
        topic: &str,
        partitions: u32,
        configs: &[(&str, &str)],
    ) -> Result<()> {
        self.admin().create(topic, partitions, configs)
    }

    /// Deletes a topic; returns when no broker lists it any more.
    ///
    /// # Errors
    /// As [`Kafka::create_topic`].
    pub fn delete_topic(&self, topic: &str) -> Result<()> {
        self.admin().delete(topic)
    }

    /// Raises the number of a topic's partitions.
    ///
    /// # Errors
    /// As [`Kafka::create_topic`].
    pub fn set_partitions(&self, topic: &str, count: u32) -> Result<()> {
        self.admin().set_partitions(topic, count)
    }

    /// Deletes the records of a partition before an offset, as retention does.
    ///
    /// # Errors
    /// As [`Kafka::create_topic`].
    pub fn delete_records(&self, topic: &str, partition: u32, before: u64) -> Result<()> {
        self.admin().delete_records(topic, partition, before)
    }

    /// Changes a topic's configuration; none takes a setting away.
    ///
    /// # Errors
    /// As [`Kafka::create_topic`].
    pub fn alter_topic_config(&self, topic: &str, configs: &[(&str, Option<&str>)]) -> Result<()> {
        self.admin().configure(topic, configs)
    }

    /// The settings that a topic has of its own.
    ///
    /// # Errors
    /// As [`Kafka::create_topic`].
    pub fn own_configs(&self, topic: &str) -> Result<BTreeMap<String, String>> {
        self.admin().own_configs(topic)
    }

    /// Allows a principal (`User:NAME`) an operation (`READ`, `DESCRIBE`, …) on a topic; for brokers that
    /// ask, see [`super::kafka_security::SecuredKafka::start_guarded`].
    ///
    /// # Errors
    /// As [`Kafka::create_topic`].
    pub fn allow(&self, principal: &str, operation: &str, topic: &str) -> Result<()> {
        self.admin().grant(principal, operation, topic)
    }

    /// As [`Kafka::allow`], on the transactional ids that begin with `prefix`.
    ///
    /// # Errors
    /// As [`Kafka::create_topic`].
    pub fn allow_transactions(&self, principal: &str, operation: &str, prefix: &str) -> Result<()> {
        self.admin().grant_transactions(principal, operation, prefix)
    }

    /// Leaves those who come without credentials, as most clients here do, these rights on a topic;
    /// none: all rights. The broker needs [`KafkaOptions::authorizing`].
    ///
    /// # Errors
    /// As [`Kafka::create_topic`].
    pub fn allow_only(&self, topic: &str, operations: &[&str]) -> Result<()> {
        self.admin().allow(topic, operations)
    }

    /// Bounds what clients of this id may write, in bytes a second; none takes the bound away.
    ///
    /// # Errors
    /// As [`Kafka::create_topic`].
    pub fn set_quota(&self, client: &str, bytes_per_second: Option<u64>) -> Result<()> {
        self.admin().quota(client, bytes_per_second)
    }

    /// The first file of a partition's log, as the first broker wrote it.
    #[must_use]
    pub fn log_file(&self, topic: &str, partition: u32) -> PathBuf {
        let folder = format!("broker-0/data/{topic}-{partition}");
        self.folder.path().join(folder).join("00000000000000000000.log")
    }

    /// The ends of a topic's partitions.
    ///
    /// # Errors
    /// As [`Kafka::create_topic`].
    pub fn end_offsets(&self, topic: &str) -> Result<EndOffsets> {
        self.admin().end_offsets(topic)
    }

    /// The broker that leads a partition.
    ///
    /// # Errors
    /// As [`Kafka::create_topic`]; also when nobody leads it at present.
    pub fn leader_of(&self, topic: &str, partition: u32) -> Result<usize> {
        self.admin().leader(topic, partition)
    }

    /// The names of all topics that are not internal.
    ///
    /// # Errors
    /// As [`Kafka::create_topic`].
    pub fn topics(&self) -> Result<Vec<String>> {
        self.admin().topics()
    }

    /// Kills a broker with SIGKILL.
    pub fn kill_broker(&self, broker: usize) {
        if let Some(slot) = self.brokers().get_mut(broker) {
            *slot = None;
        }
    }

    /// Stops a broker properly, so that it hands its partitions over first.
    pub fn stop_broker(&self, broker: usize) {
        let stopped = self.brokers().get_mut(broker).and_then(Option::take);
        if let Some(mut process) = stopped {
            process.stop(Signal::TERM, Duration::from_secs(20));
        }
    }

    /// Starts a stopped or killed broker again; returns once all brokers answer.
    ///
    /// # Errors
    /// When it does not come back.
    pub fn restart_broker(&self, broker: usize) -> Result<()> {
        self.launch_again(broker)?;
        self.wait_ready()
    }

    /// Starts all brokers again, stopped or killed: alone none of them would find its quorum.
    ///
    /// # Errors
    /// When they do not come back.
    pub fn restart_all(&self) -> Result<()> {
        (0..self.options.brokers).try_for_each(|broker| self.launch_again(broker))?;
        self.wait_ready()
    }

    fn launch_again(&self, broker: usize) -> Result<()> {
        self.kill_broker(broker);
        let process =
            launch(&self.classes, self.folder.path(), &self.options, &self.ports, broker)?;
        *self.brokers().get_mut(broker).ok_or_else(|| anyhow!("no broker {broker}"))? =
            Some(process);
        Ok(())
    }

    /// The class path of the testbed's Kafka clients.
    #[must_use]
    pub fn classes(&self) -> &ClassPath {
        &self.classes
    }

    /// Leaves the brokers running without an owner: their pids and their folder.
    #[must_use]
    pub fn detach(self) -> (Vec<u32>, PathBuf) {
        let brokers = self.brokers.into_inner().unwrap_or_else(PoisonError::into_inner);
        let pids = brokers.into_iter().flatten().map(Process::detach).collect();
        (pids, self.folder.keep())
    }

    fn wait_ready(&self) -> Result<()> {
        self.admin().wait_ready(self.options.brokers).with_context(|| {
            let log = self.folder.path().join("broker-0/broker.log");
            format!("Kafka did not start\n{}", crate::process::tail(&log, 3_000))
        })
    }

    fn brokers(&self) -> MutexGuard<'_, Vec<Option<Process>>> {
        self.brokers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admin(&self) -> MutexGuard<'_, KafkaAdmin> {
        self.admin.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn addresses(ports: &[Ports], which: impl Fn(&Ports) -> u16) -> String {
    let list: Vec<_> = ports.iter().map(|ports| format!("127.0.0.1:{}", which(ports))).collect();
    list.join(",")
}

fn launch(
    classes: &ClassPath,
    folder: &Path,
    options: &KafkaOptions,
    ports: &[Ports],
    broker: usize,
) -> Result<Process> {
    let home = folder.join(format!("broker-{broker}"));
    let data = home.join("data");
    fs::create_dir_all(&data)?;
    let properties = home.join("server.properties");
    fs::write(&properties, settings(&data, options, ports, broker)?)?;
    let logging = home.join("log4j2.properties");
    fs::write(&logging, LOGGING)?;
    let mut command = classes.java();
    command
        .arg(if options.brokers == 1 { "-Xmx512m" } else { "-Xmx384m" })
        .arg(format!("-Dlog4j2.configurationFile={}", logging.display()))
        .arg("Broker")
        .arg(&properties)
        // Any 16 bytes in URL-safe base64 are a cluster id; the folder keeps clusters apart.
        .arg("dGlkZXdpcmUtdGVzdGJlZA")
        .arg(&data)
        .args(&options.format);
    Process::spawn(&format!("Kafka broker {broker}"), &mut command, &home.join("broker.log"))
}

const LOGGING: &str = "\
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %c: %m%n
rootLogger.level = WARN
rootLogger.appenderRef.out.ref = out
";

fn settings(data: &Path, options: &KafkaOptions, ports: &[Ports], broker: usize) -> Result<String> {
    let own = ports.get(broker).ok_or_else(|| anyhow!("no broker {broker}"))?;
    let advertised = match &options.advertised {
        Some(list) => *list.get(broker).ok_or_else(|| anyhow!("no port for broker {broker}"))?,
        None => own.client,
    };
    let voters: Vec<_> = ports
        .iter()
        .enumerate()
        .map(|(id, ports)| format!("{id}@127.0.0.1:{}", ports.controller))
        .collect();
    let Ports { client, inner, controller } = own;
    let (mut listeners, mut protocols) = (String::new(), String::new());
    for Listener { name, protocol, port } in &options.listeners {
        listeners.push_str(&format!(",{name}://127.0.0.1:{port}"));
        protocols.push_str(&format!(",{name}:{protocol}"));
    }
    let (replicas, min_replicas) = if options.brokers == 3 { (3, 2) } else { (1, 1) };
    let mut text = format!(
        "process.roles=broker,controller\n\
         node.id={broker}\n\
         controller.quorum.voters={voters}\n\
         listeners=CLIENT://127.0.0.1:{client},INNER://127.0.0.1:{inner},\
         CONTROLLER://127.0.0.1:{controller}{listeners}\n\
         advertised.listeners=CLIENT://127.0.0.1:{advertised},INNER://127.0.0.1:{inner}{listeners}\n\
         listener.security.protocol.map=CLIENT:PLAINTEXT,INNER:PLAINTEXT,CONTROLLER:PLAINTEXT\
         {protocols}\n\
         inter.broker.listener.name=INNER\n\
         controller.listener.names=CONTROLLER\n\
         log.dirs={data}\n\
         auto.create.topics.enable=false\n\
         default.replication.factor={replicas}\n\
         min.insync.replicas={min_replicas}\n\
         offsets.topic.replication.factor={replicas}\n\
         offsets.topic.num.partitions=3\n\
         transaction.state.log.replication.factor={replicas}\n\
         transaction.state.log.min.isr={min_replicas}\n\
         transaction.state.log.num.partitions=3\n\
         group.initial.rebalance.delay.ms=0\n\
         num.network.threads=2\n\
         num.io.threads=4\n\
         log.cleaner.dedupe.buffer.size=16777216\n\
         controlled.shutdown.enable=true\n",
        voters = voters.join(","),
        data = data.display(),
    );
    for (name, value) in &options.settings {
        text.push_str(&format!("{name}={value}\n"));
    }
    Ok(text)
}
