//! A replication connection before it streams: who the server is, its history, new slots.

use std::time::Duration;

use bytes::BytesMut;
use postgres_protocol::message::backend::Message;
use tidewire_node_core::facts::{ServerFacts, TimelineEnd};
use tidewire_shared::{Fault, FaultKind, Lsn};
use tokio::time::timeout;

use super::feedback::Feedback;
use super::login::log_in;
use super::reader::StreamReader;
use super::wire::{Received, TextRow, Wire};
use crate::fault::{ServerError, broken, garbled};
use crate::quote;
use crate::source::{Host, Login, Session};
use crate::transport::Transport;

/// How long the answer to a command may take. A server process that is frozen keeps its connection
/// open, so that nothing but time tells. The making of a slot waits for transactions; its caller
/// bounds it.
const PATIENCE: Duration = Duration::from_secs(10);

/// A slot that is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewSlot {
    /// It stays.
    Lasting {
        /// Standbys copy it (17+).
        failover: bool,
    },
    /// It goes with the session.
    Passing,
}

/// A replication connection before it streams.
#[derive(Debug)]
pub struct ReplicationClient {
    wire: Wire,
    pid: i32,
    version_num: u32,
    in_recovery: bool,
    wal_level: String,
    /// `wal_sender_timeout` in milliseconds; 0 is none.
    sender_timeout_ms: u64,
}

impl Session for ReplicationClient {
    fn in_recovery(&self) -> bool {
        self.in_recovery
    }
}

impl ReplicationClient {
    pub(crate) async fn open(
        login: &Login,
        host: &Host,
        transport: Transport,
    ) -> Result<Self, Fault> {
        let (session, host) = (login.session(host), host.to_string());
        let mut wire = Wire { transport, inbox: BytesMut::new(), host, session };
        let pid = log_in(&mut wire, login).await?;
        let host = wire.host.clone();
        let settings = "SELECT current_setting('server_version_num'), pg_is_in_recovery(), \
            current_setting('wal_level'), \
            (SELECT setting FROM pg_settings WHERE name = 'wal_sender_timeout'), \
            current_setting('server_encoding')";
        let row = first(wire.query(&host, settings).await?, &host)?;
        let mut columns = row.into_iter();
        let mut next = || columns.next().flatten().unwrap_or_default();
        let (version, recovery, wal_level, timeout) = (next(), next(), next(), next());
        if next() == "SQL_ASCII" {
            // Nothing says what its bytes mean. Asked for UTF-8 the server would end the stream at the
            // first row that is none, wherever that stands; so it sends them, and they are looked at here.
            wire.query(&host, "SET client_encoding TO 'SQL_ASCII'").await?;
        }
        Ok(Self {
            wire,
            pid,
            version_num: number(&version, &host)?,
            in_recovery: recovery == "t",
            wal_level,
            sender_timeout_ms: number(&timeout, &host)?,
        })
    }

    /// The `host:port` at the other end.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.wire.host
    }

    /// The process id of our walsender.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// `server_version_num`, like 150018.
    #[must_use]
    pub fn version_num(&self) -> u32 {
        self.version_num
    }

    /// The server: `IDENTIFY_SYSTEM` and the settings that matter.
    ///
    /// # Errors
    /// `SourceUnreachable` when the connection breaks or nobody answers in time.
    pub async fn server(&mut self) -> Result<ServerFacts, Fault> {
        let host = self.wire.host.clone();
        let row = first(self.ask(&host, "IDENTIFY_SYSTEM").await?, &host)?;
        let column = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
        Ok(ServerFacts {
            system_id: number(&column(0), &host)?,
            timeline: number(&column(1), &host)?,
            flush_lsn: number(&column(2), &host)?,
            version_num: self.version_num,
            in_recovery: self.in_recovery,
            wal_level: self.wal_level.clone(),
        })
    }

    /// The history of `timeline`: the end of each timeline before it, oldest first; none for 1.
    ///
    /// # Errors
    /// `SourceState` when the server has no such history.
    pub async fn timeline_history(&mut self, timeline: u32) -> Result<Vec<TimelineEnd>, Fault> {
        if timeline <= 1 {
            return Ok(Vec::new());
        }
        let object = format!("timeline {timeline} of {}", self.wire.host);
        let command = format!("TIMELINE_HISTORY {timeline}");
        let row = first(self.ask(&object, &command).await?, &object)?;
        let content = row.get(1).cloned().flatten().unwrap_or_default();
        parse_history(&content).ok_or_else(|| garbled(&object, "its history does not parse"))
    }

    /// Creates a logical slot for `pgoutput` and returns its consistent point. Waits for every
    /// transaction that is open; `crate::slot::create` bounds that.
    ///
    /// # Errors
    /// `SourceState` when a slot of that name exists; `SourceBusy` when none is free.
    pub async fn create_slot(&mut self, name: &str, kind: NewSlot) -> Result<Lsn, Fault> {
        let name = quote::slot(name)?;
        let options = match (self.version_num, kind) {
            (170_000.., NewSlot::Lasting { failover: true }) => "(SNAPSHOT 'nothing', FAILOVER)",
            (150_000.., _) => "(SNAPSHOT 'nothing')",
            _ => "NOEXPORT_SNAPSHOT",
        };
        let lasting = if kind == NewSlot::Passing { "TEMPORARY " } else { "" };
        let object = format!("slot {name}");
        let command = format!("CREATE_REPLICATION_SLOT {name} {lasting}LOGICAL pgoutput {options}");
        let row = first(self.wire.query(&object, &command).await?, &object)?;
        number(&row.get(1).cloned().flatten().unwrap_or_default(), &object)
    }

    /// Has the slot copied to standbys from now on, or no more (17+). Nobody may stream from it.
    ///
    /// # Errors
    /// `SourceBusy` when someone streams from it; `SourceState` when it does not exist.
    pub async fn set_failover(&mut self, name: &str, failover: bool) -> Result<(), Fault> {
        let name = quote::slot(name)?;
        let command = format!("ALTER_REPLICATION_SLOT {name} (FAILOVER {failover})");
        self.ask(&format!("slot {name}"), &command).await.map(|_| ())
    }

    /// Streams from `slot` what is committed after `start`, by pgoutput protocol 1.
    ///
    /// The server begins at the later of `start` and the slot's `confirmed_flush`, and says nothing
    /// when `start` is beyond its WAL: judge both before (docs/delivery.md).
    ///
    /// # Errors
    /// `SourceState` when the slot cannot be used; `SourceBusy` when someone streams from it.
    pub async fn start(
        mut self,
        slot: &str,
        start: Lsn,
        publications: &[&str],
    ) -> Result<(StreamReader, Feedback), Fault> {
        let slot = quote::slot(slot)?;
        let object = format!("slot {slot}");
        let publications = quote::publication_names(publications)?;
        let command = format!(
            "START_REPLICATION SLOT {slot} LOGICAL {start} \
             (proto_version '1', publication_names {publications})"
        );
        let host = self.wire.host.clone();
        let answer = async {
            self.wire.ask(&command).await?;
            self.wire.receive().await
        };
        match in_time(&host, answer).await? {
            Received::CopyBoth => StreamReader::begin(self.wire, self.sender_timeout_ms),
            Received::Message(Message::ErrorResponse(body)) => {
                Err(ServerError::from_response(&body).fault(&object, &self.wire.session))
            }
            Received::Message(_) => Err(garbled(&object, "an unexpected answer to its start")),
        }
    }

    /// The rows that a command is answered with, in time.
    async fn ask(&mut self, object: &str, command: &str) -> Result<Vec<TextRow>, Fault> {
        let host = self.wire.host.clone();
        in_time(&host, self.wire.query(object, command)).await
    }
}

async fn in_time<T>(
    host: &str,
    answer: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    let late = || broken(host, format!("a command was not answered within {PATIENCE:?}"));
    timeout(PATIENCE, answer).await.unwrap_or_else(|_| Err(late()))
}

fn first(mut rows: Vec<TextRow>, object: &str) -> Result<TextRow, Fault> {
    if rows.is_empty() { Err(garbled(object, "an empty answer")) } else { Ok(rows.swap_remove(0)) }
}

fn number<T: std::str::FromStr>(text: &str, object: &str) -> Result<T, Fault> {
    text.parse().map_err(|_| {
        Fault::new(FaultKind::Decode, object, format!("`{}` is no number", text.escape_debug()))
    })
}

/// A timeline history file: lines of timeline, switch position and reason; `#` begins a comment.
fn parse_history(content: &str) -> Option<Vec<TimelineEnd>> {
    let lines = content.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let end = |line: &str| {
        let mut words = line.split_whitespace();
        let timeline = words.next()?.parse().ok()?;
        Some(TimelineEnd { timeline, switch_lsn: words.next()?.parse().ok()? })
    };
    lines.map(end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_file_reads_line_by_line() {
        let text = "1\t0/3037048\tno recovery target specified\n\n# note\n2\tA/10\tx\n";
        let ends = parse_history(text).expect("history");
        assert_eq!(ends[0], TimelineEnd { timeline: 1, switch_lsn: Lsn(0x303_7048) });
        assert_eq!(ends[1], TimelineEnd { timeline: 2, switch_lsn: Lsn(0xA_0000_0010) });
        assert!(parse_history("one\t0/1").is_none());
    }
}
