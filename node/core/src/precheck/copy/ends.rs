//! The two clusters: whether they answer and let us in, and what their age means.

use tidewire_shared::FaultKind;
use tidewire_shared::precheck::CheckItem;
use tidewire_shared::spec::{Delivery, KafkaSecurity};

use super::{Finding, Judged, count, target};
use crate::facts::{EndLook, Release, TopicLook};

/// Connection and login of one end. Without a connection there is no word about the login.
pub(super) fn connection(end: &str, seen: &EndLook, security: &KafkaSecurity) -> Vec<CheckItem> {
    use FaultKind::{SourceDenied, SourceLogin, TargetDenied, TargetLogin};
    let (connect, auth) = (format!("{end}_connect"), format!("{end}_auth"));
    match &seen.cluster {
        Ok(cluster) => {
            let brokers = count(cluster.addresses.len(), "broker", "brokers");
            let login = target::login(end, security);
            vec![Finding::pass(brokers).item(&connect), login.item(&auth)]
        }
        Err(fault)
            if matches!(fault.kind, SourceDenied | SourceLogin | TargetDenied | TargetLogin) =>
        {
            vec![Finding::pass(&fault.object).item(&connect), Finding::of(fault).item(&auth)]
        }
        Err(fault) => vec![Finding::of(fault).item(&connect)],
    }
}

const UPGRADE: &str = "upgrade the brokers to 2.8 or later";

/// What is known of the age of the brokers of an end.
fn told(seen: &EndLook) -> &'static str {
    match seen.release {
        None => "not told",
        Some(Release::V0_10) => "older than 0.11",
        Some(Release::V0_11) => "0.11",
        Some(Release::V1_0) => "1.0 or later, older than 2.3",
        Some(Release::V2_3) => "2.3 or later, older than 2.5",
        Some(Release::V2_5) => "2.5 or later, older than 2.8",
        Some(Release::V2_8) => "2.8 or later",
    }
}

/// Topics that are made again are told apart by their ids.
pub(super) fn source_version(judged: &Judged<'_>) -> Finding {
    let source = &judged.seen.source;
    if source.is_before(Release::V0_11) {
        return Finding::warn(
            told(source),
            "topics have no ids, so one that is deleted and made again would not be noticed; settings \
             are not told, so copies are made with those of the target's brokers",
            UPGRADE,
        );
    }
    if source.is_before(Release::V2_8) {
        return Finding::warn(
            told(source),
            "topics have no ids, so one that is deleted and made again would not be noticed",
            UPGRADE,
        );
    }
    Finding::pass(told(source))
}

/// Old brokers keep less of a record, and do not tell one request from its repetition.
pub(super) fn target_version(judged: &Judged<'_>) -> Finding {
    let target = &judged.seen.target;
    if target.is_before(Release::V0_11) {
        let headers = match judged.seen.source.is_before(Release::V0_11) {
            true => "records have no headers there",
            false => "a record with headers, which they cannot hold, stops the task",
        };
        return Finding::warn(
            told(target),
            format!(
                "{headers}; every broken connection may write records twice; a copy that is deleted and \
                 made again would not be noticed"
            ),
            UPGRADE,
        );
    }
    if target.is_before(Release::V2_8) {
        return Finding::warn(
            told(target),
            "topics have no ids, so a copy that is deleted and made again would not be noticed",
            UPGRADE,
        );
    }
    Finding::pass(told(target))
}

/// Transactions, brokers that end them cleanly, and the topic of positions.
pub(super) fn transactions(judged: &Judged<'_>) -> Finding {
    let (seen, delivery) = (judged.seen, judged.task.delivery);
    if delivery == Delivery::ExactlyOnce && seen.target.is_before(Release::V2_5) {
        return Finding::fail(
            told(&seen.target),
            "exactly_once needs brokers from 2.5 on (KIP-360)",
            "write delivery: at_least_once, or upgrade the brokers",
        );
    }
    target::transactions(delivery, &seen.transactions, &seen.positions_topic)
}

/// Of topics at one end that lack it, the names.
pub(super) fn without_settings<'a>(
    looks: impl Iterator<Item = (&'a str, Option<&'a TopicLook>)>,
) -> Vec<String> {
    let refused = looks.filter(|(_, look)| look.is_some_and(|look| look.settings.is_err()));
    refused.map(|(name, _)| name.to_owned()).collect()
}
