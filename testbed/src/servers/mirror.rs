//! MirrorMaker 2 in its dedicated mode: the rival from Kafka to Kafka.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::cache::Cache;
use super::{Kafka, maven};
use crate::guard::Scratch;
use crate::process::{self, Process};

/// How it is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorTuning {
    /// As it comes, with four tasks.
    Default,
    /// Large batches at both ends.
    Tuned,
    /// Large batches, and exactly once.
    ExactlyOnce,
}

/// A running MirrorMaker 2; it stops with its owner.
#[derive(Debug)]
pub struct Mirror {
    // Stands first: the process ends before its folder goes.
    process: Process,
    folder: Scratch,
}

impl Mirror {
    /// Starts to copy `topics` from their beginning, under their own names; returns before it copies.
    ///
    /// # Errors
    /// When Java or the jars cannot be had.
    pub fn start(
        source: &Kafka,
        target: &Kafka,
        topics: &[&str],
        tuning: MirrorTuning,
        compression: &str,
    ) -> Result<Self> {
        let jars = maven::mirror(&Cache::open()?)?;
        let folder = Scratch::new("tidewire-mirror-")?;
        let properties = folder.path().join("mm2.properties");
        fs::write(&properties, text(source, target, topics, tuning, compression))?;
        let logging = folder.path().join("log4j2.properties");
        fs::write(&logging, LOGGING)?;
        let mut command = Command::new("java");
        // The flags of Kafka's own scripts.
        command
            .current_dir(folder.path())
            .args(["-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"])
            .args(["-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent"])
            .args(["-Djava.awt.headless=true", "-Xms256M", "-Xmx2G"])
            .arg(format!("-Dlog4j2.configurationFile={}", logging.display()))
            .args(["-cp", &format!("{}/*", jars.display())])
            .arg("org.apache.kafka.connect.mirror.MirrorMaker")
            .arg(&properties);
        let process = Process::spawn("MirrorMaker 2", &mut command, &log(folder.path()))?;
        Ok(Self { process, folder })
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// The end of its log.
    #[must_use]
    pub fn log(&self) -> String {
        process::tail(&log(self.folder.path()), 6_000)
    }
}

fn text(
    source: &Kafka,
    target: &Kafka,
    topics: &[&str],
    tuning: MirrorTuning,
    compression: &str,
) -> String {
    let mut text = format!(
        "clusters=src,dst\n\
         src.bootstrap.servers={source}\n\
         dst.bootstrap.servers={target}\n\
         src->dst.enabled=true\n\
         dst->src.enabled=false\n\
         src->dst.topics={topics}\n\
         replication.policy.class=org.apache.kafka.connect.mirror.IdentityReplicationPolicy\n\
         tasks.max=4\n\
         replication.factor=1\n\
         offset-syncs.topic.replication.factor=1\n\
         checkpoints.topic.replication.factor=1\n\
         heartbeats.topic.replication.factor=1\n\
         config.storage.replication.factor=1\n\
         offset.storage.replication.factor=1\n\
         status.storage.replication.factor=1\n\
         emit.heartbeats.enabled=false\n\
         emit.checkpoints.enabled=false\n\
         dst.producer.compression.type={compression}\n",
        source = source.inner_bootstrap(),
        target = target.inner_bootstrap(),
        topics = topics.join(","),
    );
    if tuning != MirrorTuning::Default {
        text.push_str(
            "src.consumer.fetch.min.bytes=262144\n\
             src.consumer.fetch.max.bytes=67108864\n\
             src.consumer.max.partition.fetch.bytes=4194304\n\
             src.consumer.max.poll.records=5000\n\
             dst.producer.batch.size=524288\n\
             dst.producer.linger.ms=20\n\
             dst.producer.buffer.memory=134217728\n",
        );
    }
    if tuning == MirrorTuning::ExactlyOnce {
        text.push_str(
            "dst.exactly.once.source.support=enabled\n\
             src.consumer.isolation.level=read_committed\n\
             dst.consumer.isolation.level=read_committed\n",
        );
    }
    text
}

fn log(folder: &Path) -> std::path::PathBuf {
    folder.join("mirror.log")
}

const LOGGING: &str = "\
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d %p %c: %m%n
rootLogger.level = INFO
rootLogger.appenderRef.out.ref = out
";
