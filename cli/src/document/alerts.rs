//! Alerts of a task: `alerts: [{name, when, to, repeat}]`.

use std::collections::BTreeSet;

use serde::Serialize;
use tidewire_shared::alert::{AlertRule, When};
use tidewire_shared::{AlertName, ChannelName, Period, Phase};

use super::place::{Keys, Place, Walk};
use super::source::period;

/// What an alert may look at: every task, and one that holds WAL.
pub(super) const OF_TASKS: &[&str] = &["delayAbove", "for", "phase"];
pub(super) const OF_POSTGRES: &[&str] = &["delayAbove", "for", "phase", "walAbove"];

/// The alerts of a document, which look at these; none: nobody is told anything.
pub(super) fn alerts(keys: &Keys<'_>, conditions: &'static [&'static str]) -> Walk<Vec<AlertRule>> {
    let Some(place) = keys.get("alerts") else { return Ok(Vec::new()) };
    let list = place.list()?;
    if list.len() > AlertRule::MOST {
        return place.wrong(
            format_args!("holds {} alerts", list.len()),
            format!("write {} at most", AlertRule::MOST),
        );
    }
    let mut names = BTreeSet::new();
    list.iter().map(|place| alert(place, conditions, &mut names)).collect()
}

fn alert(
    place: &Place<'_>,
    conditions: &'static [&'static str],
    names: &mut BTreeSet<AlertName>,
) -> Walk<AlertRule> {
    let keys = place.keys(&["name", "when", "to", "repeat"])?;
    let at = keys.need("name")?;
    let name: AlertName = at.parsed()?;
    if !names.insert(name.clone()) {
        return at.wrong("is the name of another alert, too", "give each a name of its own");
    }
    let (least, most) = AlertRule::REPEAT_BOUNDS;
    Ok(AlertRule {
        name,
        when: when(&keys.need("when")?, conditions)?,
        to: channels(&keys.need("to")?)?,
        repeat: keys.get_or("repeat", AlertRule::REPEAT, |at| match at.parsed()? {
            Period(0) => Ok(Period(0)),
            _ => period(at, least, most),
        })?,
    })
}

fn when(place: &Place<'_>, conditions: &'static [&'static str]) -> Walk<When> {
    let keys = place.keys(conditions)?;
    let (least, most) = When::DELAY_BOUNDS;
    let when = When {
        delay_above: keys.get("delayAbove").map(|at| period(&at, least, most)).transpose()?,
        phases: keys.get_or("phase", Vec::new(), phases)?,
        wal_above: keys.get("walAbove").map(|at| at.parsed()).transpose()?,
        lasting: keys.get_or("for", Period(0), |at| period(at, Period(0), When::LONGEST))?,
    };
    if when.looks_for_nothing() {
        let named = conditions.iter().filter(|it| **it != "for").map(|it| format!("`{it}`"));
        let remedy = format!("write one or more of {}", named.collect::<Vec<_>>().join(", "));
        return place.wrong("says nothing to look for", remedy);
    }
    Ok(when)
}

/// A phase, or a list of them.
fn phases(place: &Place<'_>) -> Walk<Vec<Phase>> {
    let words = Phase::ALL.map(|phase| (phase.as_str(), phase));
    if !place.is_list() {
        return Ok(vec![place.word(&words)?]);
    }
    let mut phases = Vec::new();
    for at in place.filled_list()? {
        let phase = at.word(&words)?;
        if phases.contains(&phase) {
            return at.wrong("stands there twice", "write each phase once");
        }
        phases.push(phase);
    }
    Ok(phases)
}

fn channels(place: &Place<'_>) -> Walk<Vec<ChannelName>> {
    let list = place.filled_list()?;
    if list.len() > AlertRule::MOST_CHANNELS {
        return place.wrong(
            format_args!("names {} channels", list.len()),
            format!("name {} at most", AlertRule::MOST_CHANNELS),
        );
    }
    let mut channels = Vec::new();
    for at in list {
        let channel = at.parsed()?;
        if channels.contains(&channel) {
            return at.wrong("stands there twice", "name each channel once");
        }
        channels.push(channel);
    }
    Ok(channels)
}

/// An alert written back as a document.
#[derive(Debug, Serialize)]
pub(super) struct Alert<'a> {
    name: &'a str,
    when: Condition,
    to: &'a [ChannelName],
    repeat: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_above: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    phase: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    wal_above: Option<String>,
    r#for: String,
}

impl<'a> Alert<'a> {
    pub(super) fn new(rule: &'a AlertRule) -> Self {
        Self {
            name: rule.name.as_str(),
            when: Condition {
                delay_above: rule.when.delay_above.map(|delay| delay.to_string()),
                phase: rule.when.phases.iter().map(|phase| phase.as_str()).collect(),
                wal_above: rule.when.wal_above.map(|size| size.to_string()),
                r#for: rule.when.lasting.to_string(),
            },
            to: &rule.to,
            repeat: rule.repeat.to_string(),
        }
    }
}
