//! Decisions of users about items of a precheck: warnings that are known, failures that are overridden.

use tidewire_coordinator_core::{Command, CommandKind, RequestId};
use tidewire_proto::admin::v1 as pb;
use tidewire_shared::TaskId;
use tidewire_shared::precheck::{Waiver, WaiverKind, Waivers, item_rule, item_rules};
use tonic::Status;

use super::admin::propose;
use super::error;
use crate::clock;
use crate::leader::Leader;

/// Decisions about items that exist, and whose failures yield where they are overridden.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    ignore: Vec<String>,
    overrides: Vec<String>,
}

impl Decisions {
    /// Reads the decisions of a call.
    ///
    /// # Errors
    /// `invalid` for an item that does not exist, with the nearest one that does; `refused` for a failure
    /// that stands whatever a user says, with the reason.
    pub(super) fn read(waive: Option<pb::Waive>) -> Result<Self, Status> {
        let pb::Waive { mut ignore, r#override: mut overrides } = waive.unwrap_or_default();
        ignore.iter().chain(&overrides).try_for_each(|item| exists(item))?;
        overrides.iter().try_for_each(|item| yields(item))?;
        // The log keeps them, in audit and history too: each once, however often it was said.
        for items in [&mut ignore, &mut overrides] {
            items.sort();
            items.dedup();
        }
        Ok(Self { ignore, overrides })
    }

    fn is_empty(&self) -> bool {
        self.ignore.is_empty() && self.overrides.is_empty()
    }

    fn command(self, task: TaskId) -> CommandKind {
        CommandKind::Waive { task, ignore: self.ignore, overrides: self.overrides }
    }

    /// The decisions as a report shows them, for a document that is no task yet.
    pub(super) fn waivers(&self, by: &str) -> Waivers {
        let mut waivers = Waivers::default();
        let at_ms = clock::wall_ms();
        let mut add = |item: &String, kind| {
            waivers.add(item, Waiver { kind, by: by.to_owned(), at_ms });
        };
        self.ignore.iter().for_each(|item| add(item, WaiverKind::Ignored));
        self.overrides.iter().for_each(|item| add(item, WaiverKind::Overridden));
        waivers
    }

    /// Keeps the decisions with a task, as a part of the wish `request_id`.
    ///
    /// # Errors
    /// When the cluster refuses them or does not answer.
    pub(super) async fn keep(
        self,
        leader: &Leader,
        request_id: &RequestId,
        task: &TaskId,
        object: &str,
    ) -> Result<(), Status> {
        if self.is_empty() {
            return Ok(());
        }
        let part = format!("{request_id}/waive").parse().map_err(|_| {
            error::invalid("request_id", "is too long", "use at most 58 characters")
        })?;
        propose(leader, part, self.command(task.clone()), object).await.map(drop)
    }

    /// Keeps the decisions with a task that is only looked at.
    ///
    /// # Errors
    /// As [`Self::keep`].
    pub(super) async fn keep_for_look(
        self,
        leader: &Leader,
        task: &TaskId,
        object: &str,
    ) -> Result<(), Status> {
        if self.is_empty() {
            return Ok(());
        }
        let kind = self.command(task.clone());
        let command = Command::internal(clock::wall_ms(), kind).wished_by(leader.caller());
        match leader.handle().propose(command).await {
            Ok(_) => Ok(()),
            Err(error) => Err(error::not_proposed(leader.handle(), object, error).await),
        }
    }
}

fn exists(item: &str) -> Result<(), Status> {
    if item_rule(item).is_some() {
        return Ok(());
    }
    let likeness = |name: &str| strsim::jaro_winkler(item, name);
    let nearest = item_rules()
        .iter()
        .map(|rule| rule.name)
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
        .unwrap_or_default();
    Err(error::invalid(
        &format!("precheck item {item}"),
        "there is no such item",
        &format!("did you mean {nearest}? `tidewire task precheck` lists all of them"),
    ))
}

fn yields(item: &str) -> Result<(), Status> {
    match item_rule(item).and_then(|rule| rule.stands) {
        None => Ok(()),
        Some(why) => Err(error::refused(
            &format!("precheck item {item}"),
            &format!("its failure cannot be overridden: {why}"),
            "do what the item says, and start again",
        )),
    }
}

#[cfg(test)]
mod tests {
    use tidewire_proto::convert::detail_of;
    use tonic::Code;

    use super::*;

    fn refused(ignore: &[&str], r#override: &[&str]) -> (Code, String, String, String) {
        let names = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
        let waive = pb::Waive { ignore: names(ignore), r#override: names(r#override) };
        let status = Decisions::read(Some(waive)).expect_err("refused");
        let detail = detail_of(&status).expect("detail");
        (status.code(), detail.object, detail.message, detail.remedy)
    }

    #[test]
    fn an_unknown_item_is_refused_with_the_nearest_name() {
        let expected = (
            Code::InvalidArgument,
            "precheck item topic_polcy".to_owned(),
            "there is no such item".to_owned(),
            "did you mean topic_policy? `tidewire task precheck` lists all of them".to_owned(),
        );
        assert_eq!(refused(&["topic_polcy"], &[]), expected);
        assert_eq!(refused(&[], &["topic_polcy"]), expected);
    }

    #[test]
    fn a_failure_that_loses_data_or_hurts_the_source_stands() {
        let expected = |item: &str, why: &str| {
            let object = format!("precheck item {item}");
            let message = format!("its failure cannot be overridden: {why}");
            let remedy = "do what the item says, and start again".to_owned();
            (Code::FailedPrecondition, object, message, remedy)
        };
        let hurts = expected("tables_keyed", "it would hurt the source");
        assert_eq!(refused(&[], &["tables_keyed"]), hurts);
        let loses = expected("publication", "changes would be lost without a word");
        assert_eq!(refused(&[], &["publication"]), loses);
        let names = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
        let fine =
            pb::Waive { ignore: names(&["tables_keyed"]), r#override: names(&["topic_policy"]) };
        assert!(Decisions::read(Some(fine)).is_ok());
    }
}
