//! What went wrong, for people in three lines, for scripts as an object, and as an exit code.

use std::fmt::Display;
use std::io::Write;

use serde_json::json;
use tidewire_proto::convert::{ConvertError, detail_of};
use tidewire_shared::Fault;
use tonic::{Code, Status};

use crate::args::Format;
use crate::document::DocumentError;

/// Exit codes of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    Refused = 4,
    PrecheckFailed = 5,
    Unreachable = 6,
    NotAllowed = 7,
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Refused => 4,
            Self::PrecheckFailed => 5,
            Self::Unreachable => 6,
            Self::NotAllowed => 7,
        }
    }
}

/// Why a command ends without having done its work.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// Stable word for scripts.
    pub(crate) code: String,
    /// Which object.
    pub(crate) object: String,
    /// Why, as a fragment.
    pub(crate) message: String,
    /// What to do.
    pub(crate) remedy: String,
    /// Whole lines that people read before the error; scripts get them from elsewhere.
    pub(crate) details: Box<[String]>,
}

impl Failure {
    pub(crate) fn new(
        exit: Exit,
        code: &str,
        object: impl Into<String>,
        why: impl Display,
    ) -> Self {
        Self {
            exit,
            code: code.to_owned(),
            object: object.into(),
            message: why.to_string(),
            remedy: String::new(),
            details: Box::default(),
        }
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// What the answer of a coordinator about `object` means.
    pub(crate) fn from_status(status: &Status, object: &str) -> Self {
        let Some(detail) = detail_of(status) else {
            let (exit, code, remedy) = by_code(status.code());
            return Self::new(exit, code, object, status.message()).remedy(remedy);
        };
        let object = if detail.object.is_empty() { object.to_owned() } else { detail.object };
        let (exit, _, _) = by_word(&detail.code).unwrap_or_else(|| by_code(status.code()));
        Self {
            code: detail.code,
            ..Self::new(exit, "", object, detail.message).remedy(detail.remedy)
        }
    }

    /// Writes it to stderr.
    pub(crate) fn report(&self, format: Format) {
        let mut stderr = std::io::stderr().lock();
        // Nobody is left to tell when stderr is gone.
        drop(match format {
            Format::Json => writeln!(stderr, "{}", self.json()),
            _ => writeln!(stderr, "{}", self.lines()),
        });
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        json!({"error": {
            "code": self.code,
            "message": self.message,
            "remedy": self.remedy,
            "object": self.object,
        }})
    }

    fn lines(&self) -> String {
        let remedy = if self.remedy.is_empty() { "try again later" } else { &self.remedy };
        let details: String = self.details.iter().map(|line| format!("{line}\n")).collect();
        format!(
            "{details}error: {} ({})\n  why: {}\n  do:  {remedy}",
            self.object,
            self.code.replace('_', " "),
            self.message
        )
    }
}

type Meaning = (Exit, &'static str, &'static str);

const ASK_AGAIN: &str = "see `tidewire task get NAME`, then call again";
const START_ONE: &str = "start a coordinator, or name one that runs with --endpoint";

fn by_word(word: &str) -> Option<Meaning> {
    Some(match word {
        "not_found" => (Exit::NotFound, "not_found", ""),
        "already_exists" => (Exit::Refused, "already_exists", ""),
        "refused" => (Exit::Refused, "refused", ""),
        "precheck_failed" => (Exit::PrecheckFailed, "precheck_failed", ""),
        "invalid" => (Exit::Usage, "invalid", ""),
        "unavailable" => (Exit::Unreachable, "unavailable", ""),
        "unknown_outcome" => (Exit::Unreachable, "unknown_outcome", ""),
        _ => return None,
    })
}

fn by_code(code: Code) -> Meaning {
    match code {
        Code::InvalidArgument | Code::OutOfRange => (Exit::Usage, "invalid", "correct it"),
        Code::NotFound => (Exit::NotFound, "not_found", "see what `list` shows"),
        Code::AlreadyExists => (Exit::Refused, "already_exists", "choose another name"),
        Code::FailedPrecondition | Code::Aborted => (Exit::Refused, "refused", ASK_AGAIN),
        Code::Unavailable => (Exit::Unreachable, "unavailable", START_ONE),
        Code::Unknown | Code::DeadlineExceeded | Code::Cancelled => {
            (Exit::Unreachable, "unknown_outcome", ASK_AGAIN)
        }
        Code::PermissionDenied | Code::Unauthenticated => {
            (Exit::NotAllowed, "not_allowed", "ask for the right")
        }
        Code::Unimplemented => {
            (Exit::Failed, "unimplemented", "run the same version of tidewire on both sides")
        }
        _ => (Exit::Failed, "failed", "see the log of the coordinator"),
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        use tidewire_shared::FaultKind as Kind;
        let (exit, code) = match fault.kind {
            Kind::SourceUnreachable | Kind::TargetUnreachable | Kind::Coordination => {
                (Exit::Unreachable, "unreachable")
            }
            Kind::SourceDenied | Kind::TargetDenied | Kind::SourceLogin | Kind::TargetLogin => {
                (Exit::NotAllowed, "not_allowed")
            }
            Kind::Configuration => (Exit::Usage, "invalid"),
            _ => (Exit::Failed, "failed"),
        };
        Self::new(exit, code, fault.object, fault.message).remedy(fault.remedy)
    }
}

impl From<ConvertError> for Failure {
    fn from(error: ConvertError) -> Self {
        Self::new(
            Exit::Failed,
            "failed",
            format!("answer of the coordinator: {}", error.path),
            error.problem,
        )
        .remedy("run the same version of tidewire on both sides")
    }
}

/// A document that does not parse: the first line is `FILE:LINE:COLUMN: PATH`.
pub(crate) fn of_document(file: &std::path::Path, error: DocumentError) -> Failure {
    let object = match error.place() {
        place if place.is_empty() => file.display().to_string(),
        place => format!("{}:{place}", file.display()),
    };
    Failure { remedy: error.remedy, ..Failure::new(Exit::Usage, "invalid", object, error.problem) }
}

#[cfg(test)]
mod tests {
    use tidewire_proto::admin::v1::ErrorDetail;
    use tidewire_proto::convert::status;

    use super::*;

    #[test]
    fn every_word_of_the_service_has_its_exit_code() {
        let cases = [
            ("not_found", Code::NotFound, 3),
            ("already_exists", Code::FailedPrecondition, 4),
            ("refused", Code::FailedPrecondition, 4),
            ("precheck_failed", Code::FailedPrecondition, 5),
            ("invalid", Code::InvalidArgument, 2),
            ("unavailable", Code::Unavailable, 6),
            ("unknown_outcome", Code::Unknown, 6),
            ("word_of_a_later_version", Code::PermissionDenied, 7),
        ];
        for (word, code, exit) in cases {
            let detail = ErrorDetail { code: word.into(), ..ErrorDetail::default() };
            let failure = Failure::from_status(&status(code, &detail), "task orders");
            assert_eq!((failure.exit.code(), failure.code.as_str()), (exit, word));
            assert_eq!(failure.object, "task orders");
        }
    }

    #[test]
    fn errors_are_three_lines_or_one_object() {
        let failure = Failure::new(Exit::NotFound, "not_found", "task orders", "there is none")
            .remedy("see `tidewire task list`");
        assert_eq!(
            failure.lines(),
            "error: task orders (not found)\n  why: there is none\n  do:  see `tidewire task list`"
        );
        assert_eq!(
            failure.json().to_string(),
            r#"{"error":{"code":"not_found","message":"there is none","object":"task orders","remedy":"see `tidewire task list`"}}"#
        );
    }
}
