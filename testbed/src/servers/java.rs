//! Our few small Java programs, compiled once per version of their sources.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::cache::Cache;
use super::{maven, old_kafka};
use crate::process;

const KAFKA_SOURCES: &[(&str, &str)] = &[
    ("Admin.java", include_str!("../../java/Admin.java")),
    ("Broker.java", include_str!("../../java/Broker.java")),
    ("Reader.java", include_str!("../../java/Reader.java")),
    ("Writer.java", include_str!("../../java/Writer.java")),
];
/// Those that clients of before 4.0, which still speak to old brokers, can do.
const OLD_KAFKA_SOURCES: &[(&str, &str)] = &[
    ("Reader.java", include_str!("../../java/Reader.java")),
    ("Writer.java", include_str!("../../java/Writer.java")),
];
const DTS_SOURCES: &[(&str, &str)] =
    &[("DtsReader.java", include_str!("../../java/DtsReader.java"))];

const FORMAT_SOURCES: &[(&str, &str)] =
    &[("FormatReader.java", include_str!("../../java/FormatReader.java"))];

const MAIL_SOURCES: &[(&str, &str)] =
    &[("MailServer.java", include_str!("../../java/MailServer.java"))];

/// A class path with our programs and the libraries that they use.
#[derive(Clone, Debug)]
pub struct ClassPath {
    path: String,
    /// Options that the programs are always started with.
    options: &'static [&'static str],
}

impl ClassPath {
    /// The programs that talk to Kafka, with Kafka's own libraries.
    ///
    /// # Errors
    /// When the libraries cannot be fetched or the programs do not compile.
    pub fn kafka(cache: &Cache) -> Result<Self> {
        compiled(cache, &maven::kafka(cache)?, KAFKA_SOURCES, &[])
    }

    /// Reader and writer for brokers of this old release, with the libraries of the newest client that
    /// still speaks to all of them.
    ///
    /// # Errors
    /// As [`ClassPath::kafka`].
    pub fn old_kafka(cache: &Cache, version: &str) -> Result<Self> {
        let libraries = maven::old_kafka(cache, old_kafka::V2_0)?;
        let options: &[&str] = match version {
            old_kafka::V0_10 => &["-Disolation=read_uncommitted", "-Didempotence=false"],
            _ => &[],
        };
        Ok(Self { options, ..compiled(cache, &libraries, OLD_KAFKA_SOURCES, &[])? })
    }

    /// The reader of DTS records, with the official consumer's libraries.
    ///
    /// # Errors
    /// As [`ClassPath::kafka`].
    pub fn dts(cache: &Cache) -> Result<Self> {
        compiled(cache, &maven::dts_sdk(cache)?, DTS_SOURCES, &["-Xlint:-removal"])
    }

    /// The reader of Canal's and Debezium's formats, with the libraries that people read them with.
    ///
    /// # Errors
    /// As [`ClassPath::kafka`].
    pub fn formats(cache: &Cache) -> Result<Self> {
        compiled(cache, &maven::formats(cache)?, FORMAT_SOURCES, &[])
    }

    /// The mail server, with its libraries.
    ///
    /// # Errors
    /// As [`ClassPath::kafka`].
    pub fn mail(cache: &Cache) -> Result<Self> {
        compiled(cache, &maven::mail(cache)?, MAIL_SOURCES, &[])
    }

    /// A command that runs the class `main` in a small, quickly started Java process.
    #[must_use]
    pub fn program(&self, main: &str) -> Command {
        let mut command = self.java();
        command.args(["-Xmx256m", "-XX:TieredStopAtLevel=1", main]);
        command
    }

    /// A command with the class path alone; options and the main class follow.
    #[must_use]
    pub fn java(&self) -> Command {
        let mut command = Command::new("java");
        // The consumer SDK writes a log where it is started; a checkout is no place for that.
        command.current_dir(std::env::temp_dir());
        command.args(["-XX:+UseSerialGC", "-Xss512k", "-cp", &self.path]).args(self.options);
        // Java reads its arguments in the charset of the locale, which may be none.
        command.env("LC_ALL", "C.UTF-8");
        command
    }
}

fn compiled(
    cache: &Cache,
    libraries: &Path,
    sources: &[(&str, &str)],
    options: &[&str],
) -> Result<ClassPath> {
    let mut hasher = DefaultHasher::new();
    (libraries, sources).hash(&mut hasher);
    let classes = cache.entry(&format!("classes-{:016x}", hasher.finish()), |into| {
        maven::install_tools()?;
        let files = sources
            .iter()
            .map(|(name, text)| {
                let file = into.join(name);
                fs::write(&file, text)?;
                Ok(file)
            })
            .collect::<Result<Vec<PathBuf>>>()?;
        let path = format!("{}/*", libraries.display());
        let mut javac = Command::new("javac");
        // Without a locale javac takes sources for ASCII.
        javac
            .args(["-nowarn", "-proc:none", "-encoding", "UTF-8"])
            .args(options)
            .args(["-cp", &path, "-d"])
            .arg(into);
        process::run(javac.args(files)).map(drop)
    })?;
    let path = format!("{}:{}/*", classes.display(), libraries.display());
    Ok(ClassPath { path, options: &[] })
}
