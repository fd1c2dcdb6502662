//! A row costs no heap allocation between the socket and the producer's door: decode and encode run
//! under an allocator that counts.

#![allow(unsafe_code)]

mod stream;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell as Counter;

use stream::{Cell, Stream, described, facts, name, options, primary_key, text};
use tidewire_node_core::batch::ChangeBatch;
use tidewire_node_core::decode::{Decoder, Options};
use tidewire_node_core::encode::{EncodeConfig, EncodedBatch, Encoder};
use tidewire_shared::spec::{
    Format, FormatKind, KeyChange, PartitionPolicy, RecordKey, TimestampUnit,
};

thread_local! {
    static ALLOCATIONS: Counter<u64> = const { Counter::new(0) };
}

struct Counting;

fn count() {
    // A thread that is going away has no counter any more; nothing is measured on it.
    let _gone = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `realloc`.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const OID: u32 = 16_385;
const TRANSACTIONS: u64 = 1_000;
const ROWS: u64 = 100;

/// 100,000 changes of every operation, over columns of every kind of encoder.
fn stream() -> Stream {
    let types = [
        ("id", 20),
        ("amount", 1700),
        ("note", 25),
        ("at", 1184),
        ("day", 1082),
        ("ratio", 701),
        ("body", 3802),
        ("raw", 17),
        ("ok", 16),
    ];
    let columns: Vec<_> = types.map(|(name, oid)| described(name == "id", name, oid)).into();
    let mut stream = Stream::default();
    stream.relation(OID, ("public", "orders"), 'd', &columns);
    for transaction in 0..TRANSACTIONS {
        let lsn = 1_000 + transaction * 1_000;
        stream.begin(lsn, 1_786_342_560_000_000, 7);
        for row in 0..ROWS {
            change(&mut stream, transaction * ROWS + row);
        }
        stream.commit(lsn, lsn + 500);
    }
    stream
}

fn change(stream: &mut Stream, number: u64) {
    let id = text(&number.to_string());
    let values = [
        id.clone(),
        text("12.50"),
        text("a \"quoted\" ü note that is longer than one word of the scanner"),
        text("2026-08-10 06:16:00.123456+00"),
        text("2026-08-10"),
        text("0.1"),
        text("{\"a\": 1}"),
        text("\\x00ff"),
        Cell::Null,
    ];
    let mut key = [const { Cell::Null }; 9];
    key[0] = id;
    match number % 4 {
        0 | 1 => stream.insert(OID, &values),
        2 => stream.update(OID, None, &values),
        _ => stream.delete(OID, b'K', &key),
    };
}

fn encoder(kind: FormatKind) -> Encoder {
    let format = Format {
        kind,
        key: RecordKey::Json,
        identity_headers: true,
        source_timestamp_unit: TimestampUnit::Milliseconds,
        ..Format::default()
    };
    Encoder::new(EncodeConfig {
        format,
        database: "shop".to_owned(),
        server_version: "15.18".to_owned(),
        partition: PartitionPolicy::ByPrimaryKey,
        key_change: KeyChange::Split,
        partitions: vec![4],
        record_bytes: 1 << 20,
        next_ordinal: 1,
        dead_letters: None,
    })
    .expect("encoder")
}

/// Runs the whole stream through one pair of reused batches; records and allocations.
fn run(
    stream: &Stream,
    hold: bool,
    encoder: &mut Encoder,
    reused: &mut (ChangeBatch, EncodedBatch),
) -> (u64, u64) {
    let mut decoder = Decoder::new(Options { hold, ..options(&[("public", "orders", "orders")]) });
    let described = facts(OID, name("public", "orders"), &[], vec![primary_key(&["id"])]);
    decoder.provide(OID, Some(described));
    let (batch, out) = reused;
    let (mut at, mut records) = (0, 0);
    let before = ALLOCATIONS.get();
    while at < stream.bytes.len() {
        batch.clear();
        let fed = decoder.feed(&stream.bytes[at..], batch).expect("decodes");
        at += fed.consumed;
        encoder.encode(batch, 1_786_342_560_000_000, out).expect("encodes");
        records += out.counters.records;
    }
    (records, ALLOCATIONS.get() - before)
}

#[test]
fn a_row_allocates_nothing() {
    let stream = stream();
    for (kind, hold) in [
        (FormatKind::DtsAvro, false),
        (FormatKind::ShareplexJson, true),
        (FormatKind::CanalJson, false),
        (FormatKind::DebeziumJson, false),
    ] {
        let mut encoder = encoder(kind);
        let mut reused = (ChangeBatch::new(), EncodedBatch::new());
        // The first run brings the batches to their size.
        run(&stream, hold, &mut encoder, &mut reused);
        let (records, allocations) = run(&stream, hold, &mut encoder, &mut reused);
        // A tombstone follows every fourth change, the deletes.
        let tombstones = if kind == FormatKind::DebeziumJson { ROWS / 4 } else { 0 };
        assert_eq!(records, TRANSACTIONS * (ROWS + tombstones));
        // What remains is the new decoder's relation and its plan: none for rows, none for batches.
        assert!(allocations < 200, "{kind:?}: {allocations} allocations");
    }
}
