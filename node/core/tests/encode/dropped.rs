//! Tables that are gone, or have another key, by the time their rows are decoded.

use super::*;

/// An insert of a table that the catalog does not have any more, under an identity.
fn gone(identity: char, key: &[&str], known: Option<Vec<UniqueKey>>) -> ChangeBatch {
    let columns: Vec<_> = columns()
        .into_iter()
        .map(|c| Described { in_identity: identity == 'f' || key.contains(&&*c.name), ..c })
        .collect();
    let mut stream = Stream::default();
    stream.begin(LSN, COMMIT_US, 741).relation(OID, ("public", "orders"), identity, &columns);
    stream.insert(OID, &row("42", "n", "1")).truncate(&[OID]).commit(LSN, LSN + 48);
    let mut rules = rules(&[("public", "orders", "orders")]);
    rules[0].operations.truncate = true;
    let mut options = Options::new(TaskTables::new(&rules).expect("rules"), Lsn::ZERO);
    options.keys = known.into_iter().map(|keys| (OID, keys)).collect();
    let mut decoder = Decoder::new(options);
    decoder.provide(OID, None);
    decode_all(&mut decoder, &stream.bytes).remove(0)
}

fn key_of(batch: &ChangeBatch) -> Result<Option<String>, EncodeError> {
    let out = try_encode(config(FormatKind::CanalJson), batch)?;
    Ok(keys(&out).remove(0))
}

#[test]
fn they_keep_the_key_that_they_had_when_the_stream_began() {
    let known = |columns: &[&str]| Some(vec![primary_key(columns)]);
    let id = Ok(Some(r#"{"id":"42"}"#.to_owned()));
    assert_eq!(key_of(&gone('f', &[], known(&["id"]))), id);
    assert_eq!(key_of(&gone('d', &["id"], None)), id, "the message tells");
    assert_eq!(key_of(&gone('d', &["id"], known(&["note"]))), id, "and knows better");
    let both = Ok(Some(r#"{"note":"n","id":"42"}"#.to_owned()));
    assert_eq!(key_of(&gone('d', &["id", "note"], known(&["note", "id"]))), both, "its order");
    assert_eq!(key_of(&gone('f', &[], Some(Vec::new()))), Ok(None), "it is known to have none");
}

#[test]
fn a_key_that_nobody_knows_any_more_is_not_made_up() {
    for (identity, key) in [('f', &[][..]), ('d', &["id", "note"]), ('i', &["id"]), ('d', &[])] {
        let batch = gone(identity, key, None);
        let fault = Fault::from(key_of(&batch).expect_err("is refused"));
        assert!(fault.message.contains("key is not known any more"), "{fault}");
        assert!(fault.remedy.contains("deadLetterTopic"), "{fault}");
        let out = encode(dead_letters::with_dead_letters(1 << 20), &batch);
        let letters: Vec<_> = out.records.iter().map(|record| record.dead_letter).collect();
        assert_eq!(letters, [true, false, false, false, false], "a truncate has no key");

        let mut config = config(FormatKind::CanalJson);
        (config.format.key, config.partition) = (RecordKey::None, PartitionPolicy::ByTable);
        assert_eq!(keys(&encode(config, &batch))[0], None, "where no key decides, none is missed");
    }
}
