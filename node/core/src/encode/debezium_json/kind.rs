//! How Debezium's connector writes each type of PostgreSQL, under the options of a task.
//!
//! Source: the connector's documentation, "Data type mappings", and what it writes over the corpus of
//! `cargo x parity`.

use tidewire_shared::spec::{
    BinaryMode, DebeziumOptions, DecimalMode, HstoreMode, IntervalMode, TimeMode,
};

use crate::encode::sql_type;
use crate::schema::RelationColumn;

/// How a value is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A whole number: the text as it stands. The schema's name of its type.
    Integer(&'static str),
    /// `t` or `f`.
    Bool,
    /// A floating-point number. The schema's name of its type.
    Float(&'static str),
    Decimal(DecimalMode, Numeric),
    Money(DecimalMode),
    /// Text; with the semantic type of its schema, or an empty one.
    Text(&'static str),
    /// One of the labels.
    Enum(Vec<String>),
    /// `\x` and hexadecimal digits.
    Bytes(BinaryMode),
    /// The text of a type that Debezium does not know, as bytes.
    Unknown(BinaryMode),
    /// `bit(1)`.
    Bit,
    /// Bits, the lowest byte first; how many there may be, or −1.
    Bits(i32),
    Date(Precision),
    Time(Precision),
    Timestamp(Precision),
    /// With a fraction of at least so many digits.
    ZonedTimestamp(usize),
    ZonedTime,
    Interval(IntervalMode),
    Point,
    Line,
    Segment,
    Rectangle,
    Path,
    Polygon,
    Circle,
    Hstore(HstoreMode),
    Array(Box<Kind>),
    /// `oidvector` and `int2vector`: numbers with blanks between.
    Vector(&'static str),
}

/// What a `numeric` was declared as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numeric {
    /// Without precision: every value has a scale of its own.
    Variable,
    /// With precision and scale.
    Fixed {
        /// Digits in all.
        precision: i32,
        /// Digits after the point.
        scale: i32,
    },
}

/// How a date or time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Precision {
    /// Days, or milliseconds.
    Millis,
    /// Microseconds; of a date the same as `Millis`.
    Micros,
    /// As `Millis`, in the types of Kafka Connect.
    Connect,
    /// ISO 8601.
    Iso,
}

impl Kind {
    /// How values of `column` are written; `None` when they are left out.
    pub(super) fn of(column: &RelationColumn, options: &DebeziumOptions) -> Option<Self> {
        let detail = &column.detail;
        let element = match detail.element {
            0 => sql_type::element_of(column.type_oid),
            element => Some(element),
        };
        let kind = match element {
            Some(element) => {
                let name = column.type_name.strip_suffix("[]").unwrap_or_default();
                let of = Type { oid: element, kind: detail.element_kind, name };
                Self::Array(Box::new(of.kind(detail.type_modifier, &detail.labels, options)))
            }
            None => {
                let name = column.type_name.as_str();
                let of = Type { oid: column.type_oid, kind: column.type_kind, name };
                of.kind(detail.type_modifier, &detail.labels, options)
            }
        };
        (options.unknown_types || !kind.is_unknown()).then_some(kind)
    }

    fn is_unknown(&self) -> bool {
        match self {
            Self::Unknown(_) => true,
            Self::Array(element) => element.is_unknown(),
            _ => false,
        }
    }
}

/// A type of the catalog.
struct Type<'a> {
    oid: u32,
    kind: char,
    name: &'a str,
}

impl Type<'_> {
    fn kind(&self, modifier: i32, labels: &[String], options: &DebeziumOptions) -> Kind {
        let adaptive = |precision: i32| {
            if (0..=3).contains(&precision) { Precision::Millis } else { Precision::Micros }
        };
        match self.oid {
            16 => Kind::Bool,
            17 => Kind::Bytes(options.binary),
            20 | 26 => Kind::Integer("int64"),
            21 => Kind::Integer("int16"),
            23 => Kind::Integer("int32"),
            22 => Kind::Vector("int16"),
            30 => Kind::Vector("int64"),
            18 | 19 | 25 | 650 | 774 | 829 | 869 | 1042 | 1043 | 3904 | 3906 | 3908 | 3910
            | 3912 | 3926 => Kind::Text(""),
            114 | 3802 => Kind::Text("io.debezium.data.Json"),
            142 => Kind::Text("io.debezium.data.Xml"),
            2950 => Kind::Text("io.debezium.data.Uuid"),
            3614 => Kind::Text("io.debezium.data.Tsvector"),
            600 => Kind::Point,
            601 => Kind::Segment,
            602 => Kind::Path,
            603 => Kind::Rectangle,
            604 => Kind::Polygon,
            628 => Kind::Line,
            718 => Kind::Circle,
            700 => Kind::Float("float"),
            701 => Kind::Float("double"),
            790 => Kind::Money(options.decimal),
            1700 => Kind::Decimal(options.decimal, Numeric::of(modifier)),
            1082 => Kind::Date(match options.time {
                TimeMode::Isostring => Precision::Iso,
                TimeMode::Connect => Precision::Connect,
                TimeMode::Adaptive | TimeMode::AdaptiveTimeMicroseconds => Precision::Millis,
            }),
            1083 => Kind::Time(match options.time {
                TimeMode::Isostring => Precision::Iso,
                TimeMode::Connect => Precision::Connect,
                TimeMode::Adaptive => adaptive(modifier),
                TimeMode::AdaptiveTimeMicroseconds => Precision::Micros,
            }),
            1114 => Kind::Timestamp(match options.time {
                TimeMode::Isostring => Precision::Iso,
                TimeMode::Connect => Precision::Connect,
                TimeMode::Adaptive | TimeMode::AdaptiveTimeMicroseconds => adaptive(modifier),
            }),
            1184 => Kind::ZonedTimestamp(usize::try_from(modifier).unwrap_or(6)),
            1266 => Kind::ZonedTime,
            1186 => Kind::Interval(options.interval),
            1560 | 1562 if modifier == 1 => Kind::Bit,
            1560 | 1562 => Kind::Bits(modifier),
            _ if self.kind == 'e' => Kind::Enum(labels.to_vec()),
            _ => match self.name {
                "hstore" => Kind::Hstore(options.hstore),
                "citext" => Kind::Text(""),
                "ltree" => Kind::Text("io.debezium.data.Ltree"),
                _ => Kind::Unknown(options.binary),
            },
        }
    }
}

impl Numeric {
    /// A decimal text with as many digits after the point as were declared.
    pub(super) fn scaled(self, text: &str) -> String {
        let Self::Fixed { scale, .. } = self else { return text.to_owned() };
        let given = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
        let missing = usize::try_from(scale).unwrap_or(0).saturating_sub(given);
        let point = if given == 0 && missing > 0 { "." } else { "" };
        format!("{text}{point}{}", "0".repeat(missing))
    }

    /// PostgreSQL's `numeric_typmod_precision` and `_scale`: the scale has 11 bits and a sign.
    fn of(modifier: i32) -> Self {
        if modifier < 4 {
            return Self::Variable;
        }
        let packed = modifier - 4;
        Self::Fixed { precision: packed >> 16, scale: ((packed & 0x7FF) ^ 1_024) - 1_024 }
    }
}
