//! Messages to and from the server before the stream begins.

use std::str;

use bytes::{Buf, BytesMut};
use postgres_protocol::message::backend::{DataRowBody, Header, Message};
use postgres_protocol::message::frontend;
use tidewire_shared::Fault;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_postgres::fallible_iterator::FallibleIterator;

use crate::fault::{ServerError, broken, garbled, of_io};
use crate::transport::Transport;

/// Longest message that is accepted here: answers to commands are short.
const LONGEST: usize = 16 << 20;

/// One row of a simple query: every column as text.
pub(super) type TextRow = Vec<Option<String>>;

/// A message, or the `CopyBothResponse` that `postgres-protocol` does not know.
pub(super) enum Received {
    Message(Message),
    CopyBoth,
}

/// A connection that takes turns: we ask, the server answers.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) transport: Transport,
    pub(super) inbox: BytesMut,
    pub(super) host: String,
    pub(super) session: String,
}

impl Wire {
    pub(super) async fn send(&mut self, message: &[u8]) -> Result<(), Fault> {
        let sent = async {
            self.transport.write_all(message).await?;
            self.transport.flush().await
        };
        sent.await.map_err(|error| of_io(&error, &self.host))
    }

    /// The next message. Notices and parameter reports are passed over.
    pub(super) async fn receive(&mut self) -> Result<Received, Fault> {
        loop {
            if let Some(received) = self.parse()? {
                match received {
                    Received::Message(Message::NoticeResponse(_) | Message::ParameterStatus(_)) => {
                        continue;
                    }
                    received => return Ok(received),
                }
            }
            let read = self.transport.read_buf(&mut self.inbox).await;
            if read.map_err(|error| of_io(&error, &self.host))? == 0 {
                return Err(broken(&self.host, "the server closed the connection"));
            }
        }
    }

    fn parse(&mut self) -> Result<Option<Received>, Fault> {
        let header = Header::parse(&self.inbox).map_err(|error| garbled(&self.host, error))?;
        let Some(header) = header else { return Ok(None) };
        let length = usize::try_from(header.len()).unwrap_or(usize::MAX);
        if length > LONGEST {
            return Err(garbled(&self.host, format!("an answer of {length} bytes")));
        }
        if header.tag() == b'W' {
            if self.inbox.len() <= length {
                return Ok(None);
            }
            self.inbox.advance(length + 1);
            return Ok(Some(Received::CopyBoth));
        }
        let message = Message::parse(&mut self.inbox);
        message.map(|m| m.map(Received::Message)).map_err(|error| garbled(&self.host, error))
    }

    /// Runs one command by the simple query protocol and returns the rows of its last result.
    pub(super) async fn query(&mut self, object: &str, text: &str) -> Result<Vec<TextRow>, Fault> {
        self.ask(text).await?;
        let mut rows = Vec::new();
        let mut failed = None;
        loop {
            let received = match (self.receive().await, &failed) {
                (Ok(received), _) => received,
                // After a fatal error the server hangs up; the error tells more than that.
                (Err(_), Some(_)) => break,
                (Err(fault), None) => return Err(fault),
            };
            match received {
                Received::Message(Message::DataRow(body)) => rows.push(self.columns(&body)?),
                Received::Message(Message::RowDescription(_)) => rows.clear(),
                Received::Message(Message::ErrorResponse(body)) => {
                    failed = Some(ServerError::from_response(&body));
                }
                Received::Message(Message::ReadyForQuery(_)) => break,
                _ => {}
            }
        }
        failed.map_or(Ok(rows), |error: ServerError| Err(error.fault(object, &self.session)))
    }

    pub(super) async fn ask(&mut self, text: &str) -> Result<(), Fault> {
        let mut message = BytesMut::new();
        frontend::query(text, &mut message).map_err(|error| garbled(&self.host, error))?;
        self.send(&message).await
    }

    fn columns(&self, row: &DataRowBody) -> Result<TextRow, Fault> {
        let mut columns = Vec::new();
        let mut ranges = row.ranges();
        while let Some(range) = ranges.next().map_err(|error| garbled(&self.host, error))? {
            let text = range.map(|range| {
                let bytes = row.buffer().get(range).unwrap_or_default();
                str::from_utf8(bytes).map(str::to_owned)
            });
            columns.push(text.transpose().map_err(|error| garbled(&self.host, error))?);
        }
        Ok(columns)
    }
}
