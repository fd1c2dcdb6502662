//! LIKE as PostgreSQL matches it: `%` any characters, `_` one, `\` takes the next as it is.

/// One part of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Any,
    One,
    This(char),
}

/// A pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    text: String,
    parts: Vec<Part>,
}

impl Pattern {
    pub(super) fn new(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            parts.push(match c {
                '%' => Part::Any,
                '_' => Part::One,
                '\\' => Part::This(chars.next().ok_or("has a LIKE pattern that ends with `\\`")?),
                c => Part::This(c),
            });
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// As it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Goes back to the last `%` when the rest does not fit.
    pub(super) fn fits(&self, text: &str) -> bool {
        let mut chars = text.chars();
        let mut at = 0;
        let mut star: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            if self.parts.get(at) == Some(&Part::Any) {
                star = Some((at, chars.clone()));
                at += 1;
                continue;
            }
            let mut ahead = chars.clone();
            let Some(c) = ahead.next() else { break };
            let fits = match self.parts.get(at) {
                Some(Part::One) => true,
                Some(Part::This(this)) => *this == c,
                Some(Part::Any) | None => false,
            };
            if fits {
                chars = ahead;
                at += 1;
                continue;
            }
            let Some((star_at, from)) = &mut star else { return false };
            if from.next().is_none() {
                return false;
            }
            chars = from.clone();
            at = *star_at + 1;
        }
        self.parts.get(at..).unwrap_or_default().iter().all(|part| *part == Part::Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_take_what_they_say() {
        let fits = |pattern: &str, text| Pattern::new(pattern).expect("pattern").fits(text);
        assert!(fits("a%", "a") && fits("%", "") && fits("_", "é") && fits("%a%b", "xaab"));
        assert!(fits("50\\%", "50%") && fits("a\\_b", "a_b") && fits("", ""));
        assert!(!fits("a_", "a") && !fits("50\\%", "500") && !fits("", "x") && !fits("a%b", "ac"));
        assert!(Pattern::new("a\\").is_err());
    }
}
