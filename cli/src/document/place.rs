//! Walking a document: values by key, each with its path, so that every error says where.

use std::fmt::Display;
use std::str::FromStr;

use serde_saphyr::Spanned;

use super::DocumentError;
use super::node::{Marked, Node};

/// What walking yields.
pub(super) type Walk<T> = Result<T, DocumentError>;

/// A value of the document, and how one gets there.
#[derive(Clone)]
pub(super) struct Place<'a> {
    node: &'a Marked,
    path: String,
}

impl<'a> Place<'a> {
    /// The whole document.
    pub(super) fn top(node: &'a Marked) -> Self {
        Self { node, path: String::new() }
    }

    /// An error about this value.
    pub(super) fn wrong<T>(&self, problem: impl Display, remedy: impl Into<String>) -> Walk<T> {
        let path = self.path.clone();
        Err(DocumentError { path, ..DocumentError::new(problem, remedy).at(self.node.referenced) })
    }

    /// An error about this value, which means something, but nothing that this version does.
    pub(super) fn later<T>(&self, what: impl Display, remedy: impl Into<String>) -> Walk<T> {
        self.wrong(format_args!("{what} is not in this version"), remedy)
    }

    fn expected<T>(&self, what: &str) -> Walk<T> {
        let remedy = match (&self.node.value, what) {
            (Node::Truth(_) | Node::Whole(_) | Node::Fraction(_), "a text") => {
                "put it in quotes".to_owned()
            }
            _ => format!("write {what}"),
        };
        self.wrong(format_args!("is {}, not {what}", self.node.value.what()), remedy)
    }

    /// The keys of a mapping, all of which must be in `known`.
    pub(super) fn keys(&self, known: &'static [&'static str]) -> Walk<Keys<'a>> {
        let Node::Map(entries) = &self.node.value else {
            return self.expected("a mapping");
        };
        let keys = Keys { place: self.clone(), entries };
        match entries.iter().find(|(key, _)| !known.contains(&key.value.as_str())) {
            Some((key, _)) => Err(keys.unknown(key, known)),
            None => Ok(keys),
        }
    }

    /// The keys of a mapping before it is known which ones are right.
    pub(super) fn heading(&self) -> Walk<Keys<'a>> {
        match &self.node.value {
            Node::Map(entries) => Ok(Keys { place: self.clone(), entries }),
            _ => self.expected("a mapping"),
        }
    }

    /// The entries of a mapping whose keys are free.
    pub(super) fn entries(&self) -> Walk<Vec<(&'a str, Self)>> {
        let Node::Map(entries) = &self.node.value else {
            return self.expected("a mapping");
        };
        Ok(entries
            .iter()
            .map(|(key, value)| (key.value.as_str(), self.inside(&key.value, value)))
            .collect())
    }

    fn inside(&self, key: &str, node: &'a Marked) -> Self {
        let path =
            if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) };
        Self { node, path }
    }

    /// The values of a list.
    pub(super) fn list(&self) -> Walk<Vec<Self>> {
        let Node::List(values) = &self.node.value else {
            return self.expected("a list");
        };
        let place = |(index, node)| Self { node, path: format!("{}[{index}]", self.path) };
        Ok(values.iter().enumerate().map(place).collect())
    }

    /// The values of a list that holds at least one.
    pub(super) fn filled_list(&self) -> Walk<Vec<Self>> {
        let list = self.list()?;
        if list.is_empty() { self.wrong("is empty", "name at least one") } else { Ok(list) }
    }

    /// A text, which may be empty.
    pub(super) fn text(&self) -> Walk<&'a str> {
        match &self.node.value {
            Node::Text(text) => Ok(text),
            _ => self.expected("a text"),
        }
    }

    /// A text that is not empty and has no control characters.
    pub(super) fn filled_text(&self) -> Walk<&'a str> {
        let text = self.text()?;
        if text.is_empty() {
            return self.wrong("is empty", "write a text");
        }
        if text.chars().any(char::is_control) {
            return self.wrong("holds control characters", "write it without them");
        }
        Ok(text)
    }

    /// A whole number within bounds.
    pub(super) fn whole(&self, least: i64, most: i64) -> Walk<i64> {
        match self.node.value {
            Node::Whole(number) if (least..=most).contains(&number) => Ok(number),
            Node::Whole(number) => self.wrong(
                format_args!("is {number}, out of bounds"),
                format!("write a number from {least} to {most}"),
            ),
            _ => self.expected("a whole number"),
        }
    }

    /// `true` or `false`.
    pub(super) fn truth(&self) -> Walk<bool> {
        match self.node.value {
            Node::Truth(truth) => Ok(truth),
            _ => self.expected("true or false"),
        }
    }

    /// A text that is read by the rule of its type: a name, a duration, a size.
    pub(super) fn parsed<T: FromStr<Err: Display>>(&self) -> Walk<T> {
        let text = match &self.node.value {
            // A zero needs no unit; every other bare number lacks one, and its type says so.
            Node::Whole(number) => number.to_string(),
            _ => self.text()?.to_owned(),
        };
        text.parse().or_else(|problem: T::Err| {
            let problem = problem.to_string();
            match problem.split_once("; ").or_else(|| problem.split_once(": ")) {
                Some((problem, remedy)) => self.wrong(problem, remedy),
                None => self.wrong(problem, "write it as docs/operations.md shows"),
            }
        })
    }

    /// One of some words; each stands for a value.
    pub(super) fn word<T: Copy>(&self, words: &[(&'static str, T)]) -> Walk<T> {
        let text = self.text()?;
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(*value),
            None => {
                let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                self.wrong(format_args!("`{text}` has no meaning here"), suggestion(text, &known))
            }
        }
    }

    /// The text, if it is one; for values that are a word or a mapping.
    pub(super) fn as_text(&self) -> Option<&'a str> {
        match &self.node.value {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// How one gets there, like `source.tls.mode`.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Whether it is a list where one value is expected.
    pub(super) fn is_list(&self) -> bool {
        matches!(self.node.value, Node::List(_))
    }

    /// A number or truth value as text, for properties that are texts but look like numbers.
    pub(super) fn as_property(&self) -> Walk<String> {
        match &self.node.value {
            Node::Text(text) => Ok(text.clone()),
            Node::Whole(number) => Ok(number.to_string()),
            Node::Fraction(number) => Ok(number.to_string()),
            Node::Truth(truth) => Ok(truth.to_string()),
            _ => self.expected("a text"),
        }
    }
}

/// The keys of one mapping, known to be the right ones.
pub(super) struct Keys<'a> {
    place: Place<'a>,
    entries: &'a [(Spanned<String>, Marked)],
}

impl<'a> Keys<'a> {
    /// The value of `key`, when it is written and not null.
    pub(super) fn get(&self, key: &str) -> Option<Place<'a>> {
        let (key, node) = self.entries.iter().find(|(name, _)| name.value == key)?;
        (!matches!(node.value, Node::Nothing)).then(|| self.place.inside(&key.value, node))
    }

    /// The value of `key`, which must be written.
    pub(super) fn need(&self, key: &str) -> Walk<Place<'a>> {
        match self.get(key) {
            Some(place) => Ok(place),
            None => self.place.wrong(
                format_args!("the key `{key}` is missing"),
                format!("add `{key}:`; `tidewire task explain --help` shows a whole document"),
            ),
        }
    }

    /// What `read` makes of the value of `key`, or `default`.
    pub(super) fn get_or<T>(
        &self,
        key: &str,
        default: T,
        read: impl FnOnce(&Place<'a>) -> Walk<T>,
    ) -> Walk<T> {
        self.get(key).map_or(Ok(default), |place| read(&place))
    }

    /// The mapping itself.
    pub(super) fn place(&self) -> &Place<'a> {
        &self.place
    }

    fn unknown(&self, key: &Spanned<String>, known: &[&'static str]) -> DocumentError {
        let place = self.place.path.as_str();
        let path =
            if place.is_empty() { key.value.clone() } else { format!("{place}.{}", key.value) };
        let error = DocumentError::new("unknown key", suggestion(&key.value, known));
        DocumentError { path, ..error.at(key.referenced) }
    }
}

/// The nearest of the known words, or all of them when none is near.
fn suggestion(text: &str, known: &[&'static str]) -> String {
    let nearest = known
        .iter()
        .map(|word| (strsim::jaro_winkler(&text.to_lowercase(), &word.to_lowercase()), word))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|(left, _), (right, _)| left.total_cmp(right));
    match nearest {
        Some((_, word)) => format!("did you mean `{word}`?"),
        None => format!("known here: {}", known.join(", ")),
    }
}
