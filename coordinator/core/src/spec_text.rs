//! A document inside the log: as JSON text, because bincode has no names.
//!
//! The log outlives a release. JSON lets a later one add a field with a default and still read what an
//! earlier one wrote.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

pub(crate) fn serialize<T: Serialize, S: Serializer>(
    document: &Arc<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let text = serde_json::to_string(document.as_ref()).map_err(ser::Error::custom)?;
    serializer.serialize_str(&text)
}

pub(crate) fn deserialize<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Arc<T>, D::Error> {
    let text = String::deserialize(deserializer)?;
    serde_json::from_str(&text).map(Arc::new).map_err(de::Error::custom)
}
