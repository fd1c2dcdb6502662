//! A PostgreSQL that speaks TLS and demands who comes.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Result;

use super::postgres::Postgres;
use crate::authority::{Authority, Identity};

/// A reload is told to all processes of the server; nobody says when they have heard it.
const RELOADED: Duration = Duration::from_millis(500);

impl Postgres {
    /// Gives the server a certificate, has it trust the clients of `authority`, and turns TLS on.
    ///
    /// # Errors
    /// When a file cannot be written or the server refuses a setting.
    pub fn encrypt(&self, authority: &Authority, identity: &Identity) -> Result<()> {
        let data = self.show("data_directory")?;
        let owner = fs::metadata(&data)?;
        let files = [
            ("server.key", &identity.key),
            ("server.crt", &identity.cert),
            ("ca.pem", &authority.pem()),
        ];
        for (name, pem) in files {
            let target = Path::new(&data).join(name);
            fs::write(&target, pem)?;
            fs::set_permissions(&target, fs::Permissions::from_mode(0o600))?;
            chown(&target, Some(owner.uid()), Some(owner.gid()))?;
        }
        let mut client = self.connect()?;
        client.batch_execute("ALTER SYSTEM SET ssl = on")?;
        client.batch_execute("ALTER SYSTEM SET ssl_ca_file = 'ca.pem'")?;
        self.reload()
    }

    /// Lets in who fits one of these lines of `pg_hba.conf`, and nobody else, for SQL and for replication:
    /// `{}` stands for the database. The testbed's own sessions come without TLS.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn admit(&self, lines: &[&str]) -> Result<()> {
        let both =
            lines.iter().flat_map(|line| ["all", "replication"].map(|it| line.replace("{}", it)));
        let text: String = both.map(|line| line + "\n").collect();
        fs::write(self.show("hba_file")?, text)?;
        self.reload()
    }

    fn show(&self, setting: &str) -> Result<String> {
        Ok(self.connect()?.query_one(&format!("SHOW {setting}"), &[])?.get(0))
    }

    fn reload(&self) -> Result<()> {
        self.connect()?.batch_execute("SELECT pg_reload_conf()")?;
        thread::sleep(RELOADED);
        Ok(())
    }
}
