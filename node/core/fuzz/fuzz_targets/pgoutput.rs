//! Arbitrary bytes as the replication stream: decoded, asked-for tables answered, encoded.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewire_node_core::batch::ChangeBatch;
use tidewire_node_core::decode::{Decoder, Options};
use tidewire_node_core::encode::{EncodeConfig, EncodedBatch, Encoder};
use tidewire_node_core::schema::TaskTables;
use tidewire_shared::Lsn;
use tidewire_shared::spec::{
    Format, FormatKind, KeyChange, ObjectRule, PartitionPolicy, RecordKey, TableName,
    TimestampUnit,
};

fn encoder(kind: FormatKind) -> Encoder {
    Encoder::new(EncodeConfig {
        format: Format {
            kind,
            key: RecordKey::Json,
            identity_headers: false,
            source_timestamp_unit: TimestampUnit::Milliseconds,
            ..Format::default()
        },
        database: "d".to_owned(),
        server_version: "18".to_owned(),
        partition: PartitionPolicy::ByPrimaryKey,
        key_change: KeyChange::Split,
        partitions: vec![3],
        record_bytes: 1 << 20,
        next_ordinal: 1,
        dead_letters: None,
    })
    .expect("configuration is valid")
}

fuzz_target!(|bytes: &[u8]| {
    let table = TableName { schema: "s".to_owned(), table: "t".to_owned() };
    let rule = ObjectRule { tables: vec![table], topic: "t".to_owned(), ..ObjectRule::default() };
    let tables = TaskTables::new(&[rule]).expect("rules are valid");
    let mut decoder = Decoder::new(Options::new(tables, Lsn::ZERO));
    let mut batch = ChangeBatch::new();
    let mut rest = bytes;
    while let Ok(fed) = decoder.feed(rest, &mut batch) {
        rest = &rest[fed.consumed..];
        let mut out = EncodedBatch::new();
        for kind in [FormatKind::DtsAvro, FormatKind::ShareplexJson] {
            let _refused = encoder(kind).encode(&batch, 0, &mut out).is_err();
        }
        batch.clear();
        match fed.need {
            Some(need) => decoder.provide(need.oid, None),
            None if fed.full => {}
            None => break,
        }
    }
});
