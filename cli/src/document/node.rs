//! YAML (and JSON, which is YAML) as a tree in which every value knows its line and column.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Budget, Location, Options, Spanned};

use super::DocumentError;

/// A value with the place where it is written.
pub(super) type Marked = Spanned<Node>;

/// One value of the document.
#[derive(Debug)]
pub(super) enum Node {
    Nothing,
    Truth(bool),
    Whole(i64),
    Fraction(f64),
    Text(String),
    List(Vec<Marked>),
    Map(Vec<(Spanned<String>, Marked)>),
}

impl Node {
    /// What it is, for people.
    pub(super) fn what(&self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Truth(_) => "true or false",
            Self::Whole(_) => "a number",
            Self::Fraction(_) => "a number with a fraction",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// A task document is a page or two; whatever is larger or deeper than this is none.
const LARGEST_BYTES: usize = 1 << 20;
const DEEPEST: usize = 32;

/// Reads one document.
pub(super) fn read(text: &str) -> Result<Marked, DocumentError> {
    if text.len() > LARGEST_BYTES {
        return Err(DocumentError::new("is larger than 1MiB", "split it, one task in each file"));
    }
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| {
        let place = error.location();
        if error.to_string().starts_with("multiple YAML documents") {
            let problem = "holds more than one document";
            return DocumentError::new(problem, "split it, one task in each file")
                .at(place.unwrap_or(Location::UNKNOWN));
        }
        let suffix = place.map(|at| format!(" at line {}, column {}", at.line(), at.column()));
        let message = error.to_string();
        let message = suffix.and_then(|suffix| message.strip_suffix(&suffix)).unwrap_or(&message);
        // What follows is advice to programmers.
        let message = message.split(", set DuplicateKeyPolicy").next().unwrap_or(message);
        let remedy = "correct the YAML; spaces indent, `key: value` with a space after the colon";
        DocumentError::new(message, remedy).at(place.unwrap_or(Location::UNKNOWN))
    })
}

fn options() -> Options {
    let mut budget = Budget::default();
    budget.max_depth = DEEPEST;
    let mut options = Options::default();
    options.budget = Some(budget);
    // `off` is a word of ours, not a truth value.
    options.strict_booleans = true;
    // A snippet would repeat the line, and the line may hold a password.
    options.with_snippet = false;
    options
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyNode)
    }
}

struct AnyNode;

impl<'de> Visitor<'de> for AnyNode {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Nothing)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Node, E> {
        Ok(Node::Truth(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Whole(number))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Node, E> {
        i64::try_from(number)
            .map(Node::Whole)
            .map_err(|_| E::custom(format_args!("the number {number} is too large")))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Node, E> {
        Ok(Node::Fraction(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Node, E> {
        Ok(Node::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = values.next_element()? {
            list.push(value);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Node::Map(map))
    }
}
