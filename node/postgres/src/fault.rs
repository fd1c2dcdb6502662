//! Turns the errors of PostgreSQL, the socket and the clock into faults.
//!
//! Of a server error only SQLSTATE and the primary message are kept: DETAIL and CONTEXT hold row
//! values, and so may the message in the classes 22 (data) and 23 (constraints).

use std::io;

use postgres_protocol::message::backend::ErrorResponseBody;
use rustls::AlertDescription;
use tidewire_shared::{Fault, FaultKind};
use tokio_postgres::fallible_iterator::FallibleIterator;

/// What may be told of a server error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerError {
    pub(crate) code: String,
    message: String,
}

impl ServerError {
    pub(crate) fn new(code: &str, message: &str) -> Self {
        let telling = !code.starts_with("22") && !code.starts_with("23");
        let message = if telling { message } else { "the server refuses a value" };
        Self { code: code.to_owned(), message: message.to_owned() }
    }

    pub(crate) fn from_response(body: &ErrorResponseBody) -> Self {
        let (mut code, mut message) = (String::new(), String::new());
        let mut fields = body.fields();
        while let Ok(Some(field)) = fields.next() {
            let text = || String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                b'C' => code = text(),
                b'M' => message = text(),
                _ => {}
            }
        }
        Self::new(&code, &message)
    }

    /// A server (17+) that shuts down while a standby that it waits for is away ends the stream so. The
    /// name of the setting stands in the message in every language.
    fn waits_for_standby(&self) -> bool {
        self.code == "55000" && self.message.contains("synchronized_standby_slots")
    }

    /// The fault of `object`. `session` names role and host, for refused logins.
    pub(crate) fn fault(&self, object: &str, session: &str) -> Fault {
        let (kind, remedy) = if self.waits_for_standby() {
            let remedy =
                "have the standby stream, or take its slot out of synchronized_standby_slots";
            (FaultKind::SourceBusy, remedy)
        } else {
            judge(&self.code)
        };
        let denied = self.code.starts_with("28");
        let object = if denied { session } else { object };
        let message = format!("{} (SQLSTATE {})", self.message, self.code);
        Fault::new(kind, object, message).remedy(remedy)
    }
}

/// Kind and remedy of an SQLSTATE.
fn judge(code: &str) -> (FaultKind, &'static str) {
    match code {
        "42501" => (
            FaultKind::SourceDenied,
            "give the role REPLICATION, CREATE on the database and ownership of the tables, or use \
             a slot and publication that exist",
        ),
        "3D000" => (FaultKind::SourceState, "name a database that exists"),
        "53300" => {
            (FaultKind::SourceBusy, "raise max_connections or max_wal_senders, or close sessions")
        }
        "53400" => (FaultKind::SourceBusy, "raise max_replication_slots or drop unused slots"),
        "42704" | "42P01" | "42710" | "58P01" | "55000" => (
            FaultKind::SourceState,
            "repair what the message names, or delete the task and create it again",
        ),
        "55006" | "55P03" | "57014" | "58030" => (FaultKind::SourceBusy, ""),
        _ => match code.get(..2) {
            Some("28") => (
                FaultKind::SourceLogin,
                "check user, password, tls.cert and pg_hba.conf, for database and replication connections",
            ),
            Some("08") => (FaultKind::SourceUnreachable, ""),
            Some("40" | "53" | "57" | "XX") => (FaultKind::SourceBusy, ""),
            _ => (FaultKind::SourceState, "repair what the message names"),
        },
    }
}

/// The fault of a failed query on `object`.
pub(crate) fn of_query(error: &tokio_postgres::Error, object: &str, session: &str) -> Fault {
    match error.as_db_error() {
        Some(db) => ServerError::new(db.code().code(), db.message()).fault(object, session),
        None if error.is_closed() => broken(session, "the connection was closed"),
        None => {
            let source = std::error::Error::source(error);
            match source.and_then(|e| e.downcast_ref::<io::Error>()) {
                Some(error) => of_io(error, session),
                None => of_login(error, session),
            }
        }
    }
}

/// `tokio-postgres` tells its own verdicts on a login only by their text.
fn of_login(error: &tokio_postgres::Error, session: &str) -> Fault {
    let text = error.to_string();
    if text.starts_with("invalid configuration") || text.starts_with("authentication error") {
        return Fault::new(FaultKind::SourceLogin, session, text)
            .remedy("set source.password as the server asks for it");
    }
    broken(session, text)
}

/// The fault of a broken or refused socket. A server that ends the handshake with an alert about
/// certificates or access refuses ours; over TLS 1.3 we hear of it at our first read.
pub(crate) fn of_io(error: &io::Error, host: &str) -> Fault {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let Some(rustls::Error::AlertReceived(alert)) = tls else { return broken(host, error) };
    let ours = matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRequired
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
    );
    if !ours {
        return broken(host, error);
    }
    let message = format!("the server does not accept our client certificate ({alert:?})");
    Fault::new(FaultKind::SourceLogin, host, message)
        .remedy("set tls.cert and tls.key to a certificate that an authority of the server signed")
}

/// The fault of a connection that is of no use any more.
pub(crate) fn broken(host: &str, message: impl std::fmt::Display) -> Fault {
    Fault::new(FaultKind::SourceUnreachable, host, message)
        .remedy("check that the server runs and is reachable from this node")
}

/// The fault of bytes that are not PostgreSQL's protocol.
pub(crate) fn garbled(host: &str, message: impl std::fmt::Display) -> Fault {
    Fault::new(FaultKind::Decode, host, message)
        .remedy("connect to PostgreSQL itself, not to a pooler or another service")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standby_that_is_away_while_the_server_stops_is_waited_for() {
        let message = "replication slot \"standby\" specified in parameter \
                       \"synchronized_standby_slots\" does not have active_pid";
        let kind = |message| ServerError::new("55000", message).fault("slot s", "db:5432").kind;
        assert_eq!(kind(message), FaultKind::SourceBusy);
        assert_eq!(kind("cannot read from logical replication slot"), FaultKind::SourceState);
    }

    fn kind(code: &str) -> FaultKind {
        ServerError::new(code, "m").fault("o", "s").kind
    }

    #[test]
    fn sqlstates_have_their_kinds() {
        assert_eq!(kind("28P01"), FaultKind::SourceLogin);
        assert_eq!(kind("28000"), FaultKind::SourceLogin);
        assert_eq!(kind("53300"), FaultKind::SourceBusy);
        assert_eq!(kind("57P03"), FaultKind::SourceBusy);
        assert_eq!(kind("57P01"), FaultKind::SourceBusy);
        assert_eq!(kind("42704"), FaultKind::SourceState);
        assert_eq!(kind(""), FaultKind::SourceState);
    }

    #[test]
    fn row_values_stay_out_of_texts() {
        let fault = ServerError::new("22P02", "invalid input: \"4111 1111\"").fault("t", "s");
        assert!(!fault.message.contains("4111"));
    }
}
