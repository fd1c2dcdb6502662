//! `cargo x verify`, `fix` and `test`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use tidewire_testbed::servers::cache::Cache;
use tidewire_testbed::servers::java::ClassPath;
use tidewire_testbed::servers::{maven, postgres};

use crate::{cargo, screen, tidy};

/// All checks that need no server and write nothing, cheapest first.
pub(crate) fn verify() -> Result<()> {
    cargo::run("format", &["fmt", "--all", "--check"], &[])?;
    tidied()?;
    let clippy = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"];
    cargo::run("lints", &clippy, &[])
}

/// Repairs what can be repaired, then says what is left.
pub(crate) fn fix() -> Result<()> {
    let clippy = [
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--fix",
        "--allow-dirty",
        "--allow-staged",
    ];
    cargo::run("lints", &clippy, &[])?;
    cargo::run("format", &["fmt", "--all"], &[])?;
    tidied()
}

/// Everything that must hold before a change is trusted. The runner's own summary comes last.
pub(crate) fn test(quick: bool) -> Result<()> {
    screen::step("servers for the tests", fetch_servers)?;
    verify()?;
    // All of it with the features of the whole workspace, and with the points in it that the cluster tests
    // need, so that nothing is built twice. The points do nothing where nobody names them.
    let rooms = ["test", "--workspace", "--exclude", CLUSTER_TESTS, "--features", FAULT_POINTS];
    cargo::run("the rooms", &rooms, &[QUICK_JAVA])?;
    let binary = cargo::keep_apart()?;
    if quick {
        return Ok(());
    }
    // Three at a time: each has a cluster and a load of its own, and waits most of the time. The times
    // that they show are judged by nobody.
    // Its own summary line is the last thing that the whole run prints.
    let clusters = [
        "test",
        "--workspace",
        "--features",
        FAULT_POINTS,
        "--test",
        CLUSTER_TARGET,
        "--",
        "--test-threads=3",
        "--show-output",
    ];
    let binary = binary.to_string_lossy();
    cargo::run("clusters", &clusters, &[("TIDEWIRE_BIN", &binary), QUICK_JAVA])
}

/// Brokers of tests live for seconds: compiling them for speed costs more than it gains. Read by every
/// java; bench, demo and chaos leave it alone.
const QUICK_JAVA: (&str, &str) = ("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1");

const CLUSTER_TESTS: &str = "tidewire-cluster-tests";
/// No other package has a test target of this name.
const CLUSTER_TARGET: &str = "main";
const FAULT_POINTS: &str = "tidewire/fault-points";

/// The binary of the cluster tests. They hold a node at named points inside the order of a start or
/// of a commit, which no signal from outside can hit by chance; demo and bench run the binary that
/// users get, which has no such points.
pub(crate) fn build_for_faults() -> Result<PathBuf> {
    screen::step("build tidewire with fault points", || {
        cargo::build_binary(cargo::Profile::FaultPoints)
    })
}

/// Fills the cache, so that no test waits for a download.
pub(crate) fn fetch_servers() -> Result<()> {
    let cache = Cache::open()?;
    maven::install_tools()?;
    maven::postgres(&cache, postgres::POSTGRES_VERSION)?;
    ClassPath::kafka(&cache)?;
    ClassPath::dts(&cache)?;
    ClassPath::mail(&cache)?;
    Ok(())
}

/// The rules of the house.
pub(crate) fn tidied() -> Result<()> {
    let findings = tidy::findings(cargo::top())?;
    for finding in &findings {
        screen::note(finding);
    }
    match findings.len() {
        0 => Ok(()),
        count => bail!("tidy: {count} findings"),
    }
}
