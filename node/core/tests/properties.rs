//! Whatever a server may send is given back; whatever else arrives is refused without a panic.

mod reader;
mod stream;

use proptest::collection::vec;
use proptest::prelude::*;
use reader::RecordReader;
use stream::{Cell, Described, Seen, Stream, described, facts, images, name, options, primary_key};
use tidewire_node_core::batch::ChangeBatch;
use tidewire_node_core::change::{OldRow, Operation};
use tidewire_node_core::decode::{Decoder, Options};
use tidewire_node_core::encode::{EncodeConfig, EncodedBatch, Encoder};
use tidewire_shared::spec::{
    Format, FormatKind, KeyChange, PartitionPolicy, RecordKey, TimestampUnit,
};

const TABLES: [(u32, &str); 3] = [(16_385, "first"), (16_390, "second"), (16_400, "unwanted")];

/// One change of one of the tables: operation, old row, new row, all with as many columns as it has.
#[derive(Clone, Debug)]
struct Made {
    table: usize,
    operation: Operation,
    old: Option<(u8, Vec<Cell>)>,
    new: Vec<Cell>,
}

#[derive(Clone, Debug)]
struct Scenario {
    columns: Vec<usize>,
    transactions: Vec<Vec<Made>>,
}

fn cell() -> impl Strategy<Value = Cell> {
    prop_oneof![
        1 => Just(Cell::Null),
        1 => Just(Cell::Unchanged),
        4 => ".{0,20}".prop_map(Cell::Text),
        1 => "[\"\\\\\u{0}-\u{1f}a]{0,20}".prop_map(Cell::Text),
    ]
}

/// The first column is the key: always there, never NULL.
fn row(width: usize) -> impl Strategy<Value = Vec<Cell>> {
    ("[a-z]{1,3}", vec(cell(), width - 1))
        .prop_map(|(key, rest)| std::iter::once(Cell::Text(key)).chain(rest).collect())
}

fn sent(cells: Vec<Cell>) -> Vec<Cell> {
    cells.into_iter().map(|c| if c == Cell::Unchanged { Cell::Null } else { c }).collect()
}

fn made(columns: Vec<usize>) -> impl Strategy<Value = Made> {
    (0..TABLES.len(), 0..5_u8).prop_flat_map(move |(table, kind)| {
        let width = columns[table];
        (row(width), row(width)).prop_map(move |(old, new)| {
            let key_only = |row: &[Cell]| {
                let nulls = std::iter::repeat_n(Cell::Null, row.len() - 1);
                std::iter::once(row[0].clone()).chain(nulls).collect::<Vec<_>>()
            };
            let (operation, old, new) = match kind {
                0 => (Operation::Insert, None, sent(new)),
                1 => (Operation::Update, None, new),
                2 => (Operation::Update, Some((b'K', key_only(&old))), new),
                3 => (Operation::Update, Some((b'O', sent(old))), new),
                _ => (Operation::Delete, Some((b'K', key_only(&old))), vec![]),
            };
            Made { table, operation, old, new }
        })
    })
}

fn scenario() -> impl Strategy<Value = Scenario> {
    vec(1..6_usize, TABLES.len()).prop_flat_map(|columns| {
        let transactions = vec(vec(made(columns.clone()), 0..12), 0..8);
        (Just(columns), transactions)
            .prop_map(|(columns, transactions)| Scenario { columns, transactions })
    })
}

fn columns(width: usize) -> Vec<Described> {
    (0..width).map(|index| described(index == 0, &format!("c{index}"), 25)).collect()
}

fn lsn(transaction: usize) -> u64 {
    1_000 + 1_000 * transaction as u64
}

fn written(scenario: &Scenario) -> Stream {
    let mut stream = Stream::default();
    for ((oid, table), width) in TABLES.iter().zip(&scenario.columns) {
        stream.relation(*oid, ("public", table), 'd', &columns(*width));
    }
    for (number, changes) in scenario.transactions.iter().enumerate() {
        stream.begin(lsn(number), 1_786_342_560_000_000, 7);
        for made in changes {
            let oid = TABLES[made.table].0;
            let old = made.old.as_ref().map(|(kind, cells)| (*kind, cells.as_slice()));
            match (made.operation, old) {
                (Operation::Insert, _) => stream.insert(oid, &made.new),
                (Operation::Update, old) => stream.update(oid, old, &made.new),
                (_, Some((kind, old))) => stream.delete(oid, kind, old),
                _ => unreachable!("deletes have an old row"),
            };
        }
        stream.commit(lsn(number), lsn(number) + 100).keepalive(lsn(number) + 200, false);
    }
    stream
}

/// What must come out: place, operation, images.
type Expected = (u64, u64, Operation, OldRow, Vec<Seen>, Vec<Seen>);

fn expected(scenario: &Scenario) -> Vec<Expected> {
    let mut all = Vec::new();
    for (number, changes) in scenario.transactions.iter().enumerate() {
        for (made, sequence) in changes.iter().zip(1..) {
            if made.table < 2 {
                let (old_row, old, new) = images_of(made);
                all.push((lsn(number), sequence, made.operation, old_row, old, new));
            }
        }
    }
    all
}

fn images_of(made: &Made) -> (OldRow, Vec<Seen>, Vec<Seen>) {
    let plain = |cell: &Cell| match cell {
        Cell::Null => Seen::Null,
        Cell::Text(text) => Seen::Text(text.clone()),
        _ => Seen::Missing,
    };
    let new: Vec<_> = made.new.iter().map(plain).collect();
    let Some((kind, cells)) = &made.old else { return (OldRow::Absent, vec![], new) };
    let old: Vec<_> = if *kind == b'O' {
        cells.iter().map(plain).collect()
    } else {
        cells
            .iter()
            .enumerate()
            .map(|(i, c)| if i == 0 { plain(c) } else { Seen::Missing })
            .collect()
    };
    // What was not sent again was there: NULL is not it.
    let fill = |(new, old): (Seen, &Seen)| match (new, old) {
        (Seen::Missing, Seen::Text(old)) => Seen::Text(old.clone()),
        (new, _) => new,
    };
    let new = new.into_iter().zip(&old).map(fill).collect();
    (if *kind == b'O' { OldRow::Full } else { OldRow::Identity }, old, new)
}

fn wanted() -> Options {
    options(&[("public", "first", "one"), ("public", "second", "two")])
}

fn decoder(scenario: &Scenario, options: Options) -> Decoder {
    let mut decoder = Decoder::new(options);
    for ((oid, table), width) in TABLES.iter().zip(&scenario.columns) {
        let facts =
            facts(*oid, name("public", table), &columns(*width), vec![primary_key(&["c0"])]);
        decoder.provide(*oid, Some(facts));
    }
    decoder
}

fn came_out(batch: &ChangeBatch, all: &mut Vec<Expected>) {
    for change in batch.changes() {
        let transaction = batch.transactions()[change.transaction as usize];
        let (old, new) = images(batch, change);
        let place = (transaction.final_lsn.0, change.sequence);
        all.push((place.0, place.1, change.operation, change.old_row, old, new));
    }
}

/// Decodes with the buffer growing in `steps`; goes on with a new decoder after the first full batch
/// when `restart` says so.
fn decoded(
    scenario: &Scenario,
    steps: &[usize],
    options: &Options,
    restart: bool,
) -> Vec<Expected> {
    let bytes = written(scenario).bytes;
    let mut decoder = decoder(scenario, options.clone());
    let (mut batch, mut all) = (ChangeBatch::new(), Vec::new());
    let (mut at, mut available) = (0, 0);
    let mut steps = steps.iter().cycle();
    while at < bytes.len() {
        let fed = decoder.feed(&bytes[at..available], &mut batch).expect("decodes");
        at += fed.consumed;
        if !fed.full {
            available = bytes.len().min(available + steps.next().expect("cycle"));
            continue;
        }
        came_out(&batch, &mut all);
        if restart {
            let end = batch.end;
            let resumed = Options { start: end.lsn, resume: end.inside, ..options.clone() };
            let decoder = self::decoder(scenario, resumed);
            // The server sends from the resume point on: everything before is left out.
            return [all, from(scenario, decoder, &bytes, end.lsn.0)].concat();
        }
        batch.clear();
    }
    came_out(&batch, &mut all);
    all
}

/// Goes on with a new connection: relations again, then the transactions past `start`.
fn from(scenario: &Scenario, mut decoder: Decoder, bytes: &[u8], start: u64) -> Vec<Expected> {
    let done = scenario.transactions.iter().enumerate().filter(|(n, _)| lsn(*n) < start).count();
    let described = Scenario { transactions: vec![], ..scenario.clone() };
    let skipped = Scenario {
        transactions: scenario.transactions[..done].to_vec(),
        columns: scenario.columns.clone(),
    };
    let mut rest = written(&described).bytes;
    rest.extend_from_slice(&bytes[written(&skipped).bytes.len()..]);
    let (mut batch, mut all, mut at) = (ChangeBatch::new(), Vec::new(), 0);
    loop {
        let fed = decoder.feed(&rest[at..], &mut batch).expect("decodes");
        at += fed.consumed;
        came_out(&batch, &mut all);
        batch.clear();
        if !fed.full {
            return all;
        }
    }
}

fn encoder(kind: FormatKind) -> Encoder {
    Encoder::new(EncodeConfig {
        format: Format {
            kind,
            key: RecordKey::Json,
            identity_headers: true,
            source_timestamp_unit: TimestampUnit::Milliseconds,
            ..Format::default()
        },
        database: "shop".to_owned(),
        server_version: "15.18".to_owned(),
        partition: PartitionPolicy::ByPrimaryKey,
        key_change: KeyChange::Split,
        partitions: vec![4, 7],
        record_bytes: 1 << 20,
        next_ordinal: 1,
        dead_letters: None,
    })
    .expect("encoder")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn what_was_sent_is_given_back(scenario in scenario(), steps in vec(1..300_usize, 1..6)) {
        prop_assert_eq!(decoded(&scenario, &steps, &wanted(), false), expected(&scenario));
    }

    #[test]
    fn small_batches_hold_the_same(scenario in scenario(), size in 1..5_usize, hold: bool) {
        let options = Options { batch_changes: size, hold, ..wanted() };
        prop_assert_eq!(decoded(&scenario, &[usize::MAX / 2], &options, false), expected(&scenario));
    }

    #[test]
    fn a_resume_neither_loses_nor_doubles(scenario in scenario(), size in 1..9_usize) {
        let options = Options { batch_changes: size, ..wanted() };
        prop_assert_eq!(decoded(&scenario, &[usize::MAX / 2], &options, true), expected(&scenario));
    }

    #[test]
    fn every_record_reads_back(scenario in scenario()) {
        let bytes = written(&scenario).bytes;
        let reader = RecordReader::published();
        for kind in [FormatKind::DtsAvro, FormatKind::ShareplexJson, FormatKind::CanalJson] {
            let mut batch = ChangeBatch::new();
            let mut out = EncodedBatch::new();
            let fed = decoder(&scenario, wanted()).feed(&bytes, &mut batch).expect("decodes");
            prop_assert_eq!(fed.consumed, bytes.len());
            encoder(kind).encode(&batch, 0, &mut out).expect("encodes");
            prop_assert!(out.records.len() >= batch.changes().len());
            for record in &out.records {
                prop_assert!(record.partition < [4, 7][usize::from(record.topic)]);
                let key: serde_json::Value =
                    serde_json::from_slice(out.key(record).expect("key")).expect("JSON");
                prop_assert!(key["c0"].is_string());
                if kind == FormatKind::DtsAvro {
                    prop_assert_eq!(reader.read(out.value(record)).1, 0);
                } else {
                    let value: serde_json::Value =
                        serde_json::from_slice(out.value(record)).expect("JSON");
                    let row = if kind == FormatKind::CanalJson {
                        &value["data"][0]
                    } else {
                        &value["data"]
                    };
                    prop_assert!(row.is_object());
                }
            }
        }
    }

    #[test]
    fn damaged_streams_never_panic(
        scenario in scenario(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = written(&scenario).bytes;
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let mut batch = ChangeBatch::new();
        if decoder(&scenario, wanted()).feed(&bytes, &mut batch).is_ok() {
            let mut out = EncodedBatch::new();
            // Refusals are fine; what counts is that they are refusals.
            let _refused = encoder(FormatKind::DtsAvro).encode(&batch, 0, &mut out).is_err();
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300), framed: bool) {
        let mut stream = Stream::default();
        if framed {
            stream.payload(&bytes);
        } else {
            stream.bytes = bytes;
        }
        let fed = Decoder::new(wanted()).feed(&stream.bytes, &mut ChangeBatch::new());
        if let Ok(fed) = fed {
            prop_assert!(fed.consumed <= stream.bytes.len());
        }
    }
}
