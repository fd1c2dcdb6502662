//! Short random identities of clusters and tasks.

use rand::Rng;

const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
/// Two thousand million possibilities: a clash is rare, and the log refuses it.
const LENGTH: usize = 6;

/// Six characters a-z and 0-9, the first a letter.
pub(crate) fn random() -> String {
    let mut random = rand::rng();
    let mut text = String::with_capacity(LENGTH);
    for place in 0..LENGTH {
        let choices = if place == 0 { 26 } else { LETTERS.len() };
        text.push(char::from(LETTERS[random.random_range(0..choices)]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_keep_the_rule_of_their_kind() {
        for _ in 0..1_000 {
            let text = random();
            assert!(text.parse::<tidewire_shared::TaskId>().is_ok(), "{text}");
            assert!(text.starts_with(|first: char| first.is_ascii_lowercase()));
        }
    }
}
