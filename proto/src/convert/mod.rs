//! Between the wire and the words of `tidewire_shared`, one file per noun, both ways.
//!
//! Words become messages without fail (`From`). Messages come from outside and may hold anything:
//! `TryFrom` names the path of the first field that does not fit, like `spec.source.tls.mode`. A
//! service starts such a path with [`required`]: `required("spec", request.spec)?`.

mod alert;
mod connection;
mod fault;
mod format;
mod kafka_task;
mod objects;
mod place;
mod position;
mod precheck;
mod report;
mod source;
mod status;
mod target;
mod task;

pub use status::{CALLER_METADATA, ERROR_METADATA, LEADER_METADATA, detail_of, status};

use std::fmt::Display;
use std::str::FromStr;

use tidewire_shared::ConnectionName;

/// A message holds something that has no meaning, or lacks something that must be there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct ConvertError {
    /// Names of the fields from the outermost message to the one that does not fit.
    pub path: String,
    /// What is wrong with it, as a fragment.
    pub problem: String,
}

impl ConvertError {
    /// An error about the field `path`.
    pub fn new(path: impl Into<String>, problem: impl Display) -> Self {
        Self { path: path.into(), problem: problem.to_string() }
    }

    /// The same error seen from the message around it, where the failing one is the field `outer`.
    #[must_use]
    pub fn within(self, outer: &str) -> Self {
        let path = match self.path.as_str() {
            "" => outer.to_owned(),
            index if index.starts_with('[') => format!("{outer}{index}"),
            inner => format!("{outer}.{inner}"),
        };
        Self { path, ..self }
    }
}

/// Converts the message in `field`, which must be there.
///
/// # Errors
/// When it is absent or does not convert; the path begins with `field`.
pub fn required<M, T>(field: &str, message: Option<M>) -> Result<T, ConvertError>
where
    T: TryFrom<M, Error = ConvertError>,
{
    let message = message.ok_or_else(|| ConvertError::new(field, "is missing"))?;
    T::try_from(message).map_err(|error| error.within(field))
}

/// Converts the message in `field` if there is one.
///
/// # Errors
/// When it does not convert; the path begins with `field`.
pub fn optional<M, T>(field: &str, message: Option<M>) -> Result<Option<T>, ConvertError>
where
    T: TryFrom<M, Error = ConvertError>,
{
    message.map(|message| required(field, Some(message))).transpose()
}

/// Converts every message in `field`.
///
/// # Errors
/// When one does not convert; the path begins with `field[INDEX]`.
pub fn each<M, T>(field: &str, messages: Vec<M>) -> Result<Vec<T>, ConvertError>
where
    T: TryFrom<M, Error = ConvertError>,
{
    let convert = |(index, message)| {
        T::try_from(message).map_err(|error| error.within(&format!("{field}[{index}]")))
    };
    messages.into_iter().enumerate().map(convert).collect()
}

/// Reads the text in `field` by the rule of its type, such as a name.
///
/// # Errors
/// When the text breaks the rule.
pub fn parsed<T>(field: &str, text: &str) -> Result<T, ConvertError>
where
    T: FromStr<Err: Display>,
{
    text.parse().map_err(|problem| ConvertError::new(field, problem))
}

/// Converts the number of an enum in `field`; `W` is the generated enum.
fn enumerated<W, T>(field: &str, number: i32) -> Result<T, ConvertError>
where
    W: TryFrom<i32>,
    T: TryFrom<W, Error = ConvertError>,
{
    let word = W::try_from(number).map_err(|_| {
        ConvertError::new(field, format!("{number} has no meaning in this version"))
    })?;
    T::try_from(word).map_err(|error| error.within(field))
}

/// The name of a registered connection; empty: none.
fn named(connection: &str) -> Result<Option<ConnectionName>, ConvertError> {
    (!connection.is_empty()).then(|| parsed("connection", connection)).transpose()
}

/// A text that must not be empty.
fn text(field: &str, value: String) -> Result<String, ConvertError> {
    if value.is_empty() { Err(ConvertError::new(field, "is empty")) } else { Ok(value) }
}

/// A list that must not be empty, nor hold empty texts.
fn texts(field: &str, values: Vec<String>) -> Result<Vec<String>, ConvertError> {
    let filled = values.into_iter().enumerate();
    let filled = filled.map(|(index, value)| text(&format!("{field}[{index}]"), value));
    listed(field, filled.collect::<Result<_, _>>()?)
}

/// A list that must not be empty.
fn listed<T>(field: &str, values: Vec<T>) -> Result<Vec<T>, ConvertError> {
    if values.is_empty() { Err(ConvertError::new(field, "is empty")) } else { Ok(values) }
}

/// Two enums with the same variants; the wire's `Unspecified` is an error.
macro_rules! same_variants {
    ($word:ty, $wire:ty, [$($variant:ident),+]) => {
        impl From<$word> for $wire {
            fn from(word: $word) -> Self {
                match word {
                    $(<$word>::$variant => Self::$variant),+
                }
            }
        }

        impl TryFrom<$wire> for $word {
            type Error = $crate::convert::ConvertError;

            fn try_from(wire: $wire) -> Result<Self, Self::Error> {
                match wire {
                    <$wire>::Unspecified => {
                        Err($crate::convert::ConvertError::new("", "is unspecified"))
                    }
                    $(<$wire>::$variant => Ok(Self::$variant)),+
                }
            }
        }
    };
}
use same_variants;

#[cfg(test)]
mod tests;
