//! What is checked of publications.

use tidewire_shared::spec::Operations;

use super::*;
use crate::facts::{PublicationFacts, PublishedTable};

pub(super) fn published(tables: &[&str]) -> PublicationFacts {
    let table = |name: &&str| PublishedTable {
        name: TableName { schema: "public".into(), table: (*name).into() },
        oid: 1,
        row_filter: None,
        columns: None,
        generated: Vec::new(),
    };
    PublicationFacts {
        oid: 9,
        name: "shop_pub".into(),
        all_tables: false,
        insert: true,
        update: true,
        delete: true,
        truncate: false,
        via_root: true,
        tables: tables.iter().map(table).collect(),
    }
}

/// The item `publication` of a task that uses one that exists.
fn existing(change: impl FnOnce(&mut PostgresTask, &mut SourcePrecheck)) -> CheckItem {
    let (mut spec, mut seen) = (spec(), source());
    spec.source.publication = Managed::Existing("tidewire_k".into());
    seen.publication = Some(published(&["Orders"]));
    change(&mut spec, &mut seen);
    named(judged(&spec, false, &seen), "publication")
}

#[test]
fn a_publication_that_would_be_younger_than_the_slot_is_warned_of() {
    let (mut spec, mut seen) = (spec(), source());
    seen.publication = None;
    let of = |spec: &PostgresTask| named(judged(spec, false, &seen), "publication").result;
    assert_eq!(of(&spec), CheckResult::Pass);
    spec.source.slot = Managed::Existing("theirs".into());
    assert_eq!(of(&spec), CheckResult::Warn);
    spec.source.slot = Managed::Existing("tidewire_k".into());
    assert_eq!(
        of(&spec),
        CheckResult::Fail,
        "the task that left the slot left its publication too"
    );
}

#[test]
fn a_publication_of_someone_else_must_have_what_the_task_asks_for() {
    use CheckResult::{Fail, Pass, Warn};
    const SILENT: &str =
        "changes that the task asks for would not be published, and nobody would know";
    let item = existing(|_, _| {});
    let found = "publication \"tidewire_k\" of 1 tables";
    assert_eq!(told(&item), ("publication", Pass, found, "", "", false));

    let item = existing(|_, seen| seen.publication = None);
    let remedy = "CREATE PUBLICATION \"tidewire_k\" FOR TABLE \"public\".\"Orders\" \
                  WITH (publish = 'insert, update, delete', publish_via_partition_root = true);";
    let found = "publication \"tidewire_k\" does not exist";
    let message = "the document names it as one that exists";
    assert_eq!(told(&item), ("publication", Fail, found, message, remedy, false));

    let item = existing(|_, seen| seen.publication = Some(published(&["other"])));
    let found = "it does not hold \"public\".\"Orders\"";
    let remedy = "ALTER PUBLICATION \"tidewire_k\" ADD TABLE \"public\".\"Orders\";";
    assert_eq!(told(&item), ("publication", Fail, found, SILENT, remedy, false));

    let item = existing(|spec, _| {
        spec.objects[0].operations = Operations { truncate: true, ..Operations::default() };
    });
    let found = "it does not publish truncate";
    let remedy =
        "ALTER PUBLICATION \"tidewire_k\" SET (publish = 'insert, update, delete, truncate');";
    assert_eq!(told(&item), ("publication", Fail, found, SILENT, remedy, false));

    let item = existing(|_, seen| {
        seen.tables[0].kind = 'p';
        seen.publication.as_mut().expect("one").via_root = false;
    });
    let found = "it publishes partitions instead of their roots";
    let remedy = "ALTER PUBLICATION \"tidewire_k\" SET (publish_via_partition_root = true);";
    assert_eq!(told(&item), ("publication", Fail, found, SILENT, remedy, false));

    let item = existing(|_, seen| {
        let tables = &mut seen.publication.as_mut().expect("one").tables;
        tables[0].row_filter = Some("(id > 3)".into());
    });
    let found = "\"public\".\"Orders\" has a row filter";
    let message = "the publication itself leaves rows or columns out";
    let remedy = "ALTER PUBLICATION \"tidewire_k\" SET TABLE … without WHERE and column list, \
                  if all shall go out";
    assert_eq!(told(&item), ("publication", Warn, found, message, remedy, false));
}

#[test]
fn a_managed_publication_is_made_once() {
    let first = named(items(false, |_| {}), "publication");
    assert_eq!(
        (first.result, first.found.as_str()),
        (CheckResult::Pass, "none yet; the task makes it")
    );
    let later = named(items(true, |_| {}), "publication");
    let found = "publication \"tidewire_k\" does not exist";
    let message = "someone dropped it, and changes since then may be lost";
    let remedy = "`tidewire task rewind NAME --to now --yes`, then `tidewire task resume NAME`, or \
                  `tidewire task start NAME` where its precheck failed";
    assert_eq!(told(&later), ("publication", CheckResult::Fail, found, message, remedy, false));
}

#[test]
fn a_managed_publication_takes_tables_that_the_document_names_later() {
    let item = named(items(true, |seen| seen.publication = Some(published(&[]))), "publication");
    let found = "publication \"tidewire_k\" of 0 tables";
    assert_eq!(told(&item), ("publication", CheckResult::Pass, found, "", "", false));
}

#[test]
fn a_table_that_a_revision_adds_must_be_owned_and_one_that_is_published_need_not() {
    let judged = |tables: &[&str]| {
        let items = items(true, |seen| {
            seen.publication = Some(published(tables));
            seen.tables[0].owned = false;
        });
        named(items, "tables_exist").result
    };
    assert_eq!(judged(&[]), CheckResult::Fail);
    assert_eq!(judged(&["Orders"]), CheckResult::Pass);
}

#[test]
fn two_thousand_rules_are_judged_in_no_time() {
    let (mut spec, mut seen) = (spec(), source());
    let table = seen.tables.remove(0);
    let rule = spec.objects.remove(0);
    for number in 0..2_000 {
        let name = TableName { schema: "public".into(), table: format!("t{number}") };
        seen.tables.push(TableFacts { name: name.clone(), ..table.clone() });
        spec.objects.push(tidewire_shared::spec::ObjectRule { tables: vec![name], ..rule.clone() });
    }
    let began = std::time::Instant::now();
    assert!(judged(&spec, false, &seen).iter().all(|item| item.result == CheckResult::Pass));
    assert!(began.elapsed().as_secs() < 2, "{:?}", began.elapsed());
}

#[test]
fn a_partitioned_table_is_worth_a_word_and_refused_before_13() {
    let item = only(items(false, |seen| seen.tables[0].kind = 'p'));
    let found = "partitioned: \"public\".\"Orders\"";
    let message = "a partition that is truncated, attached or detached alone changes the table without a \
         record";
    let remedy = "TRUNCATE the root instead, and DELETE rows before DETACH PARTITION where readers \
                  must know";
    assert_eq!(told(&item), ("partition_roots", CheckResult::Warn, found, message, remedy, false));

    let item = only(items(false, |seen| {
        seen.tables[0].kind = 'p';
        seen.server.version_num = 120_022;
    }));
    let message = "PostgreSQL 12 cannot publish a partitioned table";
    let remedy = "name its partitions in objects instead, or upgrade the server";
    assert_eq!(told(&item), ("partition_roots", CheckResult::Fail, found, message, remedy, false));
}
