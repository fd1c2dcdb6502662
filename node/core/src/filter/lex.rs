//! The words of a condition.

/// One word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A bare word, folded to lower case as PostgreSQL folds it: a keyword or a column.
    Word(String),
    /// A name in double quotes.
    Quoted(String),
    /// A number without sign or exponent.
    Number(String),
    /// A text in single quotes.
    Text(String),
    /// An operator, parenthesis or comma.
    Sign(&'static str),
}

/// Longest first: `<=` is not `<` and `=`.
const SIGNS: [&str; 12] = ["<>", "!=", "<=", ">=", "=", "<", ">", "(", ")", ",", "-", "+"];

/// Cuts a condition into words.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, after) = match first {
            '"' => {
                let (name, after) = quoted(rest, '"')?;
                (Token::Quoted(name), after)
            }
            '\'' => {
                let (text, after) = quoted(rest, '\'')?;
                (Token::Text(text), after)
            }
            c if c.is_ascii_digit() => number(rest)?,
            c if c.is_alphabetic() || c == '_' => word(rest),
            _ => sign(rest)?,
        };
        tokens.push(token);
        rest = after.trim_start();
    }
    Ok(tokens)
}

/// Text up to its closing quote, a doubled quote standing for one.
fn quoted(text: &str, quote: char) -> Result<(String, &str), String> {
    let mut content = String::new();
    let mut rest = text.strip_prefix(quote).unwrap_or(text);
    while let Some((before, after)) = rest.split_once(quote) {
        content.push_str(before);
        match after.strip_prefix(quote) {
            Some(more) => {
                content.push(quote);
                rest = more;
            }
            None if quote == '"' && content.is_empty() => return Err("has an empty name".into()),
            None if content.contains('\0') => return Err("holds a NUL character".into()),
            None => return Ok((content, after)),
        }
    }
    Err(format!("lacks a closing {quote}"))
}

fn number(text: &str) -> Result<(Token, &str), String> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (digits, after) = text.split_at(end);
    let goes_on = after.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    if goes_on || digits.matches('.').count() > 1 || digits.ends_with('.') {
        return Err(format!("holds `{digits}{}`, which is no plain number", first_word(after)));
    }
    Ok((Token::Number(digits.to_owned()), after))
}

fn first_word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

fn word(text: &str) -> (Token, &str) {
    let goes_on = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let end = text.find(|c: char| !goes_on(c)).unwrap_or(text.len());
    let (word, after) = text.split_at(end);
    (Token::Word(word.to_ascii_lowercase()), after)
}

fn sign(text: &str) -> Result<(Token, &str), String> {
    // Two of them side by side are operators of PostgreSQL, or the beginning of a comment.
    let known = SIGNS.iter().find(|sign| text.starts_with(**sign));
    match known {
        Some(sign) if !text.starts_with("--") => {
            let after = text.get(sign.len()..).unwrap_or_default();
            Ok((Token::Sign(sign), after))
        }
        _ => Err(format!("holds `{}`", text.chars().next().unwrap_or_default())),
    }
}
