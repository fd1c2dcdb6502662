//! Copies that are there, copies that have to be made, and their numbers of partitions.

use tidewire_shared::{Fault, FaultKind};

use super::{Finding, Judged, count, data, listed, topics};

/// What brokers do not let our account do.
pub(super) struct Refused {
    pub(super) unmade: Vec<String>,
    pub(super) unwidened: Vec<String>,
}

pub(super) fn refused(judged: &Judged<'_>) -> Refused {
    let denied = |asked: &[(String, Result<(), Fault>)]| {
        let denied = asked.iter().filter(|(_, answer)| answer.as_ref().is_err_and(is_denied));
        denied.map(|(name, _)| name.clone()).collect()
    };
    let seen = judged.seen;
    Refused { unmade: denied(&seen.makeable), unwidened: denied(&seen.widenable) }
}

fn is_denied(fault: &Fault) -> bool {
    fault.kind == FaultKind::TargetDenied
}

/// Answers that are neither yes nor a lack of rights, which `topic_rights` tells.
fn troubles(asked: &[(String, Result<(), Fault>)]) -> Vec<(&String, &Fault)> {
    let failed = asked.iter().filter_map(|(name, answer)| Some((name, answer.as_ref().err()?)));
    failed.filter(|(_, fault)| !is_denied(fault)).collect()
}

/// A finding about the first trouble, and which copies have one.
fn failed(troubles: &[(&String, &Fault)], message: &str) -> Option<Finding> {
    let (_, first) = troubles.first()?;
    let told: Vec<String> =
        troubles.iter().map(|(name, fault)| format!("{name}: {}", fault.message)).collect();
    Some(Finding::fail(listed(&told, "; "), message, &first.remedy))
}

/// Every copy is there or can be made.
pub(super) fn exist(judged: &Judged<'_>) -> Finding {
    let looks = judged.copies.iter().filter_map(|it| {
        let look = judged.seen.target.topics.get(&it.target)?;
        Some((&it.target, look.as_ref().err().filter(|fault| !is_denied(fault))?))
    });
    let mut troubled: Vec<_> = looks.collect();
    troubled.extend(troubles(&judged.seen.makeable));
    if let Some(finding) = failed(&troubled, "these copies are neither there nor can be made") {
        return finding;
    }
    let (there, missing) = (judged.pairs().count(), judged.missing().count());
    let there = count(there, "copy is there", "copies are there");
    if missing == 0 {
        return Finding::pass(there);
    }
    let made: Vec<String> = judged.missing().map(|(it, _)| it.target.clone()).collect();
    let brokers = judged.target_addresses().len();
    let fewer = judged.missing().filter(|(it, _)| it.source.replicas as usize > brokers).count();
    if brokers > 0 && fewer > 0 {
        return Finding::warn(
            format!("{there}, {} will be made: {}", made.len(), listed(&made, ", ")),
            format!(
                "{} with fewer replicas than at the source: the target has {}",
                count(fewer, "is made", "are made"),
                count(brokers, "broker", "brokers")
            ),
            "add brokers to the target, or make the copies by hand",
        );
    }
    Finding::pass(format!("{there}, {} will be made: {}", made.len(), listed(&made, ", ")))
}

/// Every copy can be written, and has the partitions of its original.
pub(super) fn numbers(judged: &Judged<'_>) -> Finding {
    let wrong: Vec<String> = judged
        .pairs()
        .filter_map(|(_, _, copy)| {
            let needed = copy.number("min.insync.replicas").unwrap_or(1);
            let needed = u32::try_from(needed).unwrap_or(1);
            topics::waits(&copy.health, (needed, copy.replicas))
        })
        .collect();
    if !wrong.is_empty() {
        return topics::unwritable(&wrong, &judged.task.target.brokers);
    }
    let troubled = troubles(&judged.seen.widenable);
    if let Some(finding) = failed(&troubled, "these copies have too few partitions") {
        return finding;
    }
    let (mut narrow, mut wide) = (Vec::new(), Vec::new());
    for (copied, _, copy) in judged.pairs() {
        let (has, wanted) = (copy.partitions(), copied.source.partitions);
        let (here, there) = (count(has as usize, "partition", "partitions"), &copied.source.name);
        let told = format!("{} has {here}, {there} {wanted}", copied.target);
        match has.cmp(&wanted) {
            std::cmp::Ordering::Less => narrow.push((copied.target.clone(), told)),
            std::cmp::Ordering::Greater => wide.push(told),
            std::cmp::Ordering::Equal => {}
        }
    }
    if !wide.is_empty() {
        return Finding::warn(
            listed(&wide, "; "),
            "every record keeps the number of its partition, so the others get none of this task, and \
             readers that look for a key by its hash look elsewhere",
            "rename the copies, or delete these topics if nobody needs them",
        );
    }
    let filled = data::filled(judged);
    let holds = |name: &String| filled.iter().any(|it| it.topic == *name);
    let told: Vec<String> = narrow.iter().map(|(_, told)| told.clone()).collect();
    if narrow.iter().any(|(name, _)| holds(name)) {
        return Finding::warn(
            listed(&told, "; "),
            "they get as many as their originals; a key of the records that they hold already may \
             belong to another partition then",
            "nothing to do if that is known; renamed copies begin empty",
        );
    }
    if !narrow.is_empty() {
        return Finding::pass(format!("{}: they get as many", listed(&told, "; ")));
    }
    let partitions: u32 = judged.copies.iter().map(|copied| copied.source.partitions).sum();
    Finding::pass(count(partitions as usize, "partition", "partitions"))
}
