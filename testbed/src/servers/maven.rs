//! Fetches servers and client libraries with Maven's ordinary client.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};

use super::cache::Cache;
use crate::process;

/// The Kafka version of brokers, admin client and reader.
pub const KAFKA_VERSION: &str = "4.1.0";

/// The version of Debezium that `debezium_json` is compared with.
pub const DEBEZIUM_VERSION: &str = "3.7.0.Final";

/// A library with its coordinates `group:artifact:version`.
type Coordinates<'a> = &'a str;

/// The folder of jars that holds Kafka's broker, tools and clients.
///
/// # Errors
/// When a tool is missing or the download fails.
pub fn kafka(cache: &Cache) -> Result<PathBuf> {
    let broker = format!("org.apache.kafka:kafka_2.13:{KAFKA_VERSION}");
    let tools = format!("org.apache.kafka:kafka-tools:{KAFKA_VERSION}");
    jars(cache, &format!("kafka-{KAFKA_VERSION}"), &[&broker, &tools])
}

/// The folder of jars that holds a Kafka broker of the time of ZooKeeper.
///
/// # Errors
/// As [`kafka`].
pub fn old_kafka(cache: &Cache, version: &str) -> Result<PathBuf> {
    let broker = format!("org.apache.kafka:kafka_2.11:{version}");
    // Java 11 and later leave out what 0.10 takes from Java itself.
    let mut wanted = vec![broker.as_str(), "javax.xml.bind:jaxb-api:2.3.1"];
    if version.starts_with("2.") {
        // The ZooKeeper of that release does not start on today's Java.
        wanted.splice(
            0..0,
            [
                "org.apache.zookeeper:zookeeper:3.5.10",
                "org.apache.zookeeper:zookeeper-jute:3.5.10",
                "org.apache.yetus:audience-annotations:0.5.0",
                "org.slf4j:slf4j-log4j12:1.7.21",
                "log4j:log4j:1.2.17",
            ],
        );
    }
    jars(cache, &format!("kafka-{version}"), &wanted)
}

/// The folder of jars that holds the official consumer of the DTS formats. It brings old versions
/// of what Kafka brings too, hence a folder and a class path of its own.
///
/// # Errors
/// As [`kafka`].
pub fn dts_sdk(cache: &Cache) -> Result<PathBuf> {
    jars(cache, "dts-sdk-2.0.0", &["com.aliyun.dts:dts-new-subscribe-sdk:2.0.0"])
}

/// The folder of jars that holds Kafka Connect and Debezium's PostgreSQL connector.
///
/// # Errors
/// As [`kafka`].
pub fn debezium(cache: &Cache) -> Result<PathBuf> {
    // What stands first decides the versions of what both bring.
    let connect = ["connect-runtime", "connect-json", "connect-api", "kafka-clients"]
        .map(|name| format!("org.apache.kafka:{name}:{KAFKA_VERSION}"));
    let connector = format!("io.debezium:debezium-connector-postgres:{DEBEZIUM_VERSION}");
    let logging = "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3";
    let [runtime, json, api, clients] = &connect;
    let wanted = [runtime, json, api, clients, connector.as_str(), logging];
    jars(cache, &format!("debezium-{DEBEZIUM_VERSION}"), &wanted)
}

/// The folder of jars that holds MirrorMaker 2.
///
/// # Errors
/// As [`kafka`].
pub fn mirror(cache: &Cache) -> Result<PathBuf> {
    let wanted = ["connect-mirror", "connect-runtime", "connect-json", "connect-api"]
        .map(|name| format!("org.apache.kafka:{name}:{KAFKA_VERSION}"));
    let mut wanted: Vec<_> = wanted.iter().map(String::as_str).collect();
    wanted.push("org.apache.logging.log4j:log4j-slf4j-impl:2.24.3");
    jars(cache, &format!("mirror-{KAFKA_VERSION}"), &wanted)
}

/// The folder of jars that holds Canal's client library and Flink's JSON formats.
///
/// # Errors
/// As [`kafka`].
pub fn formats(cache: &Cache) -> Result<PathBuf> {
    let wanted = [
        "org.apache.flink:flink-json:2.1.0",
        "org.apache.flink:flink-table-runtime:2.1.0",
        "com.alibaba.otter:canal.protocol:1.1.8",
    ];
    jars(cache, "formats-flink-2.1.0-canal-1.1.8", &wanted)
}

/// The folder of jars that holds a mail server.
///
/// # Errors
/// As [`kafka`].
pub fn mail(cache: &Cache) -> Result<PathBuf> {
    jars(cache, "subethasmtp-7.2.2", &["com.github.davidmoten:subethasmtp:7.2.2"])
}

/// The folder with `bin`, `lib` and `share` of a PostgreSQL server.
///
/// # Errors
/// As [`kafka`]; also for a processor without published binaries.
pub fn postgres(cache: &Cache, version: &str) -> Result<PathBuf> {
    let platform = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => "linux-amd64",
        ("linux", "aarch64") => "linux-arm64v8",
        ("macos", "x86_64") => "darwin-amd64",
        ("macos", "aarch64") => "darwin-arm64v8",
        (system, processor) => bail!("no PostgreSQL binaries for {system} on {processor}"),
    };
    let artifact = format!("embedded-postgres-binaries-{platform}:{version}");
    cache.entry(&format!("postgres-{version}"), |into| {
        process::run(
            maven()?
                .arg("dependency:copy")
                .arg(format!("-Dartifact=io.zonky.test.postgres:{artifact}"))
                .arg(format!("-DoutputDirectory={}", into.display())),
        )?;
        let jar = only_file(into, "jar")?;
        process::run(Command::new("jar").arg("xf").arg(&jar).current_dir(into))?;
        let archive = only_file(into, "txz")?;
        process::run(Command::new("tar").arg("xJf").arg(&archive).current_dir(into))?;
        fs::remove_file(jar)?;
        fs::remove_file(archive)?;
        Ok(())
    })
}

fn jars(cache: &Cache, name: &str, wanted: &[Coordinates<'_>]) -> Result<PathBuf> {
    cache.entry(name, |into| {
        let pom = into.join("pom.xml");
        fs::write(&pom, project(wanted)?)?;
        process::run(
            maven()?
                .arg("-f")
                .arg(&pom)
                .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
                .arg(format!("-DoutputDirectory={}", into.display())),
        )?;
        Ok(())
    })
}

/// A Maven project that has nothing but dependencies.
fn project(wanted: &[Coordinates<'_>]) -> Result<String> {
    let mut dependencies = String::new();
    for coordinates in wanted {
        let [group, artifact, version] = coordinates.split(':').collect::<Vec<_>>()[..] else {
            bail!("{coordinates} is not group:artifact:version");
        };
        dependencies.push_str(&format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
             <version>{version}</version></dependency>"
        ));
    }
    Ok(format!(
        "<project><modelVersion>4.0.0</modelVersion><groupId>tidewire</groupId>\
         <artifactId>testbed</artifactId><version>1</version><packaging>pom</packaging>\
         <dependencies>{dependencies}</dependencies></project>"
    ))
}

fn maven() -> Result<Command> {
    install_tools()?;
    let mut command = Command::new("mvn");
    command.args(["-q", "-B"]);
    Ok(command)
}

/// Makes sure that a JDK and Maven are there: installs them as root on Debian, otherwise says what
/// to install.
///
/// # Errors
/// When they are missing and cannot be installed.
pub fn install_tools() -> Result<()> {
    let missing: Vec<&str> = [("javac", "default-jdk-headless"), ("mvn", "maven")]
        .into_iter()
        .filter(|(program, _)| !installed(program))
        .map(|(_, package)| package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !(rustix::process::geteuid().is_root() && installed("apt-get")) {
        return Err(anyhow!(
            "a JDK (17 or later, with javac) and Maven are needed; install the packages {} \
             (Debian's names) and try again",
            missing.join(" and ")
        ));
    }
    process::run(Command::new("apt-get").args(["update", "-qq"]))?;
    process::run(
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["install", "-y", "-qq", "--no-install-recommends"])
            .args(&missing),
    )
    .map(drop)
}

fn installed(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
}

fn only_file(folder: &Path, extension: &str) -> Result<PathBuf> {
    fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|found| found == extension))
        .with_context(|| format!("no .{extension} file in {}", folder.display()))
}
