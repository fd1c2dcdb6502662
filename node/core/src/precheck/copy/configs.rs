//! What the settings of the copies do to the records.

use super::{Finding, Judged, count, listed};
use crate::copy::{CopiedTopic, is_carried};
use crate::facts::{Setting, TopicLook};

/// Brokers delete records after this long unless they are told otherwise. Milliseconds.
const RETENTION_MS: i64 = 7 * 24 * 3_600_000;

/// One thing that is wrong, with what to do.
struct Objection {
    fails: bool,
    /// A user may want it all the same.
    yields: bool,
    what: String,
    remedy: String,
}

/// Records come out of the copies as they went in.
pub(super) fn judge(judged: &Judged<'_>) -> Finding {
    let mut objections: Vec<Objection> = judged
        .pairs()
        .flat_map(|(copied, original, copy)| present(judged, copied, original, copy))
        .collect();
    for (copied, original) in judged.missing() {
        objections.extend(original.into_iter().flat_map(|it| planned(judged, copied, it)));
    }
    if objections.is_empty() {
        let told = judged
            .pairs()
            .all(|(_, _, copy)| copy.settings.as_ref().is_ok_and(|it| !it.is_empty()));
        let found = match told {
            true => count(
                judged.copies.len(),
                "copy keeps what is written",
                "copies keep what is written",
            ),
            false => "not told by these brokers".to_owned(),
        };
        return Finding { message: NOT_KEPT.to_owned(), ..Finding::pass(found) };
    }
    let fails = objections.iter().any(|it| it.fails);
    let yields = objections.iter().all(|it| it.yields || !it.fails);
    // What fails is told first: a long list is cut.
    objections.sort_by_key(|it| !it.fails);
    let found: Vec<String> = objections.iter().map(|it| it.what.clone()).collect();
    let remedies: Vec<String> = objections.iter().map(|it| it.remedy.clone()).collect();
    let (found, remedy) = (listed(&found, "; "), listed(&remedies, "; "));
    match (fails, yields) {
        (true, true) => Finding::fail(found, FAILS, remedy).overridable(),
        (true, false) => Finding::fail(found, FAILS, remedy),
        (false, _) => Finding::warn(found, "the copies would differ from their originals", remedy),
    }
}

/// What no setting changes.
const NOT_KEPT: &str =
    "offsets are not kept; a record with the timestamp 0 is written with the present time";

const FAILS: &str = "records would be refused, or removed from the copies";

/// A copy that is there.
fn present(
    judged: &Judged<'_>,
    copied: &CopiedTopic,
    original: Option<&TopicLook>,
    copy: &TopicLook,
) -> Vec<Objection> {
    let name = &copied.target;
    let mut objections = Vec::new();
    if copy.setting("message.timestamp.type").is_some_and(|it| it.value == "LogAppendTime") {
        objections.push(Objection::warn(
            format!(
                "{name} has message.timestamp.type LogAppendTime: its brokers restamp every record"
            ),
            judged.set(name, "message.timestamp.type=CreateTime"),
        ));
    }
    let needed = copy.number("min.insync.replicas").unwrap_or(1);
    if needed > i64::from(copy.replicas) {
        objections.push(Objection::fail(
            format!("{name} demands {needed} replicas in sync and has {}", copy.replicas),
            judged.set(name, &format!("min.insync.replicas={}", copy.replicas)),
        ));
    }
    let Some(original) = original else { return objections };
    objections.extend(policy(judged, name, original, copy));
    objections.extend(retention(judged, name, original, copy));
    objections.extend(stamps(judged, name, original, copy));
    objections
}

/// Compaction at one end alone.
fn policy(
    judged: &Judged<'_>,
    name: &str,
    original: &TopicLook,
    copy: &TopicLook,
) -> Option<Objection> {
    let (source, target) = (original.setting("cleanup.policy")?, copy.setting("cleanup.policy")?);
    if target.value == source.value || follows(judged, "cleanup.policy", source) {
        return None;
    }
    let what = format!("{name} has cleanup.policy {}, its original {}", target.value, source.value);
    // A setting of several words is a list, which the command takes in brackets only.
    let remedy = judged.set(name, &format!("cleanup.policy=[{}]", source.value));
    match (compacts(source), compacts(target)) {
        (false, true) => Some(Objection {
            yields: true,
            ..Objection::fail(
                format!(
                    "{what}: it refuses records without a key, and removes older ones of a key"
                ),
                remedy,
            )
        }),
        (true, false) => Some(Objection::warn(
            format!("{what}: the last record of a key is removed with time"),
            remedy,
        )),
        _ => None,
    }
}

fn compacts(policy: &Setting) -> bool {
    policy.value.split(',').any(|word| word.trim() == "compact")
}

/// Records that the source keeps longer than the copy.
fn retention(
    judged: &Judged<'_>,
    name: &str,
    original: &TopicLook,
    copy: &TopicLook,
) -> Option<Objection> {
    if !deletes(copy) || follows(judged, "retention.ms", original.setting("retention.ms")?) {
        return None;
    }
    let kept = |look: &TopicLook| look.number("retention.ms").filter(|kept| *kept >= 0);
    let here = kept(copy)?;
    let there = if deletes(original) { kept(original) } else { None };
    there.is_none_or(|there| there > here).then(|| {
        let wanted = there.unwrap_or(-1);
        Objection::warn(
            format!("{name} keeps records for {}, its original for {}", told(here), told(wanted)),
            judged.set(name, &format!("retention.ms={wanted}")),
        )
    })
}

const BEFORE: &str = "message.timestamp.before.max.ms";
const AFTER: &str = "message.timestamp.after.max.ms";

/// Timestamps that the source holds, or takes, and that the copy refuses: older than it lets them be, or
/// further ahead, which is an hour from Kafka 4.0 on.
fn stamps(
    judged: &Judged<'_>,
    name: &str,
    original: &TopicLook,
    copy: &TopicLook,
) -> Vec<Objection> {
    if copy.setting("message.timestamp.type").is_some_and(|it| it.value == "LogAppendTime") {
        return Vec::new();
    }
    let carried =
        |setting| original.setting(setting).is_some_and(|it| follows(judged, setting, it));
    let limit = |setting| at_most(copy, setting).filter(|_| !carried(setting));
    let mut objections = Vec::new();
    let ahead = at_most(original, AFTER);
    if let Some(here) = limit(AFTER).filter(|here| ahead.is_none_or(|there| there > *here)) {
        objections.push(Objection::warn(
            format!(
                "{name} refuses records that are stamped more than {} ahead, which its original takes: one \
                 stops the task",
                told(here)
            ),
            judged.set(name, &format!("{AFTER}={}", ahead.unwrap_or(i64::MAX))),
        ));
    }
    let kept = original.number("retention.ms").filter(|kept| *kept >= 0 && deletes(original));
    if let Some(here) = limit(BEFORE).filter(|here| kept.is_none_or(|kept| kept > *here)) {
        objections.push(Objection::warn(
            format!(
                "{name} refuses records that are older than {}, its original keeps them for {}: one stops \
                 the task",
                told(here),
                told(kept.unwrap_or(-1))
            ),
            judged.set(name, &format!("{BEFORE}={}", i64::MAX)),
        ));
    }
    objections
}

/// The bound of a timestamp, if there is one; before 3.6 one setting has both.
fn at_most(look: &TopicLook, setting: &str) -> Option<i64> {
    let both = ["message.timestamp.difference.max.ms", setting];
    both.iter().filter_map(|it| look.number(it)).filter(|ms| *ms < i64::MAX).min()
}

fn deletes(look: &TopicLook) -> bool {
    look.setting("cleanup.policy").is_some_and(|it| it.value.contains("delete"))
}

/// A time for which records are kept.
fn told(ms: i64) -> String {
    match ms {
        ..0 => "ever".to_owned(),
        ms if ms % 86_400_000 == 0 => format!("{}d", ms / 86_400_000),
        ms if ms % 3_600_000 == 0 => format!("{}h", ms / 3_600_000),
        ms => format!("{}s", ms / 1_000),
    }
}

/// Whether the task brings a setting of a copy that is there to what it is at the source.
fn follows(judged: &Judged<'_>, name: &str, source: &Setting) -> bool {
    let sync = &judged.task.sync_configs;
    sync.enabled && source.own && is_carried(name, sync)
}

/// A copy that has to be made.
fn planned(judged: &Judged<'_>, copied: &CopiedTopic, original: &TopicLook) -> Vec<Objection> {
    let name = &copied.target;
    let sync = &judged.task.sync_configs;
    let given = |setting: &str| {
        original
            .setting(setting)
            .filter(|it| it.own && is_carried(setting, sync))
            .map(|it| &it.value)
    };
    let mut objections = Vec::new();
    if given("message.timestamp.type").is_some_and(|it| it == "LogAppendTime") {
        objections.push(Objection::warn(
            format!("{name} is made with message.timestamp.type LogAppendTime: every record is restamped"),
            "add message.timestamp.type to syncConfigs.exclude".to_owned(),
        ));
    }
    let brokers = judged.target_addresses().len();
    let replicas =
        i64::from(copied.source.replicas).min(i64::try_from(brokers).unwrap_or(i64::MAX));
    let needed = given("min.insync.replicas").and_then(|it| it.parse().ok()).unwrap_or(1_i64);
    if needed > replicas && replicas > 0 {
        objections.push(Objection::fail(
            format!("{name} is made with min.insync.replicas {needed} and {replicas} replicas"),
            "add min.insync.replicas to syncConfigs.exclude, or brokers to the target".to_owned(),
        ));
    }
    let kept = original.number("retention.ms").filter(|_| given("retention.ms").is_none());
    let own = original.setting("retention.ms").is_some_and(|it| it.own);
    if let Some(kept) = kept.filter(|kept| own && !(0..=RETENTION_MS).contains(kept)) {
        objections.push(Objection::warn(
            format!(
                "{name} is made with the retention of the target's brokers, its original keeps records \
                 for {}",
                told(kept)
            ),
            "take retention.ms out of syncConfigs.exclude, or make the copy by hand".to_owned(),
        ));
    }
    objections
}

impl Objection {
    fn warn(what: String, remedy: String) -> Self {
        Self { fails: false, yields: true, what, remedy }
    }

    fn fail(what: String, remedy: String) -> Self {
        Self { fails: true, yields: false, what, remedy }
    }
}
