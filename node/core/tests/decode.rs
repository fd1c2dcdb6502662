//! The decoder against streams as a server writes them.

mod stream;

use stream::{
    Cell, Described, Seen, Stream, column_facts, decode_all, described, facts, images, name,
    options, primary_key, seen, text,
};
use tidewire_node_core::batch::ChangeBatch;
use tidewire_node_core::change::{OldRow, Operation};
use tidewire_node_core::decode::{DecodeError, Decoder, Options};
use tidewire_node_core::facts::{TableFacts, UniqueKey};
use tidewire_node_core::schema::TaskTables;
use tidewire_shared::position::InTransaction;
use tidewire_shared::{Fault, FaultKind, Lsn};

const OID: u32 = 16_385;
const COMMIT_US: i64 = 1_786_342_560_123_456;

fn columns() -> Vec<Described> {
    vec![described(true, "id", 20), described(false, "note", 25), described(false, "big", 25)]
}

fn orders() -> TableFacts {
    facts(OID, name("public", "orders"), &columns(), vec![primary_key(&["id"])])
}

fn orders_only() -> Options {
    options(&[("public", "orders", "orders")])
}

fn decoder(options: Options) -> Decoder {
    let mut decoder = Decoder::new(options);
    decoder.provide(OID, Some(orders()));
    decoder
}

/// A stream in which `orders` has been described, in an open transaction.
fn opened() -> Stream {
    let mut stream = Stream::default();
    stream.begin(100, COMMIT_US, 7).relation(OID, ("public", "orders"), 'd', &columns());
    stream
}

fn one(stream: &Stream) -> ChangeBatch {
    let mut batches = decode_all(&mut decoder(orders_only()), &stream.bytes);
    assert_eq!(batches.len(), 1);
    batches.remove(0)
}

fn error(options: Options, stream: &Stream) -> DecodeError {
    let mut batch = ChangeBatch::new();
    decoder(options).feed(&stream.bytes, &mut batch).expect_err("is refused")
}

#[test]
fn every_message_has_its_place() {
    let mut stream = Stream::default();
    let row = [text("1"), Cell::Null, text("x")];
    stream
        .keepalive(50, true)
        .emitted(false, b"at once")
        .begin(100, COMMIT_US, 7)
        .origin("elsewhere")
        .type_message(20_000, "mood")
        .relation(OID, ("public", "orders"), 'd', &columns())
        .insert(OID, &row)
        .update(OID, None, &[text("1"), text("n"), Cell::Unchanged])
        .delete(OID, b'K', &[text("1"), Cell::Null, Cell::Null])
        .emitted(true, b"heartbeat")
        .commit(100, 150);
    let batch = one(&stream);
    let [insert, update, delete] = batch.changes() else { panic!("three changes") };
    assert_eq!((insert.operation, insert.sequence), (Operation::Insert, 1));
    assert_eq!(images(&batch, insert), (vec![], vec![seen("1"), Seen::Null, seen("x")]));
    assert_eq!((update.operation, update.sequence), (Operation::Update, 2));
    assert_eq!(update.old_row, OldRow::Absent);
    assert_eq!(images(&batch, update).1, vec![seen("1"), seen("n"), Seen::Missing]);
    assert_eq!((delete.operation, delete.sequence), (Operation::Delete, 3));
    assert_eq!(images(&batch, delete).0, vec![seen("1"), Seen::Missing, Seen::Missing]);

    let [transaction] = batch.transactions() else { panic!("one transaction") };
    assert_eq!((transaction.final_lsn, transaction.xid), (Lsn(100), 7));
    assert_eq!(transaction.commit_time_us, COMMIT_US);
    assert_eq!(batch.end.lsn, Lsn(150));
    assert_eq!(batch.end.inside, None);
    assert_eq!(batch.end.transactions, 1);
    assert_eq!(batch.end.last_commit_time_us, COMMIT_US);
    assert_eq!(batch.end.server_wal_end, Lsn(50));
    assert!(batch.end.reply_requested);
}

#[test]
fn a_keepalive_moves_the_end_only_between_transactions() {
    let mut stream = opened();
    stream.keepalive(5_000, false).insert(OID, &[text("1"), Cell::Null, Cell::Null]);
    let batch = one(&stream);
    assert_eq!(batch.end.lsn, Lsn::ZERO);
    assert_eq!(batch.end.server_wal_end, Lsn(5_000));
    let inside = InTransaction { final_lsn: Lsn(100), xid: 7, sequence: 1 };
    assert_eq!(batch.end.inside, Some(inside));
    stream.commit(100, 150).keepalive(6_000, false);
    let batch = one(&stream);
    assert_eq!((batch.end.lsn, batch.end.inside), (Lsn(6_000), None));
}

#[test]
fn unchanged_toast_comes_from_the_old_row_where_that_has_it() {
    let old = [text("1"), text("n"), text("large")];
    let new = [text("1"), text("m"), Cell::Unchanged];
    let mut stream = Stream::default();
    stream
        .begin(100, COMMIT_US, 7)
        .relation(OID, ("public", "orders"), 'f', &columns())
        .update(OID, Some((b'O', &old)), &new)
        .update(
            OID,
            Some((b'K', &[text("9"), Cell::Null, Cell::Null])),
            &[Cell::Unchanged, Cell::Unchanged, text("b")],
        )
        .commit(100, 150);
    let batch = one(&stream);
    let [full, key] = batch.changes() else { panic!("two changes") };
    assert_eq!(full.old_row, OldRow::Full);
    assert_eq!(
        images(&batch, full),
        (vec![seen("1"), seen("n"), seen("large")], vec![seen("1"), seen("m"), seen("large")])
    );
    assert_eq!(key.old_row, OldRow::Identity);
    assert_eq!(
        images(&batch, key),
        (vec![seen("9"), Seen::Missing, Seen::Missing], vec![seen("9"), Seen::Missing, seen("b")])
    );
}

#[test]
fn a_table_is_asked_for_once_per_description() {
    let mut stream = opened();
    stream.insert(OID, &[text("1"), Cell::Null, Cell::Null]);
    let mut decoder = Decoder::new(orders_only());
    let mut batch = ChangeBatch::new();
    let fed = decoder.feed(&stream.bytes, &mut batch).expect("decodes");
    let need = fed.need.expect("asks");
    assert_eq!((need.oid, need.schema.as_str(), need.name.as_str()), (OID, "public", "orders"));
    assert_eq!(fed.consumed, stream.ends[1], "the description itself is done with");
    let again = decoder.feed(&stream.bytes[fed.consumed..], &mut batch).expect("decodes");
    assert_eq!((again.consumed, again.need), (0, Some(need)));

    decoder.provide(OID, Some(orders()));
    let rest = decoder.feed(&stream.bytes[fed.consumed..], &mut batch).expect("decodes");
    assert_eq!((rest.consumed, rest.need), (stream.bytes.len() - fed.consumed, None));
    assert_eq!(batch.changes().len(), 1);
    assert_eq!(batch.relations()[0].key, vec![0]);

    let mut described_again = Stream::default();
    described_again.relation(OID, ("public", "orders"), 'd', &columns());
    assert!(decoder.feed(&described_again.bytes, &mut batch).expect("decodes").need.is_some());
}

#[test]
fn a_table_that_is_gone_keeps_the_names_of_its_description() {
    let mut stream = opened();
    stream.insert(OID, &[text("1"), Cell::Null, Cell::Null]).commit(100, 150);
    let mut decoder = Decoder::new(orders_only());
    decoder.provide(OID, None);
    let batches = decode_all(&mut decoder, &stream.bytes);
    let relation = &batches[0].relations()[0];
    assert_eq!(relation.columns[1].name, "note");
    assert_eq!(relation.key, vec![0], "the flagged replica identity");
    assert!(relation.unique_keys.is_empty());
}

fn unique(name: &str, columns: &[&str]) -> UniqueKey {
    UniqueKey { name: name.to_owned(), primary: false, ..primary_key(columns) }
}

fn key_under(identity: char, keys: Vec<UniqueKey>) -> Vec<usize> {
    let mut stream = Stream::default();
    let all = columns().into_iter().map(|c| Described { in_identity: identity == 'f', ..c });
    stream
        .begin(100, COMMIT_US, 7)
        .relation(OID, ("public", "orders"), identity, &all.collect::<Vec<_>>())
        .insert(OID, &[text("1"), Cell::Null, Cell::Null]);
    let mut decoder = Decoder::new(orders_only());
    decoder.provide(OID, Some(facts(OID, name("public", "orders"), &columns(), keys)));
    let batch = decode_all(&mut decoder, &stream.bytes).remove(0);
    batch.relations()[0].key.clone()
}

#[test]
fn the_key_is_primary_then_identity_then_first_not_null_by_name() {
    let identity = UniqueKey { replica_identity: true, ..unique("z", &["big"]) };
    let nullable = UniqueKey { not_null: false, ..unique("a", &["big"]) };
    let primary = primary_key(&["note", "id"]);
    let all = vec![nullable.clone(), unique("b", &["note"]), identity.clone(), primary];
    assert_eq!(key_under('i', all), vec![1, 0], "primary, in its own order");
    assert_eq!(key_under('i', vec![unique("b", &["note"]), identity]), vec![2]);
    assert_eq!(key_under('f', vec![unique("c", &["id"]), unique("b", &["note"])]), vec![1]);
    assert_eq!(key_under('f', vec![nullable]), Vec::<usize>::new());
    assert_eq!(key_under('f', vec![]), Vec::<usize>::new(), "flags under FULL are no key");
    assert_eq!(key_under('d', vec![primary_key(&["absent"])]), Vec::<usize>::new());
}

#[test]
fn domains_are_their_base_type() {
    let mut stream = Stream::default();
    let odd = [described(true, "id", 20_001), described(false, "mood", 20_002)];
    stream.begin(100, COMMIT_US, 7).relation(OID, ("public", "orders"), 'd', &odd);
    stream.insert(OID, &[text("1"), text("glad")]);
    let mut facts = facts(OID, name("public", "orders"), &odd, vec![primary_key(&["id"])]);
    facts.columns[0].base.oid = 23;
    facts.columns[1] = column_facts("mood", 20_002, 'e');
    let mut decoder = Decoder::new(orders_only());
    decoder.provide(OID, Some(facts));
    let batch = decode_all(&mut decoder, &stream.bytes).remove(0);
    let [id, mood] = batch.relations()[0].columns.as_slice() else { panic!("two columns") };
    assert_eq!((id.type_oid, id.type_kind), (23, 'b'));
    assert_eq!((mood.type_oid, mood.type_kind), (20_002, 'e'));
}

#[test]
fn tables_and_operations_that_nobody_wants_are_counted() {
    let mut stream = opened();
    stream
        .relation(99, ("public", "other"), 'd', &columns())
        .insert(99, &[text("1"), Cell::Null, Cell::Null])
        .truncate(&[OID, 99])
        .insert(OID, &[text("1"), Cell::Null, Cell::Null])
        .commit(100, 150);
    let batch = one(&stream);
    assert_eq!(batch.end.filtered, 3);
    let [insert] = batch.changes() else { panic!("one change") };
    assert_eq!(insert.sequence, 3, "sequence counts what the server sent");
}

#[test]
fn a_truncate_that_is_wanted_names_each_table() {
    let mut tables =
        TaskTables::new(&stream::rules(&[("public", "orders", "orders")])).expect("rules");
    tables.set_operations(&name("public", "orders"), |operations| operations.truncate = true);
    let mut stream = opened();
    stream.truncate(&[OID]).commit(100, 150);
    let options = Options::new(tables, Lsn::ZERO);
    let batch = decode_all(&mut decoder(options), &stream.bytes).remove(0);
    let [truncate] = batch.changes() else { panic!("one change") };
    assert_eq!(truncate.operation, Operation::Truncate);
    assert_eq!(images(&batch, truncate), (vec![], vec![]));
}

fn many(rows: u32) -> Stream {
    let mut stream = opened();
    for row in 1..=rows {
        stream.insert(OID, &[text(&row.to_string()), text("n"), Cell::Null]);
    }
    stream.commit(100, 150);
    stream
}

#[test]
fn a_batch_is_cut_and_the_next_goes_on_inside_the_transaction() {
    let batches = decode_all(&mut decoder(orders_only()), &many(2_500).bytes);
    let lengths: Vec<_> = batches.iter().map(|batch| batch.changes().len()).collect();
    assert_eq!(lengths, vec![1_000, 1_000, 500]);
    for (batch, last) in batches.iter().zip([1_000, 2_000]) {
        let inside = InTransaction { final_lsn: Lsn(100), xid: 7, sequence: last };
        assert_eq!((batch.end.lsn, batch.end.inside), (Lsn::ZERO, Some(inside)));
        assert_eq!(batch.end.transactions, 0);
    }
    assert_eq!(batches[2].changes()[0].sequence, 2_001);
    assert_eq!(batches[2].transactions().len(), 1);
    assert_eq!((batches[2].end.lsn, batches[2].end.inside), (Lsn(150), None));
}

#[test]
fn a_batch_is_cut_by_bytes_too() {
    let mut stream = opened();
    for _ in 0..3 {
        stream.insert(OID, &[text("1"), text(&"x".repeat(700_000)), Cell::Null]);
    }
    stream.commit(100, 150);
    let batches = decode_all(&mut decoder(orders_only()), &stream.bytes);
    let lengths: Vec<_> = batches.iter().map(|batch| batch.changes().len()).collect();
    assert_eq!(lengths, vec![2, 1]);
}

#[test]
fn a_held_transaction_is_whole_and_knows_its_size() {
    let size_of = |rows| {
        let options = Options { hold: true, batch_changes: 10, ..orders_only() };
        let batches = decode_all(&mut decoder(options), &many(rows).bytes);
        assert_eq!(batches[0].changes().len(), rows as usize, "in one batch");
        batches[0].transactions()[0].size
    };
    assert_eq!(size_of(1), 1);
    assert_eq!(size_of(1_000), 1_000);
    assert_eq!(size_of(1_001), 0, "beyond the bound it flows on");
}

#[test]
fn a_held_transaction_says_that_it_is_held() {
    let options = Options { hold: true, ..orders_only() };
    let mut stream = opened();
    stream.insert(OID, &[text("1"), Cell::Null, Cell::Null]);
    let (mut decoder, mut batch) = (decoder(options), ChangeBatch::new());
    assert!(decoder.feed(&stream.bytes, &mut batch).expect("decodes").held);
    let mut end = Stream::default();
    end.commit(100, 150);
    assert!(!decoder.feed(&end.bytes, &mut batch).expect("decodes").held);
    assert_eq!(batch.transactions()[0].size, 1);
}

#[test]
fn a_resume_inside_a_transaction_skips_what_is_durable() {
    let resume = InTransaction { final_lsn: Lsn(100), xid: 7, sequence: 1_200 };
    let options = Options { resume: Some(resume), ..orders_only() };
    let batches = decode_all(&mut decoder(options), &many(1_500).bytes);
    let sequences: Vec<_> =
        batches.iter().flat_map(|batch| batch.changes().iter().map(|c| c.sequence)).collect();
    assert_eq!(sequences, (1_201..=1_500).collect::<Vec<_>>());
    assert_eq!(batches.last().expect("batch").end.inside, None);
}

#[test]
fn a_resume_keeps_its_place_until_it_is_passed() {
    let resume = InTransaction { final_lsn: Lsn(100), xid: 7, sequence: 3 };
    let mut stream = Stream::default();
    stream.keepalive(100, false).begin(100, COMMIT_US, 7);
    stream.relation(OID, ("public", "orders"), 'd', &columns());
    let mut decoder = decoder(Options { resume: Some(resume), start: Lsn(90), ..orders_only() });
    let mut batch = ChangeBatch::new();
    for _ in 0..3 {
        stream.insert(OID, &[text("1"), Cell::Null, Cell::Null]);
    }
    let mut at = 0;
    for end in &stream.ends {
        let fed = decoder.feed(&stream.bytes[at..*end], &mut batch).expect("decodes");
        at += fed.consumed;
        assert_eq!((batch.end.lsn, batch.end.inside), (Lsn(90), Some(resume)));
    }
    assert!(batch.is_empty());
}

#[test]
fn another_history_than_the_durable_one_is_refused() {
    let resume = |final_lsn, xid, sequence| Options {
        start: Lsn(90),
        resume: Some(InTransaction { final_lsn: Lsn(final_lsn), xid, sequence }),
        ..orders_only()
    };
    for options in [resume(101, 7, 1), resume(100, 8, 1), resume(100, 7, 6)] {
        assert_eq!(error(options, &many(5)).kind, FaultKind::SourceHistory);
    }
    let mut passed = Stream::default();
    passed.keepalive(101, false);
    assert_eq!(error(resume(100, 7, 1), &passed).kind, FaultKind::SourceHistory);
    let durable = Options { start: Lsn(101), ..orders_only() };
    assert_eq!(error(durable, &many(1)).kind, FaultKind::SourceHistory);
}

/// What `build` adds to an open stream is refused as malformed, with `what` in the text.
fn refused(what: &str, build: impl for<'a> FnOnce(&'a mut Stream) -> &'a mut Stream) {
    let mut stream = opened();
    build(&mut stream);
    let error = error(orders_only(), &stream);
    assert!(error.what.contains(what), "{what}: {}", error.what);
    assert_eq!(error.kind, FaultKind::Decode);
}

#[test]
fn messages_out_of_place_are_refused() {
    let row = [text("1"), Cell::Null, Cell::Null];
    refused("begins inside another", |s| s.begin(200, 0, 8));
    refused("commit does not fit", |s| s.commit(101, 150));
    refused("commit does not fit", |s| s.commit(100, 100));
    refused("commit without", |s| s.commit(100, 150).commit(100, 150));
    refused("row outside", |s| s.commit(100, 150).insert(OID, &row));
    refused("not described", |s| s.insert(1, &row));
    refused("not described", |s| s.truncate(&[1]));
}

#[test]
fn rows_that_do_not_fit_their_table_are_refused() {
    let row = [text("1"), Cell::Null, Cell::Null];
    refused("number of columns", |s| s.insert(OID, &row[..2]));
    refused("binary", |s| s.insert(OID, &[Cell::Binary(vec![1]), Cell::Null, Cell::Null]));
    refused("insert has an old row", |s| s.row(b'I', OID, &[(b'K', &row), (b'N', &row)]));
    refused("wrong order", |s| s.row(b'D', OID, &[(b'N', &row)]));
    refused("wrong order", |s| s.row(b'U', OID, &[(b'K', &row), (b'K', &row)]));
    refused("longer than it says", |s| s.row(b'I', OID, &[(b'N', &row), (b'N', &row)]));
    refused("neither new nor old", |s| s.row(b'I', OID, &[(b'X', &row)]));
}

#[test]
fn messages_and_frames_that_are_none_are_refused() {
    refused("cut short", |s| s.payload(b"B"));
    refused("no kind", |s| s.payload(b"Z"));
    refused("unknown flags", |s| s.payload(&[b'C'; 26]));
    refused("shorter than its header", |s| s.frame(b"w123"));
    refused("keepalive has a wrong length", |s| s.frame(b"k123"));
    refused("neither XLogData", |s| s.frame(b"x"));
    refused("not CopyData", |s| s.raw(b"E"));
    refused("not CopyData", |s| s.raw(b"E\0\0\0\x05x"));
    refused("shorter than its header", |s| s.raw(b"d\0\0\0\x04"));
}

#[test]
fn tables_that_will_be_asked_for_are_told_ahead_once() {
    let mut stream = Stream::default();
    stream.begin(100, COMMIT_US, 7);
    for (oid, table) in [(OID, "orders"), (1, "unwanted"), (OID, "orders"), (2, "lines")] {
        stream.relation(oid, ("public", table), 'd', &columns());
    }
    let mut decoder = Decoder::new(options(&[("public", "orders", "t"), ("public", "lines", "t")]));
    assert_eq!(decoder.tables_ahead(&stream.bytes), [OID, 2]);
    decoder.provide(OID, None);
    assert_eq!(decoder.tables_ahead(&stream.bytes), [2], "it is known already");
    assert_eq!(decoder.tables_ahead(&stream.bytes[..stream.bytes.len() - 1]), [] as [u32; 0]);
    assert_eq!(decoder.tables_ahead(b"E"), [] as [u32; 0]);
}

#[test]
fn a_fault_names_table_and_position_and_no_value() {
    let mut stream = opened();
    let mut payload = vec![b'I'];
    payload.extend_from_slice(&OID.to_be_bytes());
    payload.extend_from_slice(b"N\0\x03b\0\0\0\x06secretnn");
    stream.payload(&payload);
    let fault = Fault::from(error(orders_only(), &stream));
    assert_eq!(fault.object, "table public.orders at 0/64");
    assert!(fault.message.contains("binary form"), "{fault}");
    assert!(!format!("{fault:?}").contains("secret"));
}

#[test]
fn partition_columns_must_be_published() {
    let mut rules = stream::rules(&[("public", "orders", "orders")]);
    rules[0].partition_by = vec!["customer".to_owned()];
    let options = Options::new(TaskTables::new(&rules).expect("rules"), Lsn::ZERO);
    let error = error(options, &opened());
    assert_eq!(error.kind, FaultKind::Configuration);
    assert!(error.what.contains("customer"));
}

#[test]
fn the_heartbeat_table_is_delivered_to_nobody_and_counted_nowhere() {
    const BEAT: u32 = 17_000;
    let heartbeat = || Some(name("tidewire", "dts_postgres_heartbeat"));
    let row = [text("slot")];
    let mut stream = Stream::default();
    stream
        .begin(100, COMMIT_US, 7)
        .relation(BEAT, ("tidewire", "dts_postgres_heartbeat"), 'd', &[described(true, "slot", 25)])
        .insert(BEAT, &row)
        .commit(100, 150);
    for (named, transactions, filtered) in [(heartbeat(), 0, 0), (None, 1, 1)] {
        let mut options = orders_only();
        options.heartbeat = named;
        let batches = decode_all(&mut decoder(options), &stream.bytes);
        let end = batches[0].end;
        assert!(batches[0].is_empty());
        assert_eq!((end.transactions, end.filtered, end.lsn), (transactions, filtered, Lsn(150)));
        assert_eq!(end.last_commit_time_us, COMMIT_US, "it measures the delay all the same");
    }
    let mut mine = Options { heartbeat: heartbeat(), ..orders_only() };
    mine.tables = options(&[("tidewire", "dts_postgres_heartbeat", "beats")]).tables;
    let batches = decode_all(&mut decoder(mine), &stream.bytes);
    assert!(batches[0].is_empty(), "also where a pattern of the task meets it");
}

#[test]
fn a_table_that_is_renamed_in_mid_stream_goes_on_under_the_name_it_had() {
    let mut stream = Stream::default();
    stream
        .begin(100, COMMIT_US, 7)
        .relation(OID, ("elsewhere", "renamed"), 'd', &columns())
        .insert(OID, &[text("1"), Cell::Null, text("x")])
        .commit(100, 150);
    for (known, changes) in [(true, 1), (false, 0)] {
        let mut options = orders_only();
        options.names = known.then(|| (OID, name("public", "orders"))).into_iter().collect();
        let batches = decode_all(&mut decoder(options), &stream.bytes);
        assert_eq!(batches[0].changes().len(), changes);
        let names: Vec<_> = batches[0].relations().iter().map(|it| it.name.to_string()).collect();
        assert_eq!(names, vec!["public.orders"; changes]);
    }
}

#[test]
fn rows_from_before_a_change_of_the_primary_key_keep_the_key_that_they_had() {
    let mut stream = opened();
    stream.insert(OID, &[text("1"), text("n"), Cell::Null]).commit(100, 150);
    for (now, key) in [(vec!["id"], "id"), (vec!["note"], "id")] {
        let mut decoder = Decoder::new(orders_only());
        let facts = facts(OID, name("public", "orders"), &columns(), vec![primary_key(&now)]);
        decoder.provide(OID, Some(facts));
        let batches = decode_all(&mut decoder, &stream.bytes);
        let relation = &batches[0].relations()[0];
        let names: Vec<_> = relation.key.iter().map(|at| &*relation.columns[*at].name).collect();
        assert_eq!(names, [key], "with {now:?} by now");
    }
}
