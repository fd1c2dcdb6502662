//! The role that the task of a round comes as: not the one that writes, so that it can lose its rights
//! and its password while the load goes on.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use postgres::Client;
use tempfile::TempDir;
use tidewire_testbed::task::quoted;

/// Its name.
pub(crate) const ROLE: &str = "carrier";

/// The role, and the file that nodes read its password from.
#[derive(Debug)]
pub(super) struct Account {
    folder: TempDir,
}

impl Account {
    /// Makes the role, owner of these tables, as which it may publish them.
    pub(super) fn create(client: &mut Client, tables: &[&str]) -> Result<Self> {
        let account = Self { folder: TempDir::with_prefix("tidewire-account-")? };
        client.batch_execute(&format!("CREATE ROLE {ROLE} LOGIN REPLICATION PASSWORD 'first'"))?;
        account.tell("first")?;
        for table in tables {
            let (schema, name) = table.split_once('.').context("a table without its schema")?;
            let table = format!("{}.{}", quoted(schema), quoted(name));
            client.batch_execute(&format!("ALTER TABLE {table} OWNER TO {ROLE}"))?;
        }
        let database: String = client.query_one("SELECT current_database()::text", &[])?.get(0);
        let database = quoted(&database);
        client.batch_execute(&format!("GRANT CREATE ON DATABASE {database} TO {ROLE}"))?;
        Ok(account)
    }

    /// A document that names this role instead of the superuser.
    pub(super) fn named_in(&self, yaml: &str) -> String {
        let file = format!("{{file: \"{}\"}}", self.file().display());
        yaml.replace("user: postgres", &format!("user: {ROLE}")).replace("{value: tidewire}", &file)
    }

    /// Writes the password where nodes read it.
    pub(super) fn tell(&self, password: &str) -> Result<()> {
        fs::write(self.file(), password).context("write the password's file")
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("password")
    }
}
