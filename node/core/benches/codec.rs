//! Nanoseconds per row of decode and encode, for the row that the comparison with the rivals uses:
//! seven columns, about 300 bytes, transactions of 100.

#[path = "../tests/stream/mod.rs"]
mod stream;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use stream::{Stream, described, facts, name, options, primary_key, text};
use tidewire_node_core::batch::ChangeBatch;
use tidewire_node_core::decode::{Decoder, Options};
use tidewire_node_core::encode::{EncodeConfig, EncodedBatch, Encoder};
use tidewire_shared::spec::{
    Format, FormatKind, KeyChange, PartitionPolicy, RecordKey, TimestampUnit,
};

const OID: u32 = 16_385;
const ROWS: u64 = 10_000;

fn rows() -> Stream {
    let types = [
        ("id", 20),
        ("customer_id", 23),
        ("amount", 1700),
        ("status", 25),
        ("note", 25),
        ("payload", 3802),
        ("created_at", 1184),
    ];
    let columns: Vec<_> = types.map(|(name, oid)| described(name == "id", name, oid)).into();
    let payload = "{\"sku\": \"A-1234567\", \"qty\": 3, \"tags\": [\"new\", \"gift\", \"express\"], \
                   \"price\": 12.5, \"city\": \"Hangzhou\"}";
    let mut stream = Stream::default();
    stream.relation(OID, ("public", "orders"), 'd', &columns);
    for row in 0..ROWS {
        let lsn = 0x16B_0000_0000 + row / 100 * 1_000;
        if row % 100 == 0 {
            stream.begin(lsn, 1_786_342_560_123_456, 741);
        }
        stream.insert(
            OID,
            &[
                text(&(1_000_000 + row).to_string()),
                text(&(row % 5_000).to_string()),
                text(&format!("{}.{:02}", row % 900, row % 100)),
                text("paid"),
                text(&"n".repeat(101)),
                text(payload),
                text("2026-08-10 06:16:00.123456+00"),
            ],
        );
        if row % 100 == 99 {
            stream.commit(lsn, lsn + 500);
        }
    }
    stream
}

fn encoder(kind: FormatKind) -> Encoder {
    Encoder::new(EncodeConfig {
        format: Format {
            kind,
            key: RecordKey::Json,
            identity_headers: false,
            source_timestamp_unit: TimestampUnit::Milliseconds,
            ..Format::default()
        },
        database: "bench".to_owned(),
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

/// Decodes the whole stream, batch by batch, and hands each batch on.
fn decode(
    stream: &Stream,
    hold: bool,
    batch: &mut ChangeBatch,
    mut each: impl FnMut(&ChangeBatch),
) {
    let options = Options { hold, ..options(&[("public", "orders", "orders")]) };
    let mut decoder = Decoder::new(options);
    let facts = facts(OID, name("public", "orders"), &[], vec![primary_key(&["id"])]);
    decoder.provide(OID, Some(facts));
    let mut at = 0;
    while at < stream.bytes.len() {
        batch.clear();
        at += decoder.feed(&stream.bytes[at..], batch).expect("decodes").consumed;
        each(batch);
    }
}

fn codec(criterion: &mut Criterion) {
    let stream = rows();
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Elements(ROWS));
    let mut batch = ChangeBatch::new();
    group.bench_function("decode", |bencher| {
        bencher.iter(|| {
            decode(&stream, false, &mut batch, |batch| {
                black_box(batch.byte_len());
            })
        });
    });
    for (name, kind) in
        [("dts_avro", FormatKind::DtsAvro), ("shareplex_json", FormatKind::ShareplexJson)]
    {
        let (mut encoder, mut out) = (encoder(kind), EncodedBatch::new());
        let hold = kind == FormatKind::ShareplexJson;
        group.bench_function(format!("decode+{name}"), |bencher| {
            bencher.iter(|| {
                decode(&stream, hold, &mut batch, |batch| {
                    encoder.encode(batch, 1_786_342_560_000_000, &mut out).expect("encodes");
                    black_box(out.buf.len());
                });
            });
        });
    }
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
