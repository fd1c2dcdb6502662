//! What the copies hold already, and what becomes of it.

use tidewire_shared::spec::ExistingData;

use super::{Finding, Judged, count, listed};
use crate::copy::CopiedTopic;
use crate::facts::{Release, TopicLook};

/// A copy that holds records.
pub(super) struct Filled<'a> {
    pub(super) topic: String,
    /// At most: markers of transactions and what compaction removed have offsets too.
    records: i64,
    copy: &'a TopicLook,
}

/// The copies that hold records.
pub(super) fn filled<'a>(judged: &'a Judged<'_>) -> Vec<Filled<'a>> {
    of(judged.pairs())
}

/// Those to which nothing was copied yet.
pub(super) fn filled_before<'a>(judged: &'a Judged<'_>) -> Vec<Filled<'a>> {
    of(judged.pairs().filter(|(copied, _, _)| judged.is_new(copied)))
}

fn of<'a>(
    pairs: impl Iterator<Item = (&'a CopiedTopic, Option<&'a TopicLook>, &'a TopicLook)>,
) -> Vec<Filled<'a>> {
    let filled = pairs.map(|(copied, _, copy)| Filled {
        topic: copied.target.clone(),
        records: copy.ends.iter().flatten().map(|ends| (ends.end - ends.low).max(0)).sum(),
        copy,
    });
    filled.filter(|it| it.records > 0).collect()
}

/// Records that are there already against `existingData`.
pub(super) fn existing(judged: &Judged<'_>) -> Finding {
    let new = judged.pairs().filter(|(copied, _, _)| judged.is_new(copied));
    let unseen = new.flat_map(|(_, _, copy)| &copy.ends).find_map(|it| it.as_ref().err());
    if let Some(fault) = unseen {
        return Finding::of(fault);
    }
    let filled = filled_before(judged);
    if filled.is_empty() {
        return Finding::pass(match judged.started_before {
            true => "the task goes on behind what it copied",
            false => "no copy holds records",
        });
    }
    let told: Vec<String> = filled.iter().map(Filled::told).collect();
    let told = listed(&told, ", ");
    match judged.task.existing_data {
        ExistingData::Stop => Finding::fail(
            told,
            "existingData: stop copies nothing to where records are",
            "write existingData: append to leave them and follow them, or existingData: rewrite to \
             delete them once; or rename the copies",
        ),
        ExistingData::Append => Finding::warn(
            told,
            "they stay, and the copied records follow them",
            "write existingData: rewrite to delete them once",
        ),
        ExistingData::Rewrite => rewrite(judged, &filled, told),
    }
}

/// Records that are deleted, if brokers can.
fn rewrite(judged: &Judged<'_>, filled: &[Filled<'_>], told: String) -> Finding {
    if judged.seen.target.is_before(Release::V0_11) {
        return Finding::fail(
            told,
            "brokers before 0.11 delete no records, so existingData: rewrite cannot be done",
            "delete and make these topics by hand, or write existingData: append",
        );
    }
    let compacted: Vec<&Filled<'_>> = filled.iter().filter(|it| it.is_compacted_only()).collect();
    if !compacted.is_empty() {
        let told: Vec<String> = compacted.iter().map(|it| it.told()).collect();
        let first = compacted.first().map_or("", |it| it.topic.as_str());
        return Finding::fail(
            listed(&told, ", "),
            "brokers delete no records of topics that are only compacted (cleanup.policy compact), so \
             existingData: rewrite cannot be done",
            format!(
                "delete them, and the task makes them anew: kafka-topics.sh {} --delete --topic \
                 {first}; or write existingData: append",
                judged.at_target()
            ),
        );
    }
    let all: i64 = filled.iter().map(|it| it.records).sum();
    Finding::warn(
        told,
        format!(
            "the first start deletes them: up to {all} records of {}",
            count(filled.len(), "topic", "topics")
        ),
        "nothing to do if that is meant; existingData: append leaves them",
    )
}

impl Filled<'_> {
    fn told(&self) -> String {
        format!("{} holds up to {} records", self.topic, self.records)
    }

    fn is_compacted_only(&self) -> bool {
        let policy = self.copy.setting("cleanup.policy");
        policy.is_some_and(|it| it.value.split(',').all(|word| word.trim() != "delete"))
    }
}
