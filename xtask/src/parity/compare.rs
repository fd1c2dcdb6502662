//! Finds what differs between two records.

use anyhow::Result;
use tidewire_testbed::reader::Record;

use super::explained;
use super::json::Json;

/// One place where two records differ.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Difference {
    /// Name of the options.
    pub(super) variant: String,
    /// `schema.table`.
    pub(super) table: String,
    /// Place in the topic, from 0.
    pub(super) record: usize,
    /// `key`, `headers`, `value` and members, with dots between.
    pub(super) path: String,
    /// What Debezium has there; none: nothing.
    pub(super) theirs: Option<Json>,
    /// What we have there.
    pub(super) ours: Option<Json>,
}

impl Difference {
    /// Why it is so, where that is known.
    pub(super) fn reason(&self) -> Option<&'static str> {
        explained::RULES.iter().find(|rule| (rule.fits)(self)).map(|rule| rule.reason)
    }
}

/// Where a comparison stands.
pub(super) struct Place<'a> {
    pub(super) variant: &'a str,
    pub(super) table: &'a str,
    pub(super) record: usize,
}

/// Collects the differences of two topics.
pub(super) fn topics(
    variant: &str,
    table: &str,
    theirs: &[Record],
    ours: &[Record],
    into: &mut Vec<Difference>,
) -> Result<()> {
    for record in 0..theirs.len().max(ours.len()) {
        let place = Place { variant, table, record };
        match (theirs.get(record), ours.get(record)) {
            (Some(theirs), Some(ours)) => place.records(theirs, ours, into)?,
            (theirs, ours) => {
                let text = |record: Option<&Record>| {
                    let value = record?.value.as_deref().unwrap_or(b"tombstone");
                    Some(Json::Text(String::from_utf8_lossy(value).into_owned()))
                };
                place.differ("record", text(theirs), text(ours), into);
            }
        }
    }
    Ok(())
}

impl Place<'_> {
    fn records(&self, theirs: &Record, ours: &Record, into: &mut Vec<Difference>) -> Result<()> {
        for (path, theirs, ours) in
            [("key", &theirs.key, &ours.key), ("value", &theirs.value, &ours.value)]
        {
            let parse = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(Json::parse).transpose();
            match (parse(theirs)?, parse(ours)?) {
                (Some(theirs), Some(ours)) => self.values(path, &theirs, &ours, into),
                (None, None) => {}
                (theirs, ours) => self.differ(path, theirs, ours, into),
            }
        }
        let text = |record: &Record| {
            let text = |bytes: &Option<Vec<u8>>| {
                bytes.as_ref().map_or(Json::Null, |bytes| {
                    Json::Text(String::from_utf8_lossy(bytes).into_owned())
                })
            };
            let headers = record.headers.iter().map(|(name, value)| (name.clone(), text(value)));
            Json::Object(headers.collect())
        };
        self.values("headers", &text(theirs), &text(ours), into);
        Ok(())
    }

    fn values(&self, path: &str, theirs: &Json, ours: &Json, into: &mut Vec<Difference>) {
        match (theirs, ours) {
            (Json::Object(theirs), Json::Object(ours)) => self.objects(path, theirs, ours, into),
            (Json::List(theirs), Json::List(ours)) if is_fields(theirs) && is_fields(ours) => {
                self.objects(path, &by_field(theirs), &by_field(ours), into);
            }
            (Json::List(theirs), Json::List(ours)) if theirs.len() == ours.len() => {
                for (theirs, ours) in theirs.iter().zip(ours) {
                    self.values(&format!("{path}[]"), theirs, ours, into);
                }
            }
            _ if theirs.same(ours) => {}
            _ => self.differ(path, Some(theirs.clone()), Some(ours.clone()), into),
        }
    }

    fn objects(
        &self,
        path: &str,
        theirs: &[(String, Json)],
        ours: &[(String, Json)],
        into: &mut Vec<Difference>,
    ) {
        fn find<'j>(members: &'j [(String, Json)], name: &str) -> Option<&'j Json> {
            members.iter().find(|(own, _)| own == name).map(|(_, value)| value)
        }
        for (name, value) in theirs {
            let path = format!("{path}.{name}");
            match find(ours, name) {
                Some(own) => self.values(&path, value, own, into),
                None => self.differ(&path, Some(value.clone()), None, into),
            }
        }
        for (name, value) in ours.iter().filter(|(name, _)| find(theirs, name).is_none()) {
            self.differ(&format!("{path}.{name}"), None, Some(value.clone()), into);
        }
        let shared = |one: &[(String, Json)], other: &[(String, Json)]| {
            let names = one.iter().filter(|(name, _)| find(other, name).is_some());
            Json::List(names.map(|(name, _)| Json::Text(name.clone())).collect())
        };
        let (their_order, our_order) = (shared(theirs, ours), shared(ours, theirs));
        if their_order != our_order {
            self.differ(&format!("{path} order"), Some(their_order), Some(our_order), into);
        }
    }

    fn differ(
        &self,
        path: &str,
        theirs: Option<Json>,
        ours: Option<Json>,
        into: &mut Vec<Difference>,
    ) {
        into.push(Difference {
            variant: self.variant.to_owned(),
            table: self.table.to_owned(),
            record: self.record,
            path: path.to_owned(),
            theirs,
            ours,
        });
    }
}

fn field(item: &Json) -> Option<&str> {
    let Json::Object(members) = item else { return None };
    members.iter().find_map(|(name, value)| match value {
        Json::Text(text) if name == "field" => Some(text.as_str()),
        _ => None,
    })
}

/// Whether a list is that of the fields of a schema.
fn is_fields(items: &[Json]) -> bool {
    !items.is_empty() && items.iter().all(|item| field(item).is_some())
}

/// The fields of a schema by their names.
fn by_field(items: &[Json]) -> Vec<(String, Json)> {
    items.iter().filter_map(|item| Some((field(item)?.to_owned(), item.clone()))).collect()
}
