//! What was told of one alert, and what may be told now: no storm, and one end for each beginning.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tidewire_shared::{ChannelName, Period, TaskName};

use super::message::{Ending, MessageKind};

/// Messages of one alert within any hour. The message that tells the end of an alert counts from its
/// beginning on, so that there is always room for it.
pub const MESSAGES_PER_HOUR: usize = 10;

const HOUR_MS: u64 = 3_600_000;

/// How one alert stands; the default: it does not fire, and nothing was told lately.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    pub(crate) open: Option<Open>,
    /// When messages went out within the last hour, milliseconds since 1970.
    sent_ms: Vec<i64>,
    held_back: u32,
}

/// An alert that fires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Open {
    pub(crate) since_ms: i64,
    /// The name of the task and the condition: both may be gone at the end.
    pub(crate) task: TaskName,
    pub(crate) condition: String,
    /// When it was told last; none: it was held back.
    told_ms: Option<i64>,
    /// Everyone who heard of it.
    pub(crate) heard: BTreeSet<ChannelName>,
}

/// A message that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) kind: MessageKind,
    pub(crate) held_back: u32,
}

impl Standing {
    /// Since when it fires, milliseconds since 1970; none: it does not.
    #[must_use]
    pub fn since_ms(&self) -> Option<i64> {
        self.open.as_ref().map(|open| open.since_ms)
    }

    /// Times that it fired since the last message, and nobody was told.
    #[must_use]
    pub fn held_back(&self) -> u32 {
        self.held_back
    }

    /// Whether there is anything to remember.
    pub(crate) fn is_quiet(&self, now_ms: i64) -> bool {
        self.open.is_none() && self.held_back == 0 && self.sent_lately(now_ms) == 0
    }

    /// It begins to fire; the message, if one may go out.
    pub(crate) fn fire(
        &mut self,
        task: &TaskName,
        condition: String,
        at_ms: i64,
    ) -> Option<Notice> {
        if self.open.is_some() {
            return None;
        }
        let (task, heard) = (task.clone(), BTreeSet::new());
        self.open = Some(Open { since_ms: at_ms, task, condition, told_ms: None, heard });
        self.tell(Period::default(), at_ms)
    }

    /// Whether [`Self::tell`] would have something to tell.
    #[must_use]
    pub fn is_due(&self, repeat: Period, now_ms: i64) -> bool {
        let Some(open) = &self.open else { return false };
        let wanted =
            open.told_ms.is_none_or(|told_ms| repeat.0 > 0 && told_ms.abs_diff(now_ms) >= repeat.0);
        // One for this message, one for the end.
        wanted && self.sent_lately(now_ms) + 2 <= MESSAGES_PER_HOUR
    }

    /// It goes on: the message that was held back, or the repeat that is due.
    pub(crate) fn tell(&mut self, repeat: Period, at_ms: i64) -> Option<Notice> {
        if !self.is_due(repeat, at_ms) {
            return None;
        }
        let told_ms = self.open.as_mut()?.told_ms.replace(at_ms);
        self.note(at_ms);
        let kind = if told_ms.is_none() { MessageKind::Fired } else { MessageKind::Repeated };
        Some(Notice { kind, held_back: std::mem::take(&mut self.held_back) })
    }

    /// It is over; the message, if anybody heard of it.
    pub(crate) fn resolve(&mut self, ending: Ending, at_ms: i64) -> Option<(Open, Notice)> {
        let open = self.open.take()?;
        if open.told_ms.is_none() {
            self.held_back = self.held_back.saturating_add(1);
            return None;
        }
        self.note(at_ms);
        let held_back = std::mem::take(&mut self.held_back);
        Some((open, Notice { kind: MessageKind::Resolved(ending), held_back }))
    }

    fn note(&mut self, at_ms: i64) {
        self.sent_ms.retain(|sent_ms| sent_ms.abs_diff(at_ms) < HOUR_MS);
        self.sent_ms.push(at_ms);
    }

    /// A clock that was set back or forth counts as little as it can.
    fn sent_lately(&self, now_ms: i64) -> usize {
        self.sent_ms.iter().filter(|sent_ms| sent_ms.abs_diff(now_ms) < HOUR_MS).count()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn name() -> TaskName {
        "orders".parse().expect("a name")
    }

    fn fire(standing: &mut Standing, at_ms: i64) -> Option<Notice> {
        standing.fire(&name(), "phase Failed".to_owned(), at_ms)
    }

    #[test]
    fn a_flapping_alert_is_told_a_few_times_and_then_counted() {
        let mut standing = Standing::default();
        let mut told = Vec::new();
        // Once a minute for two hours.
        for minute in 0..120_i64 {
            let at_ms = minute * 60_000;
            told.extend(fire(&mut standing, at_ms));
            let over = standing.resolve(Ending::Over, at_ms + 30_000);
            told.extend(over.map(|(_, notice)| notice));
        }
        let fired = told.iter().filter(|notice| notice.kind == MessageKind::Fired).count();
        assert_eq!((told.len(), fired), (20, 10));
        let held_back: u32 = told.iter().map(|notice| notice.held_back).sum();
        assert_eq!(held_back + standing.held_back(), 110, "every time is told of, or counted");
        assert_eq!(told[10].held_back, 56, "the first message of the second hour says how many");
    }

    #[test]
    fn what_was_held_back_is_told_when_it_still_lasts_and_there_is_room() {
        let mut standing = Standing::default();
        for at in 0..5 {
            assert!(fire(&mut standing, at * 1_000).is_some());
            assert!(standing.resolve(Ending::Over, at * 1_000 + 500).is_some());
        }
        assert_eq!(fire(&mut standing, 10_000), None, "five pairs are ten messages");
        assert!(!standing.is_due(Period::default(), 3_599_000));
        let notice = standing.tell(Period::default(), 3_601_000).expect("room for two");
        assert_eq!(notice, Notice { kind: MessageKind::Fired, held_back: 0 });
        assert!(standing.resolve(Ending::Over, 3_602_000).is_some());
    }

    #[derive(Clone, Copy, Debug)]
    enum Deed {
        Fire,
        Tell,
        Resolve,
    }

    fn deeds() -> impl Strategy<Value = Vec<(Deed, i64)>> {
        let deed = prop_oneof![Just(Deed::Fire), Just(Deed::Tell), Just(Deed::Resolve)];
        vec((deed, 0..900_000_i64), 0..200)
    }

    proptest! {
        /// Whatever is asked in whatever order: one end for each beginning that was told, after it;
        /// never more messages in an hour than may be; nothing that happened is forgotten.
        #[test]
        fn messages_are_few_and_come_in_pairs(deeds in deeds(), repeat_s in 0..4_000_u64) {
            let repeat = Period::from_secs(repeat_s);
            let (mut standing, mut now_ms) = (Standing::default(), 0);
            let (mut sent, mut begun, mut told) = (Vec::<i64>::new(), 0_u32, 0_u32);
            let (mut held_back, mut open) = (0, false);
            for (deed, passes_ms) in deeds {
                now_ms += passes_ms;
                let was_open = standing.since_ms().is_some();
                let notice = match deed {
                    Deed::Fire => fire(&mut standing, now_ms),
                    Deed::Tell => standing.tell(repeat, now_ms),
                    Deed::Resolve => standing.resolve(Ending::Over, now_ms).map(|(_, it)| it),
                };
                begun += u32::from(!was_open && standing.since_ms().is_some());
                let Some(Notice { kind, held_back: more }) = notice else { continue };
                held_back += more;
                sent.push(now_ms);
                match kind {
                    MessageKind::Fired => {
                        prop_assert!(!open);
                        (open, told) = (true, told + 1);
                    }
                    MessageKind::Repeated => prop_assert!(open && repeat_s > 0),
                    MessageKind::Resolved(_) => {
                        prop_assert!(open);
                        open = false;
                    }
                }
                let lately = sent.iter().filter(|at| now_ms - **at < 3_600_000).count();
                prop_assert!(lately <= MESSAGES_PER_HOUR);
            }
            let untold = u32::from(standing.since_ms().is_some() && !open);
            prop_assert_eq!(begun, told + held_back + standing.held_back() + untold);
            // The end of what was told always finds room.
            let end = standing.resolve(Ending::Over, now_ms);
            prop_assert_eq!(end.is_some(), open);
        }
    }
}
