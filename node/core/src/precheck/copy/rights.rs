//! What our account may do at both ends, as far as brokers say (from 2.3 on).

use tidewire_shared::FaultKind;
use tidewire_shared::spec::{ExistingData, KafkaSecurity};

use super::ends::without_settings;
use super::{Finding, Judged, count, data, listed, partitions, principal};
use crate::facts::Operation;

/// Most topics that one command names: a pattern is more than was asked for, so they stand one by one.
const NAMED: usize = 10;

/// The command that grants rights on topics.
fn grant(
    brokers: &[String],
    security: &KafkaSecurity,
    rights: &[&str],
    topics: &[String],
) -> String {
    let rights: String = rights.iter().map(|right| format!(" --operation {right}")).collect();
    let named: String =
        topics.iter().take(NAMED).map(|topic| format!(" --topic {topic}")).collect();
    let more = if topics.len() > NAMED { " --topic …" } else { "" };
    format!(
        "kafka-acls.sh --bootstrap-server {} --add --allow-principal {}{rights}{named}{more}",
        brokers.join(","),
        principal(security)
    )
}

/// Topics that are copied may be read, and their settings seen where copies have to be like them.
pub(super) fn source(judged: &Judged<'_>) -> Finding {
    let (source, seen) = (&judged.task.source, &judged.seen.source);
    let grant = |rights: &[&str], topics: &[String]| {
        grant(&source.brokers, &source.security, rights, topics)
    };
    let hidden: Vec<String> = seen
        .topics
        .iter()
        .filter(|(_, look)| look.as_ref().is_err_and(|it| it.kind == FaultKind::SourceDenied))
        .map(|(name, _)| name.clone())
        .collect();
    let unread = judged.copies.iter().map(|copied| &copied.source.name);
    let unread: Vec<String> = unread
        .filter(|name| seen.topic(name).is_some_and(|look| !look.may(Operation::Read)))
        .chain(&hidden)
        .cloned()
        .collect();
    if !unread.is_empty() {
        return Finding::fail(
            format!("may not read {}", listed(&unread, ", ")),
            "the task could not copy them",
            grant(&["Read", "Describe", "DescribeConfigs"], &unread),
        );
    }
    let to_make =
        without_settings(judged.missing().map(|(it, look)| (it.source.name.as_str(), look)));
    if !to_make.is_empty() {
        return Finding::fail(
            format!("may not see the settings of {}", listed(&to_make, ", ")),
            "their copies have to be made, and could not be made like them",
            grant(&["DescribeConfigs"], &to_make),
        );
    }
    let unseen = without_settings(judged.copies.iter().map(|it| {
        let name = it.source.name.as_str();
        (name, seen.topic(name))
    }));
    if !unseen.is_empty() && judged.task.sync_configs.enabled {
        return Finding::warn(
            format!("may not see the settings of {}", listed(&unseen, ", ")),
            "changes of them would not reach their copies",
            format!(
                "{}, or write syncConfigs.enabled: false",
                grant(&["DescribeConfigs"], &unseen)
            ),
        );
    }
    if seen.topics.values().flatten().flatten().any(|look| look.operations.is_none()) {
        return Finding::pass("not told by these brokers: the first read shows it");
    }
    Finding::pass(count(judged.copies.len(), "topic may be read", "topics may be read"))
}

/// A right that is missing on some copies.
struct Lack {
    right: &'static str,
    topics: Vec<String>,
    what_for: &'static str,
}

/// Copies may be made, written, widened and emptied, as far as that has to be.
pub(super) fn target(judged: &Judged<'_>) -> Finding {
    let target = &judged.task.target;
    let lacks: Vec<Lack> = lacks(judged).into_iter().filter(|it| !it.topics.is_empty()).collect();
    let grant = |rights: &[&str], topics: &[String]| {
        grant(&target.brokers, &target.security, rights, topics)
    };
    if !lacks.is_empty() {
        let found: Vec<String> = lacks
            .iter()
            .map(|it| format!("{} (to {}) on {}", it.right, it.what_for, listed(&it.topics, ", ")))
            .collect();
        let remedies: Vec<String> = lacks.iter().map(|it| grant(&[it.right], &it.topics)).collect();
        return Finding::fail(
            format!("the account lacks {}", found.join("; ")),
            "the task could not do its work there",
            remedies.join("; "),
        );
    }
    let unaltered: Vec<String> = judged
        .pairs()
        .filter(|(_, _, copy)| {
            judged.task.sync_configs.enabled && !copy.may(Operation::AlterConfigs)
        })
        .map(|(copied, _, _)| copied.target.clone())
        .collect();
    if !unaltered.is_empty() {
        return Finding::warn(
            format!("the account lacks AlterConfigs on {}", listed(&unaltered, ", ")),
            "changes of settings at the source would not reach these copies",
            format!(
                "{}, or write syncConfigs.enabled: false",
                grant(&["AlterConfigs"], &unaltered)
            ),
        );
    }
    if judged.pairs().any(|(_, _, copy)| copy.operations.is_none()) {
        return Finding::pass("not told by these brokers: the first write shows it");
    }
    Finding::pass("every copy may be written")
}

fn lacks(judged: &Judged<'_>) -> Vec<Lack> {
    let without = |operation: Operation| {
        judged
            .pairs()
            .filter(move |(_, _, copy)| !copy.may(operation))
            .map(|(copied, _, _)| copied.target.clone())
    };
    let hidden = judged.copies.iter().map(|copied| &copied.target).filter(|name| {
        let look = judged.seen.target.topics.get(*name);
        look.is_some_and(|it| it.as_ref().is_err_and(|fault| fault.kind == FaultKind::TargetDenied))
    });
    let rewrites = judged.task.existing_data == ExistingData::Rewrite;
    let emptied: Vec<String> = data::filled_before(judged).into_iter().map(|it| it.topic).collect();
    let emptied = |name: &String| rewrites && emptied.contains(name);
    let unseen =
        without_settings(judged.pairs().map(|(it, _, look)| (it.target.as_str(), Some(look))));
    let refused = partitions::refused(judged);
    let lack = |right, what_for, topics| Lack { right, topics, what_for };
    vec![
        lack("Describe", "see it", hidden.cloned().collect()),
        lack("Create", "make it", refused.unmade),
        lack("Write", "write to it", without(Operation::Write).collect()),
        lack("DescribeConfigs", "see its settings", unseen),
        lack("Alter", "add partitions", refused.unwidened),
        lack("Delete", "delete its records", without(Operation::Delete).filter(emptied).collect()),
    ]
}
