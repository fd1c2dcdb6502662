//! Conditions on rows: the part of SQL that a task's `where` may use, with the server's results.
//!
//! [`Condition`] is the text understood; [`Bound`] is it over the columns of one table, so that every
//! comparison knows its type. A condition is either pushed into the publication ([`Bound::sql`]) or
//! evaluated here ([`Bound::matches`]); both must give the same rows, so what cannot be compared
//! exactly as PostgreSQL does is refused.

mod bound;
mod class;
mod lex;
mod like;
mod parse;

pub use bound::{Bound, FilterColumn, NotTold};
pub use parse::Condition;

/// What a condition may be made of, for the people whose condition is refused.
pub const UNDERSTOOD: &str = "understood are column names, numbers, 'texts', TRUE, FALSE, \
     = <> < <= > >=, AND, OR, NOT, IS [NOT] NULL, [NOT] IN (…), [NOT] BETWEEN … AND … and \
     [NOT] LIKE";
