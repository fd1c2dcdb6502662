//! A condition over the columns of one table: typed, ready to be evaluated or written as SQL.

use std::cmp::Ordering;

use super::class::Class;
use super::like::Pattern;
use super::parse::{Comparison, Condition, Expression, Operand};
use crate::change::Value;
use crate::precheck::identifier;

/// A column that a condition may look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterColumn<'a> {
    /// Its name in the source.
    pub name: &'a str,
    /// Object id of its type after domains were followed to their base.
    pub type_oid: u32,
    /// `pg_type.typtype` of that type.
    pub type_kind: char,
    /// Whether the declared type is a domain.
    pub domain: bool,
}

/// A condition over the columns of one table.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    root: Node,
    sql: Option<String>,
}

/// The index of a column without which a condition has no answer: it was not sent, or holds no value
/// of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotTold(pub usize);

#[derive(Clone, Debug, PartialEq)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Compare(Class, Term, Comparison, Term),
    IsNull(usize),
    Like(usize, Pattern),
    Constant(bool),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    Column(usize),
    /// As PostgreSQL would write the value.
    Literal(String),
}

impl Condition {
    /// Ties the condition to the columns of a table.
    ///
    /// # Errors
    /// A column that is not there, or a comparison whose result cannot be told apart from the server.
    pub fn bind(&self, columns: &[FilterColumn<'_>]) -> Result<Bound, String> {
        let binder = Binder { columns };
        let root = binder.node(&self.root)?;
        let sql = binder.writable(&root).then(|| binder.sql(&root));
        Ok(Bound { root, sql })
    }
}

struct Binder<'a> {
    columns: &'a [FilterColumn<'a>],
}

impl Binder<'_> {
    fn column(&self, name: &str) -> Result<(usize, Class), String> {
        let at = self.columns.iter().position(|column| column.name == name);
        let found = at.and_then(|at| Some((at, self.columns.get(at)?)));
        let (at, column) =
            found.ok_or_else(|| format!("names column {name}, which is not there"))?;
        Ok((at, Class::of(column.type_oid, column.type_kind)))
    }

    fn node(&self, expression: &Expression) -> Result<Node, String> {
        let nodes = |parts: &[Expression]| {
            parts.iter().map(|part| self.node(part)).collect::<Result<Vec<_>, _>>()
        };
        Ok(match expression {
            Expression::All(parts) => Node::All(nodes(parts)?),
            Expression::Any(parts) => Node::Any(nodes(parts)?),
            Expression::Not(part) => Node::Not(Box::new(self.node(part)?)),
            Expression::Compare(left, comparison, right) => {
                self.compare(left, *comparison, right)?
            }
            Expression::IsNull(name) => Node::IsNull(self.column(name)?.0),
            Expression::Like(name, pattern) => {
                let (at, class) = self.column(name)?;
                if !matches!(class, Class::Text | Class::Padded) {
                    return Err(format!("uses LIKE on column {name}, which is no text"));
                }
                Node::Like(at, Pattern::new(pattern)?)
            }
            Expression::Holds(Operand::Bool(constant)) => Node::Constant(*constant),
            Expression::Holds(operand) => {
                self.compare(operand, Comparison::Equal, &Operand::Bool(true))?
            }
        })
    }

    fn compare(
        &self,
        left: &Operand,
        comparison: Comparison,
        right: &Operand,
    ) -> Result<Node, String> {
        let class_of = |operand: &Operand| match operand {
            Operand::Column(name) => {
                self.column(name).map(|(_, class)| Some((name.clone(), class)))
            }
            _ => Ok(None),
        };
        let (name, class) = match (class_of(left)?, class_of(right)?) {
            (None, None) => return Err("compares two values, not a column".to_owned()),
            (Some((left, one)), Some((right, other))) if one != other => {
                return Err(format!("compares columns {left} and {right} of different kinds"));
            }
            (Some(known), _) | (None, Some(known)) => known,
        };
        let by_equality = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
        if class == Class::Opaque || (!by_equality && !class.is_ordered()) {
            let what = if class == Class::Opaque { "its type" } else { "the order of its type" };
            return Err(format!("compares column {name}, but {what} is not known here"));
        }
        let term = |operand: &Operand| match operand {
            Operand::Column(name) => Ok(Term::Column(self.column(name)?.0)),
            literal => literal_of(class, literal).map(Term::Literal).ok_or_else(|| {
                format!("compares column {name} with what is no {} value", wanted(class))
            }),
        };
        Ok(Node::Compare(class, term(left)?, comparison, term(right)?))
    }

    /// Whether the server takes the condition as a row filter: it refuses types that are not its own.
    fn writable(&self, node: &Node) -> bool {
        let plain = |at: usize| {
            self.columns.get(at).is_some_and(|column| {
                !column.domain && Class::of(column.type_oid, column.type_kind) != Class::Label
            })
        };
        let term = |term: &Term| match term {
            Term::Column(at) => plain(*at),
            Term::Literal(_) => true,
        };
        match node {
            Node::All(parts) | Node::Any(parts) => parts.iter().all(|part| self.writable(part)),
            Node::Not(part) => self.writable(part),
            Node::Compare(_, left, _, right) => term(left) && term(right),
            Node::IsNull(at) | Node::Like(at, _) => plain(*at),
            Node::Constant(_) => true,
        }
    }

    fn sql(&self, node: &Node) -> String {
        let joined = |parts: &[Node], word: &str| {
            let parts: Vec<_> = parts.iter().map(|part| self.sql(part)).collect();
            format!("({})", parts.join(word))
        };
        let name = |at: &usize| {
            self.columns.get(*at).map_or_else(String::new, |column| identifier(column.name))
        };
        match node {
            Node::All(parts) => joined(parts, " AND "),
            Node::Any(parts) => joined(parts, " OR "),
            Node::Not(part) => format!("(NOT {})", self.sql(part)),
            Node::Compare(class, left, comparison, right) => {
                let term = |term: &Term| match term {
                    Term::Column(at) => name(at),
                    Term::Literal(text) => literal_sql(*class, text),
                };
                format!("({} {} {})", term(left), sign(*comparison), term(right))
            }
            Node::IsNull(at) => format!("({} IS NULL)", name(at)),
            Node::Like(at, pattern) => format!("({} LIKE {})", name(at), text_sql(pattern.text())),
            Node::Constant(constant) => if *constant { "TRUE" } else { "FALSE" }.to_owned(),
        }
    }
}

fn sign(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => "=",
        Comparison::NotEqual => "<>",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
    }
}

/// The text of a literal in a form that no setting of the session reads another way.
fn literal_sql(class: Class, text: &str) -> String {
    match class {
        Class::Exact => text.to_owned(),
        Class::Float4 | Class::Float8 => match text.strip_prefix('+') {
            Some(number) => number.to_owned(),
            None => text_sql(text),
        },
        Class::Bool => if text == "t" { "TRUE" } else { "FALSE" }.to_owned(),
        Class::TimestampTz => format!("'{text}+00'"),
        _ => text_sql(text),
    }
}

fn text_sql(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if text.contains('\\') {
        return format!("E'{}'", doubled.replace('\\', "\\\\"));
    }
    format!("'{doubled}'")
}

fn wanted(class: Class) -> &'static str {
    match class {
        Class::Exact | Class::Float4 | Class::Float8 => "number (write it without quotes)",
        Class::Bool => "TRUE or FALSE",
        Class::Uuid => "uuid",
        Class::Date => "'YYYY-MM-DD'",
        Class::Timestamp | Class::TimestampTz => "'YYYY-MM-DD HH:MM:SS'",
        Class::Text | Class::Padded | Class::Label | Class::Opaque => "text",
    }
}

/// A literal as PostgreSQL would write the value; `None` when it is none of the class.
fn literal_of(class: Class, literal: &Operand) -> Option<String> {
    match (class, literal) {
        (Class::Exact, Operand::Number(digits) | Operand::Listed(digits)) => Some(digits.clone()),
        (Class::Float4, Operand::Listed(digits)) => {
            digits.parse::<f32>().is_ok_and(f32::is_finite).then(|| digits.clone())
        }
        (Class::Float4 | Class::Float8, Operand::Number(digits) | Operand::Listed(digits)) => {
            let finite = digits.parse::<f64>().is_ok_and(f64::is_finite);
            // The sign in front marks a literal, which is no float4 value: `class::float4`.
            finite.then(|| format!("+{digits}"))
        }
        (Class::Bool, Operand::Bool(truth)) => Some(if *truth { "t" } else { "f" }.to_owned()),
        (Class::Text | Class::Padded | Class::Label, Operand::Text(text)) => Some(text.clone()),
        (Class::Uuid, Operand::Text(text)) => uuid(text),
        (Class::Date, Operand::Text(text)) => date(text).then(|| text.clone()),
        (Class::Timestamp, Operand::Text(text)) => timestamp(text),
        (Class::TimestampTz, Operand::Text(text)) => {
            let utc = ["+00:00", "+00", "Z"].iter().find_map(|zone| text.strip_suffix(zone));
            timestamp(utc.unwrap_or(text))
        }
        _ => None,
    }
}

fn uuid(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let fits = lower.len() == 36
        && lower.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    fits.then_some(lower)
}

/// `YYYY-MM-DD`, a day of the calendar.
fn date(text: &str) -> bool {
    let digits = |part: &str, len: usize| {
        (part.len() == len && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse::<u32>())
    };
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts.as_slice() else { return false };
    let (Some(Ok(year)), Some(Ok(month)), Some(Ok(day))) =
        (digits(year, 4), digits(month, 2), digits(day, 2))
    else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    year > 0 && (1..=days).contains(&day)
}

/// `YYYY-MM-DD HH:MM:SS.ffffff`, the time and its fraction as far as they are given.
fn timestamp(text: &str) -> Option<String> {
    let (day, time) = text.split_once([' ', 'T']).unwrap_or((text, "00:00:00"));
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let parts: Vec<&str> = clock.split(':').collect();
    let below = |part: &str, limit: u32| {
        part.len() == 2
            && part.bytes().all(|b| b.is_ascii_digit())
            && part.parse::<u32>().is_ok_and(|number| number < limit)
    };
    let (hours, minutes, seconds) = match parts.as_slice() {
        [hours, minutes] if !time.contains('.') => (hours, minutes, &"00"),
        [hours, minutes, seconds] => (hours, minutes, seconds),
        _ => return None,
    };
    let fits = date(day)
        && below(hours, 24)
        && below(minutes, 60)
        && below(seconds, 60)
        && fraction.len() <= 6
        && fraction.bytes().all(|b| b.is_ascii_digit())
        && !time.ends_with('.');
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    fits.then(|| format!("{day} {hours}:{minutes}:{seconds}{dot}{fraction}"))
}

impl Bound {
    /// The condition as a row filter of a publication; `None` when the server would not take it.
    #[must_use]
    pub fn sql(&self) -> Option<&str> {
        self.sql.as_deref()
    }

    /// Whether a row goes out: only where the condition is true, not where it is unknown.
    ///
    /// # Errors
    /// The column without which it cannot be told.
    pub fn matches<'v>(&self, value: &impl Fn(usize) -> Value<'v>) -> Result<bool, NotTold> {
        Ok(evaluate(&self.root, value)? == Some(true))
    }
}

/// SQL's three values: true, false, unknown.
fn evaluate<'v>(node: &Node, value: &impl Fn(usize) -> Value<'v>) -> Result<Option<bool>, NotTold> {
    match node {
        Node::All(parts) => fold(parts, value, false),
        Node::Any(parts) => fold(parts, value, true),
        Node::Not(part) => Ok(evaluate(part, value)?.map(|truth| !truth)),
        Node::IsNull(at) => match value(*at) {
            Value::Missing => Err(NotTold(*at)),
            Value::Null => Ok(Some(true)),
            Value::Text(_) => Ok(Some(false)),
        },
        Node::Like(at, pattern) => {
            Ok(text(&Term::Column(*at), value)?.map(|text| pattern.fits(text)))
        }
        Node::Constant(constant) => Ok(Some(*constant)),
        Node::Compare(class, left, comparison, right) => {
            let (Some(one), Some(other)) = (text(left, value)?, text(right, value)?) else {
                return Ok(None);
            };
            match class.compare(one, other) {
                Some(order) => Ok(Some(holds(*comparison, order))),
                None => Err(NotTold(match (left, right) {
                    (Term::Column(at), _) | (_, Term::Column(at)) => *at,
                    _ => 0,
                })),
            }
        }
    }
}

/// AND (`decided` false) and OR (`decided` true): one part that decides is enough, whatever cannot be
/// told of the others.
fn fold<'v>(
    parts: &[Node],
    value: &impl Fn(usize) -> Value<'v>,
    decided: bool,
) -> Result<Option<bool>, NotTold> {
    let mut result = Ok(Some(!decided));
    for part in parts {
        match evaluate(part, value) {
            Ok(Some(truth)) if truth == decided => return Ok(Some(decided)),
            Ok(Some(_)) => {}
            Ok(None) => result = result.map(|_| None),
            Err(column) => result = Err(column),
        }
    }
    result
}

/// The text of a term; `None` for NULL.
fn text<'a, 'v: 'a>(
    term: &'a Term,
    value: &impl Fn(usize) -> Value<'v>,
) -> Result<Option<&'a str>, NotTold> {
    match term {
        Term::Literal(text) => Ok(Some(text)),
        Term::Column(at) => match value(*at) {
            Value::Missing => Err(NotTold(*at)),
            Value::Null => Ok(None),
            Value::Text(text) => std::str::from_utf8(text).map(Some).map_err(|_| NotTold(*at)),
        },
    }
}

fn holds(comparison: Comparison, order: Ordering) -> bool {
    match comparison {
        Comparison::Equal => order.is_eq(),
        Comparison::NotEqual => order.is_ne(),
        Comparison::Less => order.is_lt(),
        Comparison::LessOrEqual => order.is_le(),
        Comparison::Greater => order.is_gt(),
        Comparison::GreaterOrEqual => order.is_ge(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, type_oid: u32) -> FilterColumn<'_> {
        FilterColumn { name, type_oid, type_kind: 'b', domain: false }
    }

    fn columns() -> [FilterColumn<'static>; 6] {
        [
            column("id", 20),
            column("note", 25),
            column("Paid", 16),
            column("at", 1184),
            column("doc", 114),
            FilterColumn { name: "mood", type_oid: 90_000, type_kind: 'e', domain: false },
        ]
    }

    fn bound(text: &str) -> Result<Bound, String> {
        Condition::parse(text)?.bind(&columns())
    }

    const ROW: [Value<'static>; 6] = [
        Value::Text(b"42"),
        Value::Null,
        Value::Text(b"t"),
        Value::Text(b"2026-01-02 03:04:05.5+00"),
        Value::Missing,
        Value::Text(b"sad"),
    ];

    #[test]
    fn conditions_give_what_sql_gives() {
        for (text, wanted) in [
            ("id = 42 AND \"Paid\"", true),
            ("NOT \"Paid\" OR id BETWEEN 40 AND 42.0", true),
            ("id NOT IN (1, 2, 42)", false),
            ("note = 'x' OR note <> 'x'", false),
            ("note IS NULL AND NOT note IS NOT NULL", true),
            ("NOT (note LIKE 'a%')", false),
            ("at >= '2026-01-02 03:04:05.50' AND at < '2026-01-02T03:04:06Z'", true),
            ("mood = 'sad' AND id > -1", true),
            ("id < 0 AND doc IS NULL", false),
            ("id < 0 or 43 > id", true),
        ] {
            let told = bound(text).expect(text).matches(&|at| ROW[at]);
            assert_eq!(told, Ok(wanted), "{text}");
        }
        assert_eq!(bound("doc IS NULL").expect("bound").matches(&|at| ROW[at]), Err(NotTold(4)));
    }

    #[test]
    fn what_cannot_be_told_like_the_server_is_refused() {
        for text in [
            "",
            "id",
            "id = ",
            "id = 'x'",
            "note < 'x'",
            "doc = 'x'",
            "mood < 'sad'",
            "id = NULL",
            "lower(note) = 'x'",
            "note ILIKE 'x'",
            "id = 1e3",
            "id::text = '1'",
            "id = 1; DROP",
            "gone = 1",
            "at > 'yesterday'",
            "at > '2026-02-30'",
            "date '2026-01-01' < at",
            "(id = 1",
            "id = 1)",
            "1 = 1",
            "id IS TRUE",
            "note LIKE 'x\\'",
            "id = 1 -- x",
            "note = 'x",
            "id = \"Paid\"",
            "at > '2026-01-01 10:00:00+02'",
            "NOT",
            "id NOT 5",
        ] {
            assert!(bound(text).is_err(), "{text}");
        }
        let deep = format!("{}id = 1{}", "(".repeat(100), ")".repeat(100));
        assert!(Condition::parse(&deep).is_err());
    }

    #[test]
    fn sql_is_quoted_and_left_out_where_the_server_would_refuse_it() {
        let sql = |text| bound(text).expect(text).sql().map(str::to_owned);
        assert_eq!(
            sql("note LIKE 'a\\_''%' OR NOT \"Paid\" AND at > '2026-01-02'").as_deref(),
            Some(
                "((\"note\" LIKE E'a\\\\_''%') OR ((NOT (\"Paid\" = TRUE)) AND \
                 (\"at\" > '2026-01-02 00:00:00+00')))"
            )
        );
        assert_eq!(sql("mood = 'sad'"), None);
    }

    #[test]
    fn columns_are_named_once() {
        let condition = Condition::parse("b = 1 OR a IN (1, 2) OR c LIKE 'x'").expect("parsed");
        assert_eq!(condition.columns(), ["a", "b", "c"]);
    }
}
