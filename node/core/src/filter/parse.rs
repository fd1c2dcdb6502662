//! From the text of a condition to its parts.

use super::UNDERSTOOD;
use super::lex::{Token, tokens};

/// Longest condition, in bytes.
const LONGEST: usize = 16 << 10;
/// Deepest nesting of parentheses and NOT.
const DEEPEST: usize = 64;

/// A condition on rows, understood but not yet tied to a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub(super) root: Expression,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Not(Box<Expression>),
    Compare(Operand, Comparison, Operand),
    IsNull(String),
    Like(String, String),
    /// A boolean by itself.
    Holds(Operand),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Operand {
    Column(String),
    /// As written, the sign in front.
    Number(String),
    /// One of several in the list of an IN: there PostgreSQL gives numbers the type of the column,
    /// where elsewhere it compares in the wider of both types.
    Listed(String),
    Text(String),
    Bool(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Condition {
    /// Reads a condition.
    ///
    /// # Errors
    /// What is not understood, and what is.
    pub fn parse(text: &str) -> Result<Self, String> {
        let told = |what: String| format!("{what}; {UNDERSTOOD}");
        if text.len() > LONGEST {
            return Err(format!("is longer than {LONGEST} bytes"));
        }
        let mut parser = Parser { tokens: tokens(text).map_err(told)?, at: 0, depth: 0 };
        let root = parser.any().map_err(told)?;
        match parser.next() {
            None => Ok(Self { root }),
            Some(token) => Err(told(format!("goes on with {}", shown(&token)))),
        }
    }

    /// The columns that it looks at, each once, in name order.
    #[must_use]
    pub fn columns(&self) -> Vec<&str> {
        let mut columns = Vec::new();
        collect(&self.root, &mut columns);
        columns.sort_unstable();
        columns.dedup();
        columns
    }
}

fn collect<'a>(expression: &'a Expression, columns: &mut Vec<&'a str>) {
    let mut operand = |operand: &'a Operand| {
        if let Operand::Column(name) = operand {
            columns.push(name);
        }
    };
    match expression {
        Expression::All(parts) | Expression::Any(parts) => {
            parts.iter().for_each(|part| collect(part, columns));
        }
        Expression::Not(part) => collect(part, columns),
        Expression::Compare(left, _, right) => {
            operand(left);
            operand(right);
        }
        Expression::IsNull(name) | Expression::Like(name, _) => columns.push(name),
        Expression::Holds(it) => operand(it),
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

type Parsed<T> = Result<T, String>;

impl Parser {
    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let there = matches!(self.tokens.get(self.at), Some(Token::Word(found)) if found == word);
        self.at += usize::from(there);
        there
    }

    fn takes_sign(&mut self, sign: &str) -> bool {
        let there = matches!(self.tokens.get(self.at), Some(Token::Sign(found)) if *found == sign);
        self.at += usize::from(there);
        there
    }

    fn needs_sign(&mut self, sign: &str) -> Parsed<()> {
        if self.takes_sign(sign) {
            return Ok(());
        }
        Err(format!("lacks `{sign}` before {}", self.rest()))
    }

    fn rest(&self) -> String {
        self.tokens.get(self.at).map_or_else(|| "its end".to_owned(), shown)
    }

    fn any(&mut self) -> Parsed<Expression> {
        let mut parts = vec![self.all()?];
        while self.takes_word("or") {
            parts.push(self.all()?);
        }
        Ok(one_or(parts, Expression::Any))
    }

    fn all(&mut self) -> Parsed<Expression> {
        let mut parts = vec![self.not()?];
        while self.takes_word("and") {
            parts.push(self.not()?);
        }
        Ok(one_or(parts, Expression::All))
    }

    fn not(&mut self) -> Parsed<Expression> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(format!("is nested deeper than {DEEPEST}"));
        }
        let expression = if self.takes_word("not") {
            Expression::Not(Box::new(self.not()?))
        } else if self.takes_sign("(") {
            let inside = self.any()?;
            self.needs_sign(")")?;
            inside
        } else {
            self.test()?
        };
        self.depth -= 1;
        Ok(expression)
    }

    fn test(&mut self) -> Parsed<Expression> {
        let left = self.operand()?;
        if let Some(comparison) = self.comparison() {
            return Ok(Expression::Compare(left, comparison, self.operand()?));
        }
        if self.takes_word("is") {
            let negated = self.takes_word("not");
            if !self.takes_word("null") {
                return Err(format!("has {} after IS", self.rest()));
            }
            return Ok(negate(negated, Expression::IsNull(column(left)?)));
        }
        let negated = self.takes_word("not");
        if self.takes_word("in") {
            return Ok(negate(negated, self.in_list(&left)?));
        }
        if self.takes_word("between") {
            return Ok(negate(negated, self.between(left)?));
        }
        if self.takes_word("like") {
            return match self.next() {
                Some(Token::Text(pattern)) => {
                    Ok(negate(negated, Expression::Like(column(left)?, pattern)))
                }
                _ => Err("has no 'text' after LIKE".to_owned()),
            };
        }
        if negated {
            return Err(format!("has {} after NOT", self.rest()));
        }
        match left {
            Operand::Column(_) | Operand::Bool(_) => Ok(Expression::Holds(left)),
            Operand::Number(_) | Operand::Listed(_) | Operand::Text(_) => {
                Err(format!("has a value and then {}", self.rest()))
            }
        }
    }

    fn in_list(&mut self, left: &Operand) -> Parsed<Expression> {
        self.needs_sign("(")?;
        let mut values = vec![self.operand()?];
        while self.takes_sign(",") {
            values.push(self.operand()?);
        }
        self.needs_sign(")")?;
        let columns = values.iter().filter(|value| matches!(value, Operand::Column(_))).count();
        let several = values.len() - columns > 1;
        let parts = values.into_iter().map(|value| {
            let value = match value {
                Operand::Number(digits) if several => Operand::Listed(digits),
                value => value,
            };
            Expression::Compare(left.clone(), Comparison::Equal, value)
        });
        Ok(Expression::Any(parts.collect()))
    }

    fn between(&mut self, left: Operand) -> Parsed<Expression> {
        let low = self.operand()?;
        if !self.takes_word("and") {
            return Err("lacks AND after BETWEEN".to_owned());
        }
        let high = self.operand()?;
        Ok(Expression::All(vec![
            Expression::Compare(left.clone(), Comparison::GreaterOrEqual, low),
            Expression::Compare(left, Comparison::LessOrEqual, high),
        ]))
    }

    fn comparison(&mut self) -> Option<Comparison> {
        [
            ("=", Comparison::Equal),
            ("<>", Comparison::NotEqual),
            ("!=", Comparison::NotEqual),
            ("<", Comparison::Less),
            ("<=", Comparison::LessOrEqual),
            (">", Comparison::Greater),
            (">=", Comparison::GreaterOrEqual),
        ]
        .into_iter()
        .find_map(|(sign, comparison)| self.takes_sign(sign).then_some(comparison))
    }

    fn operand(&mut self) -> Parsed<Operand> {
        let minus = self.takes_sign("-");
        if minus || self.takes_sign("+") {
            return match self.next() {
                Some(Token::Number(digits)) if minus => Ok(Operand::Number(format!("-{digits}"))),
                Some(Token::Number(digits)) => Ok(Operand::Number(digits)),
                _ => Err("has a sign without a number".to_owned()),
            };
        }
        match self.next() {
            Some(Token::Number(digits)) => Ok(Operand::Number(digits)),
            Some(Token::Text(text)) => Ok(Operand::Text(text)),
            Some(Token::Quoted(name)) => Ok(Operand::Column(name)),
            Some(Token::Word(word)) => match word.as_str() {
                "true" => Ok(Operand::Bool(true)),
                "false" => Ok(Operand::Bool(false)),
                "null" => Err("compares with NULL, which is never true: write IS NULL".to_owned()),
                word if KEYWORDS.contains(&word) => {
                    Err(format!("has {} where a value is wanted", word.to_uppercase()))
                }
                _ if self.tokens.get(self.at) == Some(&Token::Sign("(")) => {
                    Err(format!("calls the function {word}"))
                }
                _ if matches!(self.tokens.get(self.at), Some(Token::Text(_))) => {
                    Err(format!("has {word} before a text"))
                }
                _ => Ok(Operand::Column(word)),
            },
            Some(token) => Err(format!("has {} where a value is wanted", shown(&token))),
            None => Err("ends where a value is wanted".to_owned()),
        }
    }
}

/// Words that are no columns unless they stand in quotes.
const KEYWORDS: [&str; 11] =
    ["and", "or", "not", "is", "in", "between", "like", "ilike", "similar", "case", "select"];

fn column(operand: Operand) -> Parsed<String> {
    match operand {
        Operand::Column(name) => Ok(name),
        _ => Err("tests a value where a column is wanted".to_owned()),
    }
}

fn negate(negated: bool, expression: Expression) -> Expression {
    if negated { Expression::Not(Box::new(expression)) } else { expression }
}

fn one_or(mut parts: Vec<Expression>, many: fn(Vec<Expression>) -> Expression) -> Expression {
    match (parts.pop(), parts.is_empty()) {
        (Some(only), true) => only,
        (last, _) => {
            parts.extend(last);
            many(parts)
        }
    }
}

fn shown(token: &Token) -> String {
    match token {
        Token::Word(word) => format!("`{word}`"),
        Token::Quoted(name) => format!("\"{name}\""),
        Token::Number(digits) => format!("`{digits}`"),
        Token::Text(_) => "a text".to_owned(),
        Token::Sign(sign) => format!("`{sign}`"),
    }
}
