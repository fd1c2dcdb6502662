//! Clusters that do not answer, or are old.

use super::*;

#[test]
fn an_end_that_does_not_answer_has_one_item() {
    let fault =
        |kind, what| Fault::new(kind, "brokers west:9092", what).remedy("check source.brokers");
    let all = items(|seen| {
        seen.source.cluster = Err(fault(FaultKind::SourceUnreachable, "connection refused"));
        seen.listed = Err(fault(FaultKind::SourceUnreachable, "connection refused"));
    });
    let names: Vec<_> = all.iter().map(|item| item.name.as_str()).collect();
    let expected = [
        "source_connect",
        "target_connect",
        "target_auth",
        "target_version",
        "target_transactions",
    ];
    assert_eq!(names, expected);
    let expected = (
        "source_connect",
        Fail,
        "brokers west:9092",
        "connection refused",
        "check source.brokers",
        false,
    );
    assert_eq!(told(&only(all)), expected);
    let all = items(|seen| {
        let fault = Fault::new(FaultKind::TargetLogin, "brokers east:9092", "refused");
        seen.target.cluster = Err(fault.remedy("correct the password"));
    });
    assert_eq!(named(&all, "target_connect").result, Pass);
    assert_eq!(only(all).name, "target_auth");
}

#[test]
fn a_list_of_topics_that_does_not_come_is_told_once() {
    let fault = Fault::new(FaultKind::SourceBusy, "brokers west:9092", "timed out");
    let all = items(|seen| seen.listed = Err(fault.remedy("try again")));
    assert_eq!(only(all).name, "topics_match");
}

#[test]
fn a_password_in_clear_is_told_at_the_end_where_it_crosses() {
    let sasl = Sasl {
        mechanism: SaslMechanism::Plain,
        user: "ann".to_owned(),
        password: SecretRef::Value("x".to_owned()),
    };
    let mut task = task();
    task.source.security.sasl = Some(sasl);
    task.source.security.protocol = SecurityProtocol::SaslPlaintext;
    let item = only(changed(&task, |_| {}));
    let expected = (
        "source_auth",
        Warn,
        "user ann, PLAIN without TLS",
        "the password crosses the network in clear",
        "write source.security.protocol: sasl_ssl, or mechanism: SCRAM-SHA-512",
        false,
    );
    assert_eq!(told(&item), expected);
}

#[test]
fn old_brokers_are_told_with_what_they_lack() {
    let at_source = |release| only(items(|seen| seen.source.release = Some(release)));
    let item = at_source(Release::V2_5);
    let expected = (
        "source_version",
        Warn,
        "2.5 or later, older than 2.8",
        "topics have no ids, so one that is deleted and made again would not be noticed",
        "upgrade the brokers to 2.8 or later",
        false,
    );
    assert_eq!(told(&item), expected);
    assert!(at_source(Release::V0_10).message.contains("settings are not told"));

    let at_target = |release| only(items(|seen| seen.target.release = Some(release)));
    assert_eq!(at_target(Release::V2_5).name, "target_version");
    let once = KafkaTask { delivery: Delivery::AtLeastOnce, ..task() };
    let item = only(changed(&once, |seen| seen.target.release = Some(Release::V0_10)));
    assert_eq!((item.name.as_str(), item.found.as_str()), ("target_version", "older than 0.11"));
    assert!(
        item.message.starts_with("a record with headers, which they cannot hold, stops the task"),
        "{item:?}"
    );
    let unknown = items(|seen| seen.target.release = None);
    assert_eq!(named(&unknown, "target_version").found, "not told");
}

#[test]
fn exactly_once_wants_brokers_that_can_do_it() {
    let all = items(|seen| seen.target.release = Some(Release::V2_3));
    let item = named(&all, "target_transactions");
    let expected = (
        "target_transactions",
        Fail,
        "2.3 or later, older than 2.5",
        "exactly_once needs brokers from 2.5 on (KIP-360)",
        "write delivery: at_least_once, or upgrade the brokers",
        false,
    );
    assert_eq!(told(&item), expected);
    let item = only(items(|seen| {
        seen.transactions = Err(denied(FaultKind::TargetDenied, "transactional id"));
    }));
    assert_eq!((item.name.as_str(), item.result), ("target_transactions", Fail));
}
