//! The differences from Debezium that are meant, each with its reason: docs/formats.md lists the same.

use super::compare::Difference;
use super::json::Json;

/// A kind of difference, and why it is there.
pub(super) struct Rule {
    /// As docs/formats.md says it.
    pub(super) reason: &'static str,
    pub(super) fits: fn(&Difference) -> bool,
}

const UNAVAILABLE: &str = "__debezium_unavailable_value";

/// Two thirds of these are values that Debezium loses and we keep.
pub(super) const RULES: &[Rule] = &[
    Rule {
        reason: "`ts_ms`, `ts_us`, `ts_ns` outside `source` tell when the record was written",
        fits: |d| member(d, &["value.ts_ms", "value.ts_us", "value.ts_ns"]),
    },
    Rule {
        reason: "`source.version` is Tidewire's",
        fits: |d| member(d, &["value.source.version"]),
    },
    Rule {
        reason: "`source.lsn` is the commit's position, and `sequence` that and the number of the \
                 change: together the identity of the change",
        fits: |d| member(d, &["value.source.lsn", "value.source.sequence"]),
    },
    Rule {
        reason: "headers `__debezium.context.*` name a run of a connector, which we are not",
        fits: |d| d.path.starts_with("headers.__debezium.context.") && d.ours.is_none(),
    },
    Rule {
        reason: "JsonConverter writes a column's default in place of NULL; we write null",
        fits: |d| {
            in_row(d)
                && d.table == "public.with_defaults"
                && d.ours == Some(Json::Null)
                && d.variant != "texts"
        },
    },
    Rule {
        reason: "NaN and infinities of `numeric` become null with `decimal: precise`; we write \
                 their text",
        fits: |d| {
            in_row(d) && lost(d) && ["NaN", "Infinity", "-Infinity"].iter().any(|t| ours(d, t))
        },
    },
    Rule {
        reason: "`numeric[]` with NaN or an infinity in it becomes null; ours stays an array",
        fits: |d| columns(d, "public.edges", &["na"]) && lost(d),
    },
    Rule {
        reason: "with `replace.null.with.default: false` at the converter `source.snapshot` is null; \
                 ours is always `false`",
        fits: |d| member(d, &["value.source.snapshot"]) && d.variant == "texts" && lost(d),
    },
    Rule {
        reason: "an unchanged TOAST value becomes null where the type has no text; we write the \
                 text `__debezium_unavailable_value` all the same",
        fits: |d| in_row(d) && lost(d) && unavailable(d),
    },
    Rule {
        reason: "arrays of more than one dimension lose their elements; ours are nested",
        fits: |d| {
            in_row(d) && d.path.ends_with("[]") && lost(d) && matches!(d.ours, Some(Json::List(_)))
        },
    },
    Rule {
        reason: "`oidvector` and `int2vector` come empty or null; ours are arrays of numbers",
        fits: |d| columns(d, "public.corpus", &["c60", "c61"]),
    },
    Rule {
        reason: "columns of `money[]`, `name[]`, `interval[]`, `xml[]`, `point[]`, `refcursor[]` and \
                 `varbit[]` are left out, `bit[]` becomes null; ours are arrays of what the element \
                 is alone",
        fits: |d| columns(d, "public.edges", &["ina", "pa", "xa", "ma", "naa", "ba"]),
    },
    Rule {
        reason: "the time 24:00:00 becomes 0 in arrays and with `time: isostring`; ours stays",
        fits: |d| {
            let zero = matches!(&d.theirs, Some(Json::Whole(0)))
                || d.theirs.as_ref().is_some_and(|theirs| theirs.is_text("00:00:00Z"));
            let whole_day = matches!(&d.ours, Some(Json::Whole(86_400_000 | 86_400_000_000)))
                || ours(d, "24:00:00Z");
            in_row(d) && zero && whole_day
        },
    },
    Rule {
        reason: "an infinite date in an array is another number than one alone; ours is the same",
        fits: |d| columns(d, "public.edges", &["da"]),
    },
    Rule {
        reason: "`numeric` with a negative scale gets some 65,000 zeros; ours has the scale",
        fits: |d| columns(d, "public.edges", &["nn"]),
    },
    Rule {
        reason: "`name` becomes null with `unknownTypes: false`; ours stays text",
        fits: |d| columns(d, "public.corpus", &["c17"]) && lost(d),
    },
    Rule {
        reason: "with `time: connect` the headers of a key change are not JSON; ours have the key",
        fits: |d| d.path.starts_with("headers.__debezium.") && d.variant == "doubles",
    },
];

fn member(difference: &Difference, paths: &[&str]) -> bool {
    let path = difference.path.replacen("value.payload.", "value.", 1);
    paths.contains(&path.as_str())
}

/// The path inside an old or new row.
fn row_path(difference: &Difference) -> Option<&str> {
    let path = difference.path.strip_prefix("value.")?;
    let before = ["before.", "payload.before.", "schema.fields.before.fields."];
    let after = ["after.", "payload.after.", "schema.fields.after.fields."];
    before.iter().chain(&after).find_map(|rows| path.strip_prefix(rows))
}

fn in_row(difference: &Difference) -> bool {
    row_path(difference).is_some()
}

fn columns(difference: &Difference, table: &str, names: &[&str]) -> bool {
    let column = row_path(difference).and_then(|path| path.split(['.', '[']).next());
    difference.table == table && column.is_some_and(|column| names.contains(&column))
}

fn lost(difference: &Difference) -> bool {
    difference.theirs == Some(Json::Null)
}

fn ours(difference: &Difference, text: &str) -> bool {
    difference.ours.as_ref().is_some_and(|ours| ours.is_text(text))
}

fn unavailable(difference: &Difference) -> bool {
    match &difference.ours {
        Some(Json::Text(text)) => text == UNAVAILABLE,
        Some(Json::List(items)) => items.iter().all(|item| item.is_text(UNAVAILABLE)),
        _ => false,
    }
}
