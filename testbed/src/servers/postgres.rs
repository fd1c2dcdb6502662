//! A PostgreSQL server of its own, with logical decoding switched on.

use std::fs;
use std::iter;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use postgres::config::TargetSessionAttrs;
use postgres::{Client, Config, NoTls};
use serde::{Deserialize, Serialize};

use super::cache::Cache;
use super::{free_port, maven};
use crate::guard::Scratch;
use crate::process::{self, Process, Signal};

/// The version that is started unless another one is asked for.
pub const POSTGRES_VERSION: &str = "17.6.0";
/// Debian's server: without it, `pg_recvlogical` has no server of its own version.
pub const DEBIAN_15: &str = "debian-15";

const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_GRACE: Duration = Duration::from_secs(10);
const PASSWORD: &str = "tidewire";

/// What to start.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// A published version such as `16.10.0`, or [`DEBIAN_15`].
    pub version: String,
    /// Settings that stand above ours.
    pub settings: Vec<(String, String)>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self { version: POSTGRES_VERSION.to_owned(), settings: Vec::new() }
    }
}

/// How a server is asked to stop before it is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopMode {
    /// Ends every session, writes a checkpoint.
    Fast,
    /// Ends at once; recovery follows.
    Immediate,
}

/// Where a server answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostgresAddress {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The port of a standby that may be promoted: whoever comes is led to the one that takes writes.
    #[serde(skip)]
    pub standby: Option<u16>,
    /// A superuser.
    pub user: String,
    /// The user's password.
    pub password: String,
    /// The database to use.
    pub database: String,
}

impl PostgresAddress {
    /// A connection to the server's own database.
    ///
    /// # Errors
    /// When the server does not answer or refuses.
    pub fn connect(&self) -> Result<Client> {
        self.connect_to(&self.database)
    }

    /// A connection to another database of the server.
    ///
    /// # Errors
    /// As [`PostgresAddress::connect`].
    pub fn connect_to(&self, database: &str) -> Result<Client> {
        let mut config = Config::new();
        config.host(&self.host).port(self.port).user(&self.user).password(&self.password);
        config.dbname(database).connect_timeout(Duration::from_secs(5));
        if let Some(standby) = self.standby {
            config.host(&self.host).port(standby);
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        let connected = config.connect(NoTls);
        connected.with_context(|| format!("connect to PostgreSQL on port {}", self.port))
    }

    /// The servers as a document lists them.
    #[must_use]
    pub fn hosts(&self) -> String {
        let ports = iter::once(self.port).chain(self.standby);
        let hosts: Vec<_> = ports.map(|port| format!("\"{}:{port}\"", self.host)).collect();
        hosts.join(", ")
    }

    /// The address as a connection string.
    #[must_use]
    pub fn dsn(&self) -> String {
        let Self { host, port, user, password, database, .. } = self;
        format!("host={host} port={port} user={user} password={password} dbname={database}")
    }
}

/// A running server; it stops, and its data goes, with its owner.
#[derive(Debug)]
pub struct Postgres {
    // Stands first: the process ends before its folder goes.
    server: Process,
    folder: Scratch,
    programs: PathBuf,
    options: PostgresOptions,
    address: PostgresAddress,
}

impl Postgres {
    /// Makes a new database cluster and starts it.
    ///
    /// # Errors
    /// When the binaries cannot be fetched or the server does not start.
    pub fn start(options: PostgresOptions) -> Result<Self> {
        let folder = Scratch::new("tidewire-postgres-")?;
        let programs = programs(&options.version, folder.path())?;
        initialize(&programs, folder.path())?;
        let address = PostgresAddress {
            host: "127.0.0.1".to_owned(),
            port: free_port()?,
            standby: None,
            user: "postgres".to_owned(),
            password: PASSWORD.to_owned(),
            database: "shop".to_owned(),
        };
        let server = launch(&programs, folder.path(), &options, address.port)?;
        let mut started = Self { folder, programs, options, address, server };
        started.wait_ready()?;
        started.address.connect_to("postgres")?.batch_execute("CREATE DATABASE shop")?;
        Ok(started)
    }

    /// Where it answers.
    #[must_use]
    pub fn address(&self) -> &PostgresAddress {
        &self.address
    }

    /// A connection as superuser.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn connect(&self) -> Result<Client> {
        self.address.connect()
    }

    /// Creates a database and returns its address.
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub fn create_database(&self, name: &str) -> Result<PostgresAddress> {
        let quoted = crate::task::quoted(name);
        self.connect()?.batch_execute(&format!("CREATE DATABASE {quoted}"))?;
        Ok(PostgresAddress { database: name.to_owned(), ..self.address.clone() })
    }

    /// The address as a connection string.
    #[must_use]
    pub fn dsn(&self) -> String {
        self.address.dsn()
    }

    /// The process id of the postmaster.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// The folder with the server's programs (`initdb`, `postgres`, Debian's also `pg_recvlogical`).
    #[must_use]
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// Stops the server and starts it again on the same port.
    ///
    /// # Errors
    /// When it does not come back.
    pub fn restart(&mut self, mode: StopMode) -> Result<()> {
        let first = match mode {
            StopMode::Fast => Signal::INT,
            StopMode::Immediate => Signal::QUIT,
        };
        self.server.stop(first, STOP_GRACE);
        self.resume()
    }

    /// Kills the postmaster; its sessions end by themselves.
    pub fn kill(&mut self) {
        self.server.stop(Signal::KILL, Duration::ZERO);
    }

    /// Starts a server again that was killed.
    ///
    /// # Errors
    /// When it does not come back.
    pub fn resume(&mut self) -> Result<()> {
        let since = Instant::now();
        loop {
            let folder = self.folder.path();
            self.server = launch(&self.programs, folder, &self.options, self.address.port)?;
            match self.wait_ready() {
                // Its sessions outlived it for a moment.
                Err(error)
                    if error.to_string().contains("is still in use")
                        && since.elapsed() < START_LIMIT => {}
                outcome => return outcome,
            }
        }
    }

    /// Takes a backup of the running server and starts it as a standby that follows, with slots that
    /// are marked for failover copied to it (17+). `port` is where it will answer.
    ///
    /// # Errors
    /// When the copy cannot be taken or the standby does not start.
    pub fn standby(&self, port: u16) -> Result<Self> {
        let folder = Scratch::new("tidewire-standby-")?;
        let programs = programs(&self.options.version, folder.path())?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let home = folder.path().join("home");
        fs::create_dir(&home)?;
        copy_running(&mut self.address.connect_to("postgres")?, self.folder.path(), &home)?;
        let data = home.join("data");
        fs::write(data.join("standby.signal"), "")?;
        let PostgresAddress { host, port: at, user, password, .. } = &self.address;
        let primary = format!(
            "primary_conninfo = 'host={host} port={at} user={user} password={password} \
             dbname=postgres'\nprimary_slot_name = 'standby'\nhot_standby_feedback = on\n\
             wal_receiver_status_interval = 1\n"
        );
        let sync = if self.major() >= 17 { "sync_replication_slots = on\n" } else { "" };
        fs::write(data.join("postgresql.auto.conf"), primary + sync)?;
        own(&home)?;
        let address = PostgresAddress { port, ..self.address.clone() };
        let options = self.options.clone();
        let server = launch(&programs, folder.path(), &options, address.port)?;
        let mut started = Self { folder, programs, options, address, server };
        started.wait_ready()?;
        Ok(started)
    }

    /// Has the server hand nothing to readers of slots that it copies to its standbys (17+) before the
    /// standby has it: what was read outlives a promotion.
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub fn wait_for_standby(&self) -> Result<()> {
        let mut client = self.address.connect_to("postgres")?;
        client.batch_execute("ALTER SYSTEM SET synchronized_standby_slots = 'standby'")?;
        client.batch_execute("SELECT pg_reload_conf()")?;
        Ok(())
    }

    /// Waits until a standby holds a slot for good.
    ///
    /// # Errors
    /// When that takes longer than `limit`.
    pub fn wait_synced(&self, slot: &str, limit: Duration) -> Result<()> {
        let mut client = self.address.connect_to("postgres")?;
        let end = Instant::now() + limit;
        let synced = "SELECT 1 FROM pg_replication_slots WHERE slot_name = $1::text::name AND synced \
                      AND NOT temporary AND invalidation_reason IS NULL";
        while client.query(synced, &[&slot])?.is_empty() {
            ensure!(Instant::now() < end, "slot {slot} is not ready on the standby in {limit:?}");
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Makes a standby a server of its own, on the next timeline.
    ///
    /// # Errors
    /// When it does not accept writes in time.
    pub fn promote(&self) -> Result<()> {
        let mut client = self.address.connect_to("postgres")?;
        let promoted: bool = client.query_one("SELECT pg_promote(true, 60)", &[])?.get(0);
        ensure!(promoted, "the standby was not promoted");
        Ok(())
    }

    /// Starts the server again with other settings above ours.
    ///
    /// # Errors
    /// When it does not come back.
    pub fn restart_with(&mut self, settings: &[(&str, &str)]) -> Result<()> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        self.options.settings = settings.iter().map(owned).collect();
        self.restart(StopMode::Fast)
    }

    fn major(&self) -> u32 {
        major(&self.options.version)
    }

    /// Leaves the server running without an owner: its pid and its folder.
    #[must_use]
    pub fn detach(self) -> (u32, PathBuf) {
        (self.server.detach(), self.folder.keep())
    }

    /// Stops the server, then removes its data.
    pub fn stop(self) {
        let Self { mut server, .. } = self;
        server.stop(Signal::INT, STOP_GRACE);
    }

    fn wait_ready(&mut self) -> Result<()> {
        let address = self.address.clone();
        self.server.wait_ready(START_LIMIT, || address.connect_to("postgres").is_ok())
    }
}

/// The number of a release, without its minor one.
#[must_use]
pub fn major(version: &str) -> u32 {
    let digits = version.trim_start_matches("debian-");
    digits.split('.').next().and_then(|major| major.parse().ok()).unwrap_or_default()
}

/// The folder of the server's programs, in a place where the server's user can run them: root's
/// home, where the cache may be, is closed to everybody else.
fn programs(version: &str, folder: &Path) -> Result<PathBuf> {
    if version == DEBIAN_15 {
        let programs = PathBuf::from("/usr/lib/postgresql/15/bin");
        ensure!(programs.is_dir(), "Debian's PostgreSQL 15 is missing: install postgresql-15");
        return Ok(programs);
    }
    let cached = maven::postgres(&Cache::open()?, version)?;
    if !rustix::process::geteuid().is_root() {
        return Ok(cached.join("bin"));
    }
    let server = folder.join("server");
    // Links cost nothing; across file systems it takes a copy.
    if process::run(Command::new("cp").arg("-al").arg(&cached).arg(&server)).is_err() {
        process::run(Command::new("cp").arg("-aT").arg(&cached).arg(&server))?;
    }
    Ok(server.join("bin"))
}

/// Copies the data of a running server, as `pg_basebackup` does, and gives the copy a slot of its
/// own on that server.
fn copy_running(client: &mut Client, from: &Path, to: &Path) -> Result<()> {
    let version: i32 =
        client.query_one("SELECT current_setting('server_version_num')::int", &[])?.get(0);
    let (start, stop) = match version {
        150_000.. => ("pg_backup_start('standby', true)", "pg_backup_stop(false)"),
        _ => ("pg_start_backup('standby', true, false)", "pg_stop_backup(false, false)"),
    };
    client.query(
        "SELECT pg_create_physical_replication_slot('standby', true) WHERE NOT EXISTS \
         (SELECT 1 FROM pg_replication_slots WHERE slot_name = 'standby')",
        &[],
    )?;
    client.query(&format!("SELECT {start}"), &[])?;
    process::run(Command::new("cp").arg("-a").arg(from.join("home/data")).arg(to.join("data")))?;
    let label: String = client.query_one(&format!("SELECT labelfile FROM {stop}"), &[])?.get(0);
    let data = to.join("data");
    fs::write(data.join("backup_label"), label)?;
    drop(fs::remove_file(data.join("postmaster.pid")));
    for slots in fs::read_dir(data.join("pg_replslot"))? {
        fs::remove_dir_all(slots?.path())?;
    }
    Ok(())
}

/// Gives a folder and what is in it to the user that the server runs as.
fn own(folder: &Path) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (user, group) = server_ids()?;
    let mut chown = Command::new("chown");
    process::run(chown.arg("-R").arg(format!("{user}:{group}")).arg(folder)).map(drop)
}

/// Makes the data directory and gives it to the user that the server runs as.
fn initialize(programs: &Path, folder: &Path) -> Result<()> {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    let home = folder.join("home");
    fs::create_dir(&home)?;
    let password = home.join("password");
    fs::write(&password, PASSWORD)?;
    if rustix::process::geteuid().is_root() {
        let (user, group) = server_ids()?;
        chown(&home, Some(user), Some(group))?;
        chown(&password, Some(user), Some(group))?;
    }
    let mut initdb = as_server_user(&programs.join("initdb"))?;
    initdb
        .current_dir(&home)
        .args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale"])
        .arg("--no-sync")
        .arg(format!("--pwfile={}", password.display()))
        .arg("-D")
        .arg(home.join("data"));
    process::run(&mut initdb).map(drop)
}

fn launch(programs: &Path, folder: &Path, options: &PostgresOptions, port: u16) -> Result<Process> {
    let mut command = as_server_user(&programs.join("postgres"))?;
    command.current_dir(folder.join("home")).arg("-D").arg(folder.join("home/data"));
    let port = port.to_string();
    let ours = [
        ("port", port.as_str()),
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        ("wal_level", "logical"),
        ("max_replication_slots", "20"),
        ("max_wal_senders", "20"),
        ("max_connections", "100"),
        ("max_wal_size", "4GB"),
        // No test here cuts the power: a killed process loses nothing that the system has.
        ("fsync", "off"),
    ];
    let theirs = options.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in ours.into_iter().chain(theirs) {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    let server = Process::spawn("PostgreSQL", &mut command, &folder.join("postgres.log"))?;
    // A killed postmaster would leave its shared memory behind.
    Ok(server.ended_by(Signal::QUIT))
}

/// A command that runs as a user PostgreSQL accepts: it refuses root.
fn as_server_user(program: &Path) -> Result<Command> {
    if !rustix::process::geteuid().is_root() {
        return Ok(Command::new(program));
    }
    let (user, group) = server_ids()?;
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={user}"))
        .arg(format!("--regid={group}"))
        .arg("--clear-groups")
        .arg(program)
        .env("HOME", "/");
    Ok(command)
}

/// User and group id of `postgres` where the system has that user, else of `nobody`.
fn server_ids() -> Result<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd")?;
    let ids = |wanted: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(wanted))?;
        let mut numbers = line.split(':').skip(2);
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    };
    ids("postgres")
        .or_else(|| ids("nobody"))
        .ok_or_else(|| anyhow!("no user postgres or nobody to run PostgreSQL as"))
}
