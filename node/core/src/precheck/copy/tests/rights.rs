//! What our account may do.

use super::*;

/// All that a user of no rights but these has.
fn may(look: &mut TopicLook, operations: &[Operation]) {
    look.operations = Some(operations.to_vec());
}

#[test]
fn topics_that_may_not_be_read_are_told_with_the_command() {
    let mut task = task();
    task.source.security.sasl = Some(Sasl {
        mechanism: SaslMechanism::ScramSha512,
        user: "ann".to_owned(),
        password: SecretRef::Value("x".to_owned()),
    });
    let item = only(changed(&task, |seen| may(original(seen), &[Operation::Describe])));
    let expected = (
        "source_rights",
        Fail,
        "may not read orders",
        "the task could not copy them",
        "kafka-acls.sh --bootstrap-server west:9092 --add --allow-principal User:ann --operation Read \
         --operation Describe --operation DescribeConfigs --topic orders",
        false,
    );
    assert_eq!(told(&item), expected);
    let hidden = items(|seen| {
        let fault = denied(FaultKind::SourceDenied, "topic orders");
        seen.source.topics.insert("orders".to_owned(), Err(fault));
        seen.listed = Ok(Vec::new());
    });
    assert_eq!(named(&hidden, "source_rights").found, "may not read orders");
    let silent = items(|seen| original(seen).operations = None);
    let item = named(&silent, "source_rights");
    assert_eq!(item.found, "not told by these brokers: the first read shows it");
}

#[test]
fn settings_that_may_not_be_seen_matter_where_they_are_needed() {
    let hide = |seen: &mut CopyPrecheck| {
        original(seen).settings = Err(denied(FaultKind::SourceDenied, "configuration of orders"));
    };
    let item = only(items(hide));
    assert_eq!((item.name.as_str(), item.result), ("source_rights", Warn));
    assert_eq!(item.found, "may not see the settings of orders");
    let quiet = SyncConfigs { enabled: false, ..SyncConfigs::default() };
    let all = changed(&KafkaTask { sync_configs: quiet, ..task() }, hide);
    assert_eq!(named(&all, "source_rights").result, Pass);
    let item = only(items(|seen| {
        hide(seen);
        without_copy(seen);
    }));
    assert_eq!(item.result, Fail);
    assert_eq!(item.message, "their copies have to be made, and could not be made like them");
}

#[test]
fn each_right_at_the_target_is_asked_for_where_it_is_needed() {
    let grant = |right: &str| {
        format!(
            "kafka-acls.sh --bootstrap-server east:9092 --add --allow-principal User:NAME --operation \
             {right} --topic dr.orders"
        )
    };
    use Operation::{Alter, AlterConfigs, Delete, Describe, Write};
    let item = only(items(|seen| may(copy(seen), &[Describe, Alter, Delete, AlterConfigs])));
    let remedy = grant("Write");
    let expected = (
        "topic_rights",
        Fail,
        "the account lacks Write (to write to it) on dr.orders",
        "the task could not do its work there",
        remedy.as_str(),
        false,
    );
    assert_eq!(told(&item), expected);

    let item = only(items(|seen| may(copy(seen), &[Describe, Write])));
    assert_eq!(
        (item.result, item.found.as_str()),
        (Warn, "the account lacks AlterConfigs on dr.orders")
    );

    let item = only(items(|seen| {
        without_copy(seen);
        seen.makeable[0].1 = Err(denied(FaultKind::TargetDenied, "topic dr.orders"));
    }));
    assert_eq!((item.name.as_str(), item.remedy), ("topic_rights", grant("Create")));

    let item = only(items(|seen| {
        copy(seen).ends.pop();
        let fault = denied(FaultKind::TargetDenied, "topic dr.orders");
        seen.widenable = vec![("dr.orders".to_owned(), Err(fault))];
    }));
    assert_eq!((item.name.as_str(), item.remedy), ("topic_rights", grant("Alter")));

    let rewrite = KafkaTask { existing_data: ExistingData::Rewrite, ..task() };
    let with = |records: i64| {
        changed(&rewrite, |seen| {
            copy(seen).ends = look("", &[(0, records), (0, 0)]).ends;
            may(copy(seen), &[Describe, Write, AlterConfigs]);
        })
    };
    assert_eq!(named(&with(1), "topic_rights").remedy, grant("Delete"));
    assert_eq!(named(&with(0), "topic_rights").result, Pass);

    let item = only(items(|seen| {
        let fault = denied(FaultKind::TargetDenied, "topic dr.orders");
        seen.target.topics.insert("dr.orders".to_owned(), Err(fault));
    }));
    assert_eq!((item.name.as_str(), item.remedy), ("topic_rights", grant("Describe")));
}
