//! Dead letters, as the log of a task tells of them: the first at once, the others together, so that
//! a table of nothing else does not push every other line out.

use std::time::{Duration, Instant};

use tidewire_node_core::encode::EncodeError;
use tidewire_shared::Fault;
use tidewire_shared::spec::BadRecord;

/// Between two lines.
const PAUSE: Duration = Duration::from_secs(60);

/// What the log has yet to be told.
#[derive(Debug)]
pub(crate) struct Letters {
    topic: String,
    untold: u64,
    /// Why the first of them was refused.
    first: Option<Box<EncodeError>>,
    told: Option<Instant>,
}

impl Letters {
    pub(crate) fn new(bad_record: &BadRecord) -> Self {
        let topic = match bad_record {
            BadRecord::Stop => String::new(),
            BadRecord::DeadLetter(topic) => topic.clone(),
        };
        Self { topic, untold: 0, first: None, told: None }
    }

    /// Takes note of letters that are durable.
    pub(crate) fn note(&mut self, letters: u64, first: Option<Box<EncodeError>>) {
        self.untold += letters;
        if self.first.is_none() {
            self.first = first;
        }
    }

    /// The line that is due, if one is.
    pub(crate) fn due(&mut self, now: Instant) -> Option<String> {
        let early = self.told.is_some_and(|told| now.saturating_duration_since(told) < PAUSE);
        if self.untold == 0 || early {
            return None;
        }
        self.told = Some(now);
        let letters = std::mem::take(&mut self.untold);
        let why = match self.first.take() {
            Some(error) => format!(": {}", Fault::from(*error)),
            None => String::new(),
        };
        let changes = if letters == 1 { "change" } else { "changes" };
        let first = if letters > 1 && !why.is_empty() { ", the first" } else { "" };
        Some(format!("{letters} {changes} went to dead-letter topic {}{first}{why}", self.topic))
    }
}

#[cfg(test)]
mod tests {
    use tidewire_shared::Lsn;
    use tidewire_shared::spec::TableName;

    use super::*;

    fn refused(sequence: u64) -> Option<Box<EncodeError>> {
        Some(Box::new(EncodeError {
            table: TableName { schema: "public".into(), table: "notes".into() },
            lsn: Lsn(16),
            sequence,
            key_hash: 7,
            what: "record of 9 bytes is over the limit of 8".into(),
            remedy: String::new(),
        }))
    }

    #[test]
    fn the_first_is_told_at_once_and_the_others_together() {
        let mut letters = Letters::new(&BadRecord::DeadLetter("dead".into()));
        let began = Instant::now();
        assert_eq!(letters.due(began), None);
        letters.note(1, refused(3));
        let line = letters.due(began).expect("at once");
        assert_eq!(
            line,
            "1 change went to dead-letter topic dead: table public.notes at 0/10 change 3 key hash \
             00000007: record of 9 bytes is over the limit of 8"
        );
        letters.note(2, refused(4));
        letters.note(5, refused(9));
        assert_eq!(letters.due(began + PAUSE / 2), None, "not once for each");
        let line = letters.due(began + PAUSE).expect("in the end");
        assert!(
            line.starts_with("7 changes went to dead-letter topic dead, the first: "),
            "{line}"
        );
        assert!(line.contains("change 4"), "{line}");
        assert_eq!(letters.due(began + 3 * PAUSE), None, "once");
    }
}
