//! Whether a task may start: the facts of a look at both ends, judged item by item (CONTRACT §5).

mod columns;
mod copy;
mod identifier;
mod publication;
mod selection;
mod source;
mod surroundings;
mod tables;
mod target;
mod topics;

pub use copy::{CopyLook, judge_copy};
pub use identifier::{identifier, qualified};
pub use source::{SourceLook, is_too_old, judge_source};
pub use tables::{as_its_root, with_identity};
pub use target::{TargetLook, judge_target};

use tidewire_shared::Fault;
use tidewire_shared::precheck::{CheckItem, CheckResult};

/// The verdict on one item while it is put together.
struct Finding {
    result: CheckResult,
    found: String,
    message: String,
    remedy: String,
    overridable: bool,
}

impl Finding {
    fn pass(found: impl Into<String>) -> Self {
        Self {
            result: CheckResult::Pass,
            found: found.into(),
            message: String::new(),
            remedy: String::new(),
            overridable: false,
        }
    }

    fn warn(
        found: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            result: CheckResult::Warn,
            found: found.into(),
            message: message.into(),
            remedy: remedy.into(),
            overridable: false,
        }
    }

    fn fail(
        found: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self { result: CheckResult::Fail, ..Self::warn(found, message, remedy) }
    }

    /// The same failure, which a user may override: it neither loses data nor hurts the source.
    fn overridable(self) -> Self {
        Self { overridable: true, ..self }
    }

    /// A probe that failed.
    fn of(fault: &Fault) -> Self {
        Self::fail(&fault.object, &fault.message, &fault.remedy)
    }

    fn item(self, name: &str) -> CheckItem {
        let Self { result, found, message, remedy, overridable } = self;
        let name = name.to_owned();
        CheckItem { name, result, found, message, remedy, overridable, waiver: None }
    }
}

/// Most things that one item lists: what is longer is read by nobody.
const LISTED: usize = 20;

/// The first of the things that an item found, and how many more there are.
fn listed(things: &[String], separator: &str) -> String {
    let first = things.get(..LISTED).unwrap_or(things).join(separator);
    match things.len().saturating_sub(LISTED) {
        0 => first,
        more => format!("{first}{separator}and {more} more"),
    }
}

#[cfg(test)]
mod tests;
