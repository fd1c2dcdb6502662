//! Alerts of a task: when its user wants to hear of it, and through which channels.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{AlertName, ChannelName};
use crate::phase::Phase;
use crate::unit::{ByteSize, Period};

/// One alert of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AlertRule {
    /// Its name, unique in the task.
    pub name: AlertName,
    /// What it is about.
    pub when: When,
    /// Who hears of it; not empty.
    pub to: Vec<ChannelName>,
    /// While it lasts, it is told again after this; 0: it is told once.
    pub repeat: Period,
}

impl AlertRule {
    /// Alerts that a task may have.
    pub const MOST: usize = 20;
    /// Channels that an alert may name.
    pub const MOST_CHANNELS: usize = 10;
    /// [`AlertRule::repeat`] where the document does not say it.
    pub const REPEAT: Period = Period::from_mins(240);
    /// Least and most of [`AlertRule::repeat`] other than 0.
    pub const REPEAT_BOUNDS: (Period, Period) = (Period::from_mins(5), Period::from_mins(7 * 1440));

    /// What is wrong with the alerts of a task as a whole; none: nothing.
    #[must_use]
    pub fn flaw(rules: &[Self]) -> Option<String> {
        if rules.len() > Self::MOST {
            return Some(format!("{} alerts; {} are the most", rules.len(), Self::MOST));
        }
        let twice = rules
            .iter()
            .enumerate()
            .find(|(at, rule)| rules.iter().take(*at).any(|other| other.name == rule.name));
        if let Some((_, rule)) = twice {
            return Some(format!("two alerts {}", rule.name));
        }
        rules.iter().find_map(Self::own_flaw)
    }

    fn own_flaw(&self) -> Option<String> {
        let Self { name, when, to, repeat } = self;
        if when.looks_for_nothing() {
            return Some(format!("alert {name} has no condition"));
        }
        if when.delay_above.is_some_and(|delay| !bounds(When::DELAY_BOUNDS, delay)) {
            return Some(format!("the delay of alert {name} is out of bounds"));
        }
        if when.lasting > When::LONGEST {
            return Some(format!("alert {name} waits for more than {}", When::LONGEST));
        }
        if to.is_empty() || to.len() > Self::MOST_CHANNELS {
            return Some(format!("alert {name} names no channel, or too many"));
        }
        if repeat.0 != 0 && !bounds(Self::REPEAT_BOUNDS, *repeat) {
            return Some(format!("the repeat of alert {name} is out of bounds"));
        }
        None
    }
}

fn bounds((least, most): (Period, Period), period: Period) -> bool {
    (least..=most).contains(&period)
}

/// What an alert is about; where several are given, all must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct When {
    /// The task is delayed by more than this.
    pub delay_above: Option<Period>,
    /// The task is in one of these phases; empty: in any.
    #[serde(rename = "phase")]
    pub phases: Vec<Phase>,
    /// Its slot holds back more WAL than this.
    pub wal_above: Option<ByteSize>,
    /// For so long without a break.
    #[serde(rename = "for")]
    pub lasting: Period,
}

impl When {
    /// Least and most of [`When::delay_above`].
    pub const DELAY_BOUNDS: (Period, Period) = (Period(100), Period::from_mins(7 * 1440));
    /// Most of [`When::lasting`].
    pub const LONGEST: Period = Period::from_mins(1440);

    /// Whether it has no condition.
    #[must_use]
    pub fn looks_for_nothing(&self) -> bool {
        self.delay_above.is_none() && self.phases.is_empty() && self.wal_above.is_none()
    }
}

/// `phase Failed or Retrying and delay above 30s for 1m`.
impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phases: Vec<&str> = self.phases.iter().map(|phase| phase.as_str()).collect();
        let phases = (!phases.is_empty()).then(|| format!("phase {}", phases.join(" or ")));
        let delay = self.delay_above.map(|delay| format!("delay above {delay}"));
        let wal = self.wal_above.map(|bytes| format!("held WAL above {bytes}"));
        let parts: Vec<String> = [phases, delay, wal].into_iter().flatten().collect();
        f.write_str(&parts.join(" and "))?;
        if self.lasting.0 > 0 {
            write!(f, " for {}", self.lasting)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str) -> AlertRule {
        AlertRule {
            name: name.parse().expect("a name"),
            when: When {
                delay_above: Some(Period::from_secs(30)),
                phases: vec![Phase::Synchronizing, Phase::Retrying],
                wal_above: None,
                lasting: Period::from_mins(1),
            },
            to: vec!["ops".parse().expect("a name")],
            repeat: AlertRule::REPEAT,
        }
    }

    #[test]
    fn a_condition_is_said_as_people_say_it() {
        let said = "phase Synchronizing or Retrying and delay above 30s for 1m";
        assert_eq!(rule("late").when.to_string(), said);
        let broken = When {
            delay_above: None,
            phases: vec![Phase::Failed],
            wal_above: None,
            lasting: Period::default(),
        };
        assert_eq!(broken.to_string(), "phase Failed");
        let heavy = When { wal_above: Some(ByteSize(10 << 30)), ..broken };
        assert_eq!(heavy.to_string(), "phase Failed and held WAL above 10GiB");
    }

    #[test]
    fn alerts_that_make_no_sense_are_told() {
        assert_eq!(AlertRule::flaw(&[rule("late"), rule("later")]), None);
        let flaw = |change: fn(&mut AlertRule)| {
            let mut changed = rule("late");
            change(&mut changed);
            AlertRule::flaw(&[changed]).is_some()
        };
        assert!(flaw(|rule| rule.to.clear()));
        assert!(flaw(|rule| rule.repeat = Period(1)));
        assert!(flaw(|rule| rule.when.delay_above = Some(Period(0))));
        assert!(flaw(|rule| rule.when.lasting = Period::from_mins(1441)));
        assert!(flaw(|rule| {
            rule.when.delay_above = None;
            rule.when.phases.clear();
        }));
        assert_eq!(
            AlertRule::flaw(&[rule("late"), rule("late")]).as_deref(),
            Some("two alerts late")
        );
        let many: Vec<AlertRule> = (0..21).map(|at| rule(&format!("a{at}"))).collect();
        assert!(AlertRule::flaw(&many).is_some());
    }
}
