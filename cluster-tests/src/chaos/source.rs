//! The source of a round: the server, its standby where one can be promoted, the role that the task comes
//! as, and the tables of all kinds.

use std::cell::RefCell;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tidewire_testbed::servers::postgres::major;
use tidewire_testbed::servers::{Postgres, PostgresOptions, free_port};
use tidewire_testbed::task::quoted;
use tidewire_testbed::{variety, workload};

use super::account::{Account, ROLE};
use super::fault::Lack;
use crate::{Scene, SceneSource, Subject as _, faults, repairs};

/// The table that appears while a round runs, and the pattern that it fits.
const ADDED: &str = "public.added_1";
const ADDED_PATTERN: &str = "public.added_*";
const PUBLISHED_LIMIT: Duration = Duration::from_secs(60);
const SYNC_LIMIT: Duration = Duration::from_secs(60);

pub(super) struct Source {
    pub(super) primary: Postgres,
    pub(super) standby: Option<Postgres>,
    account: Account,
}

impl Source {
    /// Starts it, with a standby if that will be `promoted`, and makes the tables.
    pub(super) fn start(
        version: &str,
        database: &str,
        promoted: bool,
    ) -> Result<(Self, SceneSource)> {
        let (name, value) = variety::SETTING;
        let primary = Postgres::start(PostgresOptions {
            version: version.to_owned(),
            settings: vec![(name.to_owned(), value.to_owned())],
        })?;
        let various = variety::tables(major(version));
        let tables = [workload::TABLES.as_slice(), &various].concat();
        let watched = [tables.as_slice(), &[ADDED]].concat();
        let mut database = SceneSource::on(&primary, database, &watched, |client| {
            workload::create_tables(client)?;
            variety::create_tables(client)
        })?;
        // At once: a standby takes over no slot that holds on to older rows than its own.
        let standby = promoted.then(|| standby(&primary, &mut database)).transpose()?;
        database.truth = database.truth.inserts_only(&[variety::KEYLESS]).truncated(&various);
        let account = Account::create(&mut database.client, &tables)?;
        // These have entries of their own.
        database.tables.retain(|table| table != variety::KEYLESS && table != ADDED);
        Ok((Self { primary, standby, account }, database))
    }

    /// The document of the task, which ends with the one entry of its objects.
    pub(super) fn document(&self, yaml: &str, topic: &str) -> String {
        format!(
            "{}    operations: [insert, update, delete, truncate]\n  \
             - tables: [{}]\n    topic: {topic}\n    operations: [insert, truncate]\n  \
             - tables: [\"{ADDED_PATTERN}\"]\n    topic: {topic}\n",
            self.account.named_in(yaml),
            variety::KEYLESS
        )
    }

    /// Makes a table, waits until the task has published it, and writes into it.
    pub(super) fn add_table(&self, scene: &Scene<'_>) -> Result<()> {
        scene.settled_owner()?;
        let mut client = scene.address.connect()?;
        let table = format!("CREATE TABLE {ADDED} (id int PRIMARY KEY, note text)");
        client.batch_execute(&format!("{table}; ALTER TABLE {ADDED} OWNER TO {ROLE}"))?;
        let published =
            "SELECT 1 FROM pg_publication_tables WHERE schemaname || '.' || tablename = $1";
        let end = Instant::now() + PUBLISHED_LIMIT;
        while client.query(published, &[&ADDED])?.is_empty() {
            ensure!(Instant::now() < end, "{ADDED} is not published in {PUBLISHED_LIMIT:?}");
            thread::sleep(Duration::from_millis(200));
        }
        let before = scene.stable_records()?;
        let rows = format!("INSERT INTO {ADDED} SELECT g, 'new' FROM generate_series(1, 1000) g");
        client.batch_execute(&rows)?;
        client.batch_execute(&format!("UPDATE {ADDED} SET note = 'changed' WHERE id < 100"))?;
        faults::flows_again(scene, before)
    }

    /// Nodes hear of the new password once they have failed with the old one.
    pub(super) fn rotate_password(&self, scene: &Scene<'_>) -> Result<()> {
        let rotate = || execute(scene, &format!("ALTER ROLE {ROLE} PASSWORD 'second'"));
        repairs::locked_out(scene, "28P01", rotate, || self.account.tell("second"))
    }

    /// The task's role is without something that it needs to come in.
    pub(super) fn without(&mut self, scene: &Scene<'_>, lack: Lack) -> Result<()> {
        const DENIED: &str = "42501";
        const TOO_MANY: &str = "53300";
        let database = quoted(&scene.address.database);
        let (taken, given, word) = match lack {
            Lack::Replication => (
                format!("ALTER ROLE {ROLE} NOREPLICATION"),
                format!("ALTER ROLE {ROLE} REPLICATION"),
                DENIED,
            ),
            Lack::Connect => (
                format!("REVOKE CONNECT ON DATABASE {database} FROM PUBLIC"),
                format!("GRANT CONNECT ON DATABASE {database} TO PUBLIC"),
                DENIED,
            ),
            Lack::Sessions => (
                format!("ALTER ROLE {ROLE} CONNECTION LIMIT 0"),
                format!("ALTER ROLE {ROLE} CONNECTION LIMIT -1"),
                TOO_MANY,
            ),
            Lack::Walsenders => {
                let primary = RefCell::new(&mut self.primary);
                let with = |settings: &[_]| primary.borrow_mut().restart_with(settings);
                let none = [variety::SETTING, ("max_wal_senders", "0")];
                let again = || with(&[variety::SETTING]);
                return repairs::troubled(scene, TOO_MANY, || with(&none), again);
            }
        };
        repairs::locked_out(scene, word, || execute(scene, &taken), || execute(scene, &given))
    }
}

fn execute(scene: &Scene<'_>, statement: &str) -> Result<()> {
    Ok(scene.address.connect()?.batch_execute(statement)?)
}

/// A standby that gets all before it is handed out, and the slot of the truth.
fn standby(primary: &Postgres, database: &mut SceneSource) -> Result<Postgres> {
    let port = free_port()?;
    let standby = primary.standby(port)?;
    standby.wait_synced(database.truth.name(), SYNC_LIMIT)?;
    primary.wait_for_standby()?;
    database.address.standby = Some(port);
    Ok(standby)
}
