//! A real mail server, with and without encryption.

use std::fs;

use anyhow::{Context, Result, anyhow};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::cache::Cache;
use super::java::ClassPath;
use crate::authority::Identity;
use crate::guard::{Guard, Scratch};
use crate::json_lines::JsonLines;

/// The user that is let in.
pub const USER: &str = "tidewire";
/// The user's password.
pub const PASSWORD: &str = "swordfish";

/// How the server encrypts.
#[derive(Clone, Debug)]
pub enum Encryption {
    /// Not at all.
    None,
    /// After `STARTTLS`, before which nothing else is taken.
    StartTls(Identity),
    /// From the first byte.
    Tls(Identity),
}

/// A mail as the server took it, once for each receiver.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Who sent it, by the envelope.
    pub from: String,
    /// Who gets it.
    pub to: String,
    /// All of it, headers first.
    pub text: String,
}

#[derive(Deserialize)]
struct Line {
    from: String,
    to: String,
    data: String,
}

/// A running server; it ends with its owner.
#[derive(Debug)]
pub struct MailServer {
    lines: JsonLines,
    port: u16,
    _guard: Guard,
    _folder: Scratch,
}

impl MailServer {
    /// Starts it on 127.0.0.1.
    ///
    /// # Errors
    /// When its libraries cannot be fetched or Java does not start.
    pub fn start(encryption: &Encryption) -> Result<Self> {
        let folder = Scratch::new("tidewire-mail-")?;
        let (mode, identity) = match encryption {
            Encryption::None => ("none", None),
            Encryption::StartTls(identity) => ("starttls", Some(identity)),
            Encryption::Tls(identity) => ("tls", Some(identity)),
        };
        let mut command = ClassPath::mail(&Cache::open()?)?.program("MailServer");
        command.args([mode, USER, PASSWORD]);
        if let Some(identity) = identity {
            for (name, pem) in [("cert.pem", &identity.cert), ("key.pem", &identity.key)] {
                let path = folder.path().join(name);
                fs::write(&path, pem)?;
                command.arg(path);
            }
        }
        let mut lines = JsonLines::spawn(&mut command, None)?;
        let guard = Guard::kill(lines.pid())?;
        let port = lines.next()?.ok_or_else(|| anyhow!("the mail server did not start"))?;
        Ok(Self { lines, port, _guard: guard, _folder: folder })
    }

    /// `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Every mail that it took.
    ///
    /// # Errors
    /// When the server ended.
    pub fn taken(&mut self) -> Result<Vec<Taken>> {
        let taken: Vec<Line> = self.lines.ask("mails")?;
        let read = |line: Line| {
            let bytes = STANDARD.decode(line.data).context("a mail in base64")?;
            let text = String::from_utf8(bytes).context("a mail in UTF-8")?;
            Ok(Taken { from: line.from, to: line.to, text })
        };
        taken.into_iter().map(read).collect()
    }
}
