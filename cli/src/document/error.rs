//! Why a document is refused.

use std::fmt;

use serde_saphyr::Location;

/// The first thing in a document that does not fit, with its place and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentError {
    /// Line, from 1; 0 when the trouble has no place.
    pub line: u64,
    /// Column in characters, from 1; 0 when the trouble has no place.
    pub column: u64,
    /// Path of the key, like `source.tls.mode`; empty for the document as a whole.
    pub path: String,
    /// What is wrong.
    pub problem: String,
    /// What to write instead.
    pub remedy: String,
}

impl DocumentError {
    pub(super) fn new(problem: impl fmt::Display, remedy: impl Into<String>) -> Self {
        Self {
            line: 0,
            column: 0,
            path: String::new(),
            problem: problem.to_string(),
            remedy: remedy.into(),
        }
    }

    pub(super) fn at(mut self, place: Location) -> Self {
        self.line = place.line();
        self.column = place.column();
        self
    }

    /// `LINE:COLUMN: PATH`, without what is not known.
    #[must_use]
    pub fn place(&self) -> String {
        match (self.line, self.path.as_str()) {
            (0, path) => path.to_owned(),
            (line, "") => format!("{line}:{}", self.column),
            (line, path) => format!("{line}:{}: {path}", self.column),
        }
    }
}

impl fmt::Display for DocumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place();
        if !place.is_empty() {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}; {}", self.problem, self.remedy)
    }
}

impl std::error::Error for DocumentError {}
