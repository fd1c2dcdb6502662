//! The two clusters: whether they answer and let us in, and what their age means.

use tidewire_shared::FaultKind;
use tidewire_shared::precheck::CheckItem;
use tidewire_shared::spec::{Delivery, KafkaSecurity};

use super::{Finding, Judged, count, target};
use crate::facts::{EndLook, TopicLook};

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

/// Brokers do not say their version; what they answer does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Age {
    Before0_11,
    Before2_8,
    Current,
    Unknown,
}

fn age(seen: &EndLook) -> Age {
    if seen.before_0_11 {
        return Age::Before0_11;
    }
    let mut ids = seen.topics.values().filter_map(|look| Some(look.as_ref().ok()?.as_ref()?.id));
    match ids.next() {
        None => Age::Unknown,
        Some((0, 0)) if ids.all(|id| id == (0, 0)) => Age::Before2_8,
        Some(_) => Age::Current,
    }
}

const UPGRADE: &str = "upgrade the brokers to 2.8 or later";
const NO_IDS: &str = "older than 2.8: topics have no ids";
const UNKNOWN: &str = "not told: there is no topic yet";

/// Topics that are made again are told apart by their ids.
pub(super) fn source_version(judged: &Judged<'_>) -> Finding {
    let found = match age(&judged.seen.source) {
        Age::Current => return Finding::pass("2.8 or later"),
        Age::Unknown => return Finding::pass(UNKNOWN),
        Age::Before2_8 => NO_IDS,
        Age::Before0_11 => "older than 0.11: topics have no ids, and their settings are not told",
    };
    let message = match age(&judged.seen.source) {
        Age::Before0_11 => {
            "a topic that is deleted and made again would not be noticed, and copies that are made \
             get the settings of the target's brokers"
        }
        _ => "a topic that is deleted and made again would not be noticed",
    };
    Finding::warn(found, message, UPGRADE)
}

/// Old brokers keep less of a record, and do not tell one request from its repetition.
pub(super) fn target_version(judged: &Judged<'_>) -> Finding {
    let exactly_once = judged.task.delivery == Delivery::ExactlyOnce;
    match age(&judged.seen.target) {
        Age::Current => Finding::pass("2.8 or later"),
        Age::Unknown => Finding::pass(UNKNOWN),
        Age::Before2_8 if exactly_once => Finding::warn(
            NO_IDS,
            "a copy that is deleted and made again would not be noticed, and exactly_once needs \
             brokers from 2.5 on",
            UPGRADE,
        ),
        Age::Before2_8 => Finding::warn(
            NO_IDS,
            "a copy that is deleted and made again would not be noticed",
            UPGRADE,
        ),
        Age::Before0_11 => Finding::warn(
            if judged.seen.source.before_0_11 { "older than 0.11" } else { NO_HEADERS },
            "headers are not kept there, and every broken connection may write records twice",
            UPGRADE,
        ),
    }
}

const NO_HEADERS: &str = "older than 0.11, and records of the source may have headers";

/// Of topics at one end that lack it, the names.
pub(super) fn without_settings<'a>(
    looks: impl Iterator<Item = (&'a str, Option<&'a TopicLook>)>,
) -> Vec<String> {
    let refused = looks.filter(|(_, look)| look.is_some_and(|look| look.settings.is_err()));
    refused.map(|(name, _)| name.to_owned()).collect()
}
