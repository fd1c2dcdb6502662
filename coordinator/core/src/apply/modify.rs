//! A task gets another document: at once while it never ran, after a precheck once it did.

use std::sync::Arc;

use tidewire_shared::precheck::{CheckResult, PrecheckReport};
use tidewire_shared::{Desired, Phase, TaskId, TaskSpec};

use super::Verdict;
use super::reshard::{fit, may_change};
use super::secrets::with_kept;
use super::task::{refused, touch};
use crate::lifecycle::{legal_moves, settled_phase};
use crate::outcome::{Event, Outcome, Rejection, RejectionCode};
use crate::revision::{Document, Draft, Revision, RevisionVerdict};
use crate::revision::{difference, fixed_key, remember};
use crate::state::{Clearance, ClusterState, Task};

/// Who asks, and when.
#[derive(Clone, Copy)]
pub(super) struct Wish<'c> {
    pub(super) by: &'c str,
    pub(super) at_ms: i64,
}

/// The first entry of a task's history.
pub(super) fn first_revision(wish: Wish<'_>) -> Revision {
    Revision {
        number: 1,
        at_ms: wish.at_ms,
        by: wish.by.to_owned(),
        changes: Vec::new(),
        verdict: RevisionVerdict::Taken,
    }
}

pub(super) fn modify(
    state: &mut ClusterState,
    id: &TaskId,
    spec: &Arc<TaskSpec>,
    wish: Wish<'_>,
    events: &mut Vec<Event>,
) -> Verdict {
    state.knows_channels_of(spec)?;
    let task = state.tasks.get(id).ok_or_else(|| Rejection::no_task(id))?;
    let spec = &with_kept(spec, Some(&task.spec))?;
    let wanted = state.resolve(spec)?;
    // A key may come from a connection: what counts is the document that nodes get.
    let present = state.resolve(&task.spec)?;
    let task = state.tasks.get_mut(id).ok_or_else(|| Rejection::no_task(id))?;
    if let Some(answer) = standing_answer(task, spec)? {
        return Ok(answer);
    }
    let ran = task.has_run();
    if ran && let Some((key, why)) = fixed_key(&present, &wanted) {
        let message = format!("`{key}` of a task that ran cannot change: {why}");
        return Err(refused(task, message, &[])
            .advise(format_args!("leave `{key}` as it is, or create another task with it")));
    }
    may_change(task, spec.shards())?;
    let number = task.newest_revision.saturating_add(1);
    task.newest_revision = number;
    let mut revision = Revision {
        number,
        at_ms: wish.at_ms,
        by: wish.by.to_owned(),
        changes: difference(&task.spec, spec),
        verdict: RevisionVerdict::Checking,
    };
    let rests =
        matches!(settled_phase(task), Phase::NotStarted | Phase::PrecheckFailed | Phase::Ready);
    let document = Document { spec: Arc::clone(spec) };
    if rests || !ran {
        revision.verdict = RevisionVerdict::Taken;
        if rests {
            task.desired = Desired::Stopped;
            task.clearance = Clearance::None;
        } else {
            // Its user asked for it to run: it does, once its new document was prechecked.
            task.clearance = Clearance::Wanted;
        }
        task.precheck = None;
        take(task, Draft { revision: number, document, refused: None });
    } else if differs_in_alerts_alone(&task.spec, spec) {
        revision.verdict = RevisionVerdict::Taken;
        take_unseen(task, Draft { revision: number, document, refused: None });
    } else {
        task.draft = Some(Draft { revision: number, document, refused: None });
    }
    remember(&mut task.revisions, revision);
    touch(task, wish.at_ms, events);
    fit(state, id);
    Ok(Outcome::Modified { task: id.clone(), revision: number })
}

/// The answer to a wish that is no news; a refusal where no document can be taken now.
fn standing_answer(task: &mut Task, spec: &Arc<TaskSpec>) -> Result<Option<Outcome>, Rejection> {
    if task.spec.name() != spec.name() {
        let object = format!("task {}", task.name());
        return Err(Rejection::new(RejectionCode::Invalid, object, "a task keeps its name"));
    }
    let phase = settled_phase(task);
    if let Some(draft) = task.unchecked_draft() {
        if draft.document.spec == *spec {
            let revision = draft.revision;
            return Ok(Some(Outcome::Modified { task: task.id.clone(), revision }));
        }
        let message =
            format!("cannot modify it: a node still looks at its revision {}", draft.revision);
        return Err(refused(task, message, legal_moves(phase)));
    }
    if task.spec == *spec && task.desired != Desired::Deleted {
        task.draft = None;
        return Ok(Some(Outcome::Exists(task.id.clone())));
    }
    match phase {
        Phase::Terminated | Phase::Prechecking => {
            let message = format!("cannot modify it: it is {phase}");
            Err(refused(task, message, legal_moves(phase)))
        }
        _ => Ok(None),
    }
}

/// Whether nodes would see no difference: alerts are the coordinators'.
fn differs_in_alerts_alone(old: &TaskSpec, new: &TaskSpec) -> bool {
    let silent = |spec: &TaskSpec| {
        let mut silent = spec.clone();
        silent.alerts_mut().clear();
        silent
    };
    silent(old) == silent(new)
}

/// Makes a draft the document of its task, whose owners go on as they are.
fn take_unseen(task: &mut Task, draft: Draft) {
    let (old, new) = (task.revision, draft.revision);
    take(task, draft);
    let owners = task.shards.values_mut().filter_map(|shard| shard.assignment.as_mut());
    for owner in owners.filter(|owner| owner.given.task == old) {
        owner.given.task = new;
    }
}

/// Makes a draft the document of its task; owners of its shards are given it anew.
fn take(task: &mut Task, draft: Draft) {
    task.spec = draft.document.spec;
    task.revision = draft.revision;
    task.draft = None;
}

pub(super) fn record_revision(
    state: &mut ClusterState,
    id: &TaskId,
    number: u64,
    report: &PrecheckReport,
    at_ms: i64,
    events: &mut Vec<Event>,
) -> Verdict {
    let task = state.tasks.get_mut(id).ok_or_else(|| Rejection::no_task(id))?;
    let Some(draft) = task.unchecked_draft().filter(|draft| draft.revision == number).cloned()
    else {
        let message = format!("revision {number} is not waiting for a precheck");
        return Err(Rejection::new(RejectionCode::Stale, format!("task {}", task.name()), message));
    };
    let report = report.clone().waived(&task.waivers);
    if report.passed() {
        judge(task, number, RevisionVerdict::Taken);
        task.precheck = Some(report);
        take(task, draft);
    } else {
        let failed = report.items.iter().filter(|item| item.result == CheckResult::Fail);
        let items = failed.map(|item| item.name.clone()).collect();
        judge(task, number, RevisionVerdict::Refused(items));
        task.draft = Some(Draft { refused: Some(report), ..draft });
    }
    touch(task, at_ms, events);
    Ok(Outcome::Done)
}

/// A task that ends takes no other document any more.
pub(super) fn abandon_draft(task: &mut Task) {
    if let Some(draft) = task.draft.take()
        && draft.refused.is_none()
    {
        judge(task, draft.revision, RevisionVerdict::Refused(Vec::new()));
    }
}

fn judge(task: &mut Task, number: u64, verdict: RevisionVerdict) {
    if let Some(newest) = task.revisions.last_mut()
        && newest.number == number
    {
        newest.verdict = verdict;
    }
}
