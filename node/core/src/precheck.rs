//! Whether a task may start: the facts of a look at both ends, judged item by item (CONTRACT §5).

mod identifier;
mod source;
mod tables;
mod target;

pub use identifier::{identifier, qualified};
pub use source::{SourceLook, judge_source};
pub use target::judge_target;

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

#[cfg(test)]
mod tests;
