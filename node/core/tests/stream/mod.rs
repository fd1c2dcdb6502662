//! Writes what a PostgreSQL server would send: frames of the replication stream, for tests.

#![allow(dead_code, unreachable_pub, missing_docs)]

use tidewire_node_core::batch::ChangeBatch;
use tidewire_node_core::change::{Change, Value};
use tidewire_node_core::decode::{Decoder, Options};
use tidewire_node_core::facts::{ColumnFacts, TableFacts, TypeFacts, UniqueKey};
use tidewire_node_core::schema::TaskTables;
use tidewire_shared::Lsn;
use tidewire_shared::spec::{ObjectRule, TableName};

/// 2000-01-01 in microseconds since 1970.
pub const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

/// One column of a tuple.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    Null,
    Unchanged,
    Text(String),
    /// In the form of a text, and none.
    NoText(Vec<u8>),
    Binary(Vec<u8>),
}

pub fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

/// One column of a Relation message: in the replica identity, name, type.
#[derive(Clone, Debug)]
pub struct Described {
    pub in_identity: bool,
    pub name: String,
    pub type_oid: u32,
}

pub fn described(in_identity: bool, name: &str, type_oid: u32) -> Described {
    Described { in_identity, name: name.to_owned(), type_oid }
}

/// Bytes of the stream, and where each frame ends.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    pub bytes: Vec<u8>,
    pub ends: Vec<usize>,
}

impl Stream {
    pub fn frame(&mut self, body: &[u8]) -> &mut Self {
        self.bytes.push(b'd');
        let length = u32::try_from(body.len() + 4).expect("length");
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(body);
        self.ends.push(self.bytes.len());
        self
    }

    /// Bytes that are no frame.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub fn payload(&mut self, payload: &[u8]) -> &mut Self {
        let mut body = vec![b'w'];
        body.extend_from_slice(&[0; 24]);
        body.extend_from_slice(payload);
        self.frame(&body)
    }

    pub fn keepalive(&mut self, wal_end: u64, reply: bool) -> &mut Self {
        let mut body = vec![b'k'];
        body.extend_from_slice(&wal_end.to_be_bytes());
        body.extend_from_slice(&[0; 8]);
        body.push(u8::from(reply));
        self.frame(&body)
    }

    pub fn begin(&mut self, final_lsn: u64, unix_us: i64, xid: u32) -> &mut Self {
        let mut p = vec![b'B'];
        p.extend_from_slice(&final_lsn.to_be_bytes());
        p.extend_from_slice(&(unix_us - POSTGRES_EPOCH_US).to_be_bytes());
        p.extend_from_slice(&xid.to_be_bytes());
        self.payload(&p)
    }

    pub fn commit(&mut self, commit_lsn: u64, end_lsn: u64) -> &mut Self {
        let mut p = vec![b'C', 0];
        p.extend_from_slice(&commit_lsn.to_be_bytes());
        p.extend_from_slice(&end_lsn.to_be_bytes());
        p.extend_from_slice(&[0; 8]);
        self.payload(&p)
    }

    pub fn origin(&mut self, name: &str) -> &mut Self {
        let mut p = vec![b'O'];
        p.extend_from_slice(&[0; 8]);
        push_name(&mut p, name);
        self.payload(&p)
    }

    pub fn type_message(&mut self, oid: u32, name: &str) -> &mut Self {
        let mut p = vec![b'Y'];
        p.extend_from_slice(&oid.to_be_bytes());
        push_name(&mut p, "public");
        push_name(&mut p, name);
        self.payload(&p)
    }

    pub fn emitted(&mut self, transactional: bool, content: &[u8]) -> &mut Self {
        let mut p = vec![b'M', u8::from(transactional)];
        p.extend_from_slice(&[0; 8]);
        push_name(&mut p, "tidewire");
        p.extend_from_slice(&u32::try_from(content.len()).expect("length").to_be_bytes());
        p.extend_from_slice(content);
        self.payload(&p)
    }

    pub fn relation(
        &mut self,
        oid: u32,
        (schema, name): (&str, &str),
        identity: char,
        columns: &[Described],
    ) -> &mut Self {
        let mut p = vec![b'R'];
        p.extend_from_slice(&oid.to_be_bytes());
        push_name(&mut p, schema);
        push_name(&mut p, name);
        p.push(u8::try_from(identity).expect("ASCII"));
        p.extend_from_slice(&u16::try_from(columns.len()).expect("columns").to_be_bytes());
        for column in columns {
            p.push(u8::from(column.in_identity));
            push_name(&mut p, &column.name);
            p.extend_from_slice(&column.type_oid.to_be_bytes());
            p.extend_from_slice(&(-1_i32).to_be_bytes());
        }
        self.payload(&p)
    }

    pub fn insert(&mut self, oid: u32, new: &[Cell]) -> &mut Self {
        self.row(b'I', oid, &[(b'N', new)])
    }

    pub fn update(&mut self, oid: u32, old: Option<(u8, &[Cell])>, new: &[Cell]) -> &mut Self {
        let tuples: Vec<_> = old.into_iter().chain([(b'N', new)]).collect();
        self.row(b'U', oid, &tuples)
    }

    pub fn delete(&mut self, oid: u32, kind: u8, old: &[Cell]) -> &mut Self {
        self.row(b'D', oid, &[(kind, old)])
    }

    pub fn row(&mut self, tag: u8, oid: u32, tuples: &[(u8, &[Cell])]) -> &mut Self {
        let mut p = vec![tag];
        p.extend_from_slice(&oid.to_be_bytes());
        for (kind, cells) in tuples {
            p.push(*kind);
            push_tuple(&mut p, cells);
        }
        self.payload(&p)
    }

    pub fn truncate(&mut self, oids: &[u32]) -> &mut Self {
        let mut p = vec![b'T'];
        p.extend_from_slice(&u32::try_from(oids.len()).expect("count").to_be_bytes());
        p.push(0);
        oids.iter().for_each(|oid| p.extend_from_slice(&oid.to_be_bytes()));
        self.payload(&p)
    }
}

fn push_name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(name.as_bytes());
    out.push(0);
}

fn push_tuple(out: &mut Vec<u8>, cells: &[Cell]) {
    out.extend_from_slice(&u16::try_from(cells.len()).expect("columns").to_be_bytes());
    for cell in cells {
        let (tag, bytes) = match cell {
            Cell::Null => (b'n', None),
            Cell::Unchanged => (b'u', None),
            Cell::Text(text) => (b't', Some(text.as_bytes())),
            Cell::NoText(bytes) => (b't', Some(bytes.as_slice())),
            Cell::Binary(bytes) => (b'b', Some(bytes.as_slice())),
        };
        out.push(tag);
        if let Some(bytes) = bytes {
            out.extend_from_slice(&u32::try_from(bytes.len()).expect("length").to_be_bytes());
            out.extend_from_slice(bytes);
        }
    }
}

/// The rules of a task: each table to a topic.
pub fn rules(tables: &[(&str, &str, &str)]) -> Vec<ObjectRule> {
    tables
        .iter()
        .map(|(schema, table, topic)| ObjectRule {
            tables: vec![name(schema, table)],
            topic: (*topic).to_owned(),
            ..ObjectRule::default()
        })
        .collect()
}

pub fn name(schema: &str, table: &str) -> TableName {
    TableName { schema: schema.to_owned(), table: table.to_owned() }
}

/// Catalog facts of a table whose columns have built-in types.
pub fn facts(
    oid: u32,
    table: TableName,
    columns: &[Described],
    keys: Vec<UniqueKey>,
) -> TableFacts {
    TableFacts {
        name: table,
        oid,
        kind: 'r',
        persistence: 'p',
        identity: 'd',
        selectable: true,
        owned: true,
        columns: columns.iter().map(|c| column_facts(&c.name, c.type_oid, 'b')).collect(),
        unique_keys: keys,
    }
}

pub fn column_facts(name: &str, type_oid: u32, kind: char) -> ColumnFacts {
    ColumnFacts {
        name: name.to_owned(),
        type_oid,
        type_modifier: -1,
        not_null: false,
        generated: false,
        default: None,
        base: TypeFacts {
            oid: type_oid,
            name: String::new(),
            schema: "pg_catalog".to_owned(),
            kind,
            element: 0,
            element_kind: 'b',
            labels: Vec::new(),
        },
    }
}

pub fn primary_key(columns: &[&str]) -> UniqueKey {
    UniqueKey {
        name: "some_pkey".to_owned(),
        primary: true,
        replica_identity: false,
        not_null: true,
        columns: columns.iter().map(|c| (*c).to_owned()).collect(),
    }
}

/// Options for tables that all go to topics of their own.
pub fn options(tables: &[(&str, &str, &str)]) -> Options {
    Options::new(TaskTables::new(&rules(tables)).expect("rules"), Lsn::ZERO)
}

/// An image as texts, NULLs and gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Null,
    Missing,
    Text(String),
}

pub fn seen(text: &str) -> Seen {
    Seen::Text(text.to_owned())
}

pub fn images(batch: &ChangeBatch, change: &Change) -> (Vec<Seen>, Vec<Seen>) {
    let owned = |value: Value<'_>| match value {
        Value::Null => Seen::Null,
        Value::Missing => Seen::Missing,
        Value::Text(text) => Seen::Text(String::from_utf8(text.to_vec()).expect("UTF-8")),
    };
    (
        batch.old_image(change).values().map(owned).collect(),
        batch.new_image(change).values().map(owned).collect(),
    )
}

/// Feeds everything into one batch after another, as a shell would, facts given ahead.
pub fn decode_all(decoder: &mut Decoder, bytes: &[u8]) -> Vec<ChangeBatch> {
    let mut batches = Vec::new();
    let mut batch = ChangeBatch::new();
    let mut at = 0;
    loop {
        let fed = decoder.feed(&bytes[at..], &mut batch).expect("decodes");
        assert_eq!(fed.need, None);
        at += fed.consumed;
        if fed.full {
            batches.push(std::mem::take(&mut batch));
        } else {
            assert_eq!(at, bytes.len(), "whole frames");
            batches.push(batch);
            return batches;
        }
    }
}
