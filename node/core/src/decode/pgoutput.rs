//! Reads one logical message of pgoutput, protocol version 1, without copying.
//!
//! Every length is checked against the message and nothing may be left over. Rows are walked by the
//! caller through [`Rows`], so that each byte of a row is looked at once.
//! Source: PostgreSQL documentation, "Logical Replication Message Formats".

use tidewire_shared::Lsn;

/// What is wrong with a message, as a fragment.
pub type Malformed = &'static str;

/// Microseconds between PostgreSQL's epoch (2000-01-01) and Unix's.
const EPOCH_OFFSET_US: i64 = 946_684_800_000_000;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A transaction begins; it has committed on the server already.
    Begin {
        /// Where its commit record starts.
        final_lsn: Lsn,
        /// Commit time, microseconds since 1970 UTC.
        commit_time_us: i64,
        /// Transaction id.
        xid: u32,
    },
    /// A transaction ends.
    Commit {
        /// Where its commit record starts.
        commit_lsn: Lsn,
        /// The byte after its commit record.
        end_lsn: Lsn,
        /// Commit time, microseconds since 1970 UTC.
        commit_time_us: i64,
    },
    /// The transaction was replicated from elsewhere.
    Origin {
        /// Commit position at the origin.
        commit_lsn: Lsn,
        /// Name of the origin.
        name: &'a str,
    },
    /// A table, before its first row on this connection and after each change of it.
    Relation(RelationMessage<'a>),
    /// A type that is not built in, before the relation that uses it.
    Type {
        /// Object id.
        oid: u32,
        /// Schema; empty for `pg_catalog`.
        schema: &'a str,
        /// Name.
        name: &'a str,
    },
    /// A row was inserted.
    Insert {
        /// Object id of the table.
        relation: u32,
        /// Its new tuple.
        rows: Rows<'a>,
    },
    /// A row was updated.
    Update {
        /// Object id of the table.
        relation: u32,
        /// Perhaps the old tuple, then the new one.
        rows: Rows<'a>,
    },
    /// A row was deleted.
    Delete {
        /// Object id of the table.
        relation: u32,
        /// The old tuple.
        rows: Rows<'a>,
    },
    /// Tables were truncated together.
    Truncate(Truncate<'a>),
    /// A message of `pg_logical_emit_message`.
    Message {
        /// It came with its transaction, not at once.
        transactional: bool,
        /// Its position.
        lsn: Lsn,
        /// Its prefix.
        prefix: &'a str,
        /// Its content.
        content: &'a [u8],
    },
}

/// A table as the server sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationMessage<'a> {
    /// Object id.
    pub oid: u32,
    /// Schema; `pg_catalog` is spelled out.
    pub schema: &'a str,
    /// Name.
    pub name: &'a str,
    /// `pg_class.relreplident`.
    pub identity: char,
    /// The published columns.
    pub columns: Vec<RelationMessageColumn<'a>>,
}

/// One column of a [`RelationMessage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelationMessageColumn<'a> {
    /// It belongs to the replica identity (every column does under FULL).
    pub in_identity: bool,
    /// Name.
    pub name: &'a str,
    /// Object id of its declared type.
    pub type_oid: u32,
    /// Type modifier, −1 for none.
    pub type_modifier: i32,
}

/// Tables truncated by one statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncate<'a> {
    /// CASCADE was given.
    pub cascade: bool,
    /// RESTART IDENTITY was given.
    pub restart_identity: bool,
    oids: &'a [u8],
}

impl<'a> Truncate<'a> {
    /// Object ids of the tables.
    pub fn relations(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.oids.as_chunks::<4>().0.iter().map(|oid| u32::from_be_bytes(*oid))
    }
}

/// What a tuple is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TupleKind {
    /// The new row.
    New,
    /// The old row: columns outside the replica identity are sent as NULL and mean nothing.
    OldKey,
    /// The whole old row.
    OldRow,
}

/// One column of a tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TupleColumn<'a> {
    /// NULL.
    Null,
    /// A TOAST value that the update did not touch; it is not sent.
    Unchanged,
    /// Text form.
    Text(&'a [u8]),
    /// Binary form.
    Binary(&'a [u8]),
}

/// The tuples of a row message, walked forward: a tuple's head, its columns, the next head, the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows<'a> {
    reader: Reader<'a>,
}

impl<'a> Rows<'a> {
    /// The kind and column count of the tuple that comes next.
    ///
    /// # Errors
    /// No tuple comes next.
    #[inline]
    pub fn head(&mut self) -> Result<(TupleKind, usize), Malformed> {
        let kind = match self.reader.u8()? {
            b'N' => TupleKind::New,
            b'K' => TupleKind::OldKey,
            b'O' => TupleKind::OldRow,
            _ => return Err("tuple is neither new nor old"),
        };
        Ok((kind, self.reader.count16()?))
    }

    /// The next column of the tuple; to be called as often as its head says.
    ///
    /// # Errors
    /// The message ends before, or the column has an unknown kind.
    #[inline]
    pub fn column(&mut self) -> Result<TupleColumn<'a>, Malformed> {
        match self.reader.u8()? {
            b't' => Ok(TupleColumn::Text(self.reader.counted()?)),
            b'n' => Ok(TupleColumn::Null),
            b'u' => Ok(TupleColumn::Unchanged),
            b'b' => Ok(TupleColumn::Binary(self.reader.counted()?)),
            _ => Err("column has an unknown kind"),
        }
    }

    /// How many bytes of the message have been walked.
    #[must_use]
    #[inline]
    pub fn position(&self) -> usize {
        self.reader.at
    }

    /// The bytes of the message from `start` to where the walk is.
    #[must_use]
    #[inline]
    pub fn walked_since(&self, start: usize) -> &'a [u8] {
        self.reader.bytes.get(start..self.reader.at).unwrap_or_default()
    }

    /// The message must be over.
    ///
    /// # Errors
    /// It is not.
    #[inline]
    pub fn end(&self) -> Result<(), Malformed> {
        self.reader.end()
    }
}

/// Reads one message.
///
/// # Errors
/// It is none of protocol version 1, is cut short, or is longer than it says.
#[inline]
pub fn parse(payload: &[u8]) -> Result<Message<'_>, Malformed> {
    let mut reader = Reader { bytes: payload, at: 0 };
    let message = match reader.u8()? {
        b'I' => return Ok(Message::Insert { relation: reader.u32()?, rows: Rows { reader } }),
        b'U' => return Ok(Message::Update { relation: reader.u32()?, rows: Rows { reader } }),
        b'D' => return Ok(Message::Delete { relation: reader.u32()?, rows: Rows { reader } }),
        b'B' => Message::Begin {
            final_lsn: reader.lsn()?,
            commit_time_us: reader.time()?,
            xid: reader.u32()?,
        },
        b'C' => commit(&mut reader)?,
        b'O' => Message::Origin { commit_lsn: reader.lsn()?, name: reader.name()? },
        b'R' => Message::Relation(relation(&mut reader)?),
        b'Y' => Message::Type { oid: reader.u32()?, schema: reader.name()?, name: reader.name()? },
        b'T' => Message::Truncate(truncate(&mut reader)?),
        b'M' => Message::Message {
            transactional: reader.u8()? & 1 != 0,
            lsn: reader.lsn()?,
            prefix: reader.name()?,
            content: reader.counted()?,
        },
        _ => return Err("message is of no kind that protocol version 1 has"),
    };
    reader.end()?;
    Ok(message)
}

fn commit<'a>(reader: &mut Reader<'a>) -> Result<Message<'a>, Malformed> {
    if reader.u8()? != 0 {
        return Err("commit has unknown flags");
    }
    Ok(Message::Commit {
        commit_lsn: reader.lsn()?,
        end_lsn: reader.lsn()?,
        commit_time_us: reader.time()?,
    })
}

fn relation<'a>(reader: &mut Reader<'a>) -> Result<RelationMessage<'a>, Malformed> {
    let oid = reader.u32()?;
    let schema = match reader.name()? {
        "" => "pg_catalog",
        schema => schema,
    };
    let name = reader.name()?;
    let identity = char::from(reader.u8()?);
    let count = reader.count16()?;
    let mut columns = Vec::new();
    for _ in 0..count {
        columns.push(RelationMessageColumn {
            in_identity: reader.u8()? & 1 != 0,
            name: reader.name()?,
            type_oid: reader.u32()?,
            type_modifier: reader.u32()?.cast_signed(),
        });
    }
    Ok(RelationMessage { oid, schema, name, identity, columns })
}

fn truncate<'a>(reader: &mut Reader<'a>) -> Result<Truncate<'a>, Malformed> {
    let count = reader.u32()? as usize;
    let options = reader.u8()?;
    let length = count.checked_mul(4).ok_or("truncate lists too many tables")?;
    let oids = reader.take(length)?;
    Ok(Truncate { cascade: options & 1 != 0, restart_identity: options & 2 != 0, oids })
}

/// A cursor over one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

const CUT_SHORT: Malformed = "message is cut short";

impl<'a> Reader<'a> {
    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(length).ok_or(CUT_SHORT)?;
        let taken = self.bytes.get(self.at..end).ok_or(CUT_SHORT)?;
        self.at = end;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let rest = self.bytes.get(self.at..).ok_or(CUT_SHORT)?;
        let array = rest.first_chunk::<N>().ok_or(CUT_SHORT)?;
        self.at += N;
        Ok(*array)
    }

    #[inline]
    fn u8(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    fn lsn(&mut self) -> Result<Lsn, Malformed> {
        self.array().map(|bytes| Lsn(u64::from_be_bytes(bytes)))
    }

    fn time(&mut self) -> Result<i64, Malformed> {
        let since_2000 = i64::from_be_bytes(self.array()?);
        since_2000.checked_add(EPOCH_OFFSET_US).ok_or("time is out of range")
    }

    #[inline]
    fn count16(&mut self) -> Result<usize, Malformed> {
        let count = i16::from_be_bytes(self.array()?);
        usize::try_from(count).map_err(|_| "column count is negative")
    }

    #[inline]
    fn counted(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.u32()?;
        self.take(length as usize)
    }

    fn name(&mut self) -> Result<&'a str, Malformed> {
        let rest = self.bytes.get(self.at..).ok_or(CUT_SHORT)?;
        let length = memchr::memchr(0, rest).ok_or("name has no end")?;
        let name = self.take(length)?;
        self.at += 1;
        std::str::from_utf8(name).map_err(|_| "name is not UTF-8")
    }

    #[inline]
    fn end(&self) -> Result<(), Malformed> {
        if self.at == self.bytes.len() { Ok(()) } else { Err("message is longer than it says") }
    }
}
